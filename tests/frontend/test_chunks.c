/* The strict look at a chunked body: what it lets through, what it refuses and why, whatever the
 * pieces in which the bytes arrive. */
#include "frontend/chunks.h"
#include "tests/test.h"

#define BODY_BYTES_MAX 1000

static enum chunks_verdict verdict_of(const char *text, struct chunks_scan *scan)
{
    *scan = (struct chunks_scan){0};
    return chunks_scan(scan, text, strlen(text), BODY_BYTES_MAX);
}

static const struct {
    const char *text;
    uint64_t body_bytes;
} good[] = {
    {"0\r\n\r\n", 0},
    {"5\r\nabcde\r\n0\r\n\r\n", 5},
    {"A\r\n0123456789\r\na\r\n0123456789\r\n00\r\n\r\n", 20},
    {"1;name=value;x=\"y\t\xc3\xa9\"\r\n\n\r\n0 ; last \r\n\r\n", 1},
    {"2 \t\r\n\r\n\r\n0000000000000000\r\nA: b\r\nC:\r\nD:\te \r\n\r\n", 2},
};

static void good_bodies_pass(void)
{
    struct chunks_scan scan;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        EXPECT_EQUAL(verdict_of(good[i].text, &scan), CHUNKS_OK);
        EXPECT_EQUAL(scan.body_bytes, good[i].body_bytes);
    }
}

static void every_prefix_of_a_good_body_is_incomplete(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        size_t size = strlen(good[i].text);
        for (size_t n = 0; n < size; n++) {
            /* At the very end of a block: reading beyond is seen by the sanitizer. */
            char *copy = malloc(n == 0 ? 1 : n);
            struct chunks_scan scan = {0};
            memcpy(copy, good[i].text, n);
            EXPECT_EQUAL(chunks_scan(&scan, copy, n, BODY_BYTES_MAX), CHUNKS_INCOMPLETE);
            EXPECT_EQUAL(chunks_scan(&scan, good[i].text + n, size - n, BODY_BYTES_MAX), CHUNKS_OK);
            free(copy);
        }
    }
}

static void bytes_behind_the_body_are_not_looked_at(void)
{
    struct chunks_scan scan;
    EXPECT_EQUAL(verdict_of("0\r\n\r\n\x01\x02GET", &scan), CHUNKS_OK);
}

static void expect_bad(const char *text, const char *words)
{
    struct chunks_scan scan;
    EXPECT_EQUAL(verdict_of(text, &scan), CHUNKS_BAD);
    EXPECT(strstr(scan.problem, words) != NULL);
}

static void what_two_readers_could_read_differently_is_refused(void)
{
    expect_bad("5\nabcde\r\n0\r\n\r\n", "hexadecimal");
    expect_bad("5;a\nabcde\r\n0\r\n\r\n", "control character");
    expect_bad("5\r\rabcde", "CR LF");
    expect_bad("5\r\nabcde\n0\r\n\r\n", "longer than");
    expect_bad("5\r\nabcdef\r\n", "longer than");
    expect_bad("5\r\nabcde\r\r\n", "CR LF");
    expect_bad("0\n", "hexadecimal");
    expect_bad("0\r\n\n", "NAME: VALUE");
    expect_bad("0\r\nA: b\n", "control character");
    expect_bad("0\r\nA: b\r\n folded\r\n", "NAME: VALUE");
    expect_bad("0\r\nno colon\r\n", "NAME: VALUE");
    expect_bad("0\r\n: b\r\n", "NAME: VALUE");
    expect_bad("0\r\n\r\r", "CR LF");
    for (const char *size = "g\0;\0 5\0\r\n\0+5\0-5\0"
                            "5x\0"
                            "0x5\0";
         *size != '\0'; size += strlen(size) + 1)
        expect_bad(size, "hexadecimal");
}

static void a_size_is_refused_when_it_is_announced(void)
{
    struct chunks_scan scan;
    EXPECT_EQUAL(verdict_of("3e8\r\n", &scan), CHUNKS_INCOMPLETE);
    EXPECT_EQUAL(verdict_of("3e9\r\n", &scan), CHUNKS_TOO_LARGE);
    EXPECT_EQUAL(verdict_of("1\r\na\r\n3e7\r\n", &scan), CHUNKS_INCOMPLETE);
    EXPECT_EQUAL(verdict_of("1\r\na\r\n3e8\r\n", &scan), CHUNKS_TOO_LARGE);
    EXPECT_EQUAL(verdict_of("7fffffffffffffff\r\n", &scan), CHUNKS_TOO_LARGE);
    EXPECT_EQUAL(verdict_of("ffffffffffffffff\r\n", &scan), CHUNKS_TOO_LARGE);
    EXPECT_EQUAL(verdict_of("1\r\na\r\nffffffffffffffff\r\n", &scan), CHUNKS_TOO_LARGE);
    expect_bad("00000000000000001\r\n", "hexadecimal");
}

/* `before`, then n times 'x'. */
static enum chunks_verdict filled(const char *before, size_t n, struct chunks_scan *scan)
{
    size_t size = strlen(before);
    char *text = malloc(size + n);
    memcpy(text, before, size);
    memset(text + size, 'x', n);
    *scan = (struct chunks_scan){0};
    enum chunks_verdict verdict = chunks_scan(scan, text, size + n, BODY_BYTES_MAX);
    free(text);
    return verdict;
}

static void extensions_and_trailers_have_a_limit(void)
{
    struct chunks_scan scan;
    EXPECT_EQUAL(filled("1;", CHUNKS_EXTENSION_BYTES_MAX, &scan), CHUNKS_INCOMPLETE);
    EXPECT_EQUAL(filled("1;", CHUNKS_EXTENSION_BYTES_MAX + 1, &scan), CHUNKS_BAD);
    EXPECT(strstr(scan.problem, "extensions are larger") != NULL);
    EXPECT_EQUAL(filled("0\r\nA:", CHUNKS_TRAILER_BYTES_MAX - 2, &scan), CHUNKS_INCOMPLETE);
    EXPECT_EQUAL(filled("0\r\nA:", CHUNKS_TRAILER_BYTES_MAX - 1, &scan), CHUNKS_BAD);
    EXPECT(strstr(scan.problem, "trailers of the body are larger") != NULL);
}

int main(void)
{
    RUN(good_bodies_pass);
    RUN(every_prefix_of_a_good_body_is_incomplete);
    RUN(bytes_behind_the_body_are_not_looked_at);
    RUN(what_two_readers_could_read_differently_is_refused);
    RUN(a_size_is_refused_when_it_is_announced);
    RUN(extensions_and_trailers_have_a_limit);
    return 0;
}
