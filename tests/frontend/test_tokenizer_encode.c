/* Recorded cases of the reference for four vocabularies, truncation from both ends against a second
 * way to compute it, and texts at the edge of a page. */
#include "frontend/tokenizer.h"

#include "tests/frontend/tokenizer_fixture.h"
#include "tests/proto/guard.h"

#include <jansson.h>

#define OWN_DATA      WEIR_SOURCE_FOLDER "/tests/frontend/data/"
#define DEFAULT_MODEL WEIR_SOURCE_FOLDER "/models/tiny-sst2/vocab.txt" /* bert-base-uncased */

static uint32_t encode(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                       const char *text, size_t text_bytes, const char *pair, size_t pair_bytes,
                       uint32_t max_tokens, bool left, uint32_t *ids,
                       struct tokenizer_encoding *encoding)
{
    struct tokenizer_input input = {text, text_bytes, pair, pair_bytes};
    tokenizer_encode(tokenizer, scratch, &input, max_tokens, left, ids, encoding);
    EXPECT(encoding->n_tokens <= max_tokens && encoding->type_start <= encoding->n_tokens);
    return encoding->n_tokens;
}

/* A copy of a JSON string with padding; free() it. */
static char *padded(const json_t *string, size_t *size)
{
    *size = json_string_length(string);
    char *copy = calloc(1, *size + TOKENIZER_PADDING_BYTES);
    EXPECT(copy);
    return memcpy(copy, json_string_value(string), *size);
}

static void compare_case(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                         const json_t *record, const char *ids_key, const char *types_key)
{
    static uint32_t ids[FIXTURE_TOKENS_MAX];
    struct tokenizer_encoding encoding;
    const json_t *expected = json_object_get(record, ids_key);
    const json_t *types = json_object_get(record, types_key);
    const json_t *max_length = json_object_get(record, "max_length");
    size_t text_bytes, pair_bytes = 0;
    char *text = padded(json_object_get(record, "text"), &text_bytes);
    char *pair = json_object_get(record, "pair")
                     ? padded(json_object_get(record, "pair"), &pair_bytes)
                     : NULL;
    uint32_t max_tokens = max_length ? (uint32_t)json_integer_value(max_length) : 512;
    uint32_t count = encode(tokenizer, scratch, text, text_bytes, pair, pair_bytes, max_tokens,
                            false, ids, &encoding);
    EXPECT_EQUAL(count, json_array_size(expected));
    for (uint32_t i = 0; i < count; i++) {
        EXPECT_EQUAL(ids[i], json_integer_value(json_array_get(expected, i)));
        if (types)
            EXPECT_EQUAL(i >= encoding.type_start, json_integer_value(json_array_get(types, i)));
    }
    free(text);
    free(pair);
}

/* Each line of the file is a case; `version` is appended to the keys where a case has them so. */
static void compare_file(const struct tokenizer *tokenizer, const char *path, const char *version)
{
    struct tokenizer_scratch *scratch = fixture_scratch(tokenizer);
    FILE *file = fopen(path, "r");
    char *line = NULL, ids_key[32], types_key[32];
    size_t capacity = 0;
    uint32_t count = 0;
    EXPECT(file);
    for (ssize_t size; (size = getline(&line, &capacity, file)) > 0; count++) {
        json_t *record = json_loadb(line, (size_t)size, JSON_ALLOW_NUL, NULL);
        EXPECT(record);
        snprintf(ids_key, sizeof(ids_key), "ids%s", version);
        bool has_version = json_object_get(record, ids_key) != NULL;
        snprintf(ids_key, sizeof(ids_key), "ids%s", has_version ? version : "");
        snprintf(types_key, sizeof(types_key), "type_ids%s", has_version ? version : "");
        compare_case(tokenizer, scratch, record, ids_key, types_key);
        json_decref(record);
    }
    printf("   %u cases of %s%s\n", count, strrchr(path, '/') + 1, version);
    EXPECT(count > 100);
    free(line);
    fclose(file);
    tokenizer_scratch_destroy(scratch);
}

static void the_recorded_cases_of_the_default_vocabulary_are_equal(void)
{
    struct tokenizer *tokenizer = fixture_open(DEFAULT_MODEL, true, false);
    EXPECT(tokenizer);
    compare_file(tokenizer, OWN_DATA "tokenizer_cases.jsonl", "");
    tokenizer_destroy(tokenizer);
}

static void the_recorded_cases_of_other_vocabularies_are_equal(void)
{
    static const struct {
        const char *vocabulary, *cases;
        bool lowercase;
    } files[] = {
        {"bert-base-cased.vocab.txt", "cases_cased.jsonl", false},
        {"bert-base-multilingual-cased.vocab.txt", "cases_mbert_cased.jsonl", false},
        {"bert-base-multilingual-uncased.vocab.txt", "cases_mbert_uncased.jsonl", true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        struct tokenizer *tokenizer =
            fixture_open(fixture_shared(files[i].vocabulary), files[i].lowercase, false);
        if (!tokenizer) {
            printf("   skipped %s: no such file\n", fixture_shared(files[i].vocabulary));
            continue;
        }
        compare_file(tokenizer, fixture_shared(files[i].cases), "");
        tokenizer_destroy(tokenizer);
    }
}

static void pairs_are_cut_as_versions_of_the_reference_do(void)
{
    FILE *file = fopen(fixture_shared("pairs.jsonl"), "r");
    if (!file) {
        printf("   skipped: no %s\n", fixture_shared("pairs.jsonl"));
        return;
    }
    fclose(file);
    for (int whole_counts = 0; whole_counts < 2; whole_counts++) {
        struct tokenizer *tokenizer = fixture_open(DEFAULT_MODEL, true, whole_counts);
        compare_file(tokenizer, fixture_shared("pairs.jsonl"), whole_counts ? "_v022" : "");
        tokenizer_destroy(tokenizer);
    }
}

static const char *const words[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a",   "b",
                                    "##a",   "##b",   "ab",    "!",     "##c", "c"};

/* The rule for single texts, once more, from all tokens: the first ones or the last ones. */
static void single_texts_keep_one_end(void)
{
    struct tokenizer *tokenizer = fixture_create(words, ARRAY_COUNT(words), NULL);
    struct tokenizer_scratch *scratch = fixture_scratch(tokenizer);
    struct tokenizer_encoding encoding;
    uint8_t text[400 + TOKENIZER_PADDING_BYTES];
    uint32_t all[1000], ids[1000];
    uint64_t state = 6;
    for (int i = 0; i < 20000; i++) {
        size_t size = fixture_random(&state) % 60;
        for (size_t j = 0; j < size; j++)
            text[j] = (uint8_t) "abc!  d"[(fixture_random(&state) >> 13) % 7];
        uint32_t n_all = fixture_plain_ids(tokenizer, text, size, all, 1000);
        uint32_t max_tokens = 2 + (uint32_t)(fixture_random(&state) >> 11) % 40;
        bool left = i & 1;
        uint32_t n_ids = encode(tokenizer, scratch, (char *)text, size, NULL, 0, max_tokens, left,
                                ids, &encoding);
        uint32_t n_kept = n_all < max_tokens - 2 ? n_all : max_tokens - 2;
        EXPECT_EQUAL(n_ids, n_kept + 2);
        EXPECT_EQUAL(encoding.truncated, n_all > n_kept);
        EXPECT_EQUAL(encoding.type_start, n_ids);
        EXPECT(ids[0] == 2 && ids[n_ids - 1] == 3);
        EXPECT(memcmp(ids + 1, all + (left ? n_all - n_kept : 0), n_kept * sizeof(*ids)) == 0);
        struct tokenizer_input input = {(char *)text, size, NULL, 0};
        EXPECT_EQUAL(tokenizer_count(tokenizer, scratch, &input), n_all + 2);
    }
    tokenizer_scratch_destroy(scratch);
    tokenizer_destroy(tokenizer);
}

/* How a pair shares the room, as lengths of both parts. */
static void expect_shares(bool whole_counts, const char *text, const char *pair,
                          uint32_t max_tokens, bool left, uint32_t first, uint32_t second)
{
    struct tokenizer *tokenizer = fixture_create(words, ARRAY_COUNT(words), NULL);
    tokenizer->whole_counts = whole_counts;
    struct tokenizer_scratch *scratch = fixture_scratch(tokenizer);
    struct tokenizer_encoding encoding;
    char a[256] = {0}, b[256] = {0};
    uint32_t ids[300];
    memcpy(a, text, strlen(text));
    memcpy(b, pair, strlen(pair));
    uint32_t count = encode(tokenizer, scratch, a, strlen(text), b, strlen(pair), max_tokens, left,
                            ids, &encoding);
    EXPECT_EQUAL(encoding.type_start, first + 2);
    EXPECT_EQUAL(count, first + second + 3);
    tokenizer_scratch_destroy(scratch);
    tokenizer_destroy(tokenizer);
}

static void pairs_share_the_room_longest_first(void)
{
    for (int whole = 0; whole < 2; whole++)
        for (int left = 0; left < 2; left++) {
            expect_shares(whole, "a b", "c", 6, left, 2, 1);
            expect_shares(whole, "a b c a b", "c", 6, left, 2, 1);
            expect_shares(whole, "c", "a b c a b", 6, left, 1, 2);
            expect_shares(whole, "a a a a", "b b b b", 6, left, 1, 2);
            expect_shares(whole, "a a a a a a", "b b b b", 6, left, 2, 1);
            expect_shares(whole, "a a", "b b", 3, left, 0, 0);
            expect_shares(whole, "", "b b b b b", 6, left, 0, 3);
            expect_shares(whole, "", "", 3, left, 0, 0);
        }
}

/* "aab" is 3 tokens: with at most 6, counting stops after the second word in 0.23.1. */
static void caps_decide_who_gets_the_odd_token(void)
{
    for (int left = 0; left < 2; left++) {
        expect_shares(false, "aab aab aab aab", "b b b b b b b", 6, left, 1, 2);
        expect_shares(true, "aab aab aab aab", "b b b b b b b", 6, left, 2, 1);
        /* added tokens count, but the word after them decides */
        expect_shares(false, "a a a a a [SEP][SEP] a a a", "b b b b b b b b b", 6, left,
                      left ? 1 : 2, left ? 2 : 1);
    }
}

static void texts_may_end_where_memory_ends(void)
{
    static const char *const texts[] = {
        "plain words, and more of them than one block holds: "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "\u4E2D\u6587\u5B57\u7B26 \uD55C\uAD6D\uC5B4 \U0001F600\u200D\U0001F600 [SEP][MASK] [SE",
        "\u00C9cole e\u0301cole \u0130stanbul \u1E9E \u3000 a\u1B44\u302E\u0301"};
    struct tokenizer *tokenizer = fixture_open(DEFAULT_MODEL, true, false);
    struct tokenizer_scratch *scratch = fixture_scratch(tokenizer);
    struct guard guard = guard_open(512);
    struct tokenizer_encoding encoding;
    uint32_t ids[512], plain[512];
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        for (size_t size = 0; size <= strlen(texts[i]); size++) {
            if (((uint8_t)texts[i][size] & 0xC0) == 0x80)
                continue; /* not the end of a character */
            char *text = guard_place(&guard, texts[i], size, TOKENIZER_PADDING_BYTES);
            for (int left = 0; left < 2; left++) {
                uint32_t count =
                    encode(tokenizer, scratch, text, size, NULL, 0, 512, left, ids, &encoding);
                EXPECT_EQUAL(count - 2,
                             fixture_plain_ids(tokenizer, (uint8_t *)text, size, plain, 512));
                EXPECT(memcmp(ids + 1, plain, (count - 2) * sizeof(*ids)) == 0);
            }
        }
    guard_close(&guard);
    tokenizer_scratch_destroy(scratch);
    tokenizer_destroy(tokenizer);
}

static void a_long_text_is_read_only_as_far_as_needed(void)
{
    struct tokenizer *tokenizer = fixture_create(words, ARRAY_COUNT(words), NULL);
    struct tokenizer_scratch *scratch = fixture_scratch(tokenizer);
    struct tokenizer_encoding encoding;
    uint32_t ids[64];
    char *text = malloc(FIXTURE_TEXT_BYTES_MAX + TOKENIZER_PADDING_BYTES);
    EXPECT(text);
    memset(text, '!', FIXTURE_TEXT_BYTES_MAX + TOKENIZER_PADDING_BYTES);
    uint64_t start = clock_now_ns();
    for (int i = 0; i < 1000; i++)
        encode(tokenizer, scratch, text, FIXTURE_TEXT_BYTES_MAX, NULL, 0, 64, false, ids,
               &encoding);
    EXPECT(encoding.truncated);
    EXPECT(clock_now_ns() - start < 5 * NS_PER_S); /* reading all would be a gigabyte of tokens */
    free(text);
    tokenizer_scratch_destroy(scratch);
    tokenizer_destroy(tokenizer);
}

int main(void)
{
    RUN(the_recorded_cases_of_the_default_vocabulary_are_equal);
    RUN(the_recorded_cases_of_other_vocabularies_are_equal);
    RUN(pairs_are_cut_as_versions_of_the_reference_do);
    RUN(single_texts_keep_one_end);
    RUN(pairs_share_the_room_longest_first);
    RUN(caps_decide_who_gets_the_odd_token);
    RUN(texts_may_end_where_memory_ends);
    RUN(a_long_text_is_read_only_as_far_as_needed);
    return 0;
}
