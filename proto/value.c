/* The flat tree that both decoders fill: see value.h. */
#include "proto/value.h"

#include <string.h>

struct value *value_append(struct value_tree *tree, enum value_kind kind, size_t size)
{
    /* A container whose children cannot fit is refused here, before any of them is looked at. */
    uint32_t room = tree->values_max - tree->n_values;
    bool is_container = kind == VALUE_LIST || kind == VALUE_MAP;

    if (room == 0 || (is_container && size > room - 1)) {
        tree->culprit_size = is_container ? size : 0;
        return NULL;
    }
    struct value *value = &tree->values[tree->n_values++];
    value->kind = kind;
    value->extent = 1;
    value->size = size;
    value->bytes = NULL;
    return value;
}

static enum value_status check_keys(struct value_tree *tree, const struct value *map)
{
    const struct value *keys[VALUE_FIELDS_MAX];
    size_t n_keys = 0;

    if (map->size > VALUE_FIELDS_MAX)
        return VALUE_TOO_MANY_FIELDS;
    for (const struct value *key = map + 1; n_keys < map->size; key = value_next(key + 1)) {
        for (size_t i = 0; i < n_keys; i++) {
            if (value_is_string(keys[i], key->bytes, key->size)) {
                tree->culprit = key;
                return VALUE_DUPLICATE_FIELD;
            }
        }
        keys[n_keys++] = key;
    }
    return VALUE_OK;
}

enum value_status value_close(struct value_tree *tree, struct value *container)
{
    container->extent = (uint32_t)(tree->values + tree->n_values - container);
    return container->kind == VALUE_MAP ? check_keys(tree, container) : VALUE_OK;
}

bool value_is_string(const struct value *value, const char *bytes, size_t size)
{
    return value->size == size && memcmp(value->bytes, bytes, size) == 0;
}

const char *value_kind_name(const struct value *value)
{
    switch ((enum value_kind)value->kind) {
    case VALUE_NULL:
        return "null";
    case VALUE_BOOLEAN:
        return "a boolean";
    case VALUE_INTEGER:
    case VALUE_REAL:
        return "a number";
    case VALUE_STRING:
        return "a string";
    case VALUE_STRING_NOT_UTF8:
        return "a string that is not UTF-8";
    case VALUE_BINARY:
        return "binary data";
    case VALUE_EXTENSION:
        return "an extension type";
    case VALUE_LIST:
        return "a list";
    case VALUE_MAP:
        return "an object";
    }
    return "unknown";
}
