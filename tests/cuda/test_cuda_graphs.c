/* Graphs made in the background: answers before, while and after they are made, with the same bits;
 * graphs that fail; an end at any moment. The gate of the stand-in lets graphs be made one by one.
 */
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

static void answers_come_before_any_graph_is_made(void)
{
    standin_allow_graphs(0);
    struct encoder *encoder = create();
    for (uint32_t b = 0; b < N_BATCHES; b++)
        EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts[b].batch, expected[b]), 0);
    EXPECT_EQUAL(answer_all(encoder), 0);
    EXPECT(!cuda_graphs_are_made(&encoder->graphs));
    standin_allow_graphs(UINT64_MAX);
    cuda_graphs_wait(&encoder->graphs);
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
    }
    EXPECT_EQUAL(launches, 2 * N_BATCHES);
    cuda_graphs_wait(&encoder->graphs);
    destroy(encoder);
}

static void answers_keep_their_bits_beside_a_thread_at_work(void)
{
    for (int round = 0; round < 8; round++) {
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
    for (uint32_t k = 1; k <= N_GRAPHS; k++) {
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

/* The thread's calls, each in turn: its stream, its handle, a launch or a GEMM of a capture, its
 * end, the graph's making, upload and wait. Whatever fails, all is answered, and no more than one
 * graph or all are missing. */
static void any_call_of_the_thread_may_fail(void)
{
    standin_allow_graphs(0);
    const uint64_t before = standin_counters().api_calls;
    struct encoder *encoder = create();
    const uint64_t n_of_start = standin_counters().api_calls - before;
    standin_allow_graphs(UINT64_MAX);
    cuda_graphs_wait(&encoder->graphs);
    const uint64_t n_of_all = standin_counters().api_calls - before;
    destroy(encoder);
    EXPECT(n_of_all > n_of_start + 100);
    /* The first three may have been made, and counted, before the gate. */
    for (uint64_t n = n_of_start - 3; n <= n_of_all;
         n += n < n_of_start + 12 || n + 6 > n_of_all ? 1 : 41) {
        standin_fail_call(n);
        encoder = try_to_create();
        EXPECT(encoder != NULL || n <= n_of_start);
        if (encoder != NULL) {
            cuda_graphs_wait(&encoder->graphs);
            const uint32_t n_ready = encoder->graphs.n_ready;
            EXPECT(n_ready == N_GRAPHS - 1 || (n_ready == 0 && n <= n_of_start + 3));
            answer_all(encoder);
        }
        destroy(encoder);
    }
}

static void an_encoder_may_end_at_any_moment(void)
{
    for (uint32_t n = 0; n <= N_GRAPHS; n++)
        for (int after_us = 0; after_us <= 200; after_us += 200) {
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
    RUN(answers_come_before_any_graph_is_made);
    RUN(answers_keep_their_bits_while_graphs_come_one_by_one);
    RUN(answers_keep_their_bits_beside_a_thread_at_work);
    RUN(a_graph_that_fails_leaves_its_bucket_as_it_was);
    RUN(any_call_of_the_thread_may_fail);
    RUN(an_encoder_may_end_at_any_moment);
    RUN(an_end_waits_for_one_graph_at_most);
    return 0;
}
