/* What a tokenizer is on disk: vocabulary, added tokens and the normalizer's options, out of
 * tokenizer.json, or else out of vocab.txt and tokenizer_config.json (special_tokens_map.json,
 * added_tokens.json). Only the BERT family (WordPiece with BertNormalizer and BertPreTokenizer) is
 * supported; anything else is refused by a sentence that names what was found. */
#ifndef WEIR_MODELS_TOKENIZER_FILES_H
#define WEIR_MODELS_TOKENIZER_FILES_H

#include "shm/base.h"

#include <string.h>

/* Bounds of what is read; files beyond them are refused. */
#define TOKENIZER_IDS_MAX          1000000 /* ids are below it */
#define TOKENIZER_TOKEN_BYTES_MAX  1024
#define TOKENIZER_WORD_CHARS_MAX   1000 /* of max_input_chars_per_word, which is 100 everywhere */
#define TOKENIZER_ADDED_TOKENS_MAX 10000

/* A special token that the files do not name; only unk, cls and sep are needed. */
#define TOKENIZER_NO_ID UINT32_MAX

/* Borrowed bytes, not terminated: vocabulary entries may hold any UTF-8. */
struct tokenizer_string {
    const char *bytes;
    uint32_t size;
};

/* The order of their bytes, a prefix before what it begins; as memcmp(). */
static inline int tokenizer_string_compare(const struct tokenizer_string *a,
                                           const struct tokenizer_string *b)
{
    int order = memcmp(a->bytes, b->bytes, min_u64(a->size, b->size));
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

struct tokenizer_added_token {
    struct tokenizer_string content;
    uint32_t id;
    bool special, normalized, single_word, lstrip, rstrip;
};

struct tokenizer_files {
    struct tokenizer_string *vocabulary; /* (vocab_size) by id, all different; size 0 where no token
                                            has the id */
    uint32_t vocab_size;                 /* one more than the highest id of the vocabulary */
    struct tokenizer_added_token *added_tokens; /* ids differ and may be above the vocabulary's */
    uint32_t n_added_tokens;
    uint32_t ids_end; /* one more than the highest id that any text can give */
    /* The normalizer's options. A strip_accents of null is resolved: it means as lowercase. */
    bool clean_text, handle_chinese_chars, strip_accents, lowercase;
    uint32_t max_chars_per_word;          /* longer words are [UNK]; 100 everywhere */
    struct tokenizer_string continuation; /* "##" */
    uint32_t unk_id, cls_id, sep_id;
    uint32_t pad_id, mask_id; /* or TOKENIZER_NO_ID */
    /* Where a text is cut if the client does not say: truncation_side of tokenizer_config.json,
     * else tokenizer.json's direction. */
    bool truncate_left;
    bool split_specials; /* "[SEP]" in a text is text: no special token is among added_tokens */
    bool whole_counts;   /* how pairs are truncated, see frontend/tokenizer.h; false once opened */
    bool one_token_type; /* a pair's second text has type 0 too: token_type_ids is not among the
                            tokenizer's model_input_names */
    uint32_t model_max_length; /* from tokenizer_config.json; UINT32_MAX where it says nothing */
    void *arena;               /* owns every string above */
};

/* Reads tokenizer.json if `folder` has one, else vocab.txt; then tokenizer_config.json, and
 * config.json where that names no class. config.json is read here although model_open() reads it
 * too: so a tokenizer opens without a model.
 * 0, or -errno with a sentence in `error`. Release with tokenizer_files_close(). */
int tokenizer_files_open(struct tokenizer_files *files, const char *folder,
                         char error[ERROR_BYTES]);
void tokenizer_files_close(struct tokenizer_files *files);

#endif
