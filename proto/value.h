/* A decoded body, whatever its encoding was: a tree laid flat in document order, so that the rules
 * about fields stand once for JSON and MessagePack.
 *
 *     {"text": ["a", "b"]}      map(1) | "text" | list(2) | "a" | "b"
 *     extent                       5       1        3       1     1
 *
 * A map's children are key, value, key, value; keys are strings and differ. value + value->extent
 * is the next sibling. Strings are borrowed from the decoder and are valid UTF-8, unless the kind
 * says otherwise. The array is taken once and bounds what a body may hold; decoders fill it, count
 * what they add, and stop with a status when it is full.
 *
 * Included by C++ too, so it stands on nothing of ours. */
#ifndef WEIR_PROTO_VALUE_H
#define WEIR_PROTO_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Readable bytes a decoder needs behind a body; strings get no less behind them. */
#define VALUE_PADDING_BYTES 64

/* Fields an object may have: it bounds the search for duplicates. No object we know has ten. */
#define VALUE_FIELDS_MAX 64

enum value_kind {
    VALUE_NULL,
    VALUE_BOOLEAN,
    VALUE_INTEGER, /* fits int64_t; other numbers are VALUE_REAL */
    VALUE_REAL,
    VALUE_STRING,
    VALUE_STRING_NOT_UTF8, /* MessagePack only: a JSON body is UTF-8 as a whole or refused */
    VALUE_BINARY,          /* MessagePack's bin */
    VALUE_EXTENSION,       /* MessagePack's ext */
    VALUE_LIST,
    VALUE_MAP,
};

struct value {
    uint32_t kind;   /* enum value_kind */
    uint32_t extent; /* values of the subtree, this one included */
    size_t size;     /* bytes of a string, items of a list, pairs of a map */
    union {
        const char *bytes;
        int64_t integer;
        double real;
        bool boolean;
    };
};

enum value_status {
    VALUE_OK,
    VALUE_EMPTY_BODY,
    VALUE_BAD_SYNTAX,
    VALUE_BAD_UTF8,
    VALUE_TOO_DEEP, /* deeper than depth_max */
    VALUE_TOO_MANY, /* more than values_max; culprit_size: items of the list that was too long */
    VALUE_TOO_MANY_FIELDS, /* an object with more than VALUE_FIELDS_MAX */
    VALUE_DUPLICATE_FIELD, /* culprit: the second one's key */
    VALUE_KEY_NOT_STRING,  /* MessagePack only */
    VALUE_TRAILING_BYTES,  /* MessagePack only: the body goes on behind the value */
    VALUE_TRUNCATED,       /* MessagePack only: the body ends inside a value */
    VALUE_NO_MEMORY,
};

struct value_tree {
    struct value *values; /* (values_max); [0] is the root */
    uint32_t n_values;
    uint32_t values_max;
    uint32_t depth_max; /* containers inside each other; [[1]] is two deep */
    /* Of a refusal: */
    size_t offset; /* of the byte at fault; valid for MessagePack */
    size_t culprit_size;
    const struct value *culprit;
};

/* Appends a value, or returns NULL when the tree is full. Its extent is 1 until value_close(). */
struct value *value_append(struct value_tree *tree, enum value_kind kind, size_t size);

/* Every child has been appended: fixes the extent and, for a map, refuses doubled keys. */
enum value_status value_close(struct value_tree *tree, struct value *container);

static inline const struct value *value_next(const struct value *value)
{
    return value + value->extent;
}

/* A string with exactly these bytes? */
bool value_is_string(const struct value *value, const char *bytes, size_t size);

/* "a string", "a list", ... for sentences. */
const char *value_kind_name(const struct value *value);

#ifdef __cplusplus
}
#endif

#endif
