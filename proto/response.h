/* What an answer's bytes are: logits to scores as transformers' pipeline computes them, and scores
 * to JSON or MessagePack in the shape the request's dialect wants. Scores print as Python prints a
 * float32 widened to double: the shortest decimal that reads back to the same double. */
#ifndef WEIR_PROTO_RESPONSE_H
#define WEIR_PROTO_RESPONSE_H

#include "proto/request.h"

/* A growing byte buffer over the caller's allocator (libh2o's request pool, malloc in tests). */
struct response_buffer {
    char *bytes;
    size_t size, capacity;
    /* Returns memory of `size` bytes; the old block is not freed (pool semantics). Never fails. */
    void *(*allocate)(void *context, size_t size);
    void *context;
};

/* Each of the three grows the buffer as it must; one with only `allocate` set is empty. */
void response_append(struct response_buffer *buffer, const void *bytes, size_t size);
/* Quoted and escaped as json.dumps(ensure_ascii=False) does it; `bytes` is UTF-8. */
void response_append_json_string(struct response_buffer *buffer, const char *bytes, size_t size);
/* Python's repr of the double that the float32 widens to: 0.9998704195022583, 1e-05, 1.0; null
 * where it is not finite, because JSON has no word for that. */
void response_append_float(struct response_buffer *buffer, float value);

enum response_problem { RESPONSE_SINGLE_LABEL, RESPONSE_MULTI_LABEL, RESPONSE_REGRESSION };

struct response_labels {
    const char *const *names; /* (n_labels) UTF-8 */
    uint32_t n_labels;
    enum response_problem problem; /* decides what REQUEST_FUNCTION_DEFAULT means */
    const bool *is_number;         /* (n_labels) names that are written as the whole numbers they
                                      are, but for TEI; NULL: none */
    bool return_all;               /* without top_k all labels, in the model's order */
};

/* Writes the whole answer for `request`. logits[i]: (n_labels) of text i. */
void response_format(struct response_buffer *buffer, enum request_encoding encoding,
                     const struct predict_request *request, const struct response_labels *labels,
                     const float *const *logits);

/* False where a logit is NaN or infinite: the model or the encoder is broken, and the caller
 * answers 500 instead of a score. */
bool response_logits_are_finite(const struct response_labels *labels, const float *logits);

/* {"error": sentence, "error_type": type}, escaped. */
void response_format_error(struct response_buffer *buffer, enum request_encoding encoding,
                           const char *type, const char *sentence);

/* scores (n_labels) from logits in float32: softmax with the maximum subtracted, sigmoid, or none,
 * as transformers/pipelines/text_classification.py. */
void response_scores(const struct response_labels *labels, enum request_function function,
                     const float *logits, float *scores);

#endif
