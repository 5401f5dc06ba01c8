/* Scores as the pipeline computes them, and every shape of every dialect, byte for byte. */
#include "proto/response.h"
#include "tests/proto/pool.h"
#include "tests/test.h"

#include <math.h>

#define TEXTS_MAX 4

static const char *const names[] = {"NEGATIVE", "POSITIVE", "TIE", "MIXED"};
static const float logits_data[TEXTS_MAX][4] = {
    {-1.5607f, 1.6123f, 0, 0}, {4.1692f, -3.3464f, 0, 0}, {0.5f, 0.5f, -1, 0.5f}, {1, 1, 2, 0}};
static const float *const logits[] = {logits_data[0], logits_data[1], logits_data[2],
                                      logits_data[3]};

static struct predict_request request;
static struct response_labels labels;

static void begin(enum request_dialect dialect, uint32_t n_texts, uint32_t n_labels)
{
    static struct request_text texts[TEXTS_MAX];

    request = (struct predict_request){.dialect = dialect,
                                       .texts = texts,
                                       .n_texts = n_texts,
                                       .is_list = n_texts > 1 || dialect == REQUEST_VERTEX};
    labels = (struct response_labels){.names = names, .n_labels = n_labels};
}

static void answer_is(const char *expected)
{
    struct response_buffer buffer = {.allocate = pool_allocate};

    response_format(&buffer, REQUEST_JSON, &request, &labels, logits);
    response_append(&buffer, "", 1);
    EXPECT_STRING(buffer.bytes, expected);
    pool_free_blocks();
}

#define POSITIVE "{\"label\":\"POSITIVE\",\"score\":0.9598054885864258}"
#define NEGATIVE "{\"label\":\"NEGATIVE\",\"score\":0.9994557499885559}"

static void the_sample_answers_one_text_with_a_list_of_one(void)
{
    begin(REQUEST_SAMPLE, 1, 2);
    answer_is("{\"prediction\":[" POSITIVE "]}");
}

static void the_sample_answers_a_list_with_a_list(void)
{
    begin(REQUEST_SAMPLE, 2, 2);
    answer_is("{\"prediction\":[" POSITIVE "," NEGATIVE "]}");
    begin(REQUEST_SAMPLE, 1, 2);
    request.is_list = true;
    answer_is("{\"prediction\":[" POSITIVE "]}");
}

static void the_sample_answers_an_object_with_an_object(void)
{
    begin(REQUEST_SAMPLE, 1, 2);
    request.is_object = true;
    answer_is("{\"prediction\":" POSITIVE "}");
    request.has_top_k = true;
    request.top_k = 1;
    answer_is("{\"prediction\":[" POSITIVE "]}");
}

static void with_top_k_a_string_gives_a_flat_list_and_a_list_gives_lists(void)
{
    begin(REQUEST_SAMPLE, 1, 2);
    request.has_top_k = true;
    request.top_k = 1;
    answer_is("{\"prediction\":[" POSITIVE "]}");
    request.top_k = 0;
    answer_is("{\"prediction\":[" POSITIVE
              ",{\"label\":\"NEGATIVE\",\"score\":0.04019451513886452}]}");
    request.top_k = 3;
    answer_is("{\"prediction\":[" POSITIVE
              ",{\"label\":\"NEGATIVE\",\"score\":0.04019451513886452}]}");
    begin(REQUEST_SAMPLE, 2, 2);
    request.has_top_k = true;
    request.top_k = 1;
    answer_is("{\"prediction\":[[" POSITIVE "],[" NEGATIVE "]]}");
}

static void equal_scores_keep_the_models_order(void)
{
    const float *const tied[] = {logits_data[2]};
    struct response_buffer buffer = {.allocate = pool_allocate};

    begin(REQUEST_SAMPLE, 1, 4);
    request.has_top_k = true;
    request.function = REQUEST_NONE;
    response_format(&buffer, REQUEST_JSON, &request, &labels, tied);
    response_append(&buffer, "", 1);
    EXPECT_STRING(buffer.bytes, "{\"prediction\":[{\"label\":\"NEGATIVE\",\"score\":0.5},"
                                "{\"label\":\"POSITIVE\",\"score\":0.5},"
                                "{\"label\":\"MIXED\",\"score\":0.5},"
                                "{\"label\":\"TIE\",\"score\":-1.0}]}");
    pool_free_blocks();

    buffer = (struct response_buffer){.allocate = pool_allocate};
    request.has_top_k = false;
    response_format(&buffer, REQUEST_JSON, &request, &labels, tied);
    response_append(&buffer, "", 1);
    EXPECT_STRING(buffer.bytes, "{\"prediction\":[{\"label\":\"NEGATIVE\",\"score\":0.5}]}");
    pool_free_blocks();
}

static void negative_and_zero_scores_sort_by_value(void)
{
    const float zeros[4] = {-2.0f, -0.0f, 0.0f, -0.5f};
    const float *const signs[] = {zeros};
    struct response_buffer buffer = {.allocate = pool_allocate};

    begin(REQUEST_TEI, 1, 4);
    request.function = REQUEST_NONE;
    response_format(&buffer, REQUEST_JSON, &request, &labels, signs);
    response_append(&buffer, "", 1);
    EXPECT_STRING(buffer.bytes,
                  "[{\"score\":-0.0,\"label\":\"POSITIVE\"},{\"score\":0.0,\"label\":\"TIE\"},"
                  "{\"score\":-0.5,\"label\":\"MIXED\"},{\"score\":-2.0,\"label\":\"NEGATIVE\"}]");
    pool_free_blocks();
}

static void text_embeddings_inference_gets_all_labels_score_first(void)
{
    begin(REQUEST_TEI, 1, 2);
    answer_is("[{\"score\":0.9598054885864258,\"label\":\"POSITIVE\"},"
              "{\"score\":0.04019451513886452,\"label\":\"NEGATIVE\"}]");
    request.has_top_k = true;
    request.top_k = 1;
    answer_is("[{\"score\":0.9598054885864258,\"label\":\"POSITIVE\"}]");
    begin(REQUEST_TEI, 2, 2);
    request.function = REQUEST_NONE;
    answer_is("[[{\"score\":1.6123000383377075,\"label\":\"POSITIVE\"},"
              "{\"score\":-1.5607000589370728,\"label\":\"NEGATIVE\"}],"
              "[{\"score\":4.1691999435424805,\"label\":\"NEGATIVE\"},"
              "{\"score\":-3.346400022506714,\"label\":\"POSITIVE\"}]]");
}

static void vertex_gets_one_prediction_an_instance(void)
{
    begin(REQUEST_VERTEX, 1, 2);
    answer_is("{\"predictions\":[" POSITIVE "]}");
    begin(REQUEST_VERTEX, 2, 2);
    answer_is("{\"predictions\":[" POSITIVE "," NEGATIVE "]}");
    request.has_top_k = true;
    request.top_k = 1;
    answer_is("{\"predictions\":[[" POSITIVE "],[" NEGATIVE "]]}");
}

static void a_model_may_answer_with_all_labels_in_its_order(void)
{
#define ALL "[{\"label\":\"NEGATIVE\",\"score\":0.04019451513886452}," POSITIVE "]"
    begin(REQUEST_SAMPLE, 1, 2);
    labels.return_all = true;
    answer_is("{\"prediction\":[" ALL "]}");
    request.is_list = true;
    answer_is("{\"prediction\":[" ALL "]}");
    request.is_list = false;
    request.is_object = true;
    answer_is("{\"prediction\":" ALL "}");
    request.is_object = false;
    request.has_top_k = true;
    request.top_k = 1;
    answer_is("{\"prediction\":[" POSITIVE "]}");
}

static void numbers_in_the_place_of_labels_stay_numbers(void)
{
    static const char *const digits[] = {"-7", "300"};
    static const bool is_number[] = {false, true};
    const char expected[] = "\x81\xaaprediction\x91\x82\xa5label\xcd\x01\x2c\xa5score\xcb";
    struct response_buffer buffer = {.allocate = pool_allocate};

    begin(REQUEST_SAMPLE, 1, 2);
    labels.names = digits;
    labels.is_number = is_number;
    answer_is("{\"prediction\":[{\"label\":300,\"score\":0.9598054885864258}]}");
    request.has_top_k = true;
    answer_is("{\"prediction\":[{\"label\":300,\"score\":0.9598054885864258},"
              "{\"label\":\"-7\",\"score\":0.04019451513886452}]}");
    request.dialect = REQUEST_TEI; /* whose clients want strings */
    request.has_top_k = false;
    answer_is("[{\"score\":0.9598054885864258,\"label\":\"300\"},"
              "{\"score\":0.04019451513886452,\"label\":\"-7\"}]");
    request.dialect = REQUEST_SAMPLE;
    response_format(&buffer, REQUEST_MSGPACK, &request, &labels, logits);
    EXPECT(memcmp(buffer.bytes, expected, sizeof(expected) - 1) == 0);
    pool_free_blocks();
}

static void msgpack_has_the_same_shapes(void)
{
    struct response_buffer buffer = {.allocate = pool_allocate};
    static const char expected[] = "\x81\xAAprediction\x91\x82\xA5label\xA8POSITIVE\xA5score"
                                   "\xCB\x3F\xEE\xB6\xBA\x00\x00\x00\x00";

    begin(REQUEST_SAMPLE, 1, 2);
    response_format(&buffer, REQUEST_MSGPACK, &request, &labels, logits);
    EXPECT_EQUAL(buffer.size, sizeof(expected) - 1);
    EXPECT(memcmp(buffer.bytes, expected, buffer.size) == 0);
    pool_free_blocks();

    static const char refused[] = "\x82\xA5"
                                  "error\xA2no\xAA"
                                  "error_type\xA5"
                                  "Empty";
    buffer = (struct response_buffer){.allocate = pool_allocate};
    response_format_error(&buffer, REQUEST_MSGPACK, "Empty", "no");
    EXPECT_EQUAL(buffer.size, sizeof(refused) - 1);
    EXPECT(memcmp(buffer.bytes, refused, buffer.size) == 0);
    pool_free_blocks();
}

static void errors_are_escaped(void)
{
    struct response_buffer buffer = {.allocate = pool_allocate};

    response_format_error(&buffer, REQUEST_JSON, "Validation",
                          " \"a\\b\"\b\f\n\r\t\x01\x1F\x7F/\xC3\xA9");
    response_append(&buffer, "", 1);
    EXPECT_STRING(buffer.bytes,
                  "{\"error\":\" \\\"a\\\\b\\\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7F/\xC3\xA9\","
                  "\"error_type\":\"Validation\"}");
    pool_free_blocks();
}

static void a_buffer_grows_and_keeps_its_bytes(void)
{
    struct response_buffer buffer = {.allocate = pool_allocate};
    char expected[4096];

    for (size_t i = 0; i < sizeof(expected); i++) {
        expected[i] = (char)i;
        response_append(&buffer, &expected[i], 1);
    }
    response_append(&buffer, expected, sizeof(expected));
    EXPECT_EQUAL(buffer.size, 2 * sizeof(expected));
    EXPECT(memcmp(buffer.bytes, expected, sizeof(expected)) == 0);
    EXPECT(memcmp(buffer.bytes + sizeof(expected), expected, sizeof(expected)) == 0);
    pool_free_blocks();

    buffer = (struct response_buffer){.allocate = pool_allocate};
    response_append(&buffer, expected, 1);
    response_append(&buffer, expected, sizeof(expected));
    EXPECT(buffer.size == sizeof(expected) + 1 && buffer.capacity >= buffer.size);
    pool_free_blocks();
}

static void scores_follow_the_models_problem(void)
{
    const float pair[2] = {1.0f, -1.0f};
    float scores[2];

    labels = (struct response_labels){.names = names, .n_labels = 2};
    response_scores(&labels, REQUEST_FUNCTION_DEFAULT, pair, scores);
    EXPECT(scores[0] == 1.0f / (1.0f + expf(-2.0f)));
    response_scores(&labels, REQUEST_SIGMOID, pair, scores);
    EXPECT(scores[0] == 1.0f / (1.0f + expf(-1.0f)));
    response_scores(&labels, REQUEST_NONE, pair, scores);
    EXPECT(scores[0] == 1.0f && scores[1] == -1.0f);

    labels.problem = RESPONSE_MULTI_LABEL;
    response_scores(&labels, REQUEST_FUNCTION_DEFAULT, pair, scores);
    EXPECT(scores[1] == 1.0f / (1.0f + expf(1.0f)));
    response_scores(&labels, REQUEST_SOFTMAX, pair, scores);
    EXPECT(scores[0] == 1.0f / (1.0f + expf(-2.0f)));

    labels.problem = RESPONSE_REGRESSION;
    response_scores(&labels, REQUEST_FUNCTION_DEFAULT, pair, scores);
    EXPECT(scores[0] == 1.0f);

    labels = (struct response_labels){.names = names, .n_labels = 1};
    response_scores(&labels, REQUEST_FUNCTION_DEFAULT, pair, scores);
    EXPECT(scores[0] == 1.0f / (1.0f + expf(-1.0f)));
}

static void softmax_of_huge_logits_does_not_overflow(void)
{
    const float huge[2] = {3e38f, -3e38f};
    float scores[2];

    labels = (struct response_labels){.names = names, .n_labels = 2};
    response_scores(&labels, REQUEST_SOFTMAX, huge, scores);
    EXPECT(scores[0] == 1.0f && scores[1] == 0.0f);
}

static void softmax_sums_to_one_for_any_number_of_labels(void)
{
    static float many[1000], scores[1000];

    for (uint32_t n = 1; n <= 1000; n = n < 20 ? n + 1 : n * 3 / 2) {
        double sum = 0;
        labels = (struct response_labels){.names = names, .n_labels = n};
        for (uint32_t i = 0; i < n; i++)
            many[i] = sinf((float)i) * 5;
        response_scores(&labels, REQUEST_SOFTMAX, many, scores);
        for (uint32_t i = 0; i < n; i++)
            sum += (double)scores[i];
        EXPECT(fabs(sum - 1) < 1e-6);
    }
}

static void logits_that_are_no_numbers_are_noticed_and_print_as_null(void)
{
    const float broken[2] = {NAN, 1.0f}, infinite[2] = {0.0f, INFINITY};
    const float *const both[] = {broken, infinite};
    struct response_buffer buffer = {.allocate = pool_allocate};

    begin(REQUEST_TEI, 2, 2);
    EXPECT(response_logits_are_finite(&labels, logits_data[0]));
    EXPECT(!response_logits_are_finite(&labels, broken));
    EXPECT(!response_logits_are_finite(&labels, infinite));
    request.function = REQUEST_NONE;
    response_format(&buffer, REQUEST_JSON, &request, &labels, both);
    response_append(&buffer, "", 1);
    EXPECT(strstr(buffer.bytes, "{\"score\":null,\"label\":\"NEGATIVE\"}") != NULL);
    EXPECT(strstr(buffer.bytes, "{\"score\":null,\"label\":\"POSITIVE\"}") != NULL);
    EXPECT(strstr(buffer.bytes, "nan") == NULL && strstr(buffer.bytes, "inf") == NULL);
    pool_free_blocks();
}

int main(void)
{
    RUN(the_sample_answers_one_text_with_a_list_of_one);
    RUN(the_sample_answers_a_list_with_a_list);
    RUN(the_sample_answers_an_object_with_an_object);
    RUN(with_top_k_a_string_gives_a_flat_list_and_a_list_gives_lists);
    RUN(equal_scores_keep_the_models_order);
    RUN(negative_and_zero_scores_sort_by_value);
    RUN(text_embeddings_inference_gets_all_labels_score_first);
    RUN(vertex_gets_one_prediction_an_instance);
    RUN(a_model_may_answer_with_all_labels_in_its_order);
    RUN(numbers_in_the_place_of_labels_stay_numbers);
    RUN(msgpack_has_the_same_shapes);
    RUN(errors_are_escaped);
    RUN(a_buffer_grows_and_keeps_its_bytes);
    RUN(scores_follow_the_models_problem);
    RUN(softmax_of_huge_logits_does_not_overflow);
    RUN(softmax_sums_to_one_for_any_number_of_labels);
    RUN(logits_that_are_no_numbers_are_noticed_and_print_as_null);
    return 0;
}
