/* What the tokenizer needs to know about a code point, exactly as the reference knows it.
 *
 * The reference (tokenizers 0.23) mixes Unicode versions: categories of 8.0, decompositions of 9.0,
 * lowercase and white space of Rust's std. What changes from one Unicode to the next therefore
 * stands in generated tables (tokenizer_unicode_tables.inc). utf8proc is asked only for what
 * Unicode promises never to change for a code point once assigned, its canonical decomposition and
 * combining class, and only for code points that the tables list. Hence any utf8proc since Unicode
 * 9 gives the same tokens.
 *
 * Also the two inline functions that read and write UTF-8; text is known to be valid. */
#ifndef WEIR_FRONTEND_TOKENIZER_UNICODE_H
#define WEIR_FRONTEND_TOKENIZER_UNICODE_H

#include "shm/base.h"

#define UNICODE_CODE_POINTS 0x110000u

/* One bit for each set of code points. */
enum tokenizer_unicode_set {
    UNICODE_REMOVED = 1 << 0,       /* clean_text drops it: NUL, U+FFFD, Cc, Cf, Co */
    UNICODE_WHITE_SPACE = 1 << 1,   /* White_Space; some of it is REMOVED too, which goes first */
    UNICODE_PUNCTUATION = 1 << 2,   /* the pre-tokenizer isolates it */
    UNICODE_CHINESE = 1 << 3,       /* handle_chinese_chars isolates it */
    UNICODE_MARK = 1 << 4,          /* Mn: strip_accents drops it */
    UNICODE_DECOMPOSES = 1 << 5,    /* has a canonical decomposition */
    UNICODE_ORDERED = 1 << 6,       /* a mark that is kept, and moved by canonical ordering */
    UNICODE_CASED = 1 << 7,         /* has another lowercase */
    UNICODE_WORD_CHARACTER = 1 << 8 /* \w: bounds added tokens with single_word */
};

/* Whether code point `c` is in `set` (not CASED). Binary search: for the cold paths. */
bool tokenizer_unicode_is(enum tokenizer_unicode_set set, uint32_t c);

/* Writes for every code point the sets that it is in: `sets` is (UNICODE_CODE_POINTS), zeroed. */
void tokenizer_unicode_sets(uint16_t *sets);

/* The full canonical decomposition (NFD) of one code point; the number of code points written. */
#define UNICODE_DECOMPOSITION_MAX 4
uint32_t tokenizer_unicode_decompose(uint32_t c, uint32_t out[UNICODE_DECOMPOSITION_MAX]);

/* Lowercase without context: one code point, but two for U+0130. */
#define UNICODE_LOWERCASE_MAX 2
uint32_t tokenizer_unicode_lowercase(uint32_t c, uint32_t out[UNICODE_LOWERCASE_MAX]);

/* The canonical combining class by which decomposed text is ordered; 0 bounds a run of marks. */
uint32_t tokenizer_unicode_class(uint32_t c);

/* Reads the code point at `bytes`, which is valid UTF-8, and says how many bytes it takes. */
static inline uint32_t tokenizer_utf8_read(const uint8_t *bytes, uint32_t *size)
{
    uint32_t first = bytes[0];
    if (first < 0x80) {
        *size = 1;
        return first;
    }
    if (first < 0xE0) {
        *size = 2;
        return (first & 0x1F) << 6 | (bytes[1] & 0x3Fu);
    }
    if (first < 0xF0) {
        *size = 3;
        return (first & 0x0F) << 12 | (bytes[1] & 0x3Fu) << 6 | (bytes[2] & 0x3Fu);
    }
    *size = 4;
    return (first & 0x07) << 18 | (bytes[1] & 0x3Fu) << 12 | (bytes[2] & 0x3Fu) << 6 |
           (bytes[3] & 0x3Fu);
}

/* Writes code point `c` to `bytes` and returns its size, at most 4. */
static inline uint32_t tokenizer_utf8_write(uint32_t c, uint8_t *bytes)
{
    if (c < 0x80) {
        bytes[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        bytes[0] = (uint8_t)(0xC0 | c >> 6);
        bytes[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        bytes[0] = (uint8_t)(0xE0 | c >> 12);
        bytes[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        bytes[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    bytes[0] = (uint8_t)(0xF0 | c >> 18);
    bytes[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    bytes[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    bytes[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

/* The first byte of the code point that ends right before `end`; `start` < `end`. */
static inline const uint8_t *tokenizer_utf8_before(const uint8_t *start, const uint8_t *end)
{
    do
        end--;
    while (end > start && (*end & 0xC0) == 0x80);
    return end;
}

#endif
