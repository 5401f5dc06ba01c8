/* How fast the tokenizer is, in MB and tokens a second on one thread. Not a test.
 *
 *     bench_tokenizer FOLDER TEXT [ROUNDS]
 *
 * Each line of TEXT is a text; the best of ROUNDS passes over all counts, in CPU time. "words" is
 * the plain way without cache (tokenizer_words.h), "cached" what tokenizer_encode() does. Prints
 * one JSON object a row. tests/frontend/bench_tokenizer.py runs the `tokenizers` package beside it.
 */
#include "frontend/tokenizer_words.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_DEFAULT 7
#define TOKENS_MAX     65536u

struct corpus {
    char *bytes; /* followed by padding */
    size_t size, n_lines;
};

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static struct corpus corpus_read(const char *path)
{
    struct corpus corpus = {NULL, 0, 0};
    FILE *file = fopen(path, "rb");
    CHECK(file && fseek(file, 0, SEEK_END) == 0);
    corpus.size = (size_t)ftell(file);
    rewind(file);
    corpus.bytes = calloc(1, corpus.size + TOKENIZER_PADDING_BYTES);
    CHECK(corpus.bytes && fread(corpus.bytes, 1, corpus.size, file) == corpus.size);
    fclose(file);
    return corpus;
}

static uint64_t count_words(const struct tokenizer *tokenizer, const char *text, size_t size)
{
    struct tokenizer_units units;
    uint32_t ids[TOKENIZER_WORD_TOKENS_MAX], count;
    uint64_t total = 2;
    bool is_added;
    tokenizer_units_init(&units, tokenizer, (const uint8_t *)text, size, NULL);
    while ((count = tokenizer_units_next(&units, ids, &is_added)) > 0)
        total += count;
    return total;
}

static uint64_t pass(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                     struct corpus *corpus)
{
    static uint32_t input_ids[TOKENS_MAX];
    struct tokenizer_encoding encoding;
    uint64_t total = 0;
    corpus->n_lines = 0;
    for (const char *line = corpus->bytes, *end = line + corpus->size; line < end;) {
        const char *line_end = memchr(line, '\n', (size_t)(end - line));
        line_end = line_end ? line_end : end;
        struct tokenizer_input input = {line, (size_t)(line_end - line), NULL, 0};
        if (scratch) {
            tokenizer_encode(tokenizer, scratch, &input, TOKENS_MAX, false, input_ids, &encoding);
            total += encoding.n_tokens;
        } else {
            total += count_words(tokenizer, line, input.text_bytes);
        }
        line = line_end + 1;
        corpus->n_lines++;
    }
    return total;
}

static void measure(const char *name, const struct tokenizer *tokenizer,
                    struct tokenizer_scratch *scratch, struct corpus *corpus, int rounds)
{
    double best = 1e9, first = 0;
    uint64_t total = 0;
    for (int round = 0; round < rounds; round++) {
        double start = cpu_seconds();
        total = pass(tokenizer, scratch, corpus);
        double seconds = cpu_seconds() - start;
        first = round == 0 ? seconds : first;
        best = seconds < best ? seconds : best;
    }
    printf("{\"engine\": \"weir %s\", \"megabytes_per_second\": %.1f, \"tokens_per_second\": %.0f, "
           "\"first_pass\": %.1f, \"tokens\": %" PRIu64 ", \"texts\": %zu, \"bytes\": %zu}\n",
           name, (double)corpus->size / 1e6 / best, (double)total / best,
           (double)corpus->size / 1e6 / first, total, corpus->n_lines, corpus->size);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct tokenizer_files files;
    char error[ERROR_BYTES] = "usage: bench_tokenizer FOLDER TEXT [ROUNDS]";
    if (argc < 3 || tokenizer_files_open(&files, argv[1], error) != 0) {
        fprintf(stderr, "%s\n", error);
        return 64;
    }
    double start = cpu_seconds();
    struct tokenizer *tokenizer = tokenizer_create(&files, error);
    CHECK(tokenizer);
    double created = cpu_seconds();
    struct corpus corpus = corpus_read(argv[2]);
    double corpus_read_at = cpu_seconds();
    struct tokenizer_scratch *scratch =
        tokenizer_scratch_create(tokenizer, TOKENS_MAX, corpus.size, error);
    CHECK(scratch);
    fprintf(stderr, "created in %.1f ms, scratch in %.1f ms\n", (created - start) * 1e3,
            (cpu_seconds() - corpus_read_at) * 1e3);
    tokenizer_files_close(&files);

    int rounds = argc > 3 ? atoi(argv[3]) : ROUNDS_DEFAULT;
    measure("words", tokenizer, NULL, &corpus, rounds);
    measure("cached", tokenizer, scratch, &corpus, rounds);
    free(corpus.bytes);
    tokenizer_scratch_destroy(scratch);
    tokenizer_destroy(tokenizer);
    return 0;
}
