/* See the header. */
#include "tests/frontend/tokenizer_fixture.h"

#include "tests/models/tiny_folder.h"

#include <unistd.h>

struct tokenizer *fixture_create(const char *const *words, uint32_t n_words,
                                 void (*change)(struct tokenizer_files *files))
{
    static struct tokenizer_string vocabulary[4096];
    static struct tokenizer_added_token added[16];
    struct tokenizer_files files = {.vocabulary = vocabulary,
                                    .vocab_size = n_words,
                                    .added_tokens = added,
                                    .n_added_tokens = 4,
                                    .clean_text = true,
                                    .handle_chinese_chars = true,
                                    .strip_accents = true,
                                    .lowercase = true,
                                    .max_chars_per_word = 100,
                                    .continuation = {"##", 2},
                                    .unk_id = 1,
                                    .cls_id = 2,
                                    .sep_id = 3};
    char error[ERROR_BYTES];
    EXPECT(n_words >= 4 && n_words <= ARRAY_COUNT(vocabulary));
    for (uint32_t i = 0; i < n_words; i++)
        vocabulary[i] = (struct tokenizer_string){words[i], (uint32_t)strlen(words[i])};
    memset(added, 0, sizeof(added));
    for (uint32_t i = 0; i < 4; i++)
        added[i] =
            (struct tokenizer_added_token){.content = vocabulary[i], .id = i, .special = true};
    if (change)
        change(&files);
    struct tokenizer *tokenizer = tokenizer_create(&files, error);
    if (!tokenizer)
        fprintf(stderr, "%s\n", error);
    EXPECT(tokenizer);
    return tokenizer;
}

struct tokenizer *fixture_open(const char *vocabulary_path, bool lowercase, bool whole_counts)
{
    char folder[TINY_PATH_BYTES], link[TINY_PATH_BYTES + 16], error[ERROR_BYTES];
    const char *config = lowercase ? "{\"do_lower_case\":true}" : "{\"do_lower_case\":false}";
    struct tokenizer_files files;
    char *path = realpath(vocabulary_path, NULL);
    if (!path)
        return NULL;
    tiny_folder_create(folder);
    snprintf(link, sizeof(link), "%s/vocab.txt", folder);
    EXPECT(symlink(path, link) == 0);
    free(path);
    tiny_folder_write(folder, "tokenizer_config.json", config, strlen(config));
    EXPECT(tokenizer_files_open(&files, folder, error) == 0);
    tiny_folder_remove(folder);
    files.whole_counts = whole_counts;
    struct tokenizer *tokenizer = tokenizer_create(&files, error);
    tokenizer_files_close(&files);
    EXPECT(tokenizer);
    return tokenizer;
}

struct tokenizer_scratch *fixture_scratch(const struct tokenizer *tokenizer)
{
    char error[ERROR_BYTES];
    struct tokenizer_scratch *scratch =
        tokenizer_scratch_create(tokenizer, FIXTURE_TOKENS_MAX, FIXTURE_TEXT_BYTES_MAX, error);
    EXPECT(scratch);
    return scratch;
}

const char *fixture_shared(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof(path), "%s/../shared/data/tokenizer/%s", WEIR_SOURCE_FOLDER, name);
    return path;
}

uint64_t fixture_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}

static uint32_t random_code_point(uint64_t *state, uint32_t low, uint32_t high)
{
    uint32_t c;
    do
        c = low + (uint32_t)(fixture_random(state) >> 11) % (high - low + 1);
    while (c >= 0xD800 && c < 0xE000);
    return c;
}

size_t fixture_random_text(uint64_t *state, uint8_t *text, size_t size_max)
{
    static const struct {
        uint32_t low, high;
    } ranges[] = {{'a', 'z'},       {'a', 'e'},       {'A', 'Z'},         {' ', ' '},
                  {' ', '/'},       {0, 0x20},        {0x7F, 0x24F},      {0x300, 0x36F},
                  {0x590, 0x6FF},   {0x900, 0xDFF},   {0x1D00, 0x206F},   {0x3000, 0x30FF},
                  {0x4E00, 0x4E10}, {0xAC00, 0xD7A3}, {0x1F300, 0x1FAFF}, {0, 0x10FFFF}};
    size_t size = 0, size_wanted = fixture_random(state) % (size_max - 3);
    while (size < size_wanted) {
        size_t kind = (fixture_random(state) >> 7) % ARRAY_COUNT(ranges);
        size_t run = 1 + (fixture_random(state) >> 9) % ((fixture_random(state) & 15) ? 6 : 120);
        for (size_t i = 0; i < run && size < size_wanted; i++)
            size += tokenizer_utf8_write(
                random_code_point(state, ranges[kind].low, ranges[kind].high), text + size);
    }
    return size;
}

uint32_t fixture_plain_ids(const struct tokenizer *tokenizer, const uint8_t *text, size_t size,
                           uint32_t *ids, uint32_t ids_max)
{
    struct tokenizer_units units;
    uint32_t unit[TOKENIZER_WORD_TOKENS_MAX], n_unit, count = 0;
    bool is_added;
    uint8_t *normalized = malloc(size * TOKENIZER_NORMALIZED_GROWTH + TOKENIZER_PADDING_BYTES);
    EXPECT(normalized);
    tokenizer_units_init(&units, tokenizer, text, size, normalized);
    while ((n_unit = tokenizer_units_next(&units, unit, &is_added)) > 0) {
        EXPECT(count + n_unit <= ids_max);
        memcpy(ids + count, unit, n_unit * sizeof(*ids));
        count += n_unit;
    }
    free(normalized);
    return count;
}
