/* The arena, the vocabulary and the added tokens of a tokenizer being read: see the header. */
#include "models/tokenizer_builder.h"

#include "models/refuse.h"
#include "shm/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES_MAX (64u << 20)
#define SHOWN_BYTES    60 /* of a token in an error */

/* The arena is a list of blocks, each made by one malloc. */
struct block {
    struct block *next;
    char bytes[];
};

void tokenizer_builder_init(struct tokenizer_builder *builder, struct tokenizer_files *files,
                            char error[ERROR_BYTES])
{
#define ROLE_NAME(role, key, name) {.content = {name, sizeof(name) - 1}, .special = true},
    static const struct tokenizer_added_token roles[] = {TOKENIZER_ROLES(ROLE_NAME)};
#undef ROLE_NAME
    memset(builder, 0, sizeof(*builder));
    builder->files = files;
    builder->error = error;
    memcpy(builder->roles, roles, sizeof(roles));
}

void tokenizer_builder_release(struct tokenizer_builder *builder)
{
    free(builder->entries);
    builder->entries = NULL;
}

void tokenizer_files_close(struct tokenizer_files *files)
{
    struct block *block = files->arena;
    while (block) {
        struct block *next = block->next;
        free(block);
        block = next;
    }
    free(files->vocabulary);
    free(files->added_tokens);
    memset(files, 0, sizeof(*files));
}

int tokenizer_builder_no_memory(struct tokenizer_builder *builder)
{
    snprintf(builder->error, ERROR_BYTES, "no memory to read the tokenizer's files");
    return -ENOMEM;
}

static char *allocate(struct tokenizer_builder *builder, size_t size)
{
    struct block *block = malloc(sizeof(*block) + size);
    if (!block)
        return NULL;
    block->next = builder->files->arena;
    builder->files->arena = block;
    return block->bytes;
}

struct tokenizer_string tokenizer_builder_copy(struct tokenizer_builder *builder, const char *bytes,
                                               size_t size)
{
    char *copy = allocate(builder, size + 1);
    if (copy) {
        memcpy(copy, bytes, size);
        copy[size] = '\0';
    }
    return (struct tokenizer_string){copy, (uint32_t)size};
}

static int read_descriptor(struct tokenizer_builder *builder, int descriptor, uint64_t size_bytes,
                           const char *name, struct tokenizer_string *text)
{
    if (size_bytes > FILE_BYTES_MAX)
        return refuse(builder->error, name, "has %llu bytes; weir reads at most %u",
                      (unsigned long long)size_bytes, FILE_BYTES_MAX);
    char *bytes = allocate(builder, size_bytes + 1);
    if (!bytes)
        return tokenizer_builder_no_memory(builder);
    ssize_t size = file_read(descriptor, bytes, size_bytes);
    if (size < 0) {
        refuse(builder->error, name, "cannot be read: %s", strerror((int)-size));
        return (int)size;
    }
    bytes[size] = '\0';
    *text = (struct tokenizer_string){bytes, (uint32_t)size};
    return 0;
}

int tokenizer_builder_read(struct tokenizer_builder *builder, const char *folder, const char *name,
                           struct tokenizer_string *text)
{
    char path[FILE_PATH_BYTES_MAX];
    uint64_t size_bytes;
    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
        return refuse(builder->error, name, "the folder's path is too long");
    int descriptor = file_open(path, &size_bytes);
    if (descriptor == -ENOENT)
        return 1;
    if (descriptor == -EINVAL)
        return refuse(builder->error, name, "not a regular file");
    if (descriptor < 0) {
        refuse(builder->error, name, "cannot be read: %s", strerror(-descriptor));
        return descriptor;
    }
    int result = read_descriptor(builder, descriptor, size_bytes, name, text);
    close(descriptor);
    return result;
}

int tokenizer_builder_read_json(struct tokenizer_builder *builder, const char *folder,
                                const char *name, json_t **root)
{
    struct tokenizer_string text;
    json_error_t trouble;
    int result = tokenizer_builder_read(builder, folder, name, &text);
    if (result != 0)
        return result;
    *root = json_loadb(text.bytes, text.size, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &trouble);
    if (!*root)
        return refuse(builder->error, name, "not JSON: %.120s (line %d, column %d)", trouble.text,
                      trouble.line, trouble.column);
    if (!json_is_object(*root)) {
        json_decref(*root);
        *root = NULL;
        return refuse(builder->error, name, "must be a JSON object");
    }
    return 0;
}

static int compare_entries(const void *left, const void *right)
{
    const struct tokenizer_vocabulary_entry *a = left, *b = right;
    int order = tokenizer_string_compare(&a->text, &b->text);
    return order ? order : (a->id > b->id) - (a->id < b->id);
}

int tokenizer_builder_reserve(struct tokenizer_builder *builder, size_t n)
{
    builder->entries = calloc(n + 1, sizeof(*builder->entries));
    return builder->entries ? 0 : tokenizer_builder_no_memory(builder);
}

int tokenizer_builder_add_entry(struct tokenizer_builder *builder, const char *file,
                                struct tokenizer_string text, double id)
{
    if (!tokenizer_builder_is_id(id))
        return refuse(builder->error, file,
                      "token \"%.*s\" has id %.17g; ids are whole and below %d",
                      (int)min_u64(text.size, SHOWN_BYTES), text.bytes, id, TOKENIZER_IDS_MAX);
    if (text.size > TOKENIZER_TOKEN_BYTES_MAX)
        return refuse(builder->error, file, "token %.0f has %u bytes; weir takes %d", id, text.size,
                      TOKENIZER_TOKEN_BYTES_MAX);
    builder->entries[builder->n_entries++] =
        (struct tokenizer_vocabulary_entry){text, (uint32_t)id};
    return 0;
}

int tokenizer_builder_index(struct tokenizer_builder *builder, const char *file)
{
    struct tokenizer_files *files = builder->files;
    struct tokenizer_vocabulary_entry *entries = builder->entries;
    uint32_t n_different = 0;
    qsort(entries, builder->n_entries, sizeof(*entries), compare_entries);
    for (uint32_t i = 0; i < builder->n_entries; i++) {
        bool repeated = n_different > 0 && tokenizer_string_compare(&entries[n_different - 1].text,
                                                                    &entries[i].text) == 0;
        n_different += !repeated;
        entries[n_different - 1] = entries[i];
        files->vocab_size = (uint32_t)max_u64(files->vocab_size, entries[i].id + UINT64_C(1));
    }
    builder->n_entries = n_different;

    files->vocabulary = calloc(files->vocab_size + UINT64_C(1), sizeof(*files->vocabulary));
    if (!files->vocabulary)
        return tokenizer_builder_no_memory(builder);
    for (uint32_t i = 0; i < n_different; i++) {
        struct tokenizer_string *place = &files->vocabulary[entries[i].id];
        if (place->bytes)
            return refuse(builder->error, file, "tokens \"%.*s\" and \"%.*s\" both have id %u",
                          (int)min_u64(place->size, SHOWN_BYTES), place->bytes,
                          (int)min_u64(entries[i].text.size, SHOWN_BYTES), entries[i].text.bytes,
                          entries[i].id);
        *place = entries[i].text;
    }
    files->ids_end = files->vocab_size;
    return 0;
}

struct tokenizer_added_token *tokenizer_builder_find_added(const struct tokenizer_builder *builder,
                                                           struct tokenizer_string text)
{
    for (uint32_t i = 0; i < builder->files->n_added_tokens; i++)
        if (tokenizer_string_compare(&builder->files->added_tokens[i].content, &text) == 0)
            return &builder->files->added_tokens[i];
    return NULL;
}

uint32_t tokenizer_builder_id(const struct tokenizer_builder *builder, struct tokenizer_string text)
{
    const struct tokenizer_added_token *added = tokenizer_builder_find_added(builder, text);
    uint32_t low = 0, high = builder->n_entries;
    if (added)
        return added->id;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (tokenizer_string_compare(&builder->entries[middle].text, &text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < builder->n_entries &&
        tokenizer_string_compare(&builder->entries[low].text, &text) == 0)
        return builder->entries[low].id;
    return TOKENIZER_NO_ID;
}

/* The reference counts from the vocabulary's number of tokens, or from the highest added id if that
 * is not below it. */
void tokenizer_builder_begin_added(struct tokenizer_builder *builder)
{
    builder->next_id = builder->n_entries;
    for (uint32_t i = 0; i < builder->files->n_added_tokens; i++)
        if (builder->files->added_tokens[i].id >= builder->next_id)
            builder->next_id = builder->files->added_tokens[i].id + 1;
}

static int append_token(struct tokenizer_builder *builder, const char *file,
                        const struct tokenizer_added_token *token)
{
    struct tokenizer_files *files = builder->files;
    struct tokenizer_added_token added = *token;
    added.id = tokenizer_builder_id(builder, token->content);
    if (added.id == TOKENIZER_NO_ID)
        added.id = builder->next_id++;
    if (added.id >= TOKENIZER_IDS_MAX || files->n_added_tokens >= TOKENIZER_ADDED_TOKENS_MAX)
        return refuse(builder->error, file,
                      "too many added tokens; weir takes %d, with ids below %d",
                      TOKENIZER_ADDED_TOKENS_MAX, TOKENIZER_IDS_MAX);
    for (uint32_t i = 0; i < files->n_added_tokens; i++)
        if (files->added_tokens[i].id == added.id)
            return refuse(builder->error, file, "two added tokens would have id %u", added.id);
    if (!files->added_tokens)
        files->added_tokens = calloc(TOKENIZER_ADDED_TOKENS_MAX, sizeof(*files->added_tokens));
    if (!files->added_tokens)
        return tokenizer_builder_no_memory(builder);
    files->added_tokens[files->n_added_tokens++] = added;
    files->ids_end = (uint32_t)max_u64(files->ids_end, added.id + UINT64_C(1));
    return 0;
}

int tokenizer_builder_add_token(struct tokenizer_builder *builder, const char *file,
                                const struct tokenizer_added_token *token)
{
    struct tokenizer_added_token *present = tokenizer_builder_find_added(builder, token->content);
    if (token->content.size == 0)
        return 0;
    if (token->content.size > TOKENIZER_TOKEN_BYTES_MAX)
        return refuse(builder->error, file, "an added token has %u bytes; weir takes %d",
                      token->content.size, TOKENIZER_TOKEN_BYTES_MAX);
    if (!present)
        return append_token(builder, file, token);
    uint32_t id = present->id;
    *present = *token;
    present->id = id;
    return 0;
}

int tokenizer_builder_token_from_json(struct tokenizer_builder *builder, const char *file,
                                      const json_t *value, bool special,
                                      struct tokenizer_added_token *token)
{
    const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
    bool *flags[] = {&token->single_word, &token->lstrip, &token->rstrip, &token->special,
                     &token->normalized};
    static const char *const names[] = {"single_word", "lstrip", "rstrip", "special", "normalized"};
    memset(token, 0, sizeof(*token));
    token->special = special;
    if (!json_is_string(content))
        return refuse(builder->error, file,
                      "an added token must be a string or an object with a string \"content\"");
    token->content =
        tokenizer_builder_copy(builder, json_string_value(content), json_string_length(content));
    if (!token->content.bytes)
        return tokenizer_builder_no_memory(builder);
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++) {
        const json_t *flag = json_is_object(value) ? json_object_get(value, names[i]) : NULL;
        if (flags[i] == &token->normalized)
            token->normalized = !token->special;
        if (flag && !json_is_boolean(flag))
            return refuse(builder->error, file,
                          "\"%s\" of added token \"%.*s\" must be true or false", names[i],
                          SHOWN_BYTES, token->content.bytes);
        if (flag)
            *flags[i] = json_is_true(flag);
    }
    return 0;
}
