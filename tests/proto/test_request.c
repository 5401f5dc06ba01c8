/* What the fields of a predict or tokenize body mean, in each dialect and both encodings, and the
 * sentence for each mistake. */
#include "proto/request.h"
#include "proto/request_reader.h"
#include "tests/proto/guard.h"

#define TEXTS_MAX      4
#define DEPTH_MAX      8
#define BODY_BYTES_MAX 60000

/* What request.c takes at first. */
#define FIRST_BODY_BYTES 16384

static struct guard guard;
static struct request_parser *parser;
static struct predict_request request;
static struct request_error error;

static enum request_error_kind parse_bytes(enum request_encoding encoding, const char *body,
                                           size_t size)
{
    return request_parse(parser, encoding, guard_place(&guard, body, size, 0), size, &request,
                         &error);
}

static enum request_error_kind parse(const char *body)
{
    return parse_bytes(REQUEST_JSON, body, strlen(body));
}

/* "a" or "a+b" for a pair, texts divided by "|". */
static const char *texts(void)
{
    static char line[256];
    size_t bytes = 0;

    for (uint32_t i = 0; i < request.n_texts; i++) {
        const struct request_text *text = &request.texts[i];
        bytes += (size_t)sprintf(line + bytes, "%s%.*s", i > 0 ? "|" : "", (int)text->text_bytes,
                                 text->text);
        if (text->pair != NULL)
            bytes += (size_t)sprintf(line + bytes, "+%.*s", (int)text->pair_bytes, text->pair);
    }
    line[bytes] = '\0';
    return line;
}

static void is_read(const char *body, enum request_dialect dialect, bool is_list,
                    const char *expected)
{
    if (parse(body) != REQUEST_OK)
        fprintf(stderr, "%s: %s\n", body, error.sentence);
    EXPECT_EQUAL(parse(body), REQUEST_OK);
    EXPECT_EQUAL(error.kind, REQUEST_OK);
    EXPECT_EQUAL(request.dialect, dialect);
    EXPECT_EQUAL(request.is_list, is_list);
    EXPECT_STRING(texts(), expected);
}

static void is_refused(const char *body, enum request_error_kind kind, const char *sentence)
{
    EXPECT_EQUAL(parse(body), kind);
    EXPECT_EQUAL(error.kind, kind);
    EXPECT_STRING(error.sentence, sentence);
}

static void the_sample_takes_texts_lists_and_pairs(void)
{
    is_read("{\"text\":\"a\"}", REQUEST_SAMPLE, false, "a");
    EXPECT(!request.is_object && !request.has_top_k);
    EXPECT_EQUAL(request.function, REQUEST_FUNCTION_DEFAULT);
    EXPECT_EQUAL(request.truncate, REQUEST_TRUNCATE_DEFAULT);
    is_read("{\"text\":\"\"}", REQUEST_SAMPLE, false, "");
    is_read("{\"text\":[\"a\"]}", REQUEST_SAMPLE, true, "a");
    is_read("{\"text\":[\"a\",\"\",\"c\"]}", REQUEST_SAMPLE, true, "a||c");
    is_read("{\"text\":\"a\",\"text_pair\":\"b\"}", REQUEST_SAMPLE, false, "a+b");
    is_read("{\"text_pair\":\"b\",\"text\":\"a\"}", REQUEST_SAMPLE, false, "a+b");
    is_read("{\"text\":\"a\",\"text_pair\":null}", REQUEST_SAMPLE, false, "a");
    is_read("{\"text\":[\"a\",\"b\"],\"text_pair\":[\"c\",\"\"]}", REQUEST_SAMPLE, true, "a+c|b");
    is_read("{\"text\":\"a\",\"text_pair\":\"\"}", REQUEST_SAMPLE, false,
            "a"); /* as the pipeline */
    is_read("{\"text\":[{\"text\":\"a\",\"text_pair\":\"b\"},{\"text\":\"c\"},\"d\"]}",
            REQUEST_SAMPLE, true, "a+b|c|d");
    EXPECT(!request.is_object);
    is_read("{\"text\":{\"text\":\"a\",\"text_pair\":\"b\"}}", REQUEST_SAMPLE, false, "a+b");
    EXPECT(request.is_object);
}

static void the_sample_takes_the_pipelines_options(void)
{
    is_read("{\"text\":\"a\",\"top_k\":null}", REQUEST_SAMPLE, false, "a");
    EXPECT(request.has_top_k && request.top_k == 0);
    is_read("{\"top_k\":3,\"text\":\"a\",\"function_to_apply\":\"Sigmoid\",\"truncate\":false}",
            REQUEST_SAMPLE, false, "a");
    EXPECT(request.has_top_k && request.top_k == 3);
    EXPECT_EQUAL(request.function, REQUEST_SIGMOID);
    EXPECT_EQUAL(request.truncate, REQUEST_TRUNCATE_OFF);
    is_read("{\"text\":\"a\",\"top_k\":9223372036854775807,\"function_to_apply\":\"none\"}",
            REQUEST_SAMPLE, false, "a");
    EXPECT_EQUAL(request.top_k, UINT32_MAX);
    EXPECT_EQUAL(request.function, REQUEST_NONE);
    is_read("{\"text\":\"a\",\"function_to_apply\":\"softmax\",\"truncate\":true}", REQUEST_SAMPLE,
            false, "a");
    EXPECT_EQUAL(request.function, REQUEST_SOFTMAX);
    EXPECT_EQUAL(request.truncate, REQUEST_TRUNCATE_ON);
    is_read("{\"text\":\"a\",\"function_to_apply\":null,\"truncate\":null}", REQUEST_SAMPLE, false,
            "a");
    EXPECT_EQUAL(request.function, REQUEST_FUNCTION_DEFAULT);
}

static void text_embeddings_inference_is_understood(void)
{
    is_read("{\"inputs\":\"a\"}", REQUEST_TEI, false, "a");
    is_read("{\"inputs\":[\"a\"]}", REQUEST_TEI, false, "a");
    is_read("{\"inputs\":[\"a\",\"b\"]}", REQUEST_TEI, false, "a+b");
    is_read("{\"inputs\":[\"a\",\"\"]}", REQUEST_TEI, false, "a+");
    is_read("{\"inputs\":[[\"a\"],[\"b\",\"c\"]]}", REQUEST_TEI, true, "a|b+c");
    EXPECT_EQUAL(request.truncation_side, REQUEST_SIDE_DEFAULT);
    is_read("{\"inputs\":\"a\",\"truncate\":true,\"truncation_direction\":\"Left\",\"raw_scores\":"
            "true}",
            REQUEST_TEI, false, "a");
    EXPECT_EQUAL(request.truncation_side, REQUEST_SIDE_LEFT);
    EXPECT_EQUAL(request.truncate, REQUEST_TRUNCATE_ON);
    EXPECT_EQUAL(request.function, REQUEST_NONE);
    is_read("{\"inputs\":\"a\",\"raw_scores\":false,\"truncation_direction\":\"right\"}",
            REQUEST_TEI, false, "a");
    EXPECT_EQUAL(request.function, REQUEST_FUNCTION_DEFAULT);
}

static void hugging_faces_clients_may_send_parameters_and_options(void)
{
    is_read("{\"inputs\":\"a\",\"parameters\":{\"top_k\":2,\"function_to_apply\":\"sigmoid\","
            "\"truncation\":true},\"options\":{\"use_cache\":false,\"wait_for_model\":true}}",
            REQUEST_TEI, false, "a");
    EXPECT(request.has_top_k && request.top_k == 2);
    EXPECT_EQUAL(request.function, REQUEST_SIGMOID);
    EXPECT_EQUAL(request.truncate, REQUEST_TRUNCATE_ON);
    is_read("{\"inputs\":\"a\",\"parameters\":null,\"options\":{}}", REQUEST_TEI, false, "a");
}

static void vertex_takes_strings_and_objects(void)
{
    is_read("{\"instances\":[\"a\",{\"text\":\"b\"},{\"inputs\":\"c\"},{\"content\":\"d\","
            "\"mimeType\":\"text/plain\"}]}",
            REQUEST_VERTEX, true, "a|b|c|d");
    is_read("{\"instances\":[{\"text\":\"a\",\"text_pair\":\"b\"},{\"inputs\":[\"c\",\"d\"]},"
            "{\"inputs\":[\"e\"]}],\"parameters\":{\"top_k\":1,\"raw_scores\":true}}",
            REQUEST_VERTEX, true, "a+b|c+d|e");
    EXPECT(request.has_top_k && request.top_k == 1);
    EXPECT_EQUAL(request.function, REQUEST_NONE);
}

static void the_dialect_is_told_by_its_field(void)
{
    is_refused("{\"text\":\"a\",\"inputs\":\"b\"}", REQUEST_MALFORMED,
               "both \"text\" and \"inputs\" in one body: send one of \"text\", \"inputs\", "
               "\"instances\"");
    is_refused("{\"instances\":[\"a\"],\"text\":\"b\"}", REQUEST_MALFORMED,
               "both \"instances\" and \"text\" in one body: send one of \"text\", \"inputs\", "
               "\"instances\"");
    is_refused("{\"txt\":\"a\"}", REQUEST_MALFORMED,
               "no \"text\", \"inputs\" or \"instances\" in the body (it has \"txt\"): send "
               "{\"text\": \"...\"}");
    is_refused("{}", REQUEST_MALFORMED,
               "the body is an empty object: send {\"text\": \"...\"}, or \"inputs\", or "
               "\"instances\"");
    is_refused("[\"a\"]", REQUEST_MALFORMED,
               "the body must be an object, but it is a list: send {\"text\": \"...\"}");
    is_refused("\"a\"", REQUEST_MALFORMED,
               "the body must be an object, but it is a string: send {\"text\": \"...\"}");
    is_refused("null", REQUEST_MALFORMED,
               "the body must be an object, but it is null: send {\"text\": \"...\"}");
}

static void unknown_fields_are_named_beside_the_known(void)
{
    is_refused("{\"text\":\"a\",\"topk\":1}", REQUEST_MALFORMED,
               "unknown field \"topk\": known here are text, text_pair, top_k, function_to_apply, "
               "truncate");
    is_refused("{\"inputs\":\"a\",\"parameters\":{\"topk\":1}}", REQUEST_MALFORMED,
               "unknown field \"topk\" in \"parameters\": known there are top_k, "
               "function_to_apply, truncate, truncation, truncation_direction, raw_scores");
    is_refused("{\"instances\":[\"a\",{\"txt\":\"b\"}]}", REQUEST_MALFORMED,
               "unknown field \"txt\" in \"instances[1]\": known there are text, inputs, content, "
               "text_pair, mime_type, mimeType");
    is_refused("{\"text\":[{\"text\":\"a\",\"pair\":\"b\"}]}", REQUEST_MALFORMED,
               "unknown field \"pair\" in \"text[0]\": known there are text, text_pair");
}

static void text_embeddings_inference_refuses_empty_texts(void)
{
    is_refused("{\"inputs\":\"\"}", REQUEST_MALFORMED, "\"inputs\" is empty: send a text");
    EXPECT_STRING(error.type, "Empty");
    is_refused("{\"inputs\":[\"\"]}", REQUEST_MALFORMED, "\"inputs\" is empty: send a text");
    is_refused("{\"inputs\":[\"\",\"\"]}", REQUEST_MALFORMED, "\"inputs\" is empty: send a text");
    is_refused("{\"inputs\":[[\"a\"],[\"\"]]}", REQUEST_MALFORMED,
               "\"inputs[1]\" is empty: send a text");
    is_read("{\"inputs\":[\"a\",\"\"]}", REQUEST_TEI, false, "a+");
    is_read("{\"inputs\":[[\"\",\"b\"]]}", REQUEST_TEI, true, "+b");
    is_read("{\"instances\":[{\"inputs\":\"\"}]}", REQUEST_VERTEX, true, "");
}

static void names_are_quoted_safely(void)
{
    is_refused("{\"text\":\"a\",\"a\\u0000b\\n\\u007f\":1}", REQUEST_MALFORMED,
               "unknown field \"a?b??\": known here are text, text_pair, top_k, function_to_apply, "
               "truncate");
    is_refused("{\"text\":\"a\",\"0123456789012345678901234567890123456789012\xC3\xA9\":1}",
               REQUEST_MALFORMED,
               "unknown field \"0123456789012345678901234567890123456789012...\": known here are "
               "text, text_pair, top_k, function_to_apply, truncate");
}

static void wrong_types_are_named_with_their_place(void)
{
    is_refused("{\"text\":1}", REQUEST_MALFORMED, "\"text\" must be a string, but it is a number");
    is_refused("{\"text\":null}", REQUEST_MALFORMED, "\"text\" must be a string, but it is null");
    is_refused("{\"text\":[\"a\",true]}", REQUEST_MALFORMED,
               "\"text[1]\" must be a string, but it is a boolean");
    is_refused("{\"text\":[[\"a\",\"b\"]]}", REQUEST_MALFORMED,
               "\"text[0]\" must be a string, but it is a list");
    is_refused("{\"text\":[{\"text\":\"a\",\"text_pair\":3}]}", REQUEST_MALFORMED,
               "\"text[0].text_pair\" must be a string, but it is a number");
    is_refused("{\"text\":[{}]}", REQUEST_MALFORMED, "\"text[0]\" has no field \"text\"");
    is_refused("{\"text\":{\"text_pair\":\"a\"}}", REQUEST_MALFORMED,
               "\"text\" has no field \"text\"");
    is_refused("{\"inputs\":{\"text\":\"a\"}}", REQUEST_MALFORMED,
               "\"inputs\" must be a string, but it is an object");
    is_refused("{\"inputs\":[\"a\",[\"b\"]]}", REQUEST_MALFORMED,
               "\"inputs[1]\" must be a string, but it is a list");
    is_refused("{\"inputs\":[[\"a\"],\"b\"]}", REQUEST_MALFORMED,
               "\"inputs[1]\" must be a list of one or two strings, but it is a string");
    is_refused("{\"inputs\":[[\"a\"],[\"b\",1]]}", REQUEST_MALFORMED,
               "\"inputs[1][1]\" must be a string, but it is a number");
    is_refused("{\"instances\":\"a\"}", REQUEST_MALFORMED,
               "\"instances\" must be a list, but it is a string");
    is_refused("{\"instances\":[\"a\",1.5]}", REQUEST_MALFORMED,
               "\"instances[1]\" must be a string, but it is a number");
    is_refused("{\"instances\":[{\"inputs\":[\"a\",1]}]}", REQUEST_MALFORMED,
               "\"instances[0].inputs[1]\" must be a string, but it is a number");
    is_refused("{\"text\":\"a\",\"truncate\":\"yes\"}", REQUEST_MALFORMED,
               "\"truncate\" must be true, false or null, but it is a string");
    is_refused("{\"inputs\":\"a\",\"raw_scores\":1}", REQUEST_MALFORMED,
               "\"raw_scores\" must be true or false, but it is a number");
    is_refused("{\"inputs\":\"a\",\"parameters\":[]}", REQUEST_MALFORMED,
               "\"parameters\" must be an object, but it is a list");
    is_refused("{\"inputs\":\"a\",\"options\":{\"use_cache\":2}}", REQUEST_MALFORMED,
               "\"options.use_cache\" must be true or false, but it is a number");
}

static void wrong_values_are_told_what_is_allowed(void)
{
    static const char *const wrong_top_k[] = {"0",    "-1",    "1.5", "1.0",
                                              "true", "\"1\"", "[]",  "18446744073709551615"};
    char body[128];

    for (size_t i = 0; i < sizeof(wrong_top_k) / sizeof(wrong_top_k[0]); i++) {
        snprintf(body, sizeof(body), "{\"text\":\"a\",\"top_k\":%s}", wrong_top_k[i]);
        is_refused(body, REQUEST_MALFORMED,
                   "\"top_k\" must be a whole number of at least 1, or null for all labels");
    }
    is_refused("{\"instances\":[\"a\"],\"parameters\":{\"top_k\":0}}", REQUEST_MALFORMED,
               "\"parameters.top_k\" must be a whole number of at least 1, or null for all labels");
    is_refused("{\"text\":\"a\",\"function_to_apply\":\"relu\"}", REQUEST_MALFORMED,
               "\"function_to_apply\" must be \"softmax\", \"sigmoid\", \"none\", or null for the "
               "model's own");
    is_refused("{\"inputs\":\"a\",\"truncation_direction\":\"up\"}", REQUEST_MALFORMED,
               "\"truncation_direction\" must be \"left\" or \"right\"");
    is_refused("{\"instances\":[{\"content\":\"a\",\"mime_type\":\"text/html\"}]}",
               REQUEST_MALFORMED, "\"instances[0].mime_type\" must be \"text/plain\"");
}

static void texts_that_contradict_each_other_are_refused(void)
{
    is_refused("{\"text\":[\"a\",\"b\"],\"text_pair\":[\"c\"]}", REQUEST_MALFORMED,
               "\"text_pair\" must be a list of 2 strings, as \"text\" is");
    is_refused("{\"text\":[\"a\"],\"text_pair\":\"c\"}", REQUEST_MALFORMED,
               "\"text_pair\" must be a list of 1 strings, as \"text\" is");
    is_refused("{\"text\":\"a\",\"text_pair\":[\"c\"]}", REQUEST_MALFORMED,
               "\"text_pair\" must be a string, but it is a list");
    is_refused("{\"text\":[\"a\"],\"text_pair\":[null]}", REQUEST_MALFORMED,
               "\"text_pair[0]\" must be a string, but it is null");
    is_refused("{\"text\":[{\"text\":\"a\",\"text_pair\":\"b\"}],\"text_pair\":[\"c\"]}",
               REQUEST_MALFORMED,
               "\"text_pair[0]\" comes to a text that is a pair already: leave it out");
    is_refused("{\"instances\":[{\"text\":\"a\",\"content\":\"b\"}]}", REQUEST_MALFORMED,
               "both \"instances[0].text\" and \"instances[0].content\": send one of them");
    is_refused("{\"inputs\":[\"a\",\"b\",\"c\"]}", REQUEST_MALFORMED,
               "\"inputs\" holds 3 strings, but a text is [\"a\"] and a pair [\"a\", \"b\"]: a "
               "batch is [[\"a\"], [\"b\"], ...]");
    is_refused("{\"inputs\":[[\"a\"],[]]}", REQUEST_MALFORMED,
               "\"inputs[1]\" holds 0 strings, but a text is [\"a\"] and a pair [\"a\", \"b\"]: a "
               "batch is [[\"a\"], [\"b\"], ...]");
}

static void an_empty_list_is_no_text(void)
{
    static const char *const fields[] = {"text", "inputs", "instances"};
    char body[64], sentence[128];

    for (size_t i = 0; i < 3; i++) {
        snprintf(body, sizeof(body), "{\"%s\":[]}", fields[i]);
        snprintf(sentence, sizeof(sentence), "\"%s\" is an empty list: send at least one text",
                 fields[i]);
        is_refused(body, REQUEST_MALFORMED, sentence);
        EXPECT_STRING(error.type, "Empty");
    }
    is_refused("{\"text\":1}", REQUEST_MALFORMED, "\"text\" must be a string, but it is a number");
    EXPECT_STRING(error.type, "Validation");
}

static void texts_are_held_to_their_limit(void)
{
    EXPECT_EQUAL(TEXTS_MAX, 4);
    is_read("{\"text\":[\"a\",\"b\",\"c\"]}", REQUEST_SAMPLE, true, "a|b|c");
    is_read("{\"text\":[\"a\",\"b\",\"c\",\"d\"]}", REQUEST_SAMPLE, true, "a|b|c|d");
    is_refused("{\"text\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}", REQUEST_INVALID,
               "\"text\" holds 5 texts, but one request may hold 4: send the rest in further "
               "requests (--max-client-batch-size)");
    is_read("{\"inputs\":[[\"a\"],[\"b\"],[\"c\"],[\"d\"]]}", REQUEST_TEI, true, "a|b|c|d");
    EXPECT_EQUAL(parse("{\"inputs\":[[\"a\"],[\"b\"],[\"c\"],[\"d\"],[\"e\"]]}"), REQUEST_INVALID);
    EXPECT_EQUAL(parse("{\"instances\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}"), REQUEST_INVALID);
}

/* {"text":["a","a",...]} */
static size_t write_texts(char *body, size_t n_texts)
{
    size_t size = (size_t)sprintf(body, "{\"text\":[\"a\"");

    for (size_t i = 1; i < n_texts; i++, size += 4)
        stpcpy(body + size, ",\"a\"");
    stpcpy(body + size, "]}");
    return size + 2;
}

static void far_too_many_texts_are_counted_too(void)
{
    static char body[BODY_BYTES_MAX];

    write_texts(body, 10000);
    is_refused(body, REQUEST_INVALID,
               "a list in the body holds 10000 items, but one request may hold 4 texts: send the "
               "rest in further requests (--max-client-batch-size)");
}

static void the_body_is_held_to_its_limit(void)
{
    static char body[BODY_BYTES_MAX + 2];

    memset(body, ' ', sizeof(body));
    *stpcpy(body, "{\"text\":\"a\"}") = ' ';
    EXPECT_EQUAL(parse_bytes(REQUEST_JSON, body, BODY_BYTES_MAX - 1), REQUEST_OK);
    EXPECT_EQUAL(parse_bytes(REQUEST_JSON, body, BODY_BYTES_MAX), REQUEST_OK);
    EXPECT_EQUAL(parse_bytes(REQUEST_JSON, body, BODY_BYTES_MAX + 1), REQUEST_TOO_LARGE);
    EXPECT_STRING(error.sentence,
                  "the body has 60001 bytes, but 60000 are allowed (--payload-limit)");
    EXPECT_EQUAL(parse_bytes(REQUEST_MSGPACK, body, BODY_BYTES_MAX + 1), REQUEST_TOO_LARGE);
    is_refused("", REQUEST_MALFORMED, "the body is empty: send an object like {\"text\": \"...\"}");
}

static void nesting_is_held_to_its_limit(void)
{
    EXPECT_EQUAL(DEPTH_MAX, 8);
    is_refused("{\"text\":[[[[[[[]]]]]]]}", REQUEST_MALFORMED,
               "\"text[0]\" must be a string, but it is a list");
    is_refused("{\"text\":[[[[[[[[]]]]]]]]}", REQUEST_MALFORMED,
               "the body nests deeper than 8 levels (--max-json-depth)");
    EXPECT_EQUAL(parse_bytes(REQUEST_MSGPACK, "\x91\x91\x91\x91\x91\x91\x91\x91\x90", 9),
                 REQUEST_MALFORMED);
    EXPECT_STRING(error.sentence, "the body nests deeper than 8 levels (--max-json-depth)");
}

static void broken_json_is_explained(void)
{
    is_refused("{\"text\":\"a\"", REQUEST_MALFORMED,
               "the body is not JSON: '}' expected at byte 11");
    is_refused("{\"text\":\"a\"}x", REQUEST_MALFORMED,
               "the body is not JSON: end of file expected at byte 12");
    is_refused("{\"text\":\"\\ud800\"}", REQUEST_MALFORMED,
               "the body is not JSON: invalid Unicode '\\uD800' at byte 15");
    is_refused("{\"text\":\"a\xFF\"}", REQUEST_INVALID,
               "the body is not UTF-8: see byte 10 of its 13");
    is_refused("{\"text\":\"a\",\"text\":\"b\"}", REQUEST_MALFORMED,
               "the field \"text\" stands twice in one object: send it once");
}

#define MSGPACK(body) parse_bytes(REQUEST_MSGPACK, body, sizeof(body) - 1)

static void msgpack_obeys_the_same_rules(void)
{
    EXPECT_EQUAL(MSGPACK("\x81\xA4text\xA2hi"), REQUEST_OK);
    EXPECT_STRING(texts(), "hi");
    EXPECT_EQUAL(MSGPACK("\x82\xA4text\x92\xA1z\xA1y\xA5top_k\x02"), REQUEST_OK);
    EXPECT(request.is_list && request.top_k == 2);
    EXPECT_STRING(texts(), "z|y");
    EXPECT_EQUAL(MSGPACK("\x81\xA6inputs\x92\xA1z\xA1y"), REQUEST_OK);
    EXPECT_STRING(texts(), "z+y");
    EXPECT_EQUAL(MSGPACK("\x81\xA4text\x90"), REQUEST_MALFORMED);
    EXPECT_STRING(error.type, "Empty");
    EXPECT_EQUAL(MSGPACK("\x81\xA4text\x92\xA1z\xC4\x01y"), REQUEST_MALFORMED);
    EXPECT_STRING(error.sentence, "\"text[1]\" must be a string, but it is binary data: pack it as "
                                  "str, not as bin");
    EXPECT_EQUAL(MSGPACK("\x81\xA4text\x92\xA1z\xA2y\xFF"), REQUEST_INVALID);
    EXPECT_STRING(error.sentence, "\"text[1]\" is not UTF-8: see byte 1 of its 2");
    EXPECT_EQUAL(MSGPACK("\x81\xA4text\xD4\x01z"), REQUEST_MALFORMED);
    EXPECT_STRING(error.sentence, "\"text\" must be a string, but it is an extension type");
}

static void broken_msgpack_is_explained(void)
{
    EXPECT_EQUAL(MSGPACK("\x81\xA4text\xA2h"), REQUEST_MALFORMED);
    EXPECT_STRING(error.sentence, "the body ends after 8 bytes, inside a MessagePack value");
    EXPECT_EQUAL(MSGPACK("\x81\xA4text\xA1h\xC0"), REQUEST_MALFORMED);
    EXPECT_STRING(error.sentence, "the MessagePack value ends at byte 8, but the body has 9");
    EXPECT_EQUAL(MSGPACK("\x81\xA4text\xC1"), REQUEST_MALFORMED);
    EXPECT_STRING(error.sentence, "the body is not MessagePack: see byte 6");
    EXPECT_EQUAL(MSGPACK("\x81\x01\xA1h"), REQUEST_MALFORMED);
    EXPECT_STRING(error.sentence, "a field's name is not a string (it ends before byte 3)");
    EXPECT_EQUAL(MSGPACK("\x82\xA4text\xA1h\xA4text\xA1h"), REQUEST_MALFORMED);
    EXPECT_STRING(error.sentence, "the field \"text\" stands twice in one object: send it once");
    EXPECT_EQUAL(MSGPACK("\x81\xA2t\xFF\xA1h"), REQUEST_MALFORMED);
    EXPECT_STRING(error.sentence, "no \"text\", \"inputs\" or \"instances\" in the body (it has "
                                  "\"(not UTF-8)\"): send {\"text\": \"...\"}");
    EXPECT_EQUAL(MSGPACK("\xDD\xFF\xFF\xFF\xFF"), REQUEST_INVALID);
}

static void tokenize_takes_a_text_or_a_list(void)
{
    bool special = false;
    const char *one = "{\"inputs\":\"a\"}";
    const char *two =
        "{\"add_special_tokens\":false,\"inputs\":[\"a\",\"b\"],\"prompt_name\":null}";

    EXPECT_EQUAL(
        request_parse_tokenize(parser, REQUEST_JSON, one, strlen(one), &request, &special, &error),
        REQUEST_OK);
    EXPECT(special && !request.is_list);
    EXPECT_STRING(texts(), "a");
    EXPECT_EQUAL(
        request_parse_tokenize(parser, REQUEST_JSON, two, strlen(two), &request, &special, &error),
        REQUEST_OK);
    EXPECT(!special && request.is_list);
    EXPECT_STRING(texts(), "a|b");
}

static void tokenize_is_refused(const char *body, const char *sentence)
{
    bool special;

    EXPECT_EQUAL(request_parse_tokenize(parser, REQUEST_JSON, body, strlen(body), &request,
                                        &special, &error),
                 REQUEST_MALFORMED);
    EXPECT_STRING(error.sentence, sentence);
}

static void tokenize_explains_mistakes(void)
{
    tokenize_is_refused("{}", "no \"inputs\" in the body: send {\"inputs\": \"...\"}");
    tokenize_is_refused("[]", "the body must be an object, but it is a list: send {\"inputs\": "
                              "\"...\"}");
    tokenize_is_refused("{\"inputs\":[]}", "\"inputs\" is an empty list: send at least one text");
    tokenize_is_refused("{\"inputs\":[[\"a\"]]}",
                        "\"inputs[0]\" must be a string, but it is a list");
    tokenize_is_refused("{\"text\":\"a\"}", "unknown field \"text\": known here are inputs, "
                                            "add_special_tokens, prompt_name");
    tokenize_is_refused("{\"inputs\":\"a\",\"prompt_name\":\"q\"}",
                        "\"prompt_name\" must be null: a classifier has no prompts");
}

static void no_prefix_of_a_good_body_is_taken(void)
{
    static const char *const good[] = {
        "{\"text\":[\"a\",{\"text\":\"\\u00e9\xC3\xA9\",\"text_pair\":\"b\"}],\"top_k\":12}",
        "{\"inputs\":[[\"a\"],[\"b\",\"c\"]],\"raw_scores\":false,\"parameters\":{\"top_k\":null}}",
        "{\"instances\":[{\"content\":\"a\"},\"b\"],\"parameters\":{}}",
    };
    static const char packed[] = "\x82\xA4text\x92\xA1z\xD9\x02y\xA1\xA5top_k\xCD\x00\x02";

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        EXPECT_EQUAL(parse(good[i]), REQUEST_OK);
        for (size_t size = 0; size < strlen(good[i]); size++)
            EXPECT(parse_bytes(REQUEST_JSON, good[i], size) != REQUEST_OK);
    }
    for (size_t size = 0; size < sizeof(packed) - 1; size++)
        EXPECT(parse_bytes(REQUEST_MSGPACK, packed, size) != REQUEST_OK);
}

static void strings_have_readable_bytes_behind_them(void)
{
    static const char *const bodies[] = {"{\"text\":\"a\"}", "{\"text\":[\"\",\"\",\"\",\"\"]}"};
    volatile char sum = 0;

    for (size_t i = 0; i < 2; i++) {
        EXPECT_EQUAL(parse(bodies[i]), REQUEST_OK);
        for (uint32_t k = 0; k < request.n_texts; k++)
            for (size_t b = 0; b < request.texts[k].text_bytes + REQUEST_PADDING_BYTES; b++)
                sum = (char)(sum + request.texts[k].text[b]);
    }
    EXPECT_EQUAL(MSGPACK("\x81\xA4text\xA2hi"), REQUEST_OK);
    for (size_t b = 0; b < 2 + REQUEST_PADDING_BYTES; b++)
        sum = (char)(sum + request.texts[0].text[b]);
}

/* A body that fills the parser's first buffer to the last byte, its string at the very end. */
static void a_string_at_the_end_of_the_buffer_has_them_too(void)
{
    static char body[FIRST_BODY_BYTES] = "\x81\xA4text\xDA";
    struct request_limits limits = {TEXTS_MAX, DEPTH_MAX, BODY_BYTES_MAX};
    struct request_parser *fresh = request_parser_create(&limits);
    size_t text_bytes = sizeof(body) - 9;
    volatile char sum = 0;

    EXPECT(fresh != NULL);
    memset(body + 9, 'x', text_bytes);
    body[7] = (char)(text_bytes >> 8);
    body[8] = (char)text_bytes;
    EXPECT_EQUAL(request_parse(fresh, REQUEST_MSGPACK, body, sizeof(body), &request, &error),
                 REQUEST_OK);
    EXPECT_EQUAL(request.texts[0].text_bytes, text_bytes);
    for (size_t b = 0; b < text_bytes + REQUEST_PADDING_BYTES; b++)
        sum = (char)(sum + request.texts[0].text[b]);
    request_parser_destroy(fresh);
}

static void a_long_sentence_is_cut_between_characters(void)
{
    char name[302];

    for (size_t i = 0; i < 300; i += 2)
        stpcpy(name + i, "\xC3\xA9");
    request_refuse(&error, REQUEST_MALFORMED, "%s", name);
    EXPECT_EQUAL(strlen(error.sentence), 254);
    request_refuse(&error, REQUEST_MALFORMED, "x%s", name);
    EXPECT_EQUAL(strlen(error.sentence), 255);
    request_refuse(&error, REQUEST_MALFORMED, "%.254s", name);
    EXPECT_EQUAL(strlen(error.sentence), 254);
}

int main(void)
{
    struct request_limits limits = {TEXTS_MAX, DEPTH_MAX, BODY_BYTES_MAX};

    guard = guard_open(BODY_BYTES_MAX + 2);
    parser = request_parser_create(&limits);
    EXPECT(parser != NULL);
    RUN(the_sample_takes_texts_lists_and_pairs);
    RUN(the_sample_takes_the_pipelines_options);
    RUN(text_embeddings_inference_is_understood);
    RUN(hugging_faces_clients_may_send_parameters_and_options);
    RUN(vertex_takes_strings_and_objects);
    RUN(the_dialect_is_told_by_its_field);
    RUN(unknown_fields_are_named_beside_the_known);
    RUN(text_embeddings_inference_refuses_empty_texts);
    RUN(names_are_quoted_safely);
    RUN(wrong_types_are_named_with_their_place);
    RUN(wrong_values_are_told_what_is_allowed);
    RUN(texts_that_contradict_each_other_are_refused);
    RUN(an_empty_list_is_no_text);
    RUN(texts_are_held_to_their_limit);
    RUN(far_too_many_texts_are_counted_too);
    RUN(the_body_is_held_to_its_limit);
    RUN(nesting_is_held_to_its_limit);
    RUN(broken_json_is_explained);
    RUN(msgpack_obeys_the_same_rules);
    RUN(broken_msgpack_is_explained);
    RUN(tokenize_takes_a_text_or_a_list);
    RUN(tokenize_explains_mistakes);
    RUN(no_prefix_of_a_good_body_is_taken);
    RUN(strings_have_readable_bytes_behind_them);
    RUN(a_string_at_the_end_of_the_buffer_has_them_too);
    RUN(a_long_sentence_is_cut_between_characters);
    request_parser_destroy(parser);
    request_parser_destroy(NULL);
    guard_close(&guard);
    return 0;
}
