/* Collects what the files of a tokenizer say, and gives ids to added tokens as the reference does.
 *
 * Life: tokenizer_builder_init(); one of the readers of a vocabulary, then
 * tokenizer_builder_index(); then added tokens in the order in which the reference would add them;
 * tokenizer_builder_release(), after which all that was found is in the tokenizer_files.
 *
 * Strings live in the files' arena until tokenizer_files_close(), also after an error. A function
 * that returns int gives 0, or -errno with a sentence in builder->error; `file` is the name that
 * the sentence begins with. */
#ifndef WEIR_MODELS_TOKENIZER_BUILDER_H
#define WEIR_MODELS_TOKENIZER_BUILDER_H

#include "models/tokenizer_files.h"

#include <jansson.h>

/* The tokens that have a role, and the names they have unless a file says otherwise. */
#define TOKENIZER_ROLES(X)       \
    X(UNK, "unk_token", "[UNK]") \
    X(SEP, "sep_token", "[SEP]") \
    X(PAD, "pad_token", "[PAD]") \
    X(CLS, "cls_token", "[CLS]") \
    X(MASK, "mask_token", "[MASK]")

enum tokenizer_role {
#define ROLE_ENUM(role, key, name) ROLE_##role,
    TOKENIZER_ROLES(ROLE_ENUM)
#undef ROLE_ENUM
        TOKENIZER_N_ROLES
};

struct tokenizer_vocabulary_entry {
    struct tokenizer_string text;
    uint32_t id;
};

struct tokenizer_builder {
    struct tokenizer_files *files;
    char *error; /* ERROR_BYTES */
    bool from_json;
    bool normalizer_is_fixed; /* tokenizer.json's is no plain BertNormalizer, which a class's
                                 keyword arguments could change */
    struct tokenizer_added_token roles[TOKENIZER_N_ROLES]; /* the token of each role; no ids yet */
    bool role_named[TOKENIZER_N_ROLES];                    /* by a file or by BERT's class */
    struct tokenizer_vocabulary_entry *entries; /* (n_entries), sorted by text once indexed */
    uint32_t n_entries;
    uint32_t next_id; /* for the next added token that is not in the vocabulary */
};

/* Borrows `files`, which are zeroed, and `error`. */
void tokenizer_builder_init(struct tokenizer_builder *builder, struct tokenizer_files *files,
                            char error[ERROR_BYTES]);
/* What only the building needs. */
void tokenizer_builder_release(struct tokenizer_builder *builder);

/* The whole of folder/name in the arena, followed by a NUL; 1, without a sentence, if there is no
 * such file. */
int tokenizer_builder_read(struct tokenizer_builder *builder, const char *folder, const char *name,
                           struct tokenizer_string *text);
/* The same, parsed; numbers are doubles, so that 1e30 can be read. The caller owns `*root`. */
int tokenizer_builder_read_json(struct tokenizer_builder *builder, const char *folder,
                                const char *name, json_t **root);

/* A copy in the arena; bytes NULL when memory is short. */
struct tokenizer_string tokenizer_builder_copy(struct tokenizer_builder *builder, const char *bytes,
                                               size_t size);

/* Whether a number of a file can be a token's id: whole, and below TOKENIZER_IDS_MAX. */
static inline bool tokenizer_builder_is_id(double number)
{
    return number >= 0 && number < TOKENIZER_IDS_MAX && number == (uint32_t)number;
}

/* Room for `n` vocabulary entries. */
int tokenizer_builder_reserve(struct tokenizer_builder *builder, size_t n);
/* Adds an entry, bounded by the limits of the header; `text` is in the arena. */
int tokenizer_builder_add_entry(struct tokenizer_builder *builder, const char *file,
                                struct tokenizer_string text, double id);
/* Sorts the entries (of equal ones, the last id stays) and fills files->vocabulary. */
int tokenizer_builder_index(struct tokenizer_builder *builder, const char *file);

/* The vocabulary's or an added token's id, or TOKENIZER_NO_ID. */
uint32_t tokenizer_builder_id(const struct tokenizer_builder *builder,
                              struct tokenizer_string text);

/* The added token with this content, or NULL. */
struct tokenizer_added_token *tokenizer_builder_find_added(const struct tokenizer_builder *builder,
                                                           struct tokenizer_string text);
/* Called before the added tokens of each file. */
void tokenizer_builder_begin_added(struct tokenizer_builder *builder);
/* Adds `token` (its id is ignored: the vocabulary's, or the next free one, is what the reference
 * takes), or replaces the flags of the one with the same content. */
int tokenizer_builder_add_token(struct tokenizer_builder *builder, const char *file,
                                const struct tokenizer_added_token *token);
/* An added token as JSON: a string, or an object with `content` and flags. `special` is the
 * default. */
int tokenizer_builder_token_from_json(struct tokenizer_builder *builder, const char *file,
                                      const json_t *value, bool special,
                                      struct tokenizer_added_token *token);

/* -ENOMEM, with the sentence. */
int tokenizer_builder_no_memory(struct tokenizer_builder *builder);

/* Takes vocabulary, normalizer, template and added tokens out of tokenizer.json; in
 * tokenizer_json.c. */
int tokenizer_json_apply(struct tokenizer_builder *builder, const json_t *root);

/* Reads tokenizer_config.json, special_tokens_map.json and added_tokens.json, as far as they are
 * there; in tokenizer_config.c. */
int tokenizer_config_apply(struct tokenizer_builder *builder, const char *folder);

#endif
