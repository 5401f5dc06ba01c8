/* What is made in the background, algorithms chosen and graphs: answers before, while and after it
 * is, with the same bits; trials and graphs that fail; an end at any moment. The gate of the
 * stand-in lets graphs be made one by one, and each bucket's algorithms are chosen before its
 * graph. */
#include <errno.h>
#include <unistd.h>

#include "gpu_worker/cuda_engine.h"
#include "shm/log.h"
#include "tests/cuda/standin/standin.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/test.h"

#define TOKENS_MAX    48 /* 3 buckets of tokens */
#define SEQUENCES_MAX 3  /* 3 of sequences */
#define N_GRAPHS      6
#define N_BATCHES     6

/* A batch for each bucket of tokens and each of sequences. */
static const uint32_t LENGTHS[N_BATCHES][SEQUENCES_MAX] = {{3},         {9, 7},      {16, 4},
                                                           {10, 9, 13}, {16, 16, 8}, {16, 2, 15}};

struct texts {
    uint32_t input_ids[TOKENS_MAX], cu_seqlens[SEQUENCES_MAX + 1], type_starts[SEQUENCES_MAX];
    struct batch batch;
};

static struct texts texts[N_BATCHES];
static float expected[N_BATCHES][2 * SEQUENCES_MAX];

static void make_texts(void)
{
    for (uint32_t b = 0; b < N_BATCHES; b++) {
        struct texts *t = &texts[b];
        uint32_t n = 0;
        for (; n < SEQUENCES_MAX && LENGTHS[b][n] > 0; n++) {
            t->cu_seqlens[n + 1] = t->cu_seqlens[n] + LENGTHS[b][n];
            t->type_starts[n] = LENGTHS[b][n];
        }
        for (uint32_t i = 0; i < t->cu_seqlens[n]; i++)
            t->input_ids[i] = (7 * i + 3 * b) % RANDOM_MODEL_SMALL.vocab_size;
        t->batch = (struct batch){t->input_ids, t->cu_seqlens, t->type_starts, n, t->cu_seqlens[n]};
    }
}

static struct encoder *try_to_create(void)
{
    const struct encoder_options options = {.dtype = ENCODER_DTYPE_FLOAT16,
                                            .max_batch_tokens = TOKENS_MAX,
                                            .max_batch_sequences = SEQUENCES_MAX};
    struct random_model random;
    char error[ERROR_BYTES] = "";
    random_model_make(&random, &RANDOM_MODEL_SMALL, 1);
    struct encoder *encoder = encoder_cuda.create(&random.model, &options, error);
    random_model_free(&random);
    if (encoder == NULL)
        fprintf(stderr, "%s\n", error);
    return encoder;
}

static struct encoder *create(void)
{
    struct encoder *encoder = try_to_create();
    EXPECT(encoder != NULL);
    EXPECT_EQUAL(encoder->tokens.count + encoder->sequences.count, N_GRAPHS);
    return encoder;
}

static void destroy(struct encoder *encoder)
{
    encoder_cuda.destroy(encoder);
    EXPECT_EQUAL(standin_counters().live_objects, 0);
    standin_reset();
}

/* How many of the batches' halves were launched as graphs; each answer has the expected bits. */
static uint64_t answer_all(struct encoder *encoder)
{
    const uint64_t before = standin_counters().graph_launches;
    for (uint32_t b = 0; b < N_BATCHES; b++) {
        float logits[2 * SEQUENCES_MAX];
        EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts[b].batch, logits), 0);
        EXPECT(memcmp(logits, expected[b], sizeof(float) * 2 * texts[b].batch.n_sequences) == 0);
    }
    return standin_counters().graph_launches - before;
}

static void wait_until_ready(const struct encoder *encoder, uint32_t n)
{
    while (__atomic_load_n(&encoder->graphs.n_ready, __ATOMIC_RELAXED) < n)
        usleep(100);
}

static uint32_t count_ready(const struct cuda_buckets *buckets)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < buckets->count; i++)
        n += cuda_bucket_is_ready(buckets, i);
    return n;
}

/* All that a ready bucket runs by adds in the reference's order. */
static void expect_bits_of_the_reference(const struct encoder *encoder)
{
    for (uint32_t i = 0; i < CUDA_GEMM_COUNT; i++) {
        const struct cuda_gemm *gemm = &encoder->gemms[i];
        const int order = standin_algorithm_order(&gemm->algorithms[gemm->buckets->count - 1]);
        EXPECT(order >= 0);
        for (uint32_t b = 0; b < gemm->buckets->count; b++)
            if (cuda_bucket_is_ready(gemm->buckets, b))
                EXPECT_EQUAL(standin_algorithm_order(&gemm->algorithms[b]), order);
    }
}

/* Of the trials only those of the smallest and the largest buckets come before the answers. */
static void answers_come_before_trials_and_graphs(void)
{
    standin_allow_graphs(0);
    struct encoder *encoder = create();
    EXPECT_EQUAL(count_ready(&encoder->tokens), 2);
    EXPECT_EQUAL(count_ready(&encoder->sequences), 2);
    for (uint32_t b = 0; b < N_BATCHES; b++)
        EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts[b].batch, expected[b]), 0);
    EXPECT_EQUAL(answer_all(encoder), 0);
    EXPECT(!cuda_graphs_are_made(&encoder->graphs));
    standin_allow_graphs(UINT64_MAX);
    cuda_graphs_wait(&encoder->graphs);
    EXPECT_EQUAL(count_ready(&encoder->tokens), 3);
    EXPECT_EQUAL(count_ready(&encoder->sequences), 3);
    expect_bits_of_the_reference(encoder);
    EXPECT_EQUAL(answer_all(encoder), 2 * N_BATCHES);
    destroy(encoder);
}

/* Small ones first, and a graph is used from the first batch after it is ready. */
static void answers_keep_their_bits_while_graphs_come_one_by_one(void)
{
    standin_allow_graphs(0);
    struct encoder *encoder = create();
    uint64_t launches = 0;
    for (uint32_t n = 1; n <= N_GRAPHS; n++) {
        standin_allow_graphs(1);
        wait_until_ready(encoder, n);
        const uint64_t now = answer_all(encoder);
        EXPECT(now > launches);
        launches = now;
        EXPECT((encoder->graphs.bodies[0] != NULL) && (encoder->graphs.tails[0] != NULL || n < 2));
        EXPECT_EQUAL(encoder->graphs.bodies[2] != NULL, n >= 5);
        EXPECT(count_ready(&encoder->tokens) >= (n >= 3 ? 3 : 2));
        expect_bits_of_the_reference(encoder);
    }
    EXPECT_EQUAL(launches, 2 * N_BATCHES);
    cuda_graphs_wait(&encoder->graphs);
    destroy(encoder);
}

static void answers_keep_their_bits_beside_a_thread_at_work(void)
{
    for (int round = 0; round < BY_SANITIZER(8, 1, 1); round++) {
        struct encoder *encoder = create();
        while (!cuda_graphs_are_made(&encoder->graphs))
            answer_all(encoder);
        EXPECT_EQUAL(answer_all(encoder), 2 * N_BATCHES);
        destroy(encoder);
    }
}

/* The bucket stays without, the others do not, and nobody's answer changes. */
static void a_graph_that_fails_leaves_its_bucket_as_it_was(void)
{
    for (uint32_t k = 1; k <= N_GRAPHS; k += BY_SANITIZER(1, 3, 3)) { /* both halves, at least */
        standin_fail_graph(k);
        struct encoder *encoder = create();
        cuda_graphs_wait(&encoder->graphs);
        EXPECT_EQUAL(encoder->graphs.n_ready, N_GRAPHS - 1);
        EXPECT_EQUAL(encoder->graphs.bodies[(k - 1) / 2] == NULL, k % 2 == 1);
        EXPECT_EQUAL(encoder->graphs.tails[(k - 1) / 2] == NULL, k % 2 == 0);
        const uint64_t launches = answer_all(encoder);
        EXPECT(launches < 2 * N_BATCHES && launches >= N_BATCHES);
        destroy(encoder);
    }
}

/* A start without the gate: how many calls it makes, and how many the first answers wait for. */
static void count_calls(uint64_t *n_of_start, uint64_t *n_of_all)
{
    const uint64_t before = standin_counters().api_calls;
    standin_allow_graphs(0);
    struct encoder *encoder = create();
    *n_of_start = standin_counters().api_calls - before;
    standin_allow_graphs(UINT64_MAX);
    cuda_graphs_wait(&encoder->graphs);
    *n_of_all = standin_counters().api_calls - before;
    destroy(encoder);
}

/* The thread's calls: its stream, its handle, a copy, a GEMM or a wait of a trial, a launch or a
 * GEMM of a capture, its end, the graph's making, upload and wait. Whatever fails, all is answered
 * with the same bits, and one bucket's algorithms or graph are missing at most, or all that needs
 * the thread. */
static void any_call_of_the_thread_may_fail(void)
{
    uint64_t n_of_start, n_of_all;
    uint32_t n_unready = 0, n_without_graph = 0;
    count_calls(&n_of_start, &n_of_all);
    EXPECT(n_of_all > n_of_start + 300);
    /* Up to the gate the thread may have made some, and had them counted. */
    for (uint64_t n = n_of_start - 40; n <= n_of_all; n += n < n_of_start + 8 || n + 6 > n_of_all
                                                               ? BY_SANITIZER(1, 6, 6)
                                                               : BY_SANITIZER(47, 400, 400)) {
        standin_fail_call(n);
        struct encoder *encoder = try_to_create();
        EXPECT(encoder != NULL || n <= n_of_start);
        if (encoder != NULL) {
            cuda_graphs_wait(&encoder->graphs);
            const uint32_t n_ready = encoder->graphs.n_ready;
            const uint32_t n_open =
                count_ready(&encoder->tokens) + count_ready(&encoder->sequences);
            EXPECT(n_open >= N_GRAPHS - 1 || (n_open == 4 && n_ready == 0 && n <= n_of_start + 3));
            EXPECT(n_ready >= N_GRAPHS - 1 || (n_ready == 0 && n <= n_of_start + 3));
            n_unready += n_open == N_GRAPHS - 1;
            n_without_graph += n_ready == N_GRAPHS - 1 && n_open == N_GRAPHS;
            expect_bits_of_the_reference(encoder);
            answer_all(encoder);
        }
        destroy(encoder);
    }
    EXPECT(n_unready > 0 || BY_SANITIZER(false, true, true)); /* few are tried */
    EXPECT(n_without_graph > 0 || BY_SANITIZER(false, true, true));
}

/* At each of the thread's calls, or a little later. */
static void an_encoder_may_end_within_a_trial(void)
{
    uint64_t n_of_start, n_of_all;
    count_calls(&n_of_start, &n_of_all);
    for (uint64_t n = n_of_start - 30; n < n_of_all; n += BY_SANITIZER(53, 300, 600)) {
        const uint64_t before = standin_counters().api_calls;
        struct encoder *encoder = create();
        while (standin_counters().api_calls - before < n &&
               !cuda_graphs_are_made(&encoder->graphs)) {
        }
        destroy(encoder);
    }
}

/* Each graph's launch in turn: the batch is answered, the bucket does without its graph, and the
 * others keep theirs. */
static void a_graph_that_cannot_be_launched_is_given_up(void)
{
    for (uint64_t k = 1; k <= 2 * N_BATCHES; k += BY_SANITIZER(1, 7, 7)) {
        struct encoder *encoder = create();
        cuda_graphs_wait(&encoder->graphs);
        standin_fail_graph_launch(k);
        answer_all(encoder);
        const uint64_t launches = answer_all(encoder);
        EXPECT(launches < 2 * N_BATCHES && launches >= N_BATCHES);
        EXPECT_EQUAL(answer_all(encoder), launches);
        for (uint32_t i = 0; i < 3; i++)
            EXPECT(encoder->graphs.bodies[i] != NULL && encoder->graphs.tails[i] != NULL);
        destroy(encoder);
    }
}

static void break_card(struct encoder *encoder)
{
    standin_hang(true); /* so that it breaks after both launches */
    EXPECT_EQUAL(encoder_cuda.submit(encoder, &texts[0].batch), 0);
    standin_break_next_kernel();
    standin_hang(false);
    cudaDeviceSynchronize();
}

/* The launch reports an error that is the card's, and the encoder does not go on. */
static void a_launch_that_meets_a_broken_card_ends_the_encoder(void)
{
    float logits[2 * SEQUENCES_MAX];
    struct encoder *encoder = create();
    cuda_graphs_wait(&encoder->graphs);
    break_card(encoder);
    EXPECT_EQUAL(encoder_cuda.submit(encoder, &texts[0].batch), -EIO);
    EXPECT(encoder->failed && !encoder->graphs.body_is_given_up[0]);
    EXPECT_EQUAL(encoder_cuda.collect(encoder, logits, clock_now_ns()), -EIO);
    destroy(encoder);
}

/* Ends an encoder with standard error in a file: how many lines of it speak of graphs, and the last
 * of these. */
static uint32_t count_lines_of_end(struct encoder *encoder, char spoken[512])
{
    char line[512];
    uint32_t n = 0;
    FILE *lines = tmpfile();
    const int kept = dup(STDERR_FILENO);
    EXPECT(lines != NULL && kept >= 0 && dup2(fileno(lines), STDERR_FILENO) >= 0);
    destroy(encoder);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(lines);
    while (fgets(line, sizeof line, lines) != NULL)
        if (strstr(line, "graph") != NULL) {
            strcpy(spoken, line);
            n++;
        }
    fclose(lines);
    return n;
}

static void a_broken_card_takes_no_graph_back_and_one_line_says_so(void)
{
    char spoken[512] = "";
    struct encoder *encoder = create();
    cuda_graphs_wait(&encoder->graphs);
    EXPECT_EQUAL(count_lines_of_end(encoder, spoken), 0);
    encoder = create();
    cuda_graphs_wait(&encoder->graphs);
    break_card(encoder);
    EXPECT_EQUAL(count_lines_of_end(encoder, spoken), 1);
    EXPECT(strstr(spoken, "6 of 6 graphs cannot be taken back: CUDA: ") != NULL);
}

/* Nothing is made of what a failed card says; the thread comes to its end, and nothing is left. */
static void a_card_that_breaks_is_the_end_of_trials_and_graphs(void)
{
    for (uint32_t n = 0; n < N_GRAPHS; n += BY_SANITIZER(1, 3, 3)) {
        standin_allow_graphs(n);
        struct encoder *encoder = create();
        wait_until_ready(encoder, n);
        const uint32_t n_open = count_ready(&encoder->tokens) + count_ready(&encoder->sequences);
        break_card(encoder);
        standin_allow_graphs(UINT64_MAX);
        cuda_graphs_wait(&encoder->graphs);
        EXPECT_EQUAL(encoder->graphs.n_ready, n);
        EXPECT(count_ready(&encoder->tokens) + count_ready(&encoder->sequences) <= n_open + 1);
        EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts[0].batch, (float[2 * SEQUENCES_MAX]){0}),
                     -EIO);
        destroy(encoder);
    }
}

/* Ten captures of the start ask whether algorithms can be captured; what follows are graphs. */
static void a_capture_that_cannot_begin_or_end_is_none(void)
{
    static const char *const calls[] = {"cudaStreamBeginCapture", "cudaStreamEndCapture"};
    for (size_t i = 0; i < ARRAY_COUNT(calls); i++)
        for (uint64_t n = 9; n <= 12; n += BY_SANITIZER(1, 2, 2)) {
            standin_fail_call_of(calls[i], n);
            struct encoder *encoder = create();
            cuda_graphs_wait(&encoder->graphs);
            EXPECT_EQUAL(encoder->graphs.n_ready, n <= 10 ? N_GRAPHS : N_GRAPHS - 1);
            expect_bits_of_the_reference(encoder);
            answer_all(encoder);
            destroy(encoder);
        }
}

static void an_encoder_may_end_at_any_moment(void)
{
    for (uint32_t n = 0; n <= N_GRAPHS; n += BY_SANITIZER(1, 3, 4))
        for (int after_us = BY_SANITIZER(0, 0, 200); after_us <= 200; after_us += 200) {
            standin_allow_graphs(n);
            struct encoder *encoder = create();
            wait_until_ready(encoder, n);
            standin_allow_graphs(UINT64_MAX);
            if (after_us > 0)
                usleep(after_us);
            destroy(encoder);
        }
}

static void *allow_one_graph_once_it_ends(void *argument)
{
    const struct encoder *encoder = argument; /* not freed before that graph is made */
    while (!__atomic_load_n(&encoder->graphs.stop, __ATOMIC_RELAXED))
        usleep(100);
    standin_allow_graphs(1);
    return NULL;
}

/* The thread stands at the second graph when the end begins; a third would wait for ever. */
static void an_end_waits_for_one_graph_at_most(void)
{
    pthread_t thread;
    standin_allow_graphs(1);
    struct encoder *encoder = create();
    wait_until_ready(encoder, 1);
    EXPECT_EQUAL(pthread_create(&thread, NULL, allow_one_graph_once_it_ends, encoder), 0);
    destroy(encoder);
    pthread_join(thread, NULL);
}

int main(void)
{
    log_init("test", false, LOG_SEVERITY_ERROR); /* dozens of starts, a dozen lines each */
    make_texts();
    RUN(answers_come_before_trials_and_graphs);
    RUN(answers_keep_their_bits_while_graphs_come_one_by_one);
    RUN(answers_keep_their_bits_beside_a_thread_at_work);
    RUN(an_encoder_may_end_within_a_trial);
    RUN(a_launch_that_meets_a_broken_card_ends_the_encoder);
    RUN(a_broken_card_takes_no_graph_back_and_one_line_says_so);
    RUN(an_encoder_may_end_at_any_moment);
    RUN(an_end_waits_for_one_graph_at_most);
    if (BY_SANITIZER(true, true, false)) { /* where a thread meets no other in a new way */
        RUN(a_graph_that_fails_leaves_its_bucket_as_it_was);
        RUN(any_call_of_the_thread_may_fail);
        RUN(a_graph_that_cannot_be_launched_is_given_up);
        RUN(a_card_that_breaks_is_the_end_of_trials_and_graphs);
        RUN(a_capture_that_cannot_begin_or_end_is_none);
    }
    return 0;
}
