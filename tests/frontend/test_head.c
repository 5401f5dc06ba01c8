/* The strict look at a request's head: what it lets through, what it refuses and why, whatever the
 * pieces in which the bytes arrive. */
#include "frontend/head.h"
#include "tests/test.h"

static enum head_verdict scan_whole(const char *text, size_t size, struct head_scan *scan)
{
    /* At the very end of a block: reading beyond is seen by the sanitizer. */
    char *copy = malloc(size == 0 ? 1 : size);
    memcpy(copy, text, size);
    *scan = (struct head_scan){0};
    enum head_verdict verdict = head_scan(scan, copy, size);
    free(copy);
    return verdict;
}

static enum head_verdict verdict_of(const char *text)
{
    struct head_scan scan;
    return scan_whole(text, strlen(text), &scan);
}

static const char *problem_of(const char *text)
{
    struct head_scan scan;
    EXPECT_EQUAL(scan_whole(text, strlen(text), &scan), HEAD_BAD);
    return scan.problem;
}

#define LINE "POST /predict HTTP/1.1\r\nHost: x\r\n"

static const char *const good[] = {
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nhost:x\r\n\r\n",
    "M!#$%&'*+-.^_`|~9 * HTTP/1.1\r\nHost:\r\n\r\n",
    LINE "Content-Length: 0\r\n\r\n",
    LINE "content-length:\t17 \t\r\n\r\n",
    LINE "Transfer-Encoding: ChunKed\r\n\r\n",
    LINE "Accept: a\r\nAccept: b\r\nX-Any: \t caf\xc3\xa9 \r\nEmpty:\r\n\r\n",
};

static void good_heads_pass(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        EXPECT_EQUAL(verdict_of(good[i]), HEAD_OK);
}

static void every_prefix_of_a_good_head_is_incomplete(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        size_t size = strlen(good[i]);
        for (size_t n = 0; n < size; n++) {
            struct head_scan scan;
            EXPECT_EQUAL(scan_whole(good[i], n, &scan), HEAD_INCOMPLETE);
        }
    }
}

static void expect_place(struct head_value place, const char *head, const char *expected)
{
    EXPECT_EQUAL(place.end - place.start, strlen(expected));
    EXPECT(memcmp(head + place.start, expected, strlen(expected)) == 0);
}

/* Of a head that ends in the middle: as far as it was read. */
static void what_the_log_tells_has_its_place(void)
{
    static const char head[] =
        "\r\nPUT /a?b HTTP/1.1\r\nUser-Agent: x y\r\nuser-agent: z\r\nHost: \1";
    struct head_scan scan;
    EXPECT_EQUAL(scan_whole(head, sizeof(head) - 1, &scan), HEAD_BAD);
    expect_place(scan.method, head, "PUT");
    expect_place(scan.target, head, "/a?b");
    expect_place(scan.user_agent, head, "x y");
    EXPECT_EQUAL(scan_whole("PUT /a", 6, &scan), HEAD_INCOMPLETE);
    expect_place(scan.method, "PUT /a", "PUT");
    EXPECT_EQUAL(scan.target.end, 0);
}

static void a_scan_goes_on_where_it_stopped_and_the_buffer_may_move(void)
{
    char text[] = LINE "Content-Length: 1234\r\n\r\nbody";
    struct head_scan scan = {0};
    size_t head = strlen(text) - 4;
    for (size_t n = 1; n <= head; n++) {
        char *moved = malloc(n);
        memcpy(moved, text, n);
        EXPECT_EQUAL(head_scan(&scan, moved, n), n == head ? HEAD_OK : HEAD_INCOMPLETE);
        free(moved);
    }
    EXPECT_EQUAL(scan.content_length, 1234);
    EXPECT_EQUAL(scan.position, head);
    EXPECT_EQUAL(head_scan(&scan, text, strlen(text)), HEAD_OK);
}

static void a_bad_head_stays_bad(void)
{
    struct head_scan scan = {0};
    char text[] = "\x16\x03\x01";
    EXPECT_EQUAL(head_scan(&scan, text, 2), HEAD_BAD);
    EXPECT_EQUAL(head_scan(&scan, text, 3), HEAD_BAD);
}

/* libh2o takes it for a part of the value, and "12 " for no number. */
static void white_space_behind_a_value_is_moved_in_front_of_it(void)
{
    char text[] = LINE "Content-Length: 12 \t\r\nX:\ta b\t\r\nY: \r\n\r\n";
    const char *moved = LINE "Content-Length:   12\r\nX:\t a b\r\nY: \r\n\r\n";
    struct head_scan scan = {0};
    EXPECT_EQUAL(head_scan(&scan, text, sizeof(text) - 1), HEAD_OK);
    EXPECT_EQUAL(scan.content_length, 12);
    EXPECT_STRING(text, moved);
}

static void framing_that_two_readers_could_read_differently_is_refused(void)
{
    EXPECT(strstr(problem_of(LINE "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
                  "exclude") != NULL);
    EXPECT(strstr(problem_of(LINE "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"),
                  "exclude") != NULL);
    EXPECT(strstr(problem_of(LINE "Content-Length: 1\r\nContent-Length: 1\r\n"), "twice") != NULL);
    EXPECT(strstr(problem_of(LINE "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
                  "twice") != NULL);
    EXPECT(strstr(problem_of(LINE "Transfer-Encoding: gzip, chunked\r\n"), "chunked") != NULL);
    EXPECT(strstr(problem_of("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"), "1.0") != NULL);
    EXPECT(strstr(problem_of(LINE "X: a\r\n b"), "folded") != NULL);
    EXPECT(strstr(problem_of(LINE "X : a\r\n"), "name") != NULL);
    EXPECT(strstr(problem_of(LINE "X: a\n"), "control") != NULL);
    EXPECT(strstr(problem_of(LINE "X: a\rb"), "CR LF") != NULL);
    EXPECT(strstr(problem_of("GET / HTTP/1.1\n"), "CR LF") != NULL);
}

static void lengths_are_decimal_and_fit(void)
{
    struct head_scan scan;
    static const char *const bad[] = {"",    " ",   "+1",  "-1",  "0x1",
                                      "1 1", "1,1", "1.0", "1e3", "1234567890123456789"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        char text[128];
        snprintf(text, sizeof(text), LINE "Content-Length: %s\r\n\r\n", bad[i]);
        EXPECT(strstr(problem_of(text), "not a number") != NULL);
    }
    const char *largest = LINE "Content-Length: 123456789012345678\r\n\r\n";
    EXPECT_EQUAL(scan_whole(largest, strlen(largest), &scan), HEAD_OK);
    EXPECT_EQUAL(scan.content_length, 123456789012345678);
}

static void one_host_is_wanted(void)
{
    EXPECT(strstr(problem_of("GET / HTTP/1.1\r\n\r\n"), "wants a Host") != NULL);
    EXPECT(strstr(problem_of("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), "twice") != NULL);
}

static void the_number_of_headers_is_limited(void)
{
    char text[4096];
    for (int n = HEAD_HEADERS_MAX - 1; n <= HEAD_HEADERS_MAX + 1; n++) {
        size_t size = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: x\r\n");
        for (int i = 1; i < n; i++)
            size += (size_t)snprintf(text + size, sizeof(text) - size, "X-%d: y\r\n", i);
        snprintf(text + size, sizeof(text) - size, "\r\n");
        EXPECT_EQUAL(verdict_of(text), n <= HEAD_HEADERS_MAX ? HEAD_OK : HEAD_BAD);
    }
}

static void the_size_of_a_head_is_limited(void)
{
    for (int over = -1; over <= 1; over++) {
        size_t size = (size_t)(HEAD_BYTES_MAX + over);
        static const char begin[] = "GET / HTTP/1.1\r\nHost: x\r\nX: ", end[] = "\r\n\r\n";
        char *text = malloc(size);
        memset(text, 'y', size);
        memcpy(text, begin, sizeof(begin) - 1);
        memcpy(text + size - (sizeof(end) - 1), end, sizeof(end) - 1);
        struct head_scan scan;
        EXPECT_EQUAL(scan_whole(text, size, &scan), over <= 0 ? HEAD_OK : HEAD_BAD);
        free(text);
    }
}

static void an_http2_preface_is_known(void)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    EXPECT_EQUAL(verdict_of(preface), HEAD_BAD);
    EXPECT(head_is_http2_preface(preface, sizeof(preface) - 1));
    EXPECT(!head_is_http2_preface(preface, 15));
    EXPECT(!head_is_http2_preface("GET / HTTP/1.1\r\n", 16));
}

/* What the automaton's author did not think of: every byte at every place of a good head either
 * leaves it good or incomplete, or is refused with a sentence. Never a crash, never a second
 * opinion. */
static void any_byte_anywhere_has_one_verdict(void)
{
    char text[] = LINE "Content-Length: 12\r\nX: y\r\n\r\n";
    for (size_t place = 0; place < sizeof(text) - 1; place++) {
        char kept = text[place];
        for (int byte = 0; byte < 256; byte++) {
            struct head_scan whole, pieces = {0};
            enum head_verdict step = HEAD_INCOMPLETE;
            text[place] = (char)byte;
            enum head_verdict verdict = scan_whole(text, sizeof(text) - 1, &whole);
            char copy[sizeof(text)];
            memcpy(copy, text, sizeof(text));
            for (size_t n = 1; n < sizeof(text) && step == HEAD_INCOMPLETE; n++)
                step = head_scan(&pieces, copy, n);
            EXPECT_EQUAL(step, verdict);
            EXPECT((verdict == HEAD_BAD) == (whole.problem != NULL));
        }
        text[place] = kept;
    }
}

int main(void)
{
    RUN(good_heads_pass);
    RUN(every_prefix_of_a_good_head_is_incomplete);
    RUN(a_scan_goes_on_where_it_stopped_and_the_buffer_may_move);
    RUN(what_the_log_tells_has_its_place);
    RUN(a_bad_head_stays_bad);
    RUN(white_space_behind_a_value_is_moved_in_front_of_it);
    RUN(framing_that_two_readers_could_read_differently_is_refused);
    RUN(lengths_are_decimal_and_fit);
    RUN(one_host_is_wanted);
    RUN(the_number_of_headers_is_limited);
    RUN(the_size_of_a_head_is_limited);
    RUN(an_http2_preface_is_known);
    RUN(any_byte_anywhere_has_one_verdict);
    return 0;
}
