/* A parser takes no memory for a body that is no larger than one it has seen, and survives the
 * failure of any single allocation. */
#include "proto/request.h"
#include "tests/proto/allocations.h"
#include "tests/test.h"

#define LARGE_BYTES 100000
#define FAILURES    50

static const struct request_limits limits = {8, 8, 1000000};
static struct predict_request request;
static struct request_error error;
static char large[LARGE_BYTES + 1];

static enum request_error_kind parse(struct request_parser *parser, const char *body)
{
    return request_parse(parser, REQUEST_JSON, body, strlen(body), &request, &error);
}

static enum request_error_kind parse_msgpack(struct request_parser *parser, const char *body)
{
    return request_parse(parser, REQUEST_MSGPACK, body, strlen(body), &request, &error);
}

static void known_sizes_cost_no_memory(void)
{
    struct request_parser *parser = request_parser_create(&limits);

    EXPECT(parser != NULL);
    EXPECT_EQUAL(parse(parser, large), REQUEST_OK);
    long before = allocations_count();
    for (size_t size = LARGE_BYTES; size > 0; size -= LARGE_BYTES / 10) {
        large[size - 2] = '"';
        large[size - 1] = '}';
        large[size] = '\0';
        EXPECT_EQUAL(parse(parser, large), REQUEST_OK);
    }
    EXPECT_EQUAL(parse(parser, "{\"text\":[\"a\",\"b\"],\"top_k\":0}"), REQUEST_MALFORMED);
    EXPECT_EQUAL(parse_msgpack(parser, "\x81\xA4text\xA2hi"), REQUEST_OK);
    EXPECT_EQUAL(parse_msgpack(parser, "\x81\xA4text\xC1"), REQUEST_MALFORMED);
    EXPECT_EQUAL(allocations_count(), before);
    request_parser_destroy(parser);
}

static void small_bodies_cost_no_memory_from_the_first_on(void)
{
    struct request_parser *parser = request_parser_create(&limits);

    EXPECT(parser != NULL);
    EXPECT_EQUAL(parse(parser, "{\"text\":\"a\"}"), REQUEST_OK);
    long before = allocations_count();
    for (int i = 0; i < 100; i++)
        EXPECT_EQUAL(parse(parser, "{\"text\":[\"a\",\"b\"],\"top_k\":1}"), REQUEST_OK);
    EXPECT_EQUAL(allocations_count(), before);
    request_parser_destroy(parser);
}

static void creation_survives_any_failed_allocation(void)
{
    long n = 1;

    for (; n < FAILURES; n++) {
        allocations_fail(n);
        struct request_parser *parser = request_parser_create(&limits);
        EXPECT_EQUAL(parser == NULL, allocations_have_failed());
        request_parser_destroy(parser);
        if (parser != NULL)
            break;
    }
    allocations_fail(0);
    EXPECT(n > 5 && n < FAILURES);
}

static void growth_survives_any_failed_allocation(void)
{
    long n = 1;

    for (; n < FAILURES; n++) {
        struct request_parser *parser = request_parser_create(&limits);
        EXPECT(parser != NULL);
        allocations_fail(n);
        enum request_error_kind kind = parse(parser, large);
        EXPECT_EQUAL(kind, allocations_have_failed() ? REQUEST_TOO_LARGE : REQUEST_OK);
        if (kind != REQUEST_OK)
            EXPECT_STRING(error.sentence,
                          "there is no memory for a body of 100000 bytes now: send it in parts");
        /* And works again. */
        EXPECT_EQUAL(parse(parser, "{\"text\":[\"a\"],\"top_k\":1}"), REQUEST_OK);
        EXPECT_EQUAL(parse(parser, large), REQUEST_OK);
        EXPECT_EQUAL(request.texts[0].text_bytes, LARGE_BYTES - 11);
        request_parser_destroy(parser);
        if (kind == REQUEST_OK)
            break;
    }
    allocations_fail(0);
    EXPECT(n > 4 && n < FAILURES);
}

static void fill_large(void)
{
    memset(large, 'x', LARGE_BYTES);
    *stpcpy(large, "{\"text\":\"") = 'x';
    stpcpy(large + LARGE_BYTES - 2, "\"}");
}

int main(void)
{
    fill_large();
    RUN(known_sizes_cost_no_memory);
    fill_large();
    RUN(small_bodies_cost_no_memory_from_the_first_on);
    RUN(creation_survives_any_failed_allocation);
    RUN(growth_survives_any_failed_allocation);
    return 0;
}
