/* What parsing a body and printing an answer cost, beside jansson in the same run. Not a test: run
 * it on a quiet machine.
 *
 *     bench_proto [milliseconds per row]
 *
 * A row is the best of ROUNDS rounds, in nanoseconds for one body or answer, in cache. */
#include "proto/response.h"
#include "shm/base.h"
#include "tests/test.h"

#include <jansson.h>

#define ROUNDS     7
#define BODY_BYTES 200000
#define POOL_BYTES 1000000
#define TEXTS_MAX  128

static struct request_parser *parser;
static struct predict_request request;
static struct request_error error;
static char body[BODY_BYTES];
static size_t body_size;

static uint64_t round_ns = 50 * NS_PER_MS;

/* The best round's nanoseconds for one call. */
static double measure(void (*work)(void))
{
    double best = 1e18;

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t calls = 0, began = clock_now_ns(), now;
        do {
            for (int i = 0; i < 16; i++)
                work();
            calls += 16;
            now = clock_now_ns();
        } while (now - began < round_ns / ROUNDS);
        double ns = (double)(now - began) / (double)calls;
        best = ns < best ? ns : best;
    }
    return best;
}

static void parse_json(void)
{
    EXPECT(request_parse(parser, REQUEST_JSON, body, body_size, &request, &error) == REQUEST_OK);
}

static void parse_msgpack(void)
{
    EXPECT(request_parse(parser, REQUEST_MSGPACK, body, body_size, &request, &error) == REQUEST_OK);
}

static void parse_jansson(void)
{
    json_t *root = json_loadb(body, body_size, JSON_REJECT_DUPLICATES, NULL);

    EXPECT(root != NULL && json_object_get(root, "text") != NULL);
    json_decref(root);
}

/* n_texts strings of text_bytes each; one is no list. */
static void fill_json(size_t n_texts, size_t text_bytes, const char *filling)
{
    size_t size = (size_t)sprintf(body, "{\"text\":%s", n_texts > 1 ? "[" : ""),
           step = strlen(filling);

    for (size_t i = 0; i < n_texts; i++) {
        size += (size_t)sprintf(body + size, "%s\"", i > 0 ? "," : "");
        for (size_t k = 0; k + step <= text_bytes; k += step, size += step)
            stpcpy(body + size, filling);
        body[size++] = '"';
    }
    body_size = size + (size_t)sprintf(body + size, "%s}", n_texts > 1 ? "]" : "");
}

static void fill_msgpack(size_t n_texts, size_t text_bytes)
{
    size_t size = (size_t)sprintf(body, "\x81\xA4text");

    if (n_texts > 1) {
        body[size++] = (char)0xDC;
        body[size++] = (char)(n_texts >> 8);
        body[size++] = (char)n_texts;
    }
    for (size_t i = 0; i < n_texts; i++) {
        body[size++] = (char)0xDA;
        body[size++] = (char)(text_bytes >> 8);
        body[size++] = (char)text_bytes;
        memset(body + size, 'x', text_bytes);
        size += text_bytes;
    }
    body_size = size;
}

static void parse_row(const char *name, size_t n_texts, size_t text_bytes, const char *filling)
{
    fill_json(n_texts, text_bytes, filling);
    size_t json_size = body_size;
    double json = measure(parse_json), jansson = measure(parse_jansson);
    fill_msgpack(n_texts, text_bytes);
    double msgpack = measure(parse_msgpack);
    printf("%-28s %7zu B %10.0f ns %10.0f ns %10.0f ns %6.1f x\n", name, json_size, json, msgpack,
           jansson, jansson / json);
}

static char pool[POOL_BYTES];
static size_t pool_used;

static void *allocate(void *context, size_t size)
{
    void *block = pool + pool_used;

    pool_used += align_up_u64(size, 16);
    EXPECT(pool_used <= POOL_BYTES);
    return block;
}

static const char *const names[] = {"NEGATIVE", "POSITIVE"};
static const struct response_labels labels = {.names = names, .n_labels = 2};
static float logits[TEXTS_MAX][2];
static const float *rows[TEXTS_MAX];

static void format_json(void)
{
    struct response_buffer buffer = {.allocate = allocate};

    pool_used = 0;
    response_format(&buffer, REQUEST_JSON, &request, &labels, rows);
}

static void format_msgpack(void)
{
    struct response_buffer buffer = {.allocate = allocate};

    pool_used = 0;
    response_format(&buffer, REQUEST_MSGPACK, &request, &labels, rows);
}

static json_t *jansson_score(uint32_t index, float score)
{
    return json_pack("{s:s, s:f}", "label", names[index], "score", (double)score);
}

static void format_jansson(void)
{
    json_t *list = json_array();
    float scores[2];

    for (uint32_t i = 0; i < request.n_texts; i++) {
        response_scores(&labels, REQUEST_FUNCTION_DEFAULT, rows[i], scores);
        json_array_append_new(list,
                              jansson_score(scores[1] > scores[0], scores[scores[1] > scores[0]]));
    }
    json_t *root = json_pack("{s:o}", "prediction", list);
    free(json_dumps(root, JSON_COMPACT));
    json_decref(root);
}

static void format_row(const char *name, size_t n_texts)
{
    fill_json(n_texts, 20, "x");
    parse_json();
    double json = measure(format_json), msgpack = measure(format_msgpack);
    double jansson = measure(format_jansson);
    printf("%-28s %7zu T %10.0f ns %10.0f ns %10.0f ns %6.1f x\n", name, n_texts, json, msgpack,
           jansson, jansson / json);
}

int main(int argc, char **argv)
{
    struct request_limits limits = {TEXTS_MAX, 32, BODY_BYTES};

    if (argc > 1)
        round_ns = (uint64_t)strtoul(argv[1], NULL, 10) * NS_PER_MS;
    parser = request_parser_create(&limits);
    EXPECT(parser != NULL);
    for (uint32_t i = 0; i < TEXTS_MAX; i++) {
        logits[i][0] = -1.5607f - (float)i * 0.01f;
        logits[i][1] = 1.6123f;
        rows[i] = logits[i];
    }
    printf("%-28s %9s %13s %13s %13s\n", "parse a request", "body", "JSON", "MessagePack",
           "jansson");
    parse_row("one short text", 1, 44, "x");
    parse_row("one text", 1, 1000, "x");
    parse_row("one text, Chinese", 1, 999, "\xE6\xB0\xB4");
    parse_row("one text, escapes", 1, 1000, "say \\\"x\\\"\\n");
    parse_row("a list", 100, 1000, "x");
    printf("%-28s %9s %13s %13s %13s\n", "format an answer", "texts", "JSON", "MessagePack",
           "jansson");
    format_row("the best label", 1);
    format_row("the best labels", 100);
    request_parser_destroy(parser);
    return 0;
}
