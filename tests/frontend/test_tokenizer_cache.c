/* The cache against the plain way: whatever was looked up before, the tokens are the same. */
#include "frontend/tokenizer_cache.h"

#include "tests/frontend/tokenizer_fixture.h"
#include "tests/proto/guard.h"

#define TEXT_BYTES_MAX 3000u
#define IDS_MAX        (2 * TEXT_BYTES_MAX)

static const char *const words[] = {"[PAD]",    "[UNK]", "[CLS]",  "[SEP]",  "a",     "b",
                                    "c",        "##a",   "##b",    "##c",    "ab",    "##abc",
                                    "!",        "?",     "\u4E00", "\u4E01", "e",     "##e",
                                    "d",        "##d",   "abcde",  "##de",   "-",     "\u0431",
                                    "##\u0431", "ac",    "abcdea", "##abcd", "##bab", "##cabac"};

/* Everything kept, in room for `kept_max` tokens and the slack; ids beyond are only counted. */
static uint64_t cached_ids(struct tokenizer_cache *cache, const struct tokenizer *tokenizer,
                           const uint8_t *text, size_t size, uint64_t enough, uint64_t kept_max,
                           uint32_t *ids)
{
    struct tokenizer_sink sink = {.ids = calloc(kept_max + TOKENIZER_SINK_SLACK, sizeof(uint32_t)),
                                  .kept_max = kept_max};
    EXPECT(sink.ids);
    tokenizer_cache_text(cache, tokenizer, text, text + size, enough, &sink);
    EXPECT(sink.n_kept <= kept_max && (sink.n_dropped == 0 || sink.n_kept == kept_max));
    memcpy(ids, sink.ids, sink.n_kept * sizeof(*ids));
    free(sink.ids);
    return tokenizer_sink_count(&sink);
}

static void compare(struct tokenizer_cache *cache, const struct tokenizer *tokenizer,
                    const uint8_t *text, size_t size, uint64_t *state)
{
    static uint32_t plain[IDS_MAX], cached[IDS_MAX];
    struct tokenizer_words plain_words = {tokenizer, &tokenizer->normalizer, text, text + size};
    uint32_t n_plain = 0, count;
    while ((count = tokenizer_words_next(&plain_words, plain + n_plain)) > 0)
        n_plain += count;
    EXPECT_EQUAL(cached_ids(cache, tokenizer, text, size, UINT64_MAX, IDS_MAX, cached), n_plain);
    EXPECT(memcmp(cached, plain, n_plain * sizeof(*plain)) == 0);

    uint64_t kept_max = fixture_random(state) % 40, enough = kept_max + 1;
    uint64_t counted = cached_ids(cache, tokenizer, text, size, enough, kept_max, cached);
    EXPECT(counted == n_plain || counted >= enough);
    EXPECT(memcmp(cached, plain, min_u64(kept_max, n_plain) * sizeof(*plain)) == 0);
    EXPECT_EQUAL(cached_ids(cache, tokenizer, text, size, UINT64_MAX, kept_max, cached), n_plain);
}

static void keep_case(struct tokenizer_files *files)
{
    files->lowercase = files->strip_accents = false;
}

static void random_text_has_the_tokens_of_the_plain_way(void)
{
    struct guard guard = guard_open(TEXT_BYTES_MAX);
    uint8_t text[TEXT_BYTES_MAX];
    uint64_t state = 3;
    for (int cased = 0; cased < 2; cased++) {
        struct tokenizer *tokenizer =
            fixture_create(words, ARRAY_COUNT(words), cased ? keep_case : NULL);
        struct tokenizer_cache cache;
        EXPECT_EQUAL(tokenizer_cache_init(&cache, tokenizer), 0);
        for (int i = 0; i < 6000; i++) {
            size_t size = fixture_random_text(&state, text, i % 50 ? 200 : (size_t)TEXT_BYTES_MAX);
            const uint8_t *placed =
                (uint8_t *)guard_place(&guard, text, size, TOKENIZER_PADDING_BYTES);
            compare(&cache, tokenizer, placed, size, &state);
        }
        tokenizer_cache_release(&cache);
        tokenizer_destroy(tokenizer);
    }
    guard_close(&guard);
}

/* Short words over few letters, so that the same keys come again with other words in between. */
static void words_that_were_looked_up_before_have_the_same_tokens(void)
{
    struct tokenizer *tokenizer = fixture_create(words, ARRAY_COUNT(words), NULL);
    struct tokenizer_cache cache;
    static uint8_t text[TEXT_BYTES_MAX + TOKENIZER_PADDING_BYTES];
    uint64_t state = 4;
    EXPECT_EQUAL(tokenizer_cache_init(&cache, tokenizer), 0);
    for (int i = 0; i < 3000; i++) {
        size_t size = fixture_random(&state) % TEXT_BYTES_MAX;
        for (size_t j = 0; j < size; j++)
            text[j] = (uint8_t) "abcde ABC- \0!"[(fixture_random(&state) >> 13) % 13];
        compare(&cache, tokenizer, text, size, &state);
    }
    tokenizer_cache_release(&cache);
    tokenizer_destroy(tokenizer);
}

static void keys_differ_by_length_and_by_zeros_only_if_tokens_do(void)
{
    struct tokenizer *tokenizer = fixture_create(words, ARRAY_COUNT(words), NULL);
    struct tokenizer_cache cache;
    static const char *const texts[] = {"a", "a\0", "\0", "\0\0\0", "\0a", "abcabcabcabcabca",
                                        "abcabcabcabcabcab", "A", "\x7f",
                                        /* eight bytes on, both go on with the same */
                                        "abc defgXYZ", "abc\0\0\0\0\0XYZ"};
    static const size_t sizes[] = {1, 2, 1, 3, 2, 16, 17, 1, 1, 11, 11};
    uint8_t text[TEXT_BYTES_MAX];
    uint64_t state = 5;
    EXPECT_EQUAL(tokenizer_cache_init(&cache, tokenizer), 0);
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
            memset(text, 'b', sizeof(text)); /* what follows must not get into the key */
            memcpy(text, texts[i], sizes[i]);
            compare(&cache, tokenizer, text, sizes[i], &state);
        }
    tokenizer_cache_release(&cache);
    tokenizer_destroy(tokenizer);
}

static void keep_controls(struct tokenizer_files *files)
{
    files->clean_text = false;
}

static void normalize_added(struct tokenizer_files *files)
{
    files->added_tokens[0].normalized = true;
}

static void there_is_no_cache_where_keys_would_not_tell(void)
{
    struct tokenizer *tokenizer = fixture_create(words, ARRAY_COUNT(words), keep_controls);
    EXPECT(!tokenizer_cache_applies(tokenizer));
    tokenizer_destroy(tokenizer);
    tokenizer = fixture_create(words, ARRAY_COUNT(words), normalize_added);
    EXPECT(!tokenizer_cache_applies(tokenizer));
    tokenizer_destroy(tokenizer);
    tokenizer = fixture_create(words, ARRAY_COUNT(words), NULL);
    EXPECT(tokenizer_cache_applies(tokenizer));
    tokenizer_destroy(tokenizer);
}

int main(void)
{
    RUN(random_text_has_the_tokens_of_the_plain_way);
    RUN(words_that_were_looked_up_before_have_the_same_tokens);
    RUN(keys_differ_by_length_and_by_zeros_only_if_tokens_do);
    RUN(there_is_no_cache_where_keys_would_not_tell);
    return 0;
}
