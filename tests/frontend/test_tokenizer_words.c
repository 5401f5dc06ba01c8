/* Words and their tokens, one at a time, on a vocabulary of a few words. */
#include "frontend/tokenizer_words.h"

#include "tests/frontend/tokenizer_fixture.h"

#define IDS_MAX 4096u

static const char *const words[] = {
    /* 0 */ "[PAD]",
    /* 1 */ "[UNK]",
    /* 2 */ "[CLS]",
    /* 3 */ "[SEP]",
    /* 4 */ "un",
    /* 5 */ "##aff",
    /* 6 */ "##able",
    /* 7 */ "a",
    /* 8 */ "##a",
    /* 9 */ "\u4E2D",
    /* 10 */ "!",
    /* 11 */ "\u1112\u1161\u11AB", /* a Hangul syllable, taken apart */
    /* 12 */ "a\u1B44\u302E",      /* marks in canonical order: classes 9 and 224 */
    /* 13 */ "a\u1B44\u1BAA",      /* two of class 9 */
};

static void expect_ids(const struct tokenizer *tokenizer, const char *text, size_t size,
                       const uint32_t *expected, uint32_t n_expected)
{
    uint8_t padded[2048] = {0};
    uint32_t ids[IDS_MAX];
    EXPECT(size + TOKENIZER_PADDING_BYTES <= sizeof(padded));
    memcpy(padded, text, size);
    uint32_t count = fixture_plain_ids(tokenizer, padded, size, ids, IDS_MAX);
    EXPECT_EQUAL(count, n_expected);
    for (uint32_t i = 0; i < count; i++)
        EXPECT_EQUAL(ids[i], expected[i]);
}

#define EXPECT_IDS(text, ...)                                                         \
    do {                                                                              \
        const uint32_t expected_[] = {__VA_ARGS__};                                   \
        struct tokenizer *made_ = fixture_create(words, ARRAY_COUNT(words), NULL);    \
        expect_ids(made_, text, sizeof(text) - 1, expected_, ARRAY_COUNT(expected_)); \
        tokenizer_destroy(made_);                                                     \
    } while (0)

static void the_longest_pieces_are_taken_from_the_left(void)
{
    EXPECT_IDS("unaffable", 4, 5, 6);
    EXPECT_IDS("UN\u00C4FFABLE", 4, 5, 6);
    EXPECT_IDS("unaffables", 1); /* one place without a piece makes all of the word unknown */
    EXPECT_IDS(" un \t\n a ", 4, 7);
    EXPECT_IDS("a!a", 7, 10, 7);
    EXPECT_IDS("un\u4E2Da", 4, 9, 7);
    EXPECT_IDS("a\0a\u00ADa", 7, 8, 8); /* deleted characters join */
    EXPECT_IDS("\uD55C", 11);
}

static void a_token_of_the_vocabulary_is_special_only_if_it_was_added(void)
{
    EXPECT_IDS("un[SEP]a", 4, 3, 7);
    EXPECT_IDS("##a", 1, 1, 7); /* '#' stands alone, and is not in this vocabulary */
}

static void words_are_unknown_beyond_a_hundred_characters(void)
{
    struct tokenizer *tokenizer = fixture_create(words, ARRAY_COUNT(words), NULL);
    char text[400];
    uint32_t expected[100] = {7};
    for (int i = 1; i < 100; i++)
        expected[i] = 8;
    memset(text, 'a', sizeof(text));
    expect_ids(tokenizer, text, 100, expected, 100);
    expect_ids(tokenizer, text, 101, (uint32_t[]){1}, 1);
    expect_ids(tokenizer, text, 400, (uint32_t[]){1}, 1);
    for (int i = 0; i < 100; i++) /* characters count, not bytes, and stripped ones do not */
        memcpy(text + 3 * i, "a\u0301", 3);
    expect_ids(tokenizer, text, 300, expected, 100);
    tokenizer_destroy(tokenizer);
}

static void marks_that_are_kept_are_put_in_canonical_order(void)
{
    EXPECT_IDS("a\u1B44\u302E", 12);
    EXPECT_IDS("a\u302E\u1B44", 12);
    EXPECT_IDS("a\u302E\u0301\u1B44", 12); /* a stripped mark with a class is no bound */
    EXPECT_IDS("a\u302E\u0E31\u1B44", 1);  /* one without is */
    EXPECT_IDS("a\u302E\u200B\u1B44", 12); /* a deleted character never was there */
    EXPECT_IDS("a\u1B44\u1BAA", 13);       /* equal classes stay as they are */
    EXPECT_IDS("a\u1BAA\u1B44", 1);
}

static void look_in_normalized_text(struct tokenizer_files *files)
{
    files->added_tokens[files->n_added_tokens++] =
        (struct tokenizer_added_token){.content = {"H\u00C9L lo", 7}, .id = 50, .normalized = true};
    files->added_tokens[files->n_added_tokens++] =
        (struct tokenizer_added_token){.content = {"\u4E2D!", 4}, .id = 51, .normalized = true};
}

/* Half of the marks must move before the other half. */
static void a_million_marks_are_ordered_in_no_time(void)
{
    struct tokenizer *tokenizer =
        fixture_create(words, ARRAY_COUNT(words), look_in_normalized_text);
    size_t n_marks = 500000, size = 3 * n_marks;
    uint8_t *text = malloc(size + TOKENIZER_PADDING_BYTES);
    EXPECT(text);
    for (size_t i = 0; i < n_marks; i++)
        memcpy(text + 3 * i, i < n_marks / 2 ? "\u302E" : "\u1B44", 3);
    uint32_t ids[4];
    uint64_t start = clock_now_ns();
    EXPECT_EQUAL(fixture_plain_ids(tokenizer, text, size, ids, 4), 1);
    EXPECT_EQUAL(ids[0], 1);
    EXPECT(clock_now_ns() - start < 5 * NS_PER_S);
    free(text);
    tokenizer_destroy(tokenizer);
}

static void keep_case(struct tokenizer_files *files)
{
    files->lowercase = files->strip_accents = files->clean_text = false;
    files->handle_chinese_chars = false;
}

static void without_options_text_stays_as_it_is(void)
{
    struct tokenizer *tokenizer = fixture_create(words, ARRAY_COUNT(words), keep_case);
    expect_ids(tokenizer, "unaffable A", 11, (uint32_t[]){4, 5, 6, 1}, 4);
    expect_ids(tokenizer, "a\0", 2, (uint32_t[]){1}, 1); /* NUL is a character like others */
    expect_ids(tokenizer, "a\x0B\x61", 3, (uint32_t[]){7, 7}, 2);
    expect_ids(tokenizer, "a\u4E2D", 4, (uint32_t[]){1}, 1);
    tokenizer_destroy(tokenizer);
}

static void no_prefix(struct tokenizer_files *files)
{
    files->continuation.size = 0;
}

static void odd_prefix(struct tokenizer_files *files)
{
    files->continuation = (struct tokenizer_string){"@@", 2};
}

static void the_continuation_prefix_is_what_the_files_say(void)
{
    struct tokenizer *tokenizer = fixture_create(words, ARRAY_COUNT(words), no_prefix);
    expect_ids(tokenizer, "una", 3, (uint32_t[]){4, 7}, 2);
    tokenizer_destroy(tokenizer);
    tokenizer = fixture_create(words, ARRAY_COUNT(words), odd_prefix);
    expect_ids(tokenizer, "una un", 6, (uint32_t[]){1, 4}, 2); /* no token starts with @@ */
    tokenizer_destroy(tokenizer);
}

static void added_tokens_are_found_in_normalized_text(void)
{
    struct tokenizer *tokenizer =
        fixture_create(words, ARRAY_COUNT(words), look_in_normalized_text);
    expect_ids(tokenizer, "unhe\u0301l LOa", 12, (uint32_t[]){4, 50, 7}, 3);
    expect_ids(tokenizer, "a\u4E2D!a", 6, (uint32_t[]){7, 51, 7}, 3);
    expect_ids(tokenizer, "[SEP]hel lo", 11, (uint32_t[]){3, 50}, 2);
    tokenizer_destroy(tokenizer);
}

int main(void)
{
    RUN(the_longest_pieces_are_taken_from_the_left);
    RUN(a_token_of_the_vocabulary_is_special_only_if_it_was_added);
    RUN(words_are_unknown_beyond_a_hundred_characters);
    RUN(marks_that_are_kept_are_put_in_canonical_order);
    RUN(a_million_marks_are_ordered_in_no_time);
    RUN(without_options_text_stays_as_it_is);
    RUN(the_continuation_prefix_is_what_the_files_say);
    RUN(added_tokens_are_found_in_normalized_text);
    return 0;
}
