/* The JSON decoder against jansson, a strict parser with nothing in common with it: random bodies,
 * good ones and damaged ones, must be taken or refused by both, and taken with the same values.
 *
 * They differ on purpose in what deviation_of() lists, and in nothing else:
 *   - integers from 2^63 to 2^64-1: we read them as reals, jansson refuses them;
 *   - \u0000 in a field's name: jansson cannot hold it;
 *   - our limits of fields, depth and values.
 *
 *     test_json_fuzz [seed [cases]]     the seed is printed first */
#include "proto/value_json.h"
#include "tests/test.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <time.h>

#define CASES      400000
#define SECONDS    15
#define BODY_BYTES 512
#define VALUES_MAX 1024
#define DEPTH_MAX  32

static uint64_t state;

static uint32_t below(uint32_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 16) % limit);
}

struct body {
    char bytes[BODY_BYTES + VALUE_PADDING_BYTES];
    size_t size;
};

static void put(struct body *body, const char *bytes, size_t size)
{
    if (body->size + size > BODY_BYTES)
        size = BODY_BYTES - body->size;
    memcpy(body->bytes + body->size, bytes, size);
    body->size += size;
}

static void put_one_of(struct body *body, const char *const *words, uint32_t n_words)
{
    const char *word = words[below(n_words)];

    put(body, word, strlen(word));
}

#define PUT_ONE_OF(body, words) put_one_of(body, words, sizeof(words) / sizeof((words)[0]))

static void generate_space(struct body *body)
{
    static const char *const spaces[] = {"", "", "", "", " ", "\n", "\t\r", "  "};

    PUT_ONE_OF(body, spaces);
}

static void generate_string(struct body *body)
{
    static const char *const pieces[] = {"a",
                                         "b",
                                         "text",
                                         "\\n",
                                         "\\\"",
                                         "\\\\",
                                         "\\/",
                                         "\\u0041",
                                         "\\u00e9",
                                         "\\u0000",
                                         "\\b",
                                         "\\ud83d\\ude00",
                                         "\xC3\xA9",
                                         "\xE2\x82\xAC",
                                         "\xF0\x9F\x98\x80",
                                         "\x7F",
                                         "\xEF\xBF\xBF",
                                         "0123456789abcdef0123456789abcdef",
                                         " ",
                                         "{",
                                         "]",
                                         ","};

    put(body, "\"", 1);
    for (uint32_t n = below(5); n > 0; n--)
        PUT_ONE_OF(body, pieces);
    put(body, "\"", 1);
}

static void generate_scalar(struct body *body)
{
    static const char *const scalars[] = {"0",
                                          "-0",
                                          "1",
                                          "-1",
                                          "12",
                                          "1.5",
                                          "-2.25e3",
                                          "1E-7",
                                          "1e+9",
                                          "0.1",
                                          "true",
                                          "false",
                                          "null",
                                          "9223372036854775807",
                                          "-9223372036854775808",
                                          "9223372036854775808",
                                          "18446744073709551615",
                                          "18446744073709551616",
                                          "-9223372036854775809",
                                          "1e308",
                                          "1e309",
                                          "1e-310",
                                          "1e-400",
                                          "2.2250738585072011e-308",
                                          "123456789.123456789",
                                          "0.30000000000000004",
                                          "7450580596923828125e-27",
                                          "9007199254740993.0",
                                          "1.7976931348623159e308"};

    if (below(3) == 0)
        generate_string(body);
    else
        PUT_ONE_OF(body, scalars);
}

static void generate_value(struct body *body, uint32_t depth)
{
    uint32_t choice = below(depth < 5 ? 4 : 2);

    generate_space(body);
    if (choice < 2) {
        generate_scalar(body);
    } else {
        bool is_map = choice == 3;
        put(body, is_map ? "{" : "[", 1);
        uint32_t n = below(4);
        for (uint32_t i = 0; i < n; i++) {
            if (i > 0)
                put(body, ",", 1);
            if (is_map) {
                generate_space(body);
                generate_string(body);
                generate_space(body);
                put(body, ":", 1);
            }
            generate_value(body, depth + 1);
        }
        generate_space(body);
        put(body, is_map ? "}" : "]", 1);
    }
    generate_space(body);
}

/* One small damage of the kind that parsers get wrong. */
static void damage(struct body *body)
{
    static const char *const snippets[] = {",",
                                           ":",
                                           "\"",
                                           "\\",
                                           "{",
                                           "}",
                                           "[",
                                           "]",
                                           "0",
                                           "-",
                                           ".",
                                           "e",
                                           "E+",
                                           "\\u",
                                           "\\ud800",
                                           "\\udc00",
                                           "\xFF",
                                           "\xC0\x80",
                                           "\xED\xA0\x80",
                                           "\xF4\x90\x80\x80",
                                           "\x01",
                                           "\n",
                                           "nul",
                                           "true",
                                           "/",
                                           "'",
                                           "\xEF\xBB\xBF",
                                           "//",
                                           " ",
                                           "\xC2"};
    const char *snippet = snippets[below(sizeof(snippets) / sizeof(snippets[0]))];
    size_t size = strlen(snippet);
    size_t at = below((uint32_t)body->size + 1);

    switch (below(4)) {
    case 0: /* insert */
        if (body->size + size > BODY_BYTES)
            return;
        memmove(body->bytes + at + size, body->bytes + at, body->size - at);
        memcpy(body->bytes + at, snippet, size);
        body->size += size;
        return;
    case 1: /* remove */
        if (at == body->size)
            return;
        memmove(body->bytes + at, body->bytes + at + 1, body->size - at - 1);
        body->size--;
        return;
    case 2: /* change a byte, never to NUL */
        if (at < body->size)
            body->bytes[at] = (char)(1 + below(255));
        return;
    default: /* cut */
        body->size = at;
    }
}

static bool is_same(const struct value *value, const json_t *other);

static bool is_same_map(const struct value *map, const json_t *other)
{
    const struct value *key = map + 1;

    if (!json_is_object(other) || json_object_size(other) != map->size)
        return false;
    for (size_t i = 0; i < map->size; i++, key = value_next(key + 1))
        if (!is_same(key + 1, json_object_getn(other, key->bytes, key->size)))
            return false;
    return true;
}

static bool is_same_list(const struct value *list, const json_t *other)
{
    const struct value *item = list + 1;

    if (!json_is_array(other) || json_array_size(other) != list->size)
        return false;
    for (size_t i = 0; i < list->size; i++, item = value_next(item))
        if (!is_same(item, json_array_get(other, i)))
            return false;
    return true;
}

static bool is_same(const struct value *value, const json_t *other)
{
    switch ((enum value_kind)value->kind) {
    case VALUE_NULL:
        return json_is_null(other);
    case VALUE_BOOLEAN:
        return json_is_boolean(other) && json_is_true(other) == value->boolean;
    case VALUE_INTEGER:
        return json_is_integer(other) && json_integer_value(other) == value->integer;
    case VALUE_REAL: {
        double real = json_real_value(other);
        return json_is_real(other) && real == value->real && signbit(real) == signbit(value->real);
    }
    case VALUE_STRING:
        return json_is_string(other) &&
               value_is_string(value, json_string_value(other), json_string_length(other));
    case VALUE_LIST:
        return is_same_list(value, other);
    case VALUE_MAP:
        return is_same_map(value, other);
    default:
        return false;
    }
}

/* Is there a reason from the list above why we take what jansson refuses? */
static bool is_deviation(const struct value_tree *tree, enum json_error_code code)
{
    for (uint32_t i = 0; i < tree->n_values; i++) {
        const struct value *value = &tree->values[i];
        if (code == json_error_numeric_overflow && value->kind == VALUE_REAL &&
            value->real >= 9223372036854775808.0 && value->real <= 18446744073709551616.0)
            return true;
        if (code == json_error_null_byte_in_key && value->kind == VALUE_STRING &&
            memchr(value->bytes, '\0', value->size) != NULL)
            return true;
    }
    return false;
}

static bool is_our_limit(enum value_status status)
{
    return status == VALUE_TOO_DEEP || status == VALUE_TOO_MANY || status == VALUE_TOO_MANY_FIELDS;
}

static void report(const struct body *body, const char *what, const json_error_t *error)
{
    fprintf(stderr, "%s (jansson: %s)\n%.*s\n", what, error->text, (int)body->size, body->bytes);
    for (size_t i = 0; i < body->size; i++)
        fprintf(stderr, "%02x", (unsigned char)body->bytes[i]);
    fprintf(stderr, "\n");
    exit(1);
}

/* 1 if both take the body, 0 if both refuse it. Ends the test if they differ without a reason. */
static int compare(struct json_decoder *decoder, struct value_tree *tree, const struct body *body)
{
    json_error_t error = {.text = ""};
    enum value_status status = json_decode(decoder, body->bytes, body->size, tree);
    json_t *other = json_loadb(body->bytes, body->size,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);

    if (status == VALUE_OK && other == NULL && !is_deviation(tree, json_error_code(&error)))
        report(body, "taken by us alone", &error);
    if (status != VALUE_OK && other != NULL && !is_our_limit(status))
        report(body, "refused by us alone", &error);
    if (status == VALUE_OK && tree->values[0].extent != tree->n_values)
        report(body, "a tree whose root does not span it", &error);
    if (status == VALUE_OK && other != NULL && !is_same(tree->values, other))
        report(body, "read differently", &error);
    json_decref(other);
    return status == VALUE_OK && other != NULL;
}

int main(int argc, char **argv)
{
    static struct value values[VALUES_MAX];
    struct value_tree tree = {.values = values, .values_max = VALUES_MAX, .depth_max = DEPTH_MAX};
    struct json_decoder *decoder = json_decoder_create(DEPTH_MAX);
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 20240612;
    long cases = argc > 2 ? atol(argv[2]) : CASES, taken = 0, done = 0;
    time_t end = time(NULL) + SECONDS;

    printf("seed %" PRIu64 "\n", seed);
    EXPECT(decoder != NULL);
    state = seed * 2 + 1;
    for (; done < cases && (argc > 2 || time(NULL) < end); done++) {
        struct body body = {.size = 0};
        generate_value(&body, 0);
        for (uint32_t n = below(3); n > 0; n--)
            damage(&body);
        taken += compare(decoder, &tree, &body);
    }
    printf("ok %ld bodies read as jansson reads them, %ld of them taken\n", done, taken);
    EXPECT(taken > done / 10 && taken < done - done / 10);
    json_decoder_destroy(decoder);
    return 0;
}
