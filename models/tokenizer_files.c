/* Puts a tokenizer together from its files: vocabulary, then configuration, then the tokens with
 * roles.
 *
 * What decides: tokenizer.json if there is one, else vocab.txt with BERT's defaults; then
 * tokenizer_config.json, see tokenizer_config.c. The order in which added tokens are added decides
 * their ids, so it is the reference's. */
#include "models/tokenizer_files.h"

#include "models/refuse.h"
#include "models/tokenizer_builder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define JSON_FILE  "tokenizer.json"
#define VOCAB_FILE "vocab.txt"

#define MAX_CHARS_DEFAULT 100

/* The reference trims White_Space from the end of each line; this is all of it, as UTF-8. */
static const char *const white_space[] = {
    " ",      "\t",     "\n",     "\v",     "\f",     "\r",     "\xC2\x85", "\u00A0", "\u1680",
    "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",   "\u2007", "\u2008",
    "\u2009", "\u200A", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"};

static uint32_t trimmed_size(const char *line, size_t size)
{
    size_t i = 0;
    while (i < ARRAY_COUNT(white_space)) {
        size_t space_size = strlen(white_space[i]);
        bool ends =
            size >= space_size && memcmp(line + size - space_size, white_space[i], space_size) == 0;
        size -= ends ? space_size : 0;
        i = ends ? 0 : i + 1;
    }
    return (uint32_t)size;
}

/* Whether the bytes are UTF-8: jansson's own check. */
static bool is_utf8(const char *bytes, size_t size)
{
    json_t *string = json_stringn(bytes, size);
    json_decref(string);
    return string != NULL;
}

/* A line is a token and its number the id. Only '\n' ends a line: U+2028 is a token of one real
 * vocabulary. */
static int read_vocabulary(struct tokenizer_builder *builder, struct tokenizer_string text)
{
    size_t n_lines = 1, number = 0;
    const char *end = text.bytes + text.size;
    for (const char *at = text.bytes; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
        n_lines++;
    int result = tokenizer_builder_reserve(builder, n_lines);
    for (const char *line = text.bytes; result == 0 && line < end; number++) {
        const char *line_end = memchr(line, '\n', (size_t)(end - line));
        if (!line_end)
            line_end = end;
        struct tokenizer_string token = {line, trimmed_size(line, (size_t)(line_end - line))};
        if (!is_utf8(token.bytes, token.size))
            return refuse(builder->error, VOCAB_FILE, "line %zu is not UTF-8", number + 1);
        result = tokenizer_builder_add_entry(builder, VOCAB_FILE, token, (double)number);
        line = line_end + 1;
    }
    return result ? result : tokenizer_builder_index(builder, VOCAB_FILE);
}

static int read_vocab_txt(struct tokenizer_builder *builder, const char *folder)
{
    struct tokenizer_files *files = builder->files;
    struct tokenizer_string text;
    int result = tokenizer_builder_read(builder, folder, VOCAB_FILE, &text);
    if (result > 0) {
        snprintf(builder->error, ERROR_BYTES, "%.150s has neither %s nor %s", folder, JSON_FILE,
                 VOCAB_FILE);
        return -ENOENT;
    }
    files->clean_text = files->handle_chinese_chars = true;
    files->lowercase = files->strip_accents = true;
    files->max_chars_per_word = MAX_CHARS_DEFAULT;
    files->continuation = (struct tokenizer_string){"##", 2};
    return result ? result : read_vocabulary(builder, text);
}

static int read_vocabulary_file(struct tokenizer_builder *builder, const char *folder)
{
    json_t *root = NULL;
    int result = tokenizer_builder_read_json(builder, folder, JSON_FILE, &root);
    if (result > 0)
        return read_vocab_txt(builder, folder);
    builder->from_json = true;
    if (result == 0)
        result = tokenizer_json_apply(builder, root);
    json_decref(root);
    return result;
}

/* Makes the tokens with roles special, as transformers does: those that a file names, and without
 * tokenizer.json also those that BERT names. */
static int add_roles(struct tokenizer_builder *builder)
{
    tokenizer_builder_begin_added(builder);
    for (int role = 0; role < TOKENIZER_N_ROLES; role++) {
        const struct tokenizer_added_token *token = &builder->roles[role];
        bool wanted = !builder->from_json || builder->role_named[role];
        bool known = tokenizer_builder_id(builder, token->content) != TOKENIZER_NO_ID;
        int result = 0;
        if (wanted && known && !tokenizer_builder_find_added(builder, token->content))
            result = tokenizer_builder_add_token(builder, VOCAB_FILE, token);
        if (result != 0)
            return result;
    }
    return 0;
}

static int resolve_roles(struct tokenizer_builder *builder)
{
    struct tokenizer_files *files = builder->files;
    const struct {
        enum tokenizer_role role;
        uint32_t *id;
        bool needed;
    } wanted[] = {{ROLE_UNK, &files->unk_id, true},
                  {ROLE_CLS, &files->cls_id, true},
                  {ROLE_SEP, &files->sep_id, true},
                  {ROLE_PAD, &files->pad_id, false},
                  {ROLE_MASK, &files->mask_id, false}};
    for (size_t i = 0; i < ARRAY_COUNT(wanted); i++) {
        const struct tokenizer_string *name = &builder->roles[wanted[i].role].content;
        if (*wanted[i].id == TOKENIZER_NO_ID)
            *wanted[i].id = tokenizer_builder_id(builder, *name);
        if (*wanted[i].id == TOKENIZER_NO_ID && wanted[i].needed)
            return refuse(builder->error, builder->from_json ? JSON_FILE : VOCAB_FILE,
                          "the token \"%.*s\" is not in the vocabulary; weir needs it as BERT's "
                          "unknown, first or last token",
                          (int)min_u64(name->size, 60), name->bytes);
        if (wanted[i].needed)
            files->ids_end = (uint32_t)max_u64(files->ids_end, *wanted[i].id + UINT64_C(1));
    }
    return 0;
}

/* Once the roles have their ids: special tokens that are not looked for in texts. */
static void drop_specials(struct tokenizer_files *files)
{
    uint32_t n_kept = 0;
    for (uint32_t i = 0; i < files->n_added_tokens; i++)
        if (!files->added_tokens[i].special)
            files->added_tokens[n_kept++] = files->added_tokens[i];
    files->n_added_tokens = n_kept;
}

int tokenizer_files_open(struct tokenizer_files *files, const char *folder, char error[ERROR_BYTES])
{
    struct tokenizer_builder builder;
    memset(files, 0, sizeof(*files));
    files->model_max_length = UINT32_MAX;
    files->unk_id = files->cls_id = files->sep_id = TOKENIZER_NO_ID;
    files->pad_id = files->mask_id = TOKENIZER_NO_ID;
    tokenizer_builder_init(&builder, files, error);

    int result = read_vocabulary_file(&builder, folder);
    if (result == 0)
        result = tokenizer_config_apply(&builder, folder);
    if (result == 0)
        result = add_roles(&builder);
    if (result == 0)
        result = resolve_roles(&builder);
    if (result == 0 && files->split_specials)
        drop_specials(files);
    tokenizer_builder_release(&builder);
    if (result != 0)
        tokenizer_files_close(files);
    return result;
}
