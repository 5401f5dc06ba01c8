/* JSON to the flat tree of value.h, strictly: the whole body is one RFC 8259 value in UTF-8,
 * numbers fit a double or 64 bits, no lone surrogate, no doubled key. NUL inside strings is
 * allowed. */
#ifndef WEIR_PROTO_VALUE_JSON_H
#define WEIR_PROTO_VALUE_JSON_H

#include "proto/value.h"

#ifdef __cplusplus
extern "C" {
#endif

struct json_decoder;

/* NULL without memory. `depth_max` is the largest a tree may have. */
struct json_decoder *json_decoder_create(uint32_t depth_max);
void json_decoder_destroy(struct json_decoder *decoder);

/* `body` must have VALUE_PADDING_BYTES behind it. The tree's strings live in the decoder until its
 * next use. Takes memory only for a body larger than all before. */
enum value_status json_decode(struct json_decoder *decoder, const char *body, size_t body_bytes,
                              struct value_tree *tree);

/* For a body that json_decode() called VALUE_BAD_SYNTAX: writes what is wrong and where into
 * `sentence`, by a second and slow parser that keeps account of positions. */
void json_explain(const char *body, size_t body_bytes, char *sentence, size_t sentence_bytes);

#ifdef __cplusplus
}
#endif

#endif
