/* The only file that reads MessagePack. It drives msgpack-c's streaming template (the one its own
 * msgpack_unpack() is made of) with callbacks that fill our tree: so nothing is allocated, a
 * claimed count of 4 billion items is refused by the tree's size before anything is made of it, and
 * strings stay where they are.
 *
 * The template hands back, for each value, what the callback made of it: here an index into the
 * tree. It calls _array_item or _map_item once a child is complete, which is where containers are
 * closed. */
#include "proto/value_msgpack.h"

#include "proto/utf8.h"

/* The template keeps its own stack and refuses what is deeper; depth_max refuses before. */
#define MSGPACK_EMBED_STACK_SIZE (MSGPACK_DEPTH_MAX + 1)

#include <msgpack/unpack.h>
#include <msgpack/unpack_define.h>

struct msgpack_user {
    struct value_tree *tree;
    uint32_t depth; /* containers open now */
    enum value_status status;
};

#define msgpack_unpack_struct(name)       struct msgpack_template##name
#define msgpack_unpack_func(result, name) static inline result msgpack_template##name
#define msgpack_unpack_callback(name)     msgpack_callback##name
#define msgpack_unpack_object             uint32_t
#define msgpack_unpack_user               struct msgpack_user

#define REFUSED (-1) /* negative, and none of the template's own codes' meanings matter to us */

static int refuse(struct msgpack_user *user, enum value_status status)
{
    user->status = status;
    return REFUSED;
}

static int append(struct msgpack_user *user, enum value_kind kind, size_t size, uint32_t *index)
{
    struct value *value = value_append(user->tree, kind, size);

    if (value == NULL)
        return refuse(user, VALUE_TOO_MANY);
    *index = (uint32_t)(value - user->tree->values);
    return 0;
}

static struct value *at(struct msgpack_user *user, uint32_t index)
{
    return &user->tree->values[index];
}

static inline uint32_t msgpack_callback_root(struct msgpack_user *user)
{
    return 0;
}

static inline int msgpack_callback_nil(struct msgpack_user *user, uint32_t *index)
{
    return append(user, VALUE_NULL, 0, index);
}

static int append_boolean(struct msgpack_user *user, bool on, uint32_t *index)
{
    if (append(user, VALUE_BOOLEAN, 0, index) < 0)
        return REFUSED;
    at(user, *index)->boolean = on;
    return 0;
}

static inline int msgpack_callback_true(struct msgpack_user *user, uint32_t *index)
{
    return append_boolean(user, true, index);
}

static inline int msgpack_callback_false(struct msgpack_user *user, uint32_t *index)
{
    return append_boolean(user, false, index);
}

static int append_integer(struct msgpack_user *user, int64_t integer, uint32_t *index)
{
    if (append(user, VALUE_INTEGER, 0, index) < 0)
        return REFUSED;
    at(user, *index)->integer = integer;
    return 0;
}

static int append_real(struct msgpack_user *user, double real, uint32_t *index)
{
    if (append(user, VALUE_REAL, 0, index) < 0)
        return REFUSED;
    at(user, *index)->real = real;
    return 0;
}

#define INTEGER_CALLBACK(name, type)                                                  \
    static inline int msgpack_callback_##name(struct msgpack_user *user, type number, \
                                              uint32_t *index)                        \
    {                                                                                 \
        return append_integer(user, number, index);                                   \
    }
INTEGER_CALLBACK(uint8, uint8_t)
INTEGER_CALLBACK(uint16, uint16_t)
INTEGER_CALLBACK(uint32, uint32_t)
INTEGER_CALLBACK(int8, int8_t)
INTEGER_CALLBACK(int16, int16_t)
INTEGER_CALLBACK(int32, int32_t)
INTEGER_CALLBACK(int64, int64_t)

static inline int msgpack_callback_uint64(struct msgpack_user *user, uint64_t number,
                                          uint32_t *index)
{
    if (number > INT64_MAX)
        return append_real(user, (double)number, index);
    return append_integer(user, (int64_t)number, index);
}

static inline int msgpack_callback_float(struct msgpack_user *user, float number, uint32_t *index)
{
    return append_real(user, number, index);
}

static inline int msgpack_callback_double(struct msgpack_user *user, double number, uint32_t *index)
{
    return append_real(user, number, index);
}

/* `body` is the whole body; `bytes` may be anything where `size` is 0. */
static int append_bytes(struct msgpack_user *user, enum value_kind kind, const char *body,
                        const char *bytes, unsigned int size, uint32_t *index)
{
    if (append(user, kind, size, index) < 0)
        return REFUSED;
    at(user, *index)->bytes = size > 0 ? bytes : body;
    return 0;
}

static inline int msgpack_callback_str(struct msgpack_user *user, const char *body,
                                       const char *bytes, unsigned int size, uint32_t *index)
{
    bool is_valid = size == 0 || utf8_is_valid(bytes, size);

    return append_bytes(user, is_valid ? VALUE_STRING : VALUE_STRING_NOT_UTF8, body, bytes, size,
                        index);
}

static inline int msgpack_callback_bin(struct msgpack_user *user, const char *body,
                                       const char *bytes, unsigned int size, uint32_t *index)
{
    return append_bytes(user, VALUE_BINARY, body, bytes, size, index);
}

static inline int msgpack_callback_ext(struct msgpack_user *user, const char *body,
                                       const char *bytes, unsigned int size, uint32_t *index)
{
    return append_bytes(user, VALUE_EXTENSION, body, bytes, size, index);
}

static int open_container(struct msgpack_user *user, enum value_kind kind, unsigned int size,
                          uint32_t *index)
{
    if (user->depth == user->tree->depth_max)
        return refuse(user, VALUE_TOO_DEEP);
    user->depth++;
    return append(user, kind, size, index);
}

static inline int msgpack_callback_array(struct msgpack_user *user, unsigned int size,
                                         uint32_t *index)
{
    return open_container(user, VALUE_LIST, size, index);
}

static inline int msgpack_callback_map(struct msgpack_user *user, unsigned int size,
                                       uint32_t *index)
{
    return open_container(user, VALUE_MAP, size, index);
}

/* All of `index` has been read. */
static int complete(struct msgpack_user *user, uint32_t index)
{
    struct value *value = at(user, index);

    if (value->kind != VALUE_LIST && value->kind != VALUE_MAP)
        return 0;
    user->depth--;
    enum value_status status = value_close(user->tree, value);
    return status == VALUE_OK ? 0 : refuse(user, status);
}

static inline int msgpack_callback_array_item(struct msgpack_user *user, uint32_t *list,
                                              uint32_t item)
{
    return complete(user, item);
}

static inline int msgpack_callback_map_item(struct msgpack_user *user, uint32_t *map, uint32_t key,
                                            uint32_t item)
{
    const struct value *field = at(user, key);

    if (field->kind != VALUE_STRING && field->kind != VALUE_STRING_NOT_UTF8)
        return refuse(user, VALUE_KEY_NOT_STRING);
    return complete(user, item);
}

#include <msgpack/unpack_template.h>

enum value_status msgpack_decode(const char *body, size_t body_bytes, struct value_tree *tree)
{
    struct msgpack_template_context context; /* its 6 KB of stack need no zeroes */

    tree->n_values = 0;
    tree->culprit_size = 0;
    tree->culprit = NULL;
    tree->offset = 0;
    if (body_bytes == 0)
        return VALUE_EMPTY_BODY;
    context.user = (struct msgpack_user){.tree = tree, .depth = 0, .status = VALUE_BAD_SYNTAX};
    msgpack_template_init(&context);
    int result = msgpack_template_execute(&context, body, body_bytes, &tree->offset);
    if (result < 0)
        return context.user.status;
    if (result == 0)
        return VALUE_TRUNCATED;
    if (complete(&context.user, 0) < 0)
        return context.user.status;
    return tree->offset < body_bytes ? VALUE_TRAILING_BYTES : VALUE_OK;
}
