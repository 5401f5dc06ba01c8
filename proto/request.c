/* A body's bytes to a request: copies them to where decoders may read beyond the end, decodes, and
 * explains what is wrong with bytes that do not decode. What the values mean is decided in
 * request_fields.c and request_texts.c.
 *
 * Memory: the texts and values are taken at creation and bound what a request may hold; the copy of
 * the body and simdjson's buffers grow, doubling, with the largest body seen. */
#include "proto/request.h"
#include "proto/request_reader.h"
#include "proto/utf8.h"
#include "proto/value_json.h"
#include "proto/value_msgpack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BODY_BYTES_MIN 16384

/* The most that one text can need ({"text", "text_pair", "mime_type"}: an object, three keys, three
 * values), and what stands around the texts. */
#define VALUES_PER_TEXT 8
#define VALUES_AROUND   256

static_assert(REQUEST_PADDING_BYTES == VALUE_PADDING_BYTES, "strings keep what decoders promise");

struct request_parser {
    struct request_limits limits;
    struct json_decoder *json;
    struct value_tree tree;
    struct request_text *texts; /* (limits.texts_max) */
    char *body;                 /* the copy of the request's bytes, VALUE_PADDING_BYTES behind it */
    size_t body_capacity;
};

void request_parser_destroy(struct request_parser *parser)
{
    if (parser == NULL)
        return;
    free(parser->body);
    free(parser->texts);
    free(parser->tree.values);
    json_decoder_destroy(parser->json);
    free(parser);
}

struct request_parser *request_parser_create(const struct request_limits *limits)
{
    CHECK(limits->texts_max >= 1);
    CHECK(limits->depth_max >= 1 && limits->depth_max <= MSGPACK_DEPTH_MAX);
    struct request_parser *parser = calloc(1, sizeof(*parser));
    if (parser == NULL)
        return NULL;
    parser->limits = *limits;
    parser->tree.depth_max = limits->depth_max;
    parser->tree.values_max = VALUES_PER_TEXT * limits->texts_max + VALUES_AROUND;
    parser->tree.values = calloc(parser->tree.values_max, sizeof(struct value));
    parser->texts = calloc(limits->texts_max, sizeof(*parser->texts));
    parser->json = json_decoder_create(limits->depth_max);
    if (parser->tree.values != NULL && parser->texts != NULL && parser->json != NULL)
        return parser;
    request_parser_destroy(parser);
    return NULL;
}

/* Copies the body, because decoders read up to VALUE_PADDING_BYTES beyond it and a request's last
 * bytes may be the last of a page. */
static bool copy_body(struct request_parser *parser, const void *body, size_t body_bytes)
{
    if (parser->body_capacity < body_bytes || parser->body == NULL) {
        size_t capacity = BODY_BYTES_MIN;
        while (capacity < body_bytes)
            capacity *= 2;
        free(parser->body);
        parser->body_capacity = 0;
        parser->body = malloc(capacity + VALUE_PADDING_BYTES);
        if (parser->body == NULL)
            return false;
        parser->body_capacity = capacity;
    }
    memcpy(parser->body, body, body_bytes);
    return true;
}

static bool refuse_values(const struct request_parser *parser, struct request_error *error)
{
    const struct value_tree *tree = &parser->tree;

    if (tree->culprit_size > 0)
        return request_refuse(error, REQUEST_INVALID,
                              "a list in the body holds %zu items, but one request may hold %u "
                              "texts: send the rest in further requests (--max-client-batch-size)",
                              tree->culprit_size, parser->limits.texts_max);
    return request_refuse(error, REQUEST_INVALID,
                          "the body holds more than %u values, but one request may hold %u texts "
                          "(--max-client-batch-size)",
                          tree->values_max, parser->limits.texts_max);
}

static bool refuse_syntax(const struct request_parser *parser, enum request_encoding encoding,
                          size_t body_bytes, struct request_error *error)
{
    if (encoding == REQUEST_MSGPACK)
        return request_refuse(error, REQUEST_MALFORMED, "the body is not MessagePack: see byte %zu",
                              parser->tree.offset);
    char sentence[ERROR_BYTES];
    json_explain(parser->body, body_bytes, sentence, sizeof(sentence));
    return request_refuse(error, REQUEST_MALFORMED, "%s", sentence);
}

static bool refuse_bytes(const struct request_parser *parser, enum request_encoding encoding,
                         size_t body_bytes, enum value_status status, struct request_error *error)
{
    const struct value_tree *tree = &parser->tree;
    char quote[QUOTE_BYTES];

    switch (status) {
    case VALUE_EMPTY_BODY:
        return request_refuse(error, REQUEST_MALFORMED,
                              "the body is empty: send an object like {\"text\": \"...\"}");
    case VALUE_BAD_UTF8:
        return request_refuse(error, REQUEST_INVALID,
                              "the body is not UTF-8: see byte %zu of its %zu",
                              utf8_find_invalid(parser->body, body_bytes), body_bytes);
    case VALUE_TOO_DEEP:
        return request_refuse(error, REQUEST_MALFORMED,
                              "the body nests deeper than %u levels (--max-json-depth)",
                              tree->depth_max);
    case VALUE_TOO_MANY:
        return refuse_values(parser, error);
    case VALUE_TOO_MANY_FIELDS:
        return request_refuse(error, REQUEST_MALFORMED,
                              "an object in the body has more than %d fields", VALUE_FIELDS_MAX);
    case VALUE_DUPLICATE_FIELD:
        return request_refuse(error, REQUEST_MALFORMED,
                              "the field \"%s\" stands twice in one object: send it once",
                              request_quote(tree->culprit, quote));
    case VALUE_KEY_NOT_STRING:
        return request_refuse(error, REQUEST_MALFORMED,
                              "a field's name is not a string (it ends before byte %zu)",
                              tree->offset);
    case VALUE_TRAILING_BYTES:
        return request_refuse(error, REQUEST_MALFORMED,
                              "the MessagePack value ends at byte %zu, but the body has %zu",
                              tree->offset, body_bytes);
    case VALUE_TRUNCATED:
        return request_refuse(error, REQUEST_MALFORMED,
                              "the body ends after %zu bytes, inside a MessagePack value",
                              body_bytes);
    case VALUE_NO_MEMORY:
        return request_refuse(error, REQUEST_TOO_LARGE,
                              "there is no memory for a body of %zu bytes now: send it in parts",
                              body_bytes);
    default:
        return refuse_syntax(parser, encoding, body_bytes, error);
    }
}

/* Bytes to a tree, and a blank request; false with the error filled. */
static bool decode(struct request_parser *parser, enum request_encoding encoding, const void *body,
                   size_t body_bytes, struct predict_request *request, struct request_error *error)
{
    enum value_status status;

    error->kind = REQUEST_OK;
    error->type = "";
    error->sentence[0] = '\0';
    *request = (struct predict_request){.texts = parser->texts};
    if (body_bytes > parser->limits.body_bytes_max)
        return request_refuse(error, REQUEST_TOO_LARGE,
                              "the body has %zu bytes, but %u are allowed (--payload-limit)",
                              body_bytes, parser->limits.body_bytes_max);
    if (body_bytes == 0)
        return refuse_bytes(parser, encoding, body_bytes, VALUE_EMPTY_BODY, error);
    if (!copy_body(parser, body, body_bytes))
        return refuse_bytes(parser, encoding, body_bytes, VALUE_NO_MEMORY, error);
    if (encoding == REQUEST_JSON)
        status = json_decode(parser->json, parser->body, body_bytes, &parser->tree);
    else
        status = msgpack_decode(parser->body, body_bytes, &parser->tree);
    return status == VALUE_OK || refuse_bytes(parser, encoding, body_bytes, status, error);
}

enum request_error_kind request_parse(struct request_parser *parser, enum request_encoding encoding,
                                      const void *body, size_t body_bytes,
                                      struct predict_request *request, struct request_error *error)
{
    if (!decode(parser, encoding, body, body_bytes, request, error) ||
        !request_read_predict(parser->tree.values, &parser->limits, request, error))
        return error->kind;
    return REQUEST_OK;
}

enum request_error_kind request_parse_tokenize(struct request_parser *parser,
                                               enum request_encoding encoding, const void *body,
                                               size_t body_bytes, struct predict_request *request,
                                               bool *add_special_tokens,
                                               struct request_error *error)
{
    if (!decode(parser, encoding, body, body_bytes, request, error) ||
        !request_read_tokenize(parser->tree.values, &parser->limits, request, add_special_tokens,
                               error))
        return error->kind;
    return REQUEST_OK;
}
