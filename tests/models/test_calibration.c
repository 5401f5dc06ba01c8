/* models/calibration.c: what is written is read again, and everything else is refused by its
 * sentence. */
#include "models/calibration.h"

#include "tests/test.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FINGERPRINT "00112233445566778899aabbccddeeff"
#define GOOD_HEAD   "{\"weir_calibration\": 1, \"model\": \"" FINGERPRINT "\", "

static char folder[] = "/tmp/weir-calibration-XXXXXX", path[64];

static const struct model MODEL = {.config = {.n_layers = 3}, .fingerprint = FINGERPRINT};

static void write_text(const char *text)
{
    FILE *file = fopen(path, "w");
    EXPECT(file != NULL && fputs(text, file) >= 0);
    fclose(file);
}

static void expect_refused(int status, const char *words)
{
    struct model_calibration calibration;
    char error[ERROR_BYTES] = "";
    EXPECT_EQUAL(model_calibration_read(&calibration, path, &MODEL, error), status);
    if (strstr(error, words) == NULL)
        fprintf(stderr, "\"%s\" does not say \"%s\"\n", error, words);
    EXPECT(strstr(error, words) != NULL);
    EXPECT(strstr(error, "scripts/calibrate makes it") != NULL);
}

static void expect_text_refused(const char *text, const char *words)
{
    write_text(text);
    expect_refused(-EINVAL, words);
}

static struct model_calibration some_calibration(void)
{
    struct model_calibration made = {.n_texts = 872};
    for (uint32_t layer = 0; layer < MODEL.config.n_layers; layer++)
        for (uint32_t i = 0; i < model_calibration_products(&MODEL.config, layer); i++)
            made.amax[layer][i] = 0.1f + (float)layer * 7.3f + (float)i / 3.0f;
    return made;
}

static void what_is_written_is_read_again_to_the_bit(void)
{
    struct model_calibration made = some_calibration(), read;
    struct stat facts;
    char error[ERROR_BYTES] = "";
    made.amax[1][2] = MODEL_CALIBRATION_AMAX_MAX; /* the edge */
    made.amax[0][1] = 1e-30f;
    EXPECT_EQUAL(model_calibration_write(&made, path, &MODEL.config, FINGERPRINT, error), 0);
    EXPECT_EQUAL(model_calibration_read(&read, path, &MODEL, error), 0);
    EXPECT(memcmp(&made, &read, sizeof made) == 0);
    EXPECT(stat(path, &facts) == 0 && (facts.st_mode & 0777) == 0644);
    EXPECT_EQUAL(model_calibration_products(&MODEL.config, 1), MODEL_PRODUCT_COUNT);
    EXPECT_EQUAL(model_calibration_products(&MODEL.config, 2), 1);
}

static void every_beginning_of_a_file_is_refused(void)
{
    const struct model_calibration made = some_calibration();
    char error[ERROR_BYTES] = "", text[4096], part[4096];
    EXPECT_EQUAL(model_calibration_write(&made, path, &MODEL.config, FINGERPRINT, error), 0);
    FILE *file = fopen(path, "r");
    const size_t size = fread(text, 1, sizeof text, file);
    fclose(file);
    EXPECT(size > 100 && size < sizeof text && text[size - 1] == '\n');
    for (size_t n = 0; n + 1 < size; n++) {
        memcpy(part, text, n);
        part[n] = 0;
        expect_text_refused(part, "is no JSON: cut off or damaged");
    }
}

static void what_is_no_calibration_of_this_model_is_refused(void)
{
    expect_text_refused("[]", "is no calibration of format 1");
    expect_text_refused("{\"weir_calibration\": 2}", "is no calibration of format 1");
    expect_text_refused("{\"weir_calibration\": 1}", "belongs to another model (unnamed, this");
    expect_text_refused("{\"weir_calibration\": 1, \"model\": \"ff\"}",
                        "belongs to another model (ff, this is " FINGERPRINT ")");
    expect_text_refused(GOOD_HEAD "\"amax\": [[1, 1, 1, 1], [1]]}", "a row for each of 3 layers");
    expect_text_refused(GOOD_HEAD "\"amax\": 3}", "a row for each of 3 layers");
    expect_text_refused(GOOD_HEAD "\"amax\": [[1, 1, 1, 1], [1, 1, 1], [1]]}",
                        "layer 1 must be 4 numbers");
    expect_text_refused(GOOD_HEAD "\"amax\": [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]}",
                        "layer 2 must be 1 numbers");
}

static void implausible_numbers_are_refused(void)
{
    static const char *const values[] = {"0", "-1", "65504.1", "1e30", "null", "\"1\"", "true"};
    char text[256];
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        snprintf(text, sizeof text, GOOD_HEAD "\"amax\": [[1, 1, 1, %s], [1, 1, 1, 1], [1]]}",
                 values[i]);
        expect_text_refused(text, "layer 0 must be above 0 and at most 65504");
    }
}

static void what_is_no_file_is_refused(void)
{
    char *large = malloc(65538);
    memset(large, ' ', 65537);
    large[65537] = 0;
    write_text(large);
    expect_refused(-EFBIG, "is no file of at most 65536 bytes");
    large[65536] = 0; /* the edge: it is read */
    write_text(large);
    expect_refused(-EINVAL, "is no JSON");
    free(large);
    unlink(path);
    expect_refused(-ENOENT, "cannot be read: No such file");
    EXPECT_EQUAL(mkdir(path, 0755), 0);
    expect_refused(-EFBIG, "is no file");
    rmdir(path);
}

static void a_place_that_cannot_be_written_is_a_sentence(void)
{
    const struct model_calibration made = some_calibration();
    char error[ERROR_BYTES] = "";
    EXPECT_EQUAL(
        model_calibration_write(&made, "/nowhere/weir-fp8.json", &MODEL.config, FINGERPRINT, error),
        -ENOENT);
    EXPECT(strstr(error, "name a file in a folder that weir may write") != NULL);
}

int main(void)
{
    EXPECT(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/fp8.json", folder);
    RUN(what_is_written_is_read_again_to_the_bit);
    RUN(every_beginning_of_a_file_is_refused);
    RUN(what_is_no_calibration_of_this_model_is_refused);
    RUN(implausible_numbers_are_refused);
    RUN(what_is_no_file_is_refused);
    RUN(a_place_that_cannot_be_written_is_a_sentence);
    rmdir(folder);
    return 0;
}
