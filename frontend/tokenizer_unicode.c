/* Generated ranges, and utf8proc where Unicode's stability policy makes it safe: see the header. */
#include "frontend/tokenizer_unicode.h"

#include <utf8proc.h>

struct range {
    uint32_t first, last;
};

/* first, first + step, ..., last each become code point + delta. */
struct run {
    uint32_t first, last, step;
    int32_t delta;
};

#include "frontend/tokenizer_unicode_tables.inc"

#define CAPITAL_I_WITH_DOT  0x130u /* the only code point whose lowercase is two */
#define COMBINING_DOT_ABOVE 0x307u

static const struct {
    enum tokenizer_unicode_set set;
    const struct range *ranges;
    size_t n_ranges;
} sets_table[] = {
    {UNICODE_REMOVED, removed, ARRAY_COUNT(removed)},
    {UNICODE_WHITE_SPACE, white_space, ARRAY_COUNT(white_space)},
    {UNICODE_PUNCTUATION, punctuation, ARRAY_COUNT(punctuation)},
    {UNICODE_CHINESE, chinese, ARRAY_COUNT(chinese)},
    {UNICODE_MARK, nonspacing_marks, ARRAY_COUNT(nonspacing_marks)},
    {UNICODE_DECOMPOSES, decomposes, ARRAY_COUNT(decomposes)},
    {UNICODE_ORDERED, ordered_marks, ARRAY_COUNT(ordered_marks)},
    {UNICODE_WORD_CHARACTER, word_characters, ARRAY_COUNT(word_characters)},
};

static bool in_ranges(const struct range *ranges, size_t n_ranges, uint32_t c)
{
    size_t low = 0, high = n_ranges;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c > ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n_ranges && c >= ranges[low].first;
}

bool tokenizer_unicode_is(enum tokenizer_unicode_set set, uint32_t c)
{
    for (size_t i = 0; i < ARRAY_COUNT(sets_table); i++)
        if (sets_table[i].set == set)
            return in_ranges(sets_table[i].ranges, sets_table[i].n_ranges, c);
    CHECK(!"a set of the table");
    return false;
}

void tokenizer_unicode_sets(uint16_t *sets)
{
    for (size_t i = 0; i < ARRAY_COUNT(sets_table); i++)
        for (size_t j = 0; j < sets_table[i].n_ranges; j++)
            for (uint32_t c = sets_table[i].ranges[j].first; c <= sets_table[i].ranges[j].last; c++)
                sets[c] |= (uint16_t)sets_table[i].set;
    for (size_t i = 0; i < ARRAY_COUNT(lowercase); i++)
        for (uint32_t c = lowercase[i].first; c <= lowercase[i].last; c += lowercase[i].step)
            sets[c] |= UNICODE_CASED;
    sets[CAPITAL_I_WITH_DOT] |= UNICODE_CASED;
}

uint32_t tokenizer_unicode_decompose(uint32_t c, uint32_t out[UNICODE_DECOMPOSITION_MAX])
{
    if (!tokenizer_unicode_is(UNICODE_DECOMPOSES, c)) {
        out[0] = c;
        return 1;
    }
    utf8proc_int32_t decomposition[UNICODE_DECOMPOSITION_MAX];
    utf8proc_ssize_t count =
        utf8proc_decompose_char((utf8proc_int32_t)c, decomposition, UNICODE_DECOMPOSITION_MAX,
                                UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, NULL);
    CHECK(count > 0 && count <= UNICODE_DECOMPOSITION_MAX);
    for (utf8proc_ssize_t i = 0; i < count; i++)
        out[i] = (uint32_t)decomposition[i];
    return (uint32_t)count;
}

uint32_t tokenizer_unicode_lowercase(uint32_t c, uint32_t out[UNICODE_LOWERCASE_MAX])
{
    if (c == CAPITAL_I_WITH_DOT) {
        out[0] = 'i';
        out[1] = COMBINING_DOT_ABOVE;
        return 2;
    }
    size_t low = 0, high = ARRAY_COUNT(lowercase);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c > lowercase[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    const struct run *run = &lowercase[low];
    bool found =
        low < ARRAY_COUNT(lowercase) && c >= run->first && (c - run->first) % run->step == 0;
    out[0] = found ? c + (uint32_t)run->delta : c;
    return 1;
}

uint32_t tokenizer_unicode_class(uint32_t c)
{
    if (!tokenizer_unicode_is(UNICODE_ORDERED, c) && !tokenizer_unicode_is(UNICODE_MARK, c))
        return 0;
    return (uint32_t)utf8proc_get_property((utf8proc_int32_t)c)->combining_class;
}
