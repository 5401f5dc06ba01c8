/* The table against the rules it was made from, for every code point and all sixteen options. */
#include "frontend/tokenizer_normalizer.h"

#include "tests/test.h"

static uint32_t token_of(void *context, const uint8_t *bytes, uint32_t size)
{
    uint32_t ignored;
    (*(uint32_t *)context)++;
    return tokenizer_utf8_read(bytes, &ignored) & 0xFFFF;
}

/* The code points that a word gains from an entry; UINT32_MAX if the entry is about no word. */
static uint32_t word_part(const struct tokenizer_normalizer *normalizer, uint32_t c, uint32_t entry,
                          uint32_t *out)
{
    uint32_t payload = entry & TOKENIZER_PAYLOAD_MASK, count = 0, size;
    const struct tokenizer_mapping *mapping;
    switch ((enum tokenizer_action)(entry >> TOKENIZER_ACTION_SHIFT)) {
    case ACTION_KEEP:
    case ACTION_ORDER:
        out[0] = c;
        return 1;
    case ACTION_BYTE:
        out[0] = payload;
        return 1;
    case ACTION_MAP:
        mapping = &normalizer->mappings[payload];
        for (uint32_t at = 0; at < mapping->size; at += size)
            out[count++] = tokenizer_utf8_read(mapping->bytes + at, &size);
        EXPECT_EQUAL(count, mapping->n_characters);
        return count;
    case ACTION_DELETE:
    case ACTION_BARRIER:
        return 0;
    case ACTION_SPACE:
    case ACTION_ISOLATE:
        break;
    }
    return UINT32_MAX;
}

static void compare_entry(const struct tokenizer_normalizer *normalizer, const uint16_t *sets,
                          uint32_t c)
{
    uint32_t expected[TOKENIZER_NORMALIZED_MAX], actual[TOKENIZER_NORMALIZED_MAX];
    uint32_t n_expected = tokenizer_normalize(&normalizer->options, c, sets[c], expected);
    uint32_t entry = tokenizer_normalizer_entry(normalizer, c);
    uint32_t n_actual = word_part(normalizer, c, entry, actual);
    if (n_actual != UINT32_MAX) {
        EXPECT_EQUAL(n_actual, n_expected);
        EXPECT(memcmp(actual, expected, n_actual * sizeof(*actual)) == 0);
        return;
    }
    bool padded = n_expected == 3 && expected[0] == ' ' && expected[2] == ' ';
    uint32_t only = expected[padded ? 1 : 0];
    EXPECT(padded || n_expected == 1);
    if (entry >> TOKENIZER_ACTION_SHIFT == ACTION_SPACE) {
        EXPECT(sets[only] & UNICODE_WHITE_SPACE);
    } else {
        EXPECT(padded || sets[only] & UNICODE_PUNCTUATION);
        EXPECT_EQUAL(entry & TOKENIZER_PAYLOAD_MASK, only & 0xFFFF);
    }
}

static void all_options_give_the_normalized_form_of_every_code_point(void)
{
    uint16_t *sets = calloc(UNICODE_CODE_POINTS, sizeof(*sets));
    EXPECT(sets);
    tokenizer_unicode_sets(sets);
    for (int bits = 0; bits < 16; bits++) {
        struct tokenizer_normalizer_options options = {bits & 1, bits & 2, bits & 4, bits & 8};
        struct tokenizer_normalizer normalizer;
        uint32_t n_isolated = 0;
        EXPECT_EQUAL(tokenizer_normalizer_init(&normalizer, &options, token_of, &n_isolated), 0);
        EXPECT(n_isolated > 600);
        for (uint32_t c = 0; c < UNICODE_CODE_POINTS; c++)
            if (c < 0xD800 || c >= 0xE000)
                compare_entry(&normalizer, sets, c);
        tokenizer_normalizer_release(&normalizer);
    }
    free(sets);
}

static uint32_t action_of(const struct tokenizer_normalizer *normalizer, uint32_t c)
{
    return tokenizer_normalizer_entry(normalizer, c) >> TOKENIZER_ACTION_SHIFT;
}

static void stripped_marks_bound_an_order_only_if_they_have_no_class(void)
{
    struct tokenizer_normalizer_options options = {true, true, true, true};
    struct tokenizer_normalizer normalizer;
    uint32_t n_isolated = 0;
    EXPECT_EQUAL(tokenizer_normalizer_init(&normalizer, &options, token_of, &n_isolated), 0);
    EXPECT_EQUAL(action_of(&normalizer, 0x301), ACTION_DELETE);  /* acute, class 230 */
    EXPECT_EQUAL(action_of(&normalizer, 0xE31), ACTION_BARRIER); /* Thai mai han-akat, class 0 */
    EXPECT_EQUAL(action_of(&normalizer, 0x200B), ACTION_DELETE); /* removed before ordering */
    EXPECT_EQUAL(action_of(&normalizer, 0x1B44), ACTION_ORDER);  /* Balinese adeg adeg, Mc */
    EXPECT_EQUAL(action_of(&normalizer, 0x4E00), ACTION_ISOLATE);
    EXPECT_EQUAL(action_of(&normalizer, 0x3000), ACTION_SPACE);
    tokenizer_normalizer_release(&normalizer);
}

static void only_clean_text_makes_a_space_of_white_space(void)
{
    uint32_t out[TOKENIZER_NORMALIZED_MAX];
    struct tokenizer_normalizer_options clean = {.clean_text = true}, none = {false};
    EXPECT_EQUAL(tokenizer_normalize(&clean, '\t', UNICODE_WHITE_SPACE, out), 1);
    EXPECT_EQUAL(out[0], ' ');
    EXPECT_EQUAL(tokenizer_normalize(&none, '\t', UNICODE_WHITE_SPACE, out), 1);
    EXPECT_EQUAL(out[0], '\t');
}

int main(void)
{
    RUN(all_options_give_the_normalized_form_of_every_code_point);
    RUN(stripped_marks_bound_an_order_only_if_they_have_no_class);
    RUN(only_clean_text_makes_a_space_of_white_space);
    return 0;
}
