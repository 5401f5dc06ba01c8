/* MessagePack to the flat tree of value.h: one value and nothing behind it, string keys only, none
 * of them doubled. A string that is not UTF-8 becomes VALUE_STRING_NOT_UTF8, so that whoever knows
 * its field can name it. */
#ifndef WEIR_PROTO_VALUE_MSGPACK_H
#define WEIR_PROTO_VALUE_MSGPACK_H

#include "proto/value.h"

/* The deepest nesting a tree may ask for (struct value_tree's depth_max). */
#define MSGPACK_DEPTH_MAX 256

/* Strings point into `body`, which must have VALUE_PADDING_BYTES behind it and outlive them. Takes
 * no memory. On a refusal tree->offset is the byte at fault. */
enum value_status msgpack_decode(const char *body, size_t body_bytes, struct value_tree *tree);

#endif
