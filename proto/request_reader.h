/* From a decoded body to a request: which fields there are, what they may hold, and the sentence
 * for each thing that is wrong. Knows nothing of JSON or MessagePack.
 *
 *     request.c           bytes -> tree, and what is wrong with the bytes
 *     request_fields.c    objects: tables of fields, and the options
 *     request_texts.c     the texts of each dialect
 */
#ifndef WEIR_PROTO_REQUEST_READER_H
#define WEIR_PROTO_REQUEST_READER_H

#include "proto/request.h"
#include "proto/value.h"

#define PLACE_NONE UINT32_MAX

/* Where a value stands, put into words only when a sentence needs it: name[item].field[part]. */
struct place {
    const char *name;    /* NULL: the body itself */
    uint32_t item, part; /* PLACE_NONE: not in a list */
    const char *field;   /* NULL: the value itself */
};

/* A value that is read later, once the object around it has been seen whole. */
struct source {
    const struct value *value; /* NULL: absent */
    struct place place;
};

struct reader {
    const struct request_limits *limits;
    struct predict_request *request;
    struct request_error *error;
    struct place object; /* the object whose fields are being read */
    struct source text, pair;
    bool is_sequence; /* `text` may be ["a", "b"] */
    bool raw_scores, add_special_tokens;
};

/* Reads one field's value; false with the error filled. */
typedef bool reader_function(struct reader *reader, const struct place *place,
                             const struct value *value);

struct field {
    const char *name;
    reader_function *read;
};

/* Fills `error`; false, so that a caller can return it. */
bool request_refuse(struct request_error *error, enum request_error_kind kind, const char *format,
                    ...) __attribute__((format(printf, 3, 4)));

/* A key as a sentence may quote it: cut at a character, control characters replaced. */
#define QUOTE_BYTES 48
const char *request_quote(const struct value *key, char quote[QUOTE_BYTES]);

#define PATH_BYTES 64
const char *place_path(const struct place *place, char path[PATH_BYTES]);

/* "text[3]" must be <expected>, but it is <what it is>. False. */
bool reader_refuse_kind(struct reader *reader, const struct place *place, const char *expected,
                        const struct value *value);

/* Reads each field of `map` by its table; a field that the table lacks is refused. */
bool reader_fields(struct reader *reader, const struct place *object, const struct value *map,
                   const struct field *fields, size_t n_fields);

/* The texts of `reader->text` and `reader->pair` into the request, for each dialect. */
bool reader_sample_texts(struct reader *reader);
bool reader_tei_texts(struct reader *reader);
bool reader_vertex_texts(struct reader *reader);
bool reader_tokenize_texts(struct reader *reader);

/* Table entries that only note where the texts are. */
reader_function reader_note_text, reader_note_sequence, reader_note_pair;

/* What request.c calls. Each fills `request` (texts has room for limits->texts_max) from the root
 * of a tree, or returns false with `error` filled. */
bool request_read_predict(const struct value *root, const struct request_limits *limits,
                          struct predict_request *request, struct request_error *error);
bool request_read_tokenize(const struct value *root, const struct request_limits *limits,
                           struct predict_request *request, bool *add_special_tokens,
                           struct request_error *error);

#endif
