/* What a predict request's bytes mean. Reads JSON (simdjson, strict, UTF-8 checked) or MessagePack,
 * tells the dialect by the keys, bounds everything, and says exactly what is wrong with a bad body.
 *
 *   text, text_pair, top_k, function_to_apply, truncate    the FastAPI + pipeline sample
 *   inputs, truncate, truncation_direction, raw_scores,    Text Embeddings Inference
 *     parameters, options
 *   instances, parameters                                  Vertex AI
 *
 * `parameters` is an object of top_k, function_to_apply, truncate, truncation, truncation_direction
 * and raw_scores. `options` is what Hugging Face's clients send about their own cache: it is
 * checked and ignored.
 *
 * A field that is not in its dialect's list is refused by name: a misspelt "topk" would otherwise
 * change the answer in silence.
 *
 * No I/O, no allocation per request once the parser has seen a body of that size. */
#ifndef WEIR_PROTO_REQUEST_H
#define WEIR_PROTO_REQUEST_H

#include "shm/base.h"

enum request_encoding { REQUEST_JSON, REQUEST_MSGPACK };
enum request_dialect { REQUEST_SAMPLE, REQUEST_TEI, REQUEST_VERTEX };
enum request_function { REQUEST_FUNCTION_DEFAULT, REQUEST_SOFTMAX, REQUEST_SIGMOID, REQUEST_NONE };
enum request_truncate { REQUEST_TRUNCATE_DEFAULT, REQUEST_TRUNCATE_ON, REQUEST_TRUNCATE_OFF };

/* Where a text too long is cut. The default is the model's truncation_side; in Text Embeddings
 * Inference's dialect it is the right, whatever the model says. */
enum request_side { REQUEST_SIDE_DEFAULT, REQUEST_SIDE_LEFT, REQUEST_SIDE_RIGHT };

/* Bytes that stay readable behind every string, for the tokenizer's wide loads. */
#define REQUEST_PADDING_BYTES 64

struct request_text {
    const char *text; /* checked UTF-8; valid until the parser's next use */
    size_t text_bytes;
    const char *pair; /* NULL: a single text */
    size_t pair_bytes;
};

struct predict_request {
    enum request_dialect dialect;
    bool is_list;   /* the answer is a list although there may be one text */
    bool is_object; /* the sample's {"text": {"text": ...}}: the pipeline answers no list at all */
    struct request_text *texts;
    uint32_t n_texts;
    bool has_top_k; /* present, even if null */
    uint32_t top_k; /* 0 = null = all labels */
    enum request_function function;
    enum request_truncate truncate;
    enum request_side truncation_side;
};

/* Which HTTP status a refusal deserves. */
enum request_error_kind {
    REQUEST_OK = 0,
    REQUEST_MALFORMED, /* 400: not JSON, wrong type, unknown, missing or duplicate field, empty */
    REQUEST_INVALID,   /* 422: too many texts, invalid UTF-8 */
    REQUEST_TOO_LARGE, /* 413: a limit of bytes */
};

struct request_error {
    enum request_error_kind kind;
    const char *type;           /* the answer's error_type: "Validation"; "Empty" without a text */
    char sentence[ERROR_BYTES]; /* says what, where (byte offset or field), and what to do */
};

struct request_limits {
    uint32_t texts_max; /* --max-client-batch-size */
    uint32_t depth_max; /* nesting of the body */
    uint32_t body_bytes_max;
};

struct request_parser;

/* Takes what the texts need; the rest grows with the largest body seen. NULL without memory.
 * limits: texts_max >= 1, depth_max in 1..256. */
struct request_parser *request_parser_create(const struct request_limits *limits);
void request_parser_destroy(struct request_parser *parser);

/* Fills `request`, whose strings live in the parser until its next use. */
enum request_error_kind request_parse(struct request_parser *parser, enum request_encoding encoding,
                                      const void *body, size_t body_bytes,
                                      struct predict_request *request, struct request_error *error);

/* POST /tokenize: {"inputs": text or list, "add_special_tokens": true}. Same parser, same limits;
 * request->is_list says which of the two it was. */
enum request_error_kind request_parse_tokenize(struct request_parser *parser,
                                               enum request_encoding encoding, const void *body,
                                               size_t body_bytes, struct predict_request *request,
                                               bool *add_special_tokens,
                                               struct request_error *error);

#endif
