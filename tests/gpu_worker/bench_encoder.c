/* Times forward passes of a backend on a model's folder, for bench_encoder.py:
 *
 *     bench_encoder MODEL_FOLDER THREADS [cpu]
 *
 * reads lines of lengths ("16 16 40") and answers each with a line: best milliseconds, median
 * milliseconds, number of passes, and the first text's first logit. Token ids follow a rule that
 * bench_encoder.py knows too. With "cpu" it counts the process' CPU time instead of the wall's: on
 * a busy machine, with one thread, that is what a pass costs. */
#include "gpu_worker/encoder.h"
#include "tests/test.h"

#define SEQUENCES_MAX 256
#define TOKENS_MAX    4096
#define PASSES_MAX    400
#define BUDGET_NS     (400 * NS_PER_MS)
#define PASSES_MIN    3

static uint32_t ids[TOKENS_MAX], starts[SEQUENCES_MAX + 1], type_starts[SEQUENCES_MAX];
static float logits[SEQUENCES_MAX * 64];

static uint32_t read_lengths(char *line)
{
    uint32_t n = 0;

    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
        EXPECT(n < SEQUENCES_MAX);
        type_starts[n] = (uint32_t)atoi(word);
        starts[n + 1] = starts[n] + type_starts[n];
        EXPECT(starts[n + 1] <= TOKENS_MAX);
        n++;
    }
    for (uint32_t i = 0; i < starts[n]; i++)
        ids[i] = 1000 + i * 7919 % 20000;
    return n;
}

static clockid_t watch = CLOCK_MONOTONIC;

static uint64_t watch_ns(void)
{
    struct timespec now;

    clock_gettime(watch, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void time_batch(struct encoder *encoder, const struct batch *batch)
{
    double passes_ms[PASSES_MAX];
    uint64_t begin_ns = watch_ns(), last_ns = begin_ns;
    uint32_t n = 0;

    while (n < PASSES_MAX && (n < PASSES_MIN || last_ns - begin_ns < BUDGET_NS)) {
        uint64_t now_ns;

        EXPECT_EQUAL(encoder_cpu.forward(encoder, batch, logits), 0);
        now_ns = watch_ns();
        passes_ms[n++] = (double)(now_ns - last_ns) / NS_PER_MS;
        last_ns = now_ns;
    }
    qsort(passes_ms, n, sizeof(*passes_ms), by_value);
    printf("%.4f %.4f %u %.9g\n", passes_ms[0], passes_ms[n / 2], n, logits[0]);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct encoder_options options = {.max_batch_tokens = TOKENS_MAX,
                                      .max_batch_sequences = SEQUENCES_MAX};
    char error[ERROR_BYTES] = "", line[4096];
    static struct model model;
    struct encoder *encoder;
    uint64_t begin_ns;

    EXPECT(argc == 3 || argc == 4);
    if (argc == 4 && strcmp(argv[3], "cpu") == 0)
        watch = CLOCK_PROCESS_CPUTIME_ID;
    options.threads = (uint32_t)atoi(argv[2]);
    if (model_open(&model, argv[1], error)) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    begin_ns = clock_now_ns();
    encoder = encoder_cpu.create(&model, &options, error);
    if (!encoder) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    fprintf(stderr, "%s, made in %.0f ms\n", encoder_cpu.describe(encoder),
            (double)(clock_now_ns() - begin_ns) / NS_PER_MS);
    while (fgets(line, sizeof(line), stdin)) {
        uint32_t n = read_lengths(line);
        struct batch batch = {ids, starts, type_starts, n, starts[n]};

        time_batch(encoder, &batch);
    }
    encoder_cpu.destroy(encoder);
    model_close(&model);
    return 0;
}
