/* The explaining twin: the same tokens as the fast one, and places that a reader can check. */
#include "frontend/tokenizer.h"

#include "tests/frontend/tokenizer_fixture.h"
#include "tests/proto/guard.h"

#define TEXT_BYTES_MAX 1200u
#define TOKENS_MAX     4000u

static const char *const words[] = {"[PAD]", "[UNK]",  "[CLS]",   "[SEP]",
                                    "un",    "##aff",  "##able",  "a",
                                    "##a",   "\u4E2D", "!",       "\u1112\u1161\u11AB",
                                    "e",     "##e",    "i\u0307", "a\u1B44\u302E"};

struct collected {
    struct tokenizer_token tokens[TOKENS_MAX];
    uint32_t count;
};

static void collect(void *context, const struct tokenizer_token *token)
{
    struct collected *collected = context;
    EXPECT(collected->count < TOKENS_MAX);
    collected->tokens[collected->count++] = *token;
}

/* Writes each token as "id@start-stop ", template tokens as "id ". */
static void explain(const struct tokenizer *tokenizer, const char *text, bool specials, char *out)
{
    static struct collected collected;
    char padded[256] = {0};
    memcpy(padded, text, strlen(text));
    collected.count = 0;
    EXPECT_EQUAL(tokenizer_explain(tokenizer, padded, strlen(text), specials, collect, &collected),
                 0);
    *out = '\0';
    for (uint32_t i = 0; i < collected.count; i++) {
        const struct tokenizer_token *token = &collected.tokens[i];
        if (token->special)
            out += sprintf(out, "%u ", token->id);
        else
            out += sprintf(out, "%u@%u-%u ", token->id, token->start, token->stop);
    }
}

#define EXPECT_PLACES(tokenizer, text, specials, expected) \
    do {                                                   \
        char out_[1024];                                   \
        explain(tokenizer, text, specials, out_);          \
        EXPECT_STRING(out_, expected);                     \
    } while (0)

static void look_in_normalized_text(struct tokenizer_files *files)
{
    files->added_tokens[files->n_added_tokens++] = (struct tokenizer_added_token){
        .content = {"H\u00C9L lo", 7}, .id = 50, .normalized = true, .rstrip = true};
}

static void places_are_bytes_of_the_raw_text(void)
{
    struct tokenizer *tokenizer = fixture_create(words, ARRAY_COUNT(words), NULL);
    EXPECT_PLACES(tokenizer, "", true, "2 3 ");
    EXPECT_PLACES(tokenizer, " unaffable!", true, "2 4@1-3 5@3-6 6@6-10 10@10-11 3 ");
    EXPECT_PLACES(tokenizer, "UN\u00C4FFABLE", false, "4@0-2 5@2-6 6@6-10 ");
    EXPECT_PLACES(tokenizer, "a[SEP]a xyz", false, "7@0-1 3@1-6 7@6-7 1@8-11 ");
    EXPECT_PLACES(tokenizer, "a\u4E2D\u4E2Da", false, "7@0-1 9@1-4 9@4-7 7@7-8 ");
    EXPECT_PLACES(tokenizer, "a\u0301a \uD55C", false, "7@0-1 8@3-4 11@5-8 ");
    EXPECT_PLACES(tokenizer, "a\u302E\u1B44", false, "15@0-7 ");
    tokenizer_destroy(tokenizer);
    tokenizer = fixture_create(words, ARRAY_COUNT(words), look_in_normalized_text);
    EXPECT_PLACES(tokenizer, "unhe\u0301l LO  a", false, "4@0-2 50@2-12 7@12-13 ");
    tokenizer_destroy(tokenizer);
}

/* Kept in step with tokenizer_encode() over text that nobody would write. */
static void compare(const struct tokenizer *tokenizer, uint64_t seed, int n_texts)
{
    static struct collected collected;
    static uint32_t ids[TOKENS_MAX];
    struct tokenizer_scratch *scratch = fixture_scratch(tokenizer);
    struct guard guard = guard_open(TEXT_BYTES_MAX);
    struct tokenizer_encoding encoding;
    uint8_t text[TEXT_BYTES_MAX];
    for (int i = 0; i < n_texts; i++) {
        size_t size = fixture_random_text(&seed, text, i % 20 ? 120 : TEXT_BYTES_MAX);
        char *placed = guard_place(&guard, text, size, TOKENIZER_PADDING_BYTES);
        struct tokenizer_input input = {placed, size, NULL, 0};
        collected.count = 0;
        EXPECT_EQUAL(tokenizer_explain(tokenizer, placed, size, true, collect, &collected), 0);
        tokenizer_encode(tokenizer, scratch, &input, TOKENS_MAX, false, ids, &encoding);
        EXPECT_EQUAL(collected.count, encoding.n_tokens);
        for (uint32_t j = 0; j < collected.count; j++) {
            EXPECT_EQUAL(collected.tokens[j].id, ids[j]);
            EXPECT(collected.tokens[j].start <= size && collected.tokens[j].stop <= size);
        }
    }
    guard_close(&guard);
    tokenizer_scratch_destroy(scratch);
}

static void keep_everything(struct tokenizer_files *files)
{
    files->clean_text = files->handle_chinese_chars = false;
    files->strip_accents = files->lowercase = false;
}

static void lowercase_only(struct tokenizer_files *files)
{
    files->strip_accents = false;
}

static void tokens_are_those_of_encode(void)
{
    void (*const changes[])(struct tokenizer_files *) = {NULL, keep_everything, lowercase_only,
                                                         look_in_normalized_text};
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
        struct tokenizer *tokenizer = fixture_create(words, ARRAY_COUNT(words), changes[i]);
        compare(tokenizer, 10 + i, 1500);
        tokenizer_destroy(tokenizer);
    }
    struct tokenizer *tokenizer =
        fixture_open(WEIR_SOURCE_FOLDER "/models/tiny-sst2/vocab.txt", true, false);
    EXPECT(tokenizer);
    compare(tokenizer, 20, 6000);
    tokenizer_destroy(tokenizer);
}

int main(void)
{
    RUN(places_are_bytes_of_the_raw_text);
    RUN(tokens_are_those_of_encode);
    return 0;
}
