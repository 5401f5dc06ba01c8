/* The MessagePack decoder, byte by byte: each type, each refusal, every prefix, against a guard
 * page. */
#include "proto/value_msgpack.h"
#include "tests/proto/guard.h"

#define VALUES_MAX 200
#define DEPTH_MAX  5

static struct guard guard;
static struct value values[VALUES_MAX];
static struct value_tree tree = {
    .values = values, .values_max = VALUES_MAX, .depth_max = DEPTH_MAX};

/* The padding is there, but the page behind it is not. */
static enum value_status decode_bytes(const char *body, size_t size)
{
    return msgpack_decode(guard_place(&guard, body, size, VALUE_PADDING_BYTES), size, &tree);
}

/* `body` is a string literal: its size is known, zeros inside included. */
#define DECODE(body) decode_bytes(body, sizeof(body) - 1)

static void each_type_has_its_kind(void)
{
    EXPECT(DECODE("\xC0") == VALUE_OK && values[0].kind == VALUE_NULL);
    EXPECT(DECODE("\xC2") == VALUE_OK && values[0].kind == VALUE_BOOLEAN && !values[0].boolean);
    EXPECT(DECODE("\xC3") == VALUE_OK && values[0].kind == VALUE_BOOLEAN && values[0].boolean);
    EXPECT(DECODE("\xCA\x3F\xC0\x00\x00") == VALUE_OK && values[0].real == 1.5);
    EXPECT(DECODE("\xCB\x3F\xF8\x00\x00\x00\x00\x00\x00") == VALUE_OK && values[0].real == 1.5);
    EXPECT(DECODE("\xC4\x02zz") == VALUE_OK && values[0].kind == VALUE_BINARY);
    EXPECT(DECODE("\xC5\x00\x01z") == VALUE_OK && values[0].kind == VALUE_BINARY);
    EXPECT(DECODE("\xC6\x00\x00\x00\x00") == VALUE_OK && values[0].kind == VALUE_BINARY);
    EXPECT(DECODE("\xD4\x01z") == VALUE_OK && values[0].kind == VALUE_EXTENSION);
    EXPECT(DECODE("\xC7\x01\x05z") == VALUE_OK && values[0].kind == VALUE_EXTENSION);
}

static void an_integer_is_read_as(enum value_status status, int64_t expected)
{
    EXPECT_EQUAL(status, VALUE_OK);
    EXPECT_EQUAL(values[0].kind, VALUE_INTEGER);
    EXPECT_EQUAL(values[0].integer, expected);
}

static void integers_of_all_widths_are_read(void)
{
    an_integer_is_read_as(DECODE("\x7F"), 127);
    an_integer_is_read_as(DECODE("\xE0"), -32);
    an_integer_is_read_as(DECODE("\xCC\xFF"), 255);
    an_integer_is_read_as(DECODE("\xCD\xFF\xFF"), 65535);
    an_integer_is_read_as(DECODE("\xCE\xFF\xFF\xFF\xFF"), UINT32_MAX);
    an_integer_is_read_as(DECODE("\xCF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), INT64_MAX);
    an_integer_is_read_as(DECODE("\xD0\x80"), -128);
    an_integer_is_read_as(DECODE("\xD1\x80\x00"), -32768);
    an_integer_is_read_as(DECODE("\xD2\x80\x00\x00\x00"), INT32_MIN);
    an_integer_is_read_as(DECODE("\xD3\x80\x00\x00\x00\x00\x00\x00\x00"), INT64_MIN);
    EXPECT(DECODE("\xCF\x80\x00\x00\x00\x00\x00\x00\x00") == VALUE_OK);
    EXPECT(values[0].kind == VALUE_REAL && values[0].real == 9223372036854775808.0);
}

static void strings_stay_where_they_are(void)
{
    EXPECT_EQUAL(DECODE("\xA0"), VALUE_OK);
    EXPECT(values[0].kind == VALUE_STRING && values[0].size == 0 && values[0].bytes != NULL);
    EXPECT(DECODE("\xA2hi") == VALUE_OK && value_is_string(values, "hi", 2));
    EXPECT(DECODE("\xD9\x02hi") == VALUE_OK && value_is_string(values, "hi", 2));
    EXPECT(DECODE("\xDA\x00\x02hi") == VALUE_OK && value_is_string(values, "hi", 2));
    EXPECT(DECODE("\xDB\x00\x00\x00\x02hi") == VALUE_OK && value_is_string(values, "hi", 2));
    EXPECT(values[0].bytes == guard.map + guard.usable - VALUE_PADDING_BYTES - 2);
    EXPECT(DECODE("\xA3"
                  "a\0b") == VALUE_OK &&
           value_is_string(values, "a\0b", 3));
}

static void a_string_that_is_not_utf8_is_marked(void)
{
    EXPECT_EQUAL(DECODE("\x92\xA1\xFF\xA1x"), VALUE_OK);
    EXPECT_EQUAL(values[1].kind, VALUE_STRING_NOT_UTF8);
    EXPECT_EQUAL(values[2].kind, VALUE_STRING);
    EXPECT_EQUAL(DECODE("\xA3\xED\xA0\x80"), VALUE_OK);
    EXPECT_EQUAL(values[0].kind, VALUE_STRING_NOT_UTF8);
}

static void the_tree_lies_flat_in_document_order(void)
{
    /* {"t": ["a", [], {"k": -3}], "u": nil} */
    EXPECT_EQUAL(DECODE("\x82\xA1t\x93\xA1"
                        "a\x90\x81\xA1k\xFD\xA1u\xC0"),
                 VALUE_OK);
    const struct value *root = values, *list = root + 2;
    EXPECT_EQUAL(tree.n_values, 10);
    EXPECT(root->kind == VALUE_MAP && root->size == 2 && root->extent == 10);
    EXPECT(list->kind == VALUE_LIST && list->size == 3 && list->extent == 6);
    EXPECT(list[2].kind == VALUE_LIST && list[2].extent == 1);
    EXPECT(list[3].kind == VALUE_MAP && list[3].extent == 3 && list[5].integer == -3);
    EXPECT(value_is_string(value_next(list), "u", 1));
}

static void what_is_wrong_is_refused(void)
{
    EXPECT_EQUAL(DECODE(""), VALUE_EMPTY_BODY);
    EXPECT_EQUAL(DECODE("\xC1"), VALUE_BAD_SYNTAX);
    EXPECT_EQUAL(DECODE("\x91\xC1"), VALUE_BAD_SYNTAX);
    EXPECT_EQUAL(tree.offset, 1);
    EXPECT_EQUAL(DECODE("\xC0\xC0"), VALUE_TRAILING_BYTES);
    EXPECT_EQUAL(tree.offset, 1);
    EXPECT_EQUAL(DECODE("\x80\x00"), VALUE_TRAILING_BYTES);
    EXPECT_EQUAL(DECODE("\x81\x01\xC0"), VALUE_KEY_NOT_STRING);
    EXPECT_EQUAL(DECODE("\x81\x90\xC0"), VALUE_KEY_NOT_STRING);
    EXPECT_EQUAL(DECODE("\x81\xC4\x01z\xC0"), VALUE_KEY_NOT_STRING);
    EXPECT_EQUAL(DECODE("\x82\xA1z\xC0\xA1z\xC0"), VALUE_DUPLICATE_FIELD);
    EXPECT_EQUAL(DECODE("\x91\x82\xA1z\xC0\xD9\x01z\xC0"), VALUE_DUPLICATE_FIELD);
}

static void a_claimed_count_costs_nothing(void)
{
    EXPECT_EQUAL(DECODE("\xDD\xFF\xFF\xFF\xFF"), VALUE_TOO_MANY);
    EXPECT_EQUAL(tree.culprit_size, UINT32_MAX);
    EXPECT_EQUAL(DECODE("\xDF\xFF\xFF\xFF\xFF"), VALUE_TOO_MANY);
    EXPECT_EQUAL(DECODE("\xDB\xFF\xFF\xFF\xFFx"), VALUE_TRUNCATED);
    EXPECT_EQUAL(DECODE("\xC6\xFF\xFF\xFF\xFFx"), VALUE_TRUNCATED);
    EXPECT(DECODE("\xC9\xFF\xFF\xFF\xFFxx") !=
           VALUE_EMPTY_BODY); /* a length that wraps in 32 bits */
}

static void nesting_is_held_to_its_limit(void)
{
    EXPECT_EQUAL(DECODE("\x91\x91\x91\x91\xC0"), VALUE_OK);
    EXPECT_EQUAL(DECODE("\x91\x91\x91\x91\x91\xC0"), VALUE_OK);
    EXPECT_EQUAL(DECODE("\x91\x91\x91\x91\x90"), VALUE_OK);
    EXPECT_EQUAL(DECODE("\x91\x91\x91\x91\x91\x90"), VALUE_TOO_DEEP);
    EXPECT_EQUAL(DECODE("\x93\x91\x91\xC0\x91\x91\xC0\x91\x91\x91\x90"), VALUE_OK);

    char deep[4096];
    memset(deep, 0x91, sizeof(deep));
    EXPECT_EQUAL(decode_bytes(deep, sizeof(deep)), VALUE_TOO_DEEP);
    tree.depth_max = MSGPACK_DEPTH_MAX;
    tree.values_max = VALUES_MAX;
    deep[VALUES_MAX - 1] = (char)0xC0;
    EXPECT_EQUAL(decode_bytes(deep, VALUES_MAX), VALUE_OK);
    tree.depth_max = DEPTH_MAX;
}

static void the_deepest_allowed_nesting_fits_the_decoder(void)
{
    static struct value many[2 * MSGPACK_DEPTH_MAX];
    struct value_tree deep_tree = {
        .values = many, .values_max = 2 * MSGPACK_DEPTH_MAX, .depth_max = MSGPACK_DEPTH_MAX};
    char body[MSGPACK_DEPTH_MAX + 2];

    memset(body, 0x91, sizeof(body));
    body[MSGPACK_DEPTH_MAX] = (char)0xC0;
    EXPECT_EQUAL(msgpack_decode(guard_place(&guard, body, MSGPACK_DEPTH_MAX + 1, 64),
                                MSGPACK_DEPTH_MAX + 1, &deep_tree),
                 VALUE_OK);
    body[MSGPACK_DEPTH_MAX] = (char)0x91;
    body[MSGPACK_DEPTH_MAX + 1] = (char)0xC0;
    EXPECT_EQUAL(msgpack_decode(guard_place(&guard, body, MSGPACK_DEPTH_MAX + 2, 64),
                                MSGPACK_DEPTH_MAX + 2, &deep_tree),
                 VALUE_TOO_DEEP);
}

static enum value_status decode_nils(size_t n)
{
    char body[VALUES_MAX + 16];

    memset(body, 0xC0, sizeof(body));
    body[0] = (char)0xDC;
    body[1] = (char)(n >> 8);
    body[2] = (char)n;
    return decode_bytes(body, 3 + n);
}

static void values_are_held_to_their_limit(void)
{
    EXPECT_EQUAL(decode_nils(VALUES_MAX - 2), VALUE_OK);
    EXPECT_EQUAL(decode_nils(VALUES_MAX - 1), VALUE_OK);
    EXPECT_EQUAL(decode_nils(VALUES_MAX), VALUE_TOO_MANY);
}

static enum value_status decode_fields(size_t n)
{
    char body[4 * VALUE_FIELDS_MAX + 16] = {(char)0xDE, 0, (char)n};

    for (size_t i = 0; i < n; i++)
        memcpy(body + 3 + 4 * i,
               (char[]){(char)0xA2, (char)('0' + i / 32), (char)('0' + i % 32), 1}, 4);
    return decode_bytes(body, 3 + 4 * n);
}

static void fields_are_held_to_their_limit(void)
{
    EXPECT_EQUAL(decode_fields(VALUE_FIELDS_MAX - 1), VALUE_OK);
    EXPECT_EQUAL(decode_fields(VALUE_FIELDS_MAX), VALUE_OK);
    EXPECT_EQUAL(decode_fields(VALUE_FIELDS_MAX + 1), VALUE_TOO_MANY_FIELDS);
}

static void no_prefix_of_a_good_body_is_taken(void)
{
    static const char body[] =
        "\x86\xA1t\x92\xA1"
        "a\xD9\x03xyz\xA1u\xCB\x3F\xF8\x00\x00\x00\x00\x00\x00\xA1v\xCD\x01\x02"
        "\xA1w\xC4\x02zz\xA1x\xDD\x00\x00\x00\x01\xC0\xA1y\xDA\x00\x02hi";
    EXPECT_EQUAL(DECODE(body), VALUE_OK);
    for (size_t size = 1; size < sizeof(body) - 1; size++)
        EXPECT_EQUAL(decode_bytes(body, size), VALUE_TRUNCATED);
}

/* Random bytes from a fixed seed: nothing but a status may come of them. */
static void rubbish_does_no_harm(void)
{
    uint64_t state = 20240612;
    char body[64];

    for (int i = 0; i < 500000; i++) {
        for (size_t k = 0; k < sizeof(body); k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            body[k] = (char)(state >> 56);
        }
        enum value_status status = decode_bytes(body, 1 + (state >> 32) % sizeof(body));
        EXPECT(status != VALUE_NO_MEMORY && status != VALUE_EMPTY_BODY);
        EXPECT(tree.n_values <= VALUES_MAX);
        if (status == VALUE_OK)
            EXPECT_EQUAL(values[0].extent, tree.n_values);
    }
}

int main(void)
{
    guard = guard_open(8192);
    RUN(each_type_has_its_kind);
    RUN(integers_of_all_widths_are_read);
    RUN(strings_stay_where_they_are);
    RUN(a_string_that_is_not_utf8_is_marked);
    RUN(the_tree_lies_flat_in_document_order);
    RUN(what_is_wrong_is_refused);
    RUN(a_claimed_count_costs_nothing);
    RUN(nesting_is_held_to_its_limit);
    RUN(the_deepest_allowed_nesting_fits_the_decoder);
    RUN(values_are_held_to_their_limit);
    RUN(fields_are_held_to_their_limit);
    RUN(no_prefix_of_a_good_body_is_taken);
    RUN(rubbish_does_no_harm);
    guard_close(&guard);
    return 0;
}
