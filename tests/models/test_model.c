/* models/model.c: a folder opened, refused, told apart from another, and its numbers widened. */
#include "models/model.h"

#include "tests/models/tiny_folder.h"
#include "tests/test.h"

#include <errno.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens the folder and expects a refusal: `sentence`, and then where. */
static void expect_refused(const char *folder, int status, const char *sentence)
{
    char error[ERROR_BYTES] = "", expected[ERROR_BYTES];
    struct model model;

    snprintf(expected, sizeof(expected), "%s [%s]", sentence, folder);
    EXPECT_EQUAL(model_open(&model, folder, error), status);
    EXPECT_STRING(error, expected);
    EXPECT(!model.mapping && !model.strings);
}

static void a_folder_of_any_type_is_opened_and_its_weights_are_read(void)
{
    for (int dtype = MODEL_FLOAT32; dtype <= MODEL_BFLOAT16; dtype++) {
        char folder[TINY_PATH_BYTES], error[ERROR_BYTES] = "";
        struct model model;
        float rows[2 * TINY_DIM];
        tiny_folder_create_model(folder, MODEL_DISTILBERT, (enum model_dtype)dtype);
        EXPECT_EQUAL(model_open(&model, folder, error), 0);
        EXPECT_EQUAL(model.config.n_labels, TINY_LABELS);
        EXPECT_STRING(model.config.labels[2], "good");
        EXPECT_EQUAL(strlen(model.fingerprint), 32);
        /* The second tensor of the file holds 1 + 1/4, 1 + 2/4, 1 + 3/4, 2 in every row. */
        model_tensor_to_float32(&model.weights.position_embeddings, TINY_POSITIONS - 2, 2, rows);
        for (int i = 0; i < 2 * TINY_DIM; i++)
            EXPECT(rows[i] == 1 + (float)(i % 4 + 1) / 4);
        model_close(&model);
        model_close(&model);
        tiny_folder_remove(folder);
    }
}

static void take_fingerprint(const char *folder, char fingerprint[MODEL_FINGERPRINT_BYTES])
{
    char error[ERROR_BYTES] = "";
    struct model model;

    EXPECT_EQUAL(model_open(&model, folder, error), 0);
    snprintf(fingerprint, MODEL_FINGERPRINT_BYTES, "%s", model.fingerprint);
    model_close(&model);
}

static void the_config_alone_opens_without_weights(void)
{
    char folder[TINY_PATH_BYTES], error[ERROR_BYTES] = "";
    const char *config = tiny_config(MODEL_BERT);
    struct model model;
    char whole[MODEL_FINGERPRINT_BYTES];

    tiny_folder_create_model(folder, MODEL_BERT, MODEL_FLOAT32);
    take_fingerprint(folder, whole);
    tiny_folder_remove(folder);
    tiny_folder_create(folder);
    tiny_folder_write(folder, "config.json", config, strlen(config));
    EXPECT_EQUAL(model_open_config(&model, folder, error), 0);
    EXPECT_EQUAL(model.config.n_types, TINY_TYPES);
    EXPECT_STRING(model.config.labels[0], "bad");
    EXPECT_EQUAL(strlen(model.fingerprint), MODEL_CONFIG_DIGITS);
    EXPECT_EQUAL(strncmp(model.fingerprint, whole, MODEL_CONFIG_DIGITS), 0);
    model_close(&model);
    tiny_folder_remove(folder);
}

static void what_is_missing_is_named_with_what_to_do(void)
{
    char folder[TINY_PATH_BYTES];
    const char *config = tiny_config(MODEL_BERT);

    expect_refused("/nowhere/at/all", -ENOENT,
                   "--model-id: no such folder; it takes a folder, not a Hub name: "
                   "scripts/fetch_model ID gets one");
    tiny_folder_create(folder);
    expect_refused(folder, -ENOENT,
                   "config.json: missing; --model-id takes a folder as it is downloaded from the "
                   "Hub, and scripts/fetch_model gets one");
    tiny_folder_write(folder, "config.json", config, strlen(config));
    expect_refused(folder, -ENOENT,
                   "model.safetensors: missing; scripts/fetch_model gets a model from the Hub");
    tiny_folder_write(folder, "pytorch_model.bin", "x", 1);
    expect_refused(folder, -ENOENT,
                   "model.safetensors: missing, and weir reads no pickle (pytorch_model.bin); load "
                   "it in transformers and save_pretrained(folder, safe_serialization=True)");
    tiny_folder_write(folder, "model.safetensors.index.json", "{}", 2);
    expect_refused(folder, -ENOENT,
                   "model.safetensors: missing, the checkpoint is in several shards; load it in "
                   "transformers and save_pretrained(folder, max_shard_size=\"100GB\")");
    tiny_folder_remove(folder);
}

static void files_that_are_no_files_or_have_no_sensible_size_are_refused(void)
{
    char folder[TINY_PATH_BYTES], path[TINY_PATH_BYTES + 32];

    tiny_folder_create_model(folder, MODEL_BERT, MODEL_FLOAT16);
    tiny_folder_write(folder, "model.safetensors", "", 0);
    expect_refused(folder, -EINVAL,
                   "model.safetensors: has 0 bytes; weir reads 1 to 1099511627776");
    snprintf(path, sizeof(path), "%s/model.safetensors", folder);
    EXPECT_EQUAL(unlink(path), 0);
    EXPECT_EQUAL(mkfifo(path, 0600), 0); /* nobody writes: opening it must not wait */
    expect_refused(folder, -EINVAL, "model.safetensors: is not a regular file");
    snprintf(path, sizeof(path), "%s/config.json", folder);
    EXPECT_EQUAL(truncate(path, (4 << 20) + 1), 0);
    expect_refused(folder, -EINVAL, "config.json: has 4194305 bytes; weir reads 1 to 4194304");
    tiny_folder_remove(folder);
}

static void refusals_of_the_parts_say_which_folder(void)
{
    char folder[TINY_PATH_BYTES];

    tiny_folder_create_model(folder, MODEL_BERT, MODEL_FLOAT16);
    tiny_folder_write(folder, "model.safetensors", "short", 5);
    expect_refused(folder, -EINVAL,
                   "model.safetensors: 5 bytes are too few for a safetensors file");
    tiny_folder_write(folder, "config.json", "{}", 2);
    expect_refused(folder, -EINVAL,
                   "config.json: the architecture is not named; weir serves "
                   "DistilBertForSequenceClassification and BertForSequenceClassification");
    tiny_folder_remove(folder);
}

static void equal_models_have_equal_fingerprints_and_others_do_not(void)
{
    char first[TINY_PATH_BYTES], second[TINY_PATH_BYTES], a[MODEL_FINGERPRINT_BYTES],
        b[MODEL_FINGERPRINT_BYTES];
    struct tiny_bytes weights = tiny_weights(MODEL_BERT, MODEL_FLOAT32, false);

    tiny_folder_create_model(first, MODEL_BERT, MODEL_FLOAT32);
    tiny_folder_create_model(second, MODEL_BERT, MODEL_FLOAT32);
    take_fingerprint(first, a);
    take_fingerprint(second, b);
    EXPECT_STRING(a, b);
    weights.bytes[weights.size_bytes - 1] ^= 1;
    tiny_folder_write(second, "model.safetensors", weights.bytes, weights.size_bytes);
    take_fingerprint(second, b);
    EXPECT(strcmp(a, b) != 0);
    tiny_folder_remove(second);
    tiny_folder_create_model(second, MODEL_BERT, MODEL_BFLOAT16);
    take_fingerprint(second, b);
    EXPECT(strcmp(a, b) != 0);
    tiny_folder_remove(first);
    tiny_folder_remove(second);
    free(weights.bytes);
}

/* The tiny weights with so many more bytes in a tensor that has no role. */
static struct tiny_bytes weights_with_ballast(size_t ballast_bytes)
{
    struct tiny_bytes tiny = tiny_weights(MODEL_BERT, MODEL_FLOAT32, false), larger;
    uint64_t header_bytes;
    char *header;

    memcpy(&header_bytes, tiny.bytes, 8);
    size_t data_bytes = tiny.size_bytes - 8 - header_bytes;
    header = malloc(header_bytes + 128);
    memcpy(header, tiny.bytes + 8, header_bytes);
    header_bytes -= strlen("}   ");
    sprintf(header + header_bytes,
            ",\"x\":{\"dtype\":\"U8\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}}", ballast_bytes,
            data_bytes, data_bytes + ballast_bytes);
    larger = tiny_file(header, data_bytes + ballast_bytes);
    memcpy(larger.bytes + 8 + strlen(header), tiny.bytes + tiny.size_bytes - data_bytes,
           data_bytes);
    free(header);
    free(tiny.bytes);
    return larger;
}

static void a_fingerprint_looks_at_both_ends_of_a_large_file(void)
{
    struct tiny_bytes weights = weights_with_ballast(5 * 4096);
    char folder[TINY_PATH_BYTES], before[MODEL_FINGERPRINT_BYTES], after[MODEL_FINGERPRINT_BYTES];

    tiny_folder_create_model(folder, MODEL_BERT, MODEL_FLOAT32);
    tiny_folder_write(folder, "model.safetensors", weights.bytes, weights.size_bytes);
    take_fingerprint(folder, before);
    weights.bytes[weights.size_bytes - 1] ^= 1;
    tiny_folder_write(folder, "model.safetensors", weights.bytes, weights.size_bytes);
    take_fingerprint(folder, after);
    EXPECT(strcmp(before, after) != 0);
    tiny_folder_remove(folder);
    free(weights.bytes);
}

/* A tensor over all 65536 values, at an odd address. */
static const float *widen_all(enum model_dtype dtype)
{
    static uint8_t stored[2 * 65536 + 1];
    static float wide[65536];
    struct model_tensor tensor = {stored + 1, dtype, 256, 256};

    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t value = (uint16_t)i;
        memcpy(stored + 1 + 2 * i, &value, 2);
    }
    model_tensor_to_float32(&tensor, 0, 256, wide);
    return wide;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* IEEE 754, spelled out: sign, 5 bits of exponent, 10 of fraction. */
static void every_float16_is_widened_exactly(void)
{
    const float *wide = widen_all(MODEL_FLOAT16);

    for (uint32_t i = 0; i < 65536; i++) {
        int exponent = i >> 10 & 31;
        double fraction = i & 1023, sign = i & 0x8000 ? -1 : 1, value;
        if (exponent == 31 && fraction != 0) {
            EXPECT(isnan(wide[i]));
            continue;
        }
        if (exponent == 31)
            value = INFINITY;
        else
            value = exponent ? ldexp(1 + fraction / 1024, exponent - 15) : ldexp(fraction, -24);
        EXPECT_EQUAL(bits_of(wide[i]), bits_of((float)(sign * value)));
    }
}

static void every_bfloat16_is_the_upper_half_of_a_float32(void)
{
    const float *wide = widen_all(MODEL_BFLOAT16);

    for (uint32_t i = 0; i < 65536; i++)
        EXPECT_EQUAL(bits_of(wide[i]), i << 16);
}

static void rows_are_taken_from_where_they_were_asked(void)
{
    const float numbers[6] = {1, 2, 3, 4, 5, 6};
    const struct model_tensor tensor = {numbers, MODEL_FLOAT32, 3, 2};
    const uint16_t halves[4] = {0x3c00, 0x4000, 0x4200, 0x4400};
    const struct model_tensor narrow = {halves, MODEL_FLOAT16, 2, 2};
    float out[2] = {0};

    model_tensor_to_float32(&narrow, 1, 1, out);
    EXPECT(out[0] == 3 && out[1] == 4);
    model_tensor_to_float32(&tensor, 2, 1, out);
    EXPECT(out[0] == 5 && out[1] == 6);
    model_tensor_to_float32(&tensor, 3, 0, out);
    EXPECT(out[0] == 5);
}

static void a_copy_without_labels_outlives_the_model(void)
{
    char folder[TINY_PATH_BYTES], error[ERROR_BYTES] = "";
    struct model model;

    tiny_folder_create_model(folder, MODEL_BERT, MODEL_FLOAT32);
    EXPECT_EQUAL(model_open_config(&model, folder, error), 0);
    struct model_config copy = model_config_without_labels(&model.config);
    EXPECT(model.config.labels && model.config.label_is_number);
    model_close(&model);
    tiny_folder_remove(folder);
    EXPECT(!copy.labels && !copy.label_is_number);
    EXPECT_EQUAL(copy.n_labels, TINY_LABELS);
    EXPECT_EQUAL(copy.n_types, TINY_TYPES);
    EXPECT_STRING(copy.model_type, "bert");
}

int main(void)
{
    RUN(a_folder_of_any_type_is_opened_and_its_weights_are_read);
    RUN(the_config_alone_opens_without_weights);
    RUN(a_copy_without_labels_outlives_the_model);
    RUN(what_is_missing_is_named_with_what_to_do);
    RUN(files_that_are_no_files_or_have_no_sensible_size_are_refused);
    RUN(refusals_of_the_parts_say_which_folder);
    RUN(equal_models_have_equal_fingerprints_and_others_do_not);
    RUN(a_fingerprint_looks_at_both_ends_of_a_large_file);
    RUN(every_float16_is_widened_exactly);
    RUN(every_bfloat16_is_the_upper_half_of_a_float32);
    RUN(rows_are_taken_from_where_they_were_asked);
    return 0;
}
