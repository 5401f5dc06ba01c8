/* Cutting added tokens out of text: each case is a text and the pieces it must fall into. */
#include "frontend/tokenizer_added.h"

#include "tests/frontend/tokenizer_fixture.h"

#define TOKENS_MAX 4

struct spec {
    const char *content;
    bool single_word, lstrip, rstrip;
};

/* Writes the pieces as "text|<token>|text". */
static void cut(const struct spec *specs, const char *text, char *out)
{
    struct tokenizer_added_token tokens[TOKENS_MAX];
    struct tokenizer_string patterns[TOKENS_MAX];
    struct tokenizer_added added;
    struct tokenizer_splitter splitter;
    struct tokenizer_piece piece;
    uint32_t count = 0;
    for (; count < TOKENS_MAX && specs[count].content; count++) {
        patterns[count] =
            (struct tokenizer_string){specs[count].content, (uint32_t)strlen(specs[count].content)};
        tokens[count] = (struct tokenizer_added_token){.content = patterns[count],
                                                       .id = count,
                                                       .single_word = specs[count].single_word,
                                                       .lstrip = specs[count].lstrip,
                                                       .rstrip = specs[count].rstrip};
    }
    EXPECT_EQUAL(tokenizer_added_init(&added, tokens, patterns, count), 0);
    tokenizer_splitter_init(&splitter, &added, (const uint8_t *)text, strlen(text));
    for (*out = '\0'; tokenizer_splitter_next(&splitter, &piece); out += strlen(out))
        sprintf(out, piece.token ? "<%.*s>|" : "%.*s|", (int)(piece.end - piece.start),
                (const char *)piece.start);
    tokenizer_added_release(&added);
}

#define EXPECT_CUT(specs, text, expected) \
    do {                                  \
        char out_[512];                   \
        cut(specs, text, out_);           \
        EXPECT_STRING(out_, expected);    \
    } while (0)

static void tokens_are_found_inside_words_and_side_by_side(void)
{
    static const struct spec specs[TOKENS_MAX] = {{.content = "[SEP]"}, {.content = "[CLS]"}};
    EXPECT_CUT(specs, "", "");
    EXPECT_CUT(specs, "plain", "plain|");
    EXPECT_CUT(specs, "a[SEP]b", "a|<[SEP]>|b|");
    EXPECT_CUT(specs, "[CLS][SEP]", "<[CLS]>|<[SEP]>|");
    EXPECT_CUT(specs, "[[SEP]]", "[|<[SEP]>|]|");
    EXPECT_CUT(specs, "[SEP [sep]", "[SEP [sep]|");
}

static void the_longest_token_at_the_leftmost_place_wins(void)
{
    static const struct spec specs[TOKENS_MAX] = {
        {.content = "ab"}, {.content = "abcd"}, {.content = "bcdef"}};
    EXPECT_CUT(specs, "xabcdef", "x|<abcd>|ef|");
    EXPECT_CUT(specs, "abcx", "<ab>|cx|");
    EXPECT_CUT(specs, "bcdef", "<bcdef>|");
}

static void a_single_word_needs_other_characters_around_it(void)
{
    static const struct spec specs[TOKENS_MAX] = {{.content = "day", .single_word = true},
                                                  {.content = "ays"}};
    EXPECT_CUT(specs, "day", "<day>|");
    EXPECT_CUT(specs, "a day, today", "a |<day>|, today|");
    EXPECT_CUT(specs, "days", "days|"); /* the refused match used up what "ays" would need */
    EXPECT_CUT(specs, "\u00e9day day\u00e9 day_", "\u00e9day day\u00e9 day_|");
    EXPECT_CUT(specs, "-day-", "-|<day>|-|");
}

static void stripping_takes_white_space_of_every_kind(void)
{
    static const struct spec left[TOKENS_MAX] = {{.content = "T", .lstrip = true}};
    static const struct spec right[TOKENS_MAX] = {{.content = "T", .rstrip = true}};
    EXPECT_CUT(left, "a \u3000\tT b", "a|< \u3000\tT>| b|");
    EXPECT_CUT(right, "a T \u2028 b", "a |<T \u2028 >|b|");
    EXPECT_CUT(left, "T T", "<T>|< T>|");
    EXPECT_CUT(right, "T  T  ", "<T  >|<T  >|");
    EXPECT_CUT(left, "   T", "<   T>|");
}

static void what_one_token_took_the_next_cannot(void)
{
    static const struct spec specs[TOKENS_MAX] = {{.content = "A", .rstrip = true},
                                                  {.content = "B", .lstrip = true}};
    EXPECT_CUT(specs, "A  B", "<A  >|<B>|");
    static const struct spec blank[TOKENS_MAX] = {{.content = "A", .rstrip = true},
                                                  {.content = " ", .lstrip = true}};
    EXPECT_CUT(blank, "A b ", "<A >|b|< >|"); /* the first blank is nobody's token */
}

int main(void)
{
    RUN(tokens_are_found_inside_words_and_side_by_side);
    RUN(the_longest_token_at_the_leftmost_place_wins);
    RUN(a_single_word_needs_other_characters_around_it);
    RUN(stripping_takes_white_space_of_every_kind);
    RUN(what_one_token_took_the_next_cannot);
    return 0;
}
