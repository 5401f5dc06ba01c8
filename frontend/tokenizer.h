/* WordPiece as BertTokenizerFast (tokenizers 0.23) does it, token for token, in one pass and
 * without allocation per word.
 *
 *     text -> added tokens (on the raw text) -> normalizer -> pre-tokenizer -> WordPiece
 *          -> truncation (longest first, as 0.23 counts) -> [CLS] A [SEP] (B [SEP])
 *
 * Versions 0.23.1 and 0.23.2 of the reference stop counting a sequence of a pair once it alone
 * fills the room, at the end of a word; 0.23.3, and all versions before, count it whole. Where both
 * are too long that can move the odd token from one to the other. The default is the former, which
 * is also the faster; files->whole_counts asks for the latter.
 *
 * A tokenizer is immutable after creation and may be shared by threads; what changes while encoding
 * (a cache of words, buffers) is in a scratch, one for each thread. Nothing is allocated after the
 * two were created, except by tokenizer_explain(). */
#ifndef WEIR_FRONTEND_TOKENIZER_H
#define WEIR_FRONTEND_TOKENIZER_H

#include "models/tokenizer_files.h"

/* Every text must be followed by this many readable bytes (of any value). */
#define TOKENIZER_PADDING_BYTES 64

struct tokenizer;
struct tokenizer_scratch;

/* Copies what it needs: `files` may be closed afterwards. NULL with a sentence in `error`. */
struct tokenizer *tokenizer_create(const struct tokenizer_files *files, char error[ERROR_BYTES]);
void tokenizer_destroy(struct tokenizer *tokenizer);

/* The mutable part for one thread: takes texts of at most `text_bytes_max` bytes and encodes them
 * into at most `tokens_max` tokens. NULL with a sentence in `error`. Outlived by its tokenizer. */
struct tokenizer_scratch *tokenizer_scratch_create(const struct tokenizer *tokenizer,
                                                   uint32_t tokens_max, size_t text_bytes_max,
                                                   char error[ERROR_BYTES]);
void tokenizer_scratch_destroy(struct tokenizer_scratch *scratch);

struct tokenizer_input {
    const char *text; /* valid UTF-8, may hold NUL; the caller checked */
    size_t text_bytes;
    const char *pair; /* NULL for a single text */
    size_t pair_bytes;
};

struct tokenizer_encoding {
    uint32_t n_tokens;   /* written to input_ids, special ones included */
    uint32_t type_start; /* index of the pair's first token; n_tokens for a single text, and where
                            the files say one_token_type */
    bool truncated;
};

/* Encodes into input_ids (max_tokens). `max_tokens` >= 2 (single) or 3 (pair), at most the
 * scratch's `tokens_max`; special tokens count. Stops reading once the result is decided.
 * `truncate_left` keeps the end of the text instead of its beginning. */
void tokenizer_encode(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                      const struct tokenizer_input *input, uint32_t max_tokens, bool truncate_left,
                      uint32_t *input_ids, struct tokenizer_encoding *encoding);

/* The number of tokens without truncation, special ones included. */
uint64_t tokenizer_count(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                         const struct tokenizer_input *input);

/* One token with its place in the raw text, for POST /tokenize. `start` and `stop` are byte
 * offsets; special tokens that the template added have start = stop = 0 and `special` set. */
struct tokenizer_token {
    uint32_t id;
    uint32_t start, stop;
    bool special;
};

/* The slow, explaining twin of tokenizer_encode() for one text, without truncation; same ids.
 * Calls `emit` for each token in order. 0, or -ENOMEM before the first call. */
int tokenizer_explain(const struct tokenizer *tokenizer, const char *text, size_t text_bytes,
                      bool add_special_tokens,
                      void (*emit)(void *context, const struct tokenizer_token *token),
                      void *context);

/* The token's text in the vocabulary ("##ing"); empty where no token has the id. Borrowed. */
struct tokenizer_string tokenizer_token_text(const struct tokenizer *tokenizer, uint32_t id);

#endif
