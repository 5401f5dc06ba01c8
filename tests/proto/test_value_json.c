/* The JSON decoder: what it takes, what it refuses and why, what tree it builds, and that it reads
 * no further than the padding it was promised. */
#include "proto/value_json.h"
#include "tests/proto/guard.h"

#define VALUES_MAX 200
#define DEPTH_MAX  5

/* As many empty strings as fit the decoder's first buffers. */
#define FIRST_CAPACITY_BYTES 16384
#define WORST_STRINGS        ((FIRST_CAPACITY_BYTES - VALUE_PADDING_BYTES - 1) / 3)

static struct guard guard;
static struct json_decoder *decoder;
static struct value values[VALUES_MAX];
static struct value_tree tree = {
    .values = values, .values_max = VALUES_MAX, .depth_max = DEPTH_MAX};

static enum value_status decode_bytes(const char *body, size_t body_bytes)
{
    return json_decode(decoder, guard_place(&guard, body, body_bytes, VALUE_PADDING_BYTES),
                       body_bytes, &tree);
}

static enum value_status decode(const char *body)
{
    return decode_bytes(body, strlen(body));
}

static const char *const good[] = {
    "{}",
    "[]",
    " { \"a\" : [ 1 , -2.5e3 , true , false , null , \"x\" ] , \"b\" : { } }\r\n\t ",
    "\"\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u0041 \\u00e9 \\u20AC \\ud83d\\ude00\"",
    "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"",
    "[[[[[]]]]]",
    "[0,-0,1E5,1e-5,0.1,9223372036854775807,-9223372036854775808,18446744073709551615]",
    "{\"a\":1,\"A\":2,\"\":3}",
    "\"\\u0000\"",
};

static void good_bodies_are_taken(void)
{
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        EXPECT_EQUAL(decode(good[i]), VALUE_OK);
    EXPECT_EQUAL(decode("1"), VALUE_OK);
    EXPECT_EQUAL(decode("null"), VALUE_OK);
}

static void no_prefix_of_a_good_body_is_taken(void)
{
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        size_t last = strlen(good[i]);
        while (last > 0 && strchr(" \r\n\t", good[i][last - 1]) != NULL)
            last--;
        for (size_t size = 0; size < last; size++)
            EXPECT(decode_bytes(good[i], size) != VALUE_OK);
    }
}

static void what_is_not_json_is_refused(void)
{
    static const char *const bad[] = {
        "{",
        "}",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{'a':1}",
        "[1 2]",
        "[1]2",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
        "0x1",
        "NaN",
        "Infinity",
        "nul",
        "truee",
        "tru",
        "\"abc",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\n\"",
        "\"\x01\"",
        "\"\t\"",
        "// a\n1",
        "1 /* */",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud83d\\ud83d\"",
        "\"\\ud83dx\"",
        "1e999",
        "-1e999",
        "18446744073709551616",
        "-9223372036854775809",
        "\xEF\xBB\xBF{}",
        "{}{}",
        "[,1]",
        "[1,,2]",
        ":",
        ",",
        "\"a\":1",
        "{\"a\":1 \"b\":2}",
        "{1:2}",
        "{\"a\":1,,}",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (decode(bad[i]) != VALUE_BAD_SYNTAX)
            fprintf(stderr, "taken: %s\n", bad[i]);
        EXPECT_EQUAL(decode(bad[i]), VALUE_BAD_SYNTAX);
    }
    EXPECT_EQUAL(decode(""), VALUE_EMPTY_BODY);
    EXPECT_EQUAL(decode(" \n"), VALUE_EMPTY_BODY);
    EXPECT_EQUAL(decode_bytes("1\0", 2), VALUE_BAD_SYNTAX);
    EXPECT_EQUAL(decode_bytes("\"a\0b\"", 5), VALUE_BAD_SYNTAX);
}

static void bytes_that_are_not_utf8_are_refused(void)
{
    EXPECT_EQUAL(decode("\"\xFF\""), VALUE_BAD_UTF8);
    EXPECT_EQUAL(decode("\"\xED\xA0\x80\""), VALUE_BAD_UTF8);
    EXPECT_EQUAL(decode("\"\xC0\x80\""), VALUE_BAD_UTF8);
    EXPECT_EQUAL(decode("\"\xE2\x82\""), VALUE_BAD_UTF8);
    EXPECT_EQUAL(decode("{} \xC3"), VALUE_BAD_UTF8);
}

static void doubled_fields_are_refused_however_they_are_spelt(void)
{
    EXPECT_EQUAL(decode("{\"a\":1,\"a\":1}"), VALUE_DUPLICATE_FIELD);
    EXPECT(value_is_string(tree.culprit, "a", 1));
    EXPECT_EQUAL(decode("{\"a\":1,\"\\u0061\":1}"), VALUE_DUPLICATE_FIELD);
    EXPECT_EQUAL(decode("[{\"x\":{\"b\":1,\"c\":[],\"b\":1}}]"), VALUE_DUPLICATE_FIELD);
    EXPECT_EQUAL(decode("{\"a\\u0000\":1,\"a\":1,\"a\\u0000b\":1}"), VALUE_OK);
}

static void nesting_is_held_to_its_limit(void)
{
    EXPECT_EQUAL(decode("[[[[1]]]]"), VALUE_OK);
    EXPECT_EQUAL(decode("[[[[[1]]]]]"), VALUE_OK);
    EXPECT_EQUAL(decode("[[[[[[]]]]]]"), VALUE_TOO_DEEP);
    EXPECT_EQUAL(decode("[[[[[{}]]]]]"), VALUE_TOO_DEEP);
    EXPECT_EQUAL(decode("{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":[]}}}}}"), VALUE_TOO_DEEP);
    char *deep = calloc(1, 100001);
    memset(deep, '[', 50000);
    memset(deep + 50000, ']', 50000);
    EXPECT_EQUAL(decode(deep), VALUE_TOO_DEEP);
    free(deep);
}

/* "[1,1,...,1]" with n ones has n + 1 values. */
static enum value_status decode_ones(size_t n)
{
    char body[2 * VALUES_MAX + 16] = "[1";

    for (size_t i = 1; i < n; i++)
        stpcpy(body + 2 * i, ",1");
    stpcpy(body + 2 * n, "]");
    return decode(body);
}

static void values_are_held_to_their_limit(void)
{
    EXPECT_EQUAL(decode_ones(VALUES_MAX - 2), VALUE_OK);
    EXPECT_EQUAL(decode_ones(VALUES_MAX - 1), VALUE_OK);
    EXPECT_EQUAL(tree.n_values, VALUES_MAX);
    EXPECT_EQUAL(decode_ones(VALUES_MAX), VALUE_TOO_MANY);
    EXPECT_EQUAL(tree.culprit_size, VALUES_MAX);
}

static enum value_status decode_fields(size_t n)
{
    char body[16 * VALUE_FIELDS_MAX + 64] = "{";
    size_t bytes = 1;

    for (size_t i = 0; i < n; i++)
        bytes += (size_t)sprintf(body + bytes, "%s\"%zu\":1", i > 0 ? "," : "", i);
    stpcpy(body + bytes, "}");
    return decode(body);
}

static void fields_are_held_to_their_limit(void)
{
    EXPECT_EQUAL(decode_fields(VALUE_FIELDS_MAX - 1), VALUE_OK);
    EXPECT_EQUAL(decode_fields(VALUE_FIELDS_MAX), VALUE_OK);
    EXPECT_EQUAL(decode_fields(VALUE_FIELDS_MAX + 1), VALUE_TOO_MANY_FIELDS);
}

static void the_tree_lies_flat_in_document_order(void)
{
    EXPECT_EQUAL(decode("{\"t\":[\"a\",[],{\"k\":-3}],\"u\":1.5,\"v\":true,\"w\":null}"), VALUE_OK);
    const struct value *root = values, *list = root + 2, *u = value_next(list);

    EXPECT_EQUAL(tree.n_values, 14);
    EXPECT(root->kind == VALUE_MAP && root->size == 4 && root->extent == 14);
    EXPECT(value_is_string(root + 1, "t", 1));
    EXPECT(list->kind == VALUE_LIST && list->size == 3 && list->extent == 6);
    EXPECT(list[1].kind == VALUE_STRING && value_is_string(&list[1], "a", 1));
    EXPECT(list[2].kind == VALUE_LIST && list[2].size == 0 && list[2].extent == 1);
    EXPECT(list[5].kind == VALUE_INTEGER && list[5].integer == -3);
    EXPECT(value_is_string(u, "u", 1) && u[1].kind == VALUE_REAL && u[1].real == 1.5);
    EXPECT(u[3].kind == VALUE_BOOLEAN && u[3].boolean && u[5].kind == VALUE_NULL);
    EXPECT(decode("18446744073709551615") == VALUE_OK && values[0].kind == VALUE_REAL);
    EXPECT(decode("-9223372036854775808") == VALUE_OK && values[0].integer == INT64_MIN);
}

/* The sanitizer watches. */
static void read_behind(const struct value *string)
{
    volatile char sum = 0;

    for (size_t i = 0; i < string->size + VALUE_PADDING_BYTES; i++)
        sum = (char)(sum + string->bytes[i]);
}

static void strings_are_unescaped_and_keep_their_padding(void)
{
    EXPECT_EQUAL(decode("\"a\\u0000\\ud83d\\ude00\\n\\\"\""), VALUE_OK);
    EXPECT(value_is_string(values, "a\0\xF0\x9F\x98\x80\n\"", 8));

    for (size_t size = 1; size < 40000; size = size * 2 + 1) {
        char *body = malloc(size + 3);
        memset(body, 'x', size + 2);
        body[0] = body[size + 1] = '"';
        body[size + 2] = '\0';
        EXPECT_EQUAL(decode(body), VALUE_OK);
        read_behind(&values[0]);
        EXPECT_EQUAL(values[0].size, size);
        free(body);
    }
}

/* Nothing takes more room in simdjson's buffer, per byte of the body, than empty strings: here so
 * many that the buffer is as full as it ever gets. */
static void the_worst_body_leaves_room_behind_its_strings(void)
{
    static struct value many[WORST_STRINGS + 1];
    static char body[FIRST_CAPACITY_BYTES + VALUE_PADDING_BYTES] = "[";
    struct value_tree big = {
        .values = many, .values_max = WORST_STRINGS + 1, .depth_max = DEPTH_MAX};

    struct json_decoder *fresh = json_decoder_create(DEPTH_MAX);

    EXPECT(fresh != NULL);
    for (size_t i = 0; i < WORST_STRINGS; i++)
        stpcpy(body + 1 + 3 * i, "\"\",");
    body[3 * WORST_STRINGS] = ']';
    EXPECT_EQUAL(json_decode(fresh, body, 3 * WORST_STRINGS + 1, &big), VALUE_OK);
    read_behind(&many[WORST_STRINGS]);
    json_decoder_destroy(fresh);
}

/* jansson has a limit of its own, which nobody can set. */
static void what_never_ends_is_explained_by_our_limit(void)
{
    static char body[4000];
    char sentence[200];
    memset(body, '[', sizeof(body));
    json_explain(body, sizeof(body), sentence, sizeof(sentence));
    EXPECT(strstr(sentence, "--max-json-depth") != NULL);
}

static void mistakes_are_explained_with_their_offset(void)
{
    static const char *const cases[][2] = {
        {"{\"a\" 1}", "the body is not JSON: ':' expected at byte 5"},
        {"{\"a\":1,}", "the body is not JSON: string or '}' expected at byte 7"},
        {"[1,]", "the body is not JSON: unexpected token at byte 3"},
        {"{", "the body is not JSON: string or '}' expected at byte 1"},
        {"[1] 2", "the body is not JSON: end of file expected at byte 4"},
        {"\"abc", "the body is not JSON: premature end of input at byte 4"},
        {"1e999", "the body is not JSON: real number overflow at byte 4"},
        {"18446744073709551615", "the body is not JSON: too big integer at byte 19"},
    };
    char sentence[256];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_explain(cases[i][0], strlen(cases[i][0]), sentence, sizeof(sentence));
        EXPECT_STRING(sentence, cases[i][1]);
    }
    char *far = malloc(100000);
    memset(far, ' ', 100000);
    far[99999] = '}';
    json_explain(far, 100000, sentence, sizeof(sentence));
    EXPECT_STRING(sentence, "the body is not JSON: see its bytes from 32768 on");
    json_explain("1", 1, sentence, sizeof(sentence));
    EXPECT_STRING(sentence, "the body is not JSON: see its bytes from 0 on");
    free(far);
}

int main(void)
{
    guard = guard_open(200000);
    decoder = json_decoder_create(DEPTH_MAX);
    EXPECT(decoder != NULL);
    RUN(good_bodies_are_taken);
    RUN(no_prefix_of_a_good_body_is_taken);
    RUN(what_is_not_json_is_refused);
    RUN(bytes_that_are_not_utf8_are_refused);
    RUN(doubled_fields_are_refused_however_they_are_spelt);
    RUN(nesting_is_held_to_its_limit);
    RUN(values_are_held_to_their_limit);
    RUN(fields_are_held_to_their_limit);
    RUN(the_tree_lies_flat_in_document_order);
    RUN(strings_are_unescaped_and_keep_their_padding);
    RUN(the_worst_body_leaves_room_behind_its_strings);
    RUN(mistakes_are_explained_with_their_offset);
    RUN(what_never_ends_is_explained_by_our_limit);
    json_decoder_destroy(decoder);
    guard_close(&guard);
    return 0;
}
