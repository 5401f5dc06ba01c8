/* Objects as tables of fields: a field is a name and the function that reads its value. The order
 * of fields in a body never matters: text fields only note where they are, and the texts are read
 * once the object has been seen whole. */
#include "proto/request_reader.h"
#include "proto/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

bool request_refuse(struct request_error *error, enum request_error_kind kind, const char *format,
                    ...)
{
    va_list arguments;

    error->kind = kind;
    error->type = "Validation";
    va_start(arguments, format);
    int bytes = vsnprintf(error->sentence, sizeof(error->sentence), format, arguments);
    va_end(arguments);
    /* A sentence that was cut must still be UTF-8. */
    if (bytes >= (int)sizeof(error->sentence))
        error->sentence[utf8_find_invalid(error->sentence, strlen(error->sentence))] = '\0';
    return false;
}

const char *request_quote(const struct value *key, char quote[QUOTE_BYTES])
{
    if (key->kind != VALUE_STRING)
        return "(not UTF-8)";
    size_t bytes = utf8_prefix(key->bytes, key->size, QUOTE_BYTES - sizeof("..."));

    for (size_t i = 0; i < bytes; i++)
        quote[i] =
            (unsigned char)key->bytes[i] < ' ' || key->bytes[i] == 0x7F ? '?' : key->bytes[i];
    memcpy(quote + bytes, bytes < key->size ? "..." : "", bytes < key->size ? sizeof("...") : 1);
    return quote;
}

const char *place_path(const struct place *place, char path[PATH_BYTES])
{
    int bytes = snprintf(path, PATH_BYTES, "%.24s", place->name);

    if (place->item != PLACE_NONE)
        bytes += snprintf(path + bytes, PATH_BYTES - (size_t)bytes, "[%u]", place->item);
    if (place->field != NULL)
        bytes += snprintf(path + bytes, PATH_BYTES - (size_t)bytes, ".%.24s", place->field);
    if (place->part != PLACE_NONE)
        snprintf(path + bytes, PATH_BYTES - (size_t)bytes, "[%u]", place->part);
    return path;
}

bool reader_refuse_kind(struct reader *reader, const struct place *place, const char *expected,
                        const struct value *value)
{
    char path[PATH_BYTES];

    return request_refuse(reader->error, REQUEST_MALFORMED, "\"%s\" must be %s, but it is %s%s",
                          place_path(place, path), expected, value_kind_name(value),
                          value->kind == VALUE_BINARY ? ": pack it as str, not as bin" : "");
}

static bool refuse_unknown(struct reader *reader, const struct value *key,
                           const struct field *fields, size_t n_fields)
{
    char names[ERROR_BYTES] = "", quote[QUOTE_BYTES], path[PATH_BYTES];
    size_t bytes = 0;

    for (size_t i = 0; i < n_fields && bytes < sizeof(names); i++)
        bytes += (size_t)snprintf(names + bytes, sizeof(names) - bytes, "%s%s", i > 0 ? ", " : "",
                                  fields[i].name);
    if (reader->object.name == NULL)
        return request_refuse(reader->error, REQUEST_MALFORMED,
                              "unknown field \"%s\": known here are %s", request_quote(key, quote),
                              names);
    return request_refuse(reader->error, REQUEST_MALFORMED,
                          "unknown field \"%s\" in \"%s\": known there are %s",
                          request_quote(key, quote), place_path(&reader->object, path), names);
}

bool reader_fields(struct reader *reader, const struct place *object, const struct value *map,
                   const struct field *fields, size_t n_fields)
{
    const struct value *key = map + 1;

    reader->object = *object;
    for (size_t pair = 0; pair < map->size; pair++, key = value_next(key + 1)) {
        size_t i = 0;
        while (i < n_fields && !value_is_string(key, fields[i].name, strlen(fields[i].name)))
            i++;
        if (i == n_fields)
            return refuse_unknown(reader, key, fields, n_fields);
        struct place place = *object;
        *(object->name == NULL ? &place.name : &place.field) = fields[i].name;
        if (!fields[i].read(reader, &place, key + 1))
            return false;
    }
    return true;
}

static bool read_top_k(struct reader *reader, const struct place *place, const struct value *value)
{
    bool is_number = value->kind == VALUE_INTEGER && value->integer >= 1;

    if (!is_number && value->kind != VALUE_NULL) {
        char path[PATH_BYTES];
        return request_refuse(reader->error, REQUEST_MALFORMED,
                              "\"%s\" must be a whole number of at least 1, or null for all labels",
                              place_path(place, path));
    }
    reader->request->has_top_k = true;
    if (is_number)
        reader->request->top_k = (uint32_t)min_u64((uint64_t)value->integer, UINT32_MAX);
    return true;
}

/* One of `words` (case does not matter, as the pipeline has it): its index, or -1. */
static int read_word(const struct value *value, const char *const *words, int n_words)
{
    for (int i = 0; value->kind == VALUE_STRING && i < n_words; i++)
        if (value->size == strlen(words[i]) &&
            strncasecmp(value->bytes, words[i], value->size) == 0)
            return i;
    return -1;
}

static bool read_function(struct reader *reader, const struct place *place,
                          const struct value *value)
{
    static const char *const words[] = {"softmax", "sigmoid", "none"};
    static const enum request_function functions[] = {REQUEST_SOFTMAX, REQUEST_SIGMOID,
                                                      REQUEST_NONE};
    int index = read_word(value, words, ARRAY_COUNT(words));

    if (index < 0 && value->kind != VALUE_NULL) {
        char path[PATH_BYTES];
        return request_refuse(reader->error, REQUEST_MALFORMED,
                              "\"%s\" must be \"softmax\", \"sigmoid\", \"none\", or null for the "
                              "model's own",
                              place_path(place, path));
    }
    reader->request->function = index < 0 ? REQUEST_FUNCTION_DEFAULT : functions[index];
    return true;
}

static bool read_truncate(struct reader *reader, const struct place *place,
                          const struct value *value)
{
    if (value->kind == VALUE_BOOLEAN)
        reader->request->truncate = value->boolean ? REQUEST_TRUNCATE_ON : REQUEST_TRUNCATE_OFF;
    else if (value->kind != VALUE_NULL)
        return reader_refuse_kind(reader, place, "true, false or null", value);
    return true;
}

static bool read_direction(struct reader *reader, const struct place *place,
                           const struct value *value)
{
    static const char *const words[] = {"left", "right"};
    int index = read_word(value, words, ARRAY_COUNT(words));

    if (index < 0 && value->kind != VALUE_NULL) {
        char path[PATH_BYTES];
        return request_refuse(reader->error, REQUEST_MALFORMED,
                              "\"%s\" must be \"left\" or \"right\"", place_path(place, path));
    }
    if (index >= 0)
        reader->request->truncation_side = index == 0 ? REQUEST_SIDE_LEFT : REQUEST_SIDE_RIGHT;
    return true;
}

static bool read_boolean(struct reader *reader, const struct place *place,
                         const struct value *value, bool *on)
{
    if (value->kind == VALUE_BOOLEAN)
        *on = value->boolean;
    else if (value->kind != VALUE_NULL)
        return reader_refuse_kind(reader, place, "true or false", value);
    return true;
}

static bool read_raw_scores(struct reader *reader, const struct place *place,
                            const struct value *value)
{
    return read_boolean(reader, place, value, &reader->raw_scores);
}

static bool read_add_special_tokens(struct reader *reader, const struct place *place,
                                    const struct value *value)
{
    return read_boolean(reader, place, value, &reader->add_special_tokens);
}

static bool read_ignored_boolean(struct reader *reader, const struct place *place,
                                 const struct value *value)
{
    bool ignored;

    return read_boolean(reader, place, value, &ignored);
}

static bool read_prompt_name(struct reader *reader, const struct place *place,
                             const struct value *value)
{
    if (value->kind == VALUE_NULL)
        return true;
    return request_refuse(reader->error, REQUEST_MALFORMED,
                          "\"prompt_name\" must be null: a classifier has no prompts");
}

static bool read_object(struct reader *reader, const struct place *place, const struct value *value,
                        const struct field *fields, size_t n_fields)
{
    struct place outer = reader->object;

    if (value->kind == VALUE_NULL)
        return true;
    if (value->kind != VALUE_MAP)
        return reader_refuse_kind(reader, place, "an object", value);
    bool is_read = reader_fields(reader, place, value, fields, n_fields);
    reader->object = outer;
    return is_read;
}

static bool read_parameters(struct reader *reader, const struct place *place,
                            const struct value *value)
{
    static const struct field fields[] = {
        {"top_k", read_top_k},
        {"function_to_apply", read_function},
        {"truncate", read_truncate},
        {"truncation", read_truncate},
        {"truncation_direction", read_direction},
        {"raw_scores", read_raw_scores},
    };

    return read_object(reader, place, value, fields, ARRAY_COUNT(fields));
}

/* What huggingface_hub and huggingface.js say about their own cache and cold starts. */
static bool read_options(struct reader *reader, const struct place *place,
                         const struct value *value)
{
    static const struct field fields[] = {
        {"use_cache", read_ignored_boolean},
        {"wait_for_model", read_ignored_boolean},
        {"use_gpu", read_ignored_boolean},
    };

    return read_object(reader, place, value, fields, ARRAY_COUNT(fields));
}

static const struct field sample_fields[] = {
    {"text", reader_note_text},           {"text_pair", reader_note_pair}, {"top_k", read_top_k},
    {"function_to_apply", read_function}, {"truncate", read_truncate},
};

static const struct field tei_fields[] = {
    {"inputs", reader_note_text},    {"truncate", read_truncate},
    {"raw_scores", read_raw_scores}, {"truncation_direction", read_direction},
    {"parameters", read_parameters}, {"options", read_options},
};

static const struct field vertex_fields[] = {
    {"instances", reader_note_text},
    {"parameters", read_parameters},
};

static const struct field tokenize_fields[] = {
    {"inputs", reader_note_text},
    {"add_special_tokens", read_add_special_tokens},
    {"prompt_name", read_prompt_name},
};

/* A dialect is known by the one field that only it has, the first of its table. */
static const struct dialect {
    enum request_dialect dialect;
    const struct field *fields;
    size_t n_fields;
    bool (*read_texts)(struct reader *reader);
} dialects[] = {
    {REQUEST_SAMPLE, sample_fields, ARRAY_COUNT(sample_fields), reader_sample_texts},
    {REQUEST_TEI, tei_fields, ARRAY_COUNT(tei_fields), reader_tei_texts},
    {REQUEST_VERTEX, vertex_fields, ARRAY_COUNT(vertex_fields), reader_vertex_texts},
};

static const struct dialect *dialect_of(const struct value *key)
{
    for (size_t i = 0; i < ARRAY_COUNT(dialects); i++) {
        const char *name = dialects[i].fields[0].name;
        if (value_is_string(key, name, strlen(name)))
            return &dialects[i];
    }
    return NULL;
}

static bool refuse_dialect(struct reader *reader, const struct value *root)
{
    char quote[QUOTE_BYTES];

    if (root->size == 0)
        return request_refuse(reader->error, REQUEST_MALFORMED,
                              "the body is an empty object: send {\"text\": \"...\"}, or "
                              "\"inputs\", or \"instances\"");
    return request_refuse(reader->error, REQUEST_MALFORMED,
                          "no \"text\", \"inputs\" or \"instances\" in the body (it has \"%s\"): "
                          "send {\"text\": \"...\"}",
                          request_quote(root + 1, quote));
}

/* NULL with the error filled where none or several of the dialects' own fields are there. */
static const struct dialect *find_dialect(struct reader *reader, const struct value *root)
{
    const struct dialect *found = NULL;
    const struct value *key = root + 1;

    for (size_t pair = 0; pair < root->size; pair++, key = value_next(key + 1)) {
        const struct dialect *dialect = dialect_of(key);
        if (dialect != NULL && found != NULL) {
            request_refuse(reader->error, REQUEST_MALFORMED,
                           "both \"%s\" and \"%s\" in one body: send one of \"text\", \"inputs\", "
                           "\"instances\"",
                           found->fields[0].name, dialect->fields[0].name);
            return NULL;
        }
        found = dialect != NULL ? dialect : found;
    }
    if (found == NULL)
        refuse_dialect(reader, root);
    return found;
}

static const struct place nowhere = {NULL, PLACE_NONE, PLACE_NONE, NULL};

static bool refuse_root(struct request_error *error, const struct value *root, const char *example)
{
    return request_refuse(error, REQUEST_MALFORMED,
                          "the body must be an object, but it is %s: send %s",
                          value_kind_name(root), example);
}

bool request_read_predict(const struct value *root, const struct request_limits *limits,
                          struct predict_request *request, struct request_error *error)
{
    struct reader reader = {.limits = limits, .request = request, .error = error};

    if (root->kind != VALUE_MAP)
        return refuse_root(error, root, "{\"text\": \"...\"}");
    const struct dialect *dialect = find_dialect(&reader, root);
    if (dialect == NULL)
        return false;
    request->dialect = dialect->dialect;
    if (!reader_fields(&reader, &nowhere, root, dialect->fields, dialect->n_fields) ||
        !dialect->read_texts(&reader))
        return false;
    if (reader.raw_scores && request->function == REQUEST_FUNCTION_DEFAULT)
        request->function = REQUEST_NONE;
    return true;
}

bool request_read_tokenize(const struct value *root, const struct request_limits *limits,
                           struct predict_request *request, bool *add_special_tokens,
                           struct request_error *error)
{
    struct reader reader = {
        .limits = limits, .request = request, .error = error, .add_special_tokens = true};

    if (root->kind != VALUE_MAP)
        return refuse_root(error, root, "{\"inputs\": \"...\"}");
    request->dialect = REQUEST_TEI;
    if (!reader_fields(&reader, &nowhere, root, tokenize_fields, ARRAY_COUNT(tokenize_fields)))
        return false;
    if (reader.text.value == NULL)
        return request_refuse(error, REQUEST_MALFORMED,
                              "no \"inputs\" in the body: send {\"inputs\": \"...\"}");
    *add_special_tokens = reader.add_special_tokens;
    return reader_tokenize_texts(&reader);
}
