/* From text to the tokens of its words, one code point at a time: the plain way, which every faster
 * way must equal.
 *
 *     struct tokenizer          what tokenizer_create() built, immutable
 *     struct tokenizer_words    a walk over ordinary text: one word at a time
 *     struct tokenizer_units    a walk over a whole text: one word or one added token at a time
 *
 * Words and added tokens are the grains in which the reference counts when it truncates. */
#ifndef WEIR_FRONTEND_TOKENIZER_WORDS_H
#define WEIR_FRONTEND_TOKENIZER_WORDS_H

#include "frontend/tokenizer.h"
#include "frontend/tokenizer_added.h"
#include "frontend/tokenizer_normalizer.h"
#include "frontend/tokenizer_trie.h"

/* The bytes that normalization can make of one byte of text, at most (Hangul: 3 become 9). */
#define TOKENIZER_NORMALIZED_GROWTH 3

struct tokenizer {
    struct tokenizer_trie vocabulary;
    uint32_t continuation_node; /* where "##" ends in the trie; UINT32_MAX: no token starts so */
    uint32_t continuation_size; /* bytes of "##" */
    struct tokenizer_normalizer normalizer;
    struct tokenizer_normalizer identity; /* splits only, for text normalized before; or zeroed */
    struct tokenizer_added raw;           /* added tokens looked for in the raw text */
    struct tokenizer_added normalized;    /* those looked for in the normalized text */
    struct tokenizer_added_token *added_tokens; /* (n_added_tokens): raw, then normalized ones */
    uint32_t n_added_tokens, n_raw_tokens;
    uint32_t max_chars_per_word;
    bool whole_counts, one_token_type;
    uint32_t unk_id, cls_id, sep_id;
    struct tokenizer_string *token_texts; /* (n_token_texts) by id */
    uint32_t n_token_texts;
    char *strings; /* owns the bytes of all strings above */
};

/* The tokens of one normalized word of `n_characters` code points into `ids`, which has room for
 * one a character; the number of tokens, at least 1. */
uint32_t tokenizer_word_tokens(const struct tokenizer *tokenizer, const uint8_t *word, size_t size,
                               uint32_t n_characters, uint32_t *ids);

struct tokenizer_words {
    const struct tokenizer *tokenizer;
    const struct tokenizer_normalizer *normalizer;
    const uint8_t *at, *end; /* 4 bytes after `end` can be read */
};

/* The tokens of the next word into `ids` (TOKENIZER_WORD_TOKENS_MAX); 0 at the end. */
#define TOKENIZER_WORD_TOKENS_MAX TOKENIZER_WORD_CHARS_MAX
uint32_t tokenizer_words_next(struct tokenizer_words *words, uint32_t *ids);

/* Writes the normalized form of `text` to `out` and returns its size in bytes. `out` has room for
 * TOKENIZER_NORMALIZED_GROWTH * size + TOKENIZER_PADDING_BYTES: the last step writes wide. */
size_t tokenizer_normalize_text(const struct tokenizer_normalizer *normalizer, const uint8_t *text,
                                size_t size, uint8_t *out);

struct tokenizer_units {
    const struct tokenizer *tokenizer;
    struct tokenizer_splitter raw;
    struct tokenizer_splitter normalized;
    struct tokenizer_words words;
    uint8_t *normalized_text; /* room for a piece; NULL where no added token is normalized */
};

/* Borrows all that it is given. */
void tokenizer_units_init(struct tokenizer_units *units, const struct tokenizer *tokenizer,
                          const uint8_t *text, size_t size, uint8_t *normalized_text);
/* The tokens of the next word or added token into `ids` (TOKENIZER_WORD_TOKENS_MAX), and which of
 * the two it was; 0 at the end. */
uint32_t tokenizer_units_next(struct tokenizer_units *units, uint32_t *ids, bool *is_added);

#endif
