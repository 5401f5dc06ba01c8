/* Every code point against the exhaustive record of the reference, and UTF-8 there and back. */
#include "frontend/tokenizer_unicode.h"

#include "tests/test.h"

#define LINE_BYTES_MAX 256
#define RESULT_MAX     8

static bool is_scalar(uint32_t c)
{
    return c < 0xD800 || c >= 0xE000;
}

/* What codepoints.txt says: sets by range, and what uncased text becomes. */
struct record {
    uint16_t sets[UNICODE_CODE_POINTS];
    uint32_t mapped[UNICODE_CODE_POINTS][RESULT_MAX]; /* ends with 0 */
    bool has_mapping[UNICODE_CODE_POINTS];
};

static uint16_t set_of_section(const char *line)
{
    static const struct {
        const char *name;
        uint16_t set;
    } sections[] = {{"[DELETE", UNICODE_REMOVED},
                    {"[SPACE", UNICODE_WHITE_SPACE},
                    {"[CJK", UNICODE_CHINESE},
                    {"[PUNCT", UNICODE_PUNCTUATION},
                    {"[STRIP", UNICODE_MARK}};
    for (size_t i = 0; i < ARRAY_COUNT(sections); i++)
        if (strncmp(line, sections[i].name, strlen(sections[i].name)) == 0)
            return sections[i].set;
    return 0;
}

static void read_mapping(struct record *record, const char *line)
{
    char *at;
    uint32_t c = (uint32_t)strtoul(line, &at, 16), count = 0;
    at = strstr(at, "->");
    EXPECT(at);
    for (at += 2; *at != '\n' && *at != '\0' && count < RESULT_MAX - 1;) {
        char *end;
        uint32_t result = (uint32_t)strtoul(at, &end, 16);
        if (end == at)
            break;
        record->mapped[c][count++] = result;
        at = end;
    }
    record->has_mapping[c] = true;
}

static void read_range(struct record *record, const char *line, uint16_t set)
{
    char *end;
    uint32_t first = (uint32_t)strtoul(line, &end, 16), last = first;
    if (strncmp(end, "..", 2) == 0)
        last = (uint32_t)strtoul(end + 2, NULL, 16);
    for (uint32_t c = first; c <= last; c++)
        record->sets[c] |= set;
}

static struct record *read_record(void)
{
    struct record *record = calloc(1, sizeof(*record));
    FILE *file = fopen(WEIR_SOURCE_FOLDER "/tests/frontend/data/tokenizer_codepoints.txt", "r");
    char line[LINE_BYTES_MAX];
    uint16_t set = 0;
    EXPECT(record && file);
    while (fgets(line, sizeof(line), file)) {
        if (line[0] == '[')
            set = set_of_section(line);
        else if (line[0] != '#' && line[0] != '\n' && set)
            read_range(record, line, set);
        else if (line[0] != '#' && line[0] != '\n')
            read_mapping(record, line);
    }
    fclose(file);
    return record;
}

/* NFD, without Mn, in lowercase: what uncased BERT makes of a code point. */
static uint32_t uncased(uint32_t c, uint32_t *out)
{
    uint32_t parts[UNICODE_DECOMPOSITION_MAX], count = 0;
    uint32_t n_parts = tokenizer_unicode_decompose(c, parts);
    for (uint32_t i = 0; i < n_parts; i++)
        if (!tokenizer_unicode_is(UNICODE_MARK, parts[i]))
            count += tokenizer_unicode_lowercase(parts[i], out + count);
    return count;
}

static void every_code_point_is_in_the_sets_of_the_reference(void)
{
    struct record *record = read_record();
    uint16_t *sets = calloc(UNICODE_CODE_POINTS, sizeof(*sets));
    const uint16_t compared = UNICODE_REMOVED | UNICODE_CHINESE | UNICODE_PUNCTUATION;
    EXPECT(sets);
    tokenizer_unicode_sets(sets);
    for (uint32_t c = 0; c < UNICODE_CODE_POINTS; c++) {
        if (!is_scalar(c))
            continue;
        EXPECT_EQUAL(sets[c] & compared, record->sets[c] & compared);
        bool space = !(sets[c] & UNICODE_REMOVED) && sets[c] & UNICODE_WHITE_SPACE;
        EXPECT_EQUAL(space, record->sets[c] / UNICODE_WHITE_SPACE & 1);
        /* what decomposes into marks is dropped as well, but by what it decomposes into */
        bool kept = !(sets[c] & (UNICODE_REMOVED | UNICODE_WHITE_SPACE | UNICODE_DECOMPOSES));
        EXPECT_EQUAL(kept && sets[c] & UNICODE_MARK, kept && record->sets[c] & UNICODE_MARK);
    }
    free(sets);
    free(record);
}

static void every_code_point_becomes_what_the_reference_makes_of_it(void)
{
    struct record *record = read_record();
    uint32_t n_compared = 0;
    for (uint32_t c = 0; c < UNICODE_CODE_POINTS; c++) {
        uint32_t out[UNICODE_DECOMPOSITION_MAX * UNICODE_LOWERCASE_MAX] = {0};
        bool hangul = c >= 0xAC00 && c <= 0xD7A3;
        if (!is_scalar(c) || hangul || record->sets[c] & (UNICODE_REMOVED | UNICODE_WHITE_SPACE))
            continue;
        uint32_t count = uncased(c, out);
        n_compared++;
        if (record->sets[c] & UNICODE_MARK) {
            EXPECT_EQUAL(count, 0);
        } else if (record->has_mapping[c]) {
            for (uint32_t i = 0; i <= count; i++)
                EXPECT_EQUAL(i < count ? out[i] : 0, record->mapped[c][i]);
        } else {
            EXPECT_EQUAL(count, 1);
            EXPECT_EQUAL(out[0], c);
        }
    }
    EXPECT(n_compared > 950000);
    free(record);
}

static void hangul_syllables_become_their_letters(void)
{
    for (uint32_t c = 0xAC00; c <= 0xD7A3; c++) {
        uint32_t out[UNICODE_DECOMPOSITION_MAX], index = c - 0xAC00;
        uint32_t count = tokenizer_unicode_decompose(c, out);
        EXPECT_EQUAL(count, index % 28 ? 3 : 2);
        EXPECT_EQUAL(out[0], 0x1100 + index / 588);
        EXPECT_EQUAL(out[1], 0x1161 + index % 588 / 28);
        if (count == 3)
            EXPECT_EQUAL(out[2], 0x11A7 + index % 28);
    }
}

static void looking_one_up_agrees_with_the_list_of_all(void)
{
    uint16_t *sets = calloc(UNICODE_CODE_POINTS, sizeof(*sets));
    EXPECT(sets);
    tokenizer_unicode_sets(sets);
    for (uint32_t c = 0; c < UNICODE_CODE_POINTS; c++) {
        for (uint16_t set = UNICODE_REMOVED; set <= UNICODE_WORD_CHARACTER; set <<= 1)
            if (set != UNICODE_CASED)
                EXPECT_EQUAL(tokenizer_unicode_is(set, c), (sets[c] & set) != 0);
        uint32_t out[UNICODE_LOWERCASE_MAX];
        bool same = tokenizer_unicode_lowercase(c, out) == 1 && out[0] == c;
        EXPECT_EQUAL(same, !(sets[c] & UNICODE_CASED));
    }
    free(sets);
}

static void marks_have_classes_and_letters_have_none(void)
{
    EXPECT_EQUAL(tokenizer_unicode_class('a'), 0);
    EXPECT_EQUAL(tokenizer_unicode_class(0x301), 230);
    EXPECT_EQUAL(tokenizer_unicode_class(0x323), 220);
    EXPECT_EQUAL(tokenizer_unicode_class(0x1B44), 9);
    EXPECT_EQUAL(tokenizer_unicode_class(0x1AC1), 0); /* newer than the reference's Unicode */
}

static void every_code_point_survives_utf8(void)
{
    for (uint32_t c = 0; c < UNICODE_CODE_POINTS; c++) {
        uint8_t bytes[4];
        uint32_t size, written;
        if (!is_scalar(c))
            continue;
        written = tokenizer_utf8_write(c, bytes);
        EXPECT_EQUAL(tokenizer_utf8_read(bytes, &size), c);
        EXPECT_EQUAL(size, written);
        EXPECT(tokenizer_utf8_before(bytes, bytes + size) == bytes);
    }
}

int main(void)
{
    RUN(every_code_point_is_in_the_sets_of_the_reference);
    RUN(every_code_point_becomes_what_the_reference_makes_of_it);
    RUN(hangul_syllables_become_their_letters);
    RUN(looking_one_up_agrees_with_the_list_of_all);
    RUN(marks_have_classes_and_letters_have_none);
    RUN(every_code_point_survives_utf8);
    return 0;
}
