/* The normalizer and the pre-tokenizer together, as a table: what becomes of each code point.
 *
 * The reference runs four passes over the whole text (clean, pad Chinese, strip accents, lowercase)
 * and then splits. Each pass treats a code point without looking at its neighbours, so the five
 * together are one function of a code point, and the table holds its value for all of them. The one
 * exception, canonical ordering of the few marks that stripping accents keeps, has an action of its
 * own.
 *
 *     entry = action << 28 | payload        blocks of 256 entries, equal blocks stored once */
#ifndef WEIR_FRONTEND_TOKENIZER_NORMALIZER_H
#define WEIR_FRONTEND_TOKENIZER_NORMALIZER_H

#include "frontend/tokenizer_unicode.h"

enum tokenizer_action {
    ACTION_KEEP,    /* part of a word, as it is */
    ACTION_BYTE,    /* part of a word, becomes the one byte in the payload */
    ACTION_MAP,     /* part of a word, becomes mappings[payload] */
    ACTION_DELETE,  /* as if it were not there */
    ACTION_BARRIER, /* deleted too, but no mark is moved across it */
    ACTION_ORDER,   /* part of a word, after moving it before marks of a greater class */
    ACTION_SPACE,   /* ends a word */
    ACTION_ISOLATE, /* ends a word and is one itself, whose token is the payload */
};

#define TOKENIZER_ACTION_SHIFT 28
#define TOKENIZER_PAYLOAD_MASK ((1u << TOKENIZER_ACTION_SHIFT) - 1)

/* What a code point becomes, where that is not one byte. Longest: a Hangul syllable, 3 times 3. */
#define TOKENIZER_MAPPING_BYTES 14
struct tokenizer_mapping {
    uint8_t size, n_characters;
    uint8_t bytes[TOKENIZER_MAPPING_BYTES]; /* zero after `size` */
};

struct tokenizer_normalizer_options {
    bool clean_text, handle_chinese_chars, strip_accents, lowercase;
};

struct tokenizer_normalizer {
    struct tokenizer_normalizer_options options;
    uint16_t block_of[UNICODE_CODE_POINTS / 256];
    uint32_t (*blocks)[256];
    uint32_t n_blocks;
    struct tokenizer_mapping *mappings;
    uint32_t n_mappings;
};

/* `token_of` gives the token for a word of one character. 0 or -ENOMEM; a normalizer that was
 * zeroed, or whose init failed, may be released. */
int tokenizer_normalizer_init(
    struct tokenizer_normalizer *normalizer, const struct tokenizer_normalizer_options *options,
    uint32_t (*token_of)(void *context, const uint8_t *bytes, uint32_t size), void *context);
void tokenizer_normalizer_release(struct tokenizer_normalizer *normalizer);

/* The normalized form of one code point, without the pre-tokenizer: at most
 * TOKENIZER_NORMALIZED_MAX code points, spaces around Chinese characters included. The table's
 * entries come from it; the cold paths call it. `sets` are the sets that `c` is in. */
#define TOKENIZER_NORMALIZED_MAX (UNICODE_DECOMPOSITION_MAX * UNICODE_LOWERCASE_MAX + 2)
uint32_t tokenizer_normalize(const struct tokenizer_normalizer_options *options, uint32_t c,
                             uint16_t sets, uint32_t out[TOKENIZER_NORMALIZED_MAX]);

static inline uint32_t tokenizer_normalizer_entry(const struct tokenizer_normalizer *normalizer,
                                                  uint32_t c)
{
    return normalizer->blocks[normalizer->block_of[c >> 8]][c & 0xFF];
}

#endif
