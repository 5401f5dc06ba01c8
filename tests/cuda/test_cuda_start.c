/* The CUDA encoder's start: what it refuses, in which words, that a failure of any call leaves
 * nothing behind; and the arithmetic of buckets and plans. */
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>

#include "gpu_worker/cuda_engine.h"
#include "tests/cuda/standin/standin.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/test.h"

#define CALLS_MAX 100000

static int threads_until_failure; /* 0: none fails */
static uint32_t n_threads;        /* started and not joined; atomic */
static uint32_t n_started;        /* by this one */

/* In front of the C library's own, as long as this program lives. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument)
{
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    if (threads_until_failure > 0 && --threads_until_failure == 0)
        return EAGAIN;
    const int result = create(thread, attributes, run, argument);
    __atomic_fetch_add(&n_threads, result == 0, __ATOMIC_RELAXED);
    n_started++;
    return result;
}

int pthread_join(pthread_t thread, void **returned)
{
    int (*join)(pthread_t, void **);
    *(void **)&join = dlsym(RTLD_NEXT, "pthread_join");
    __atomic_fetch_sub(&n_threads, 1, __ATOMIC_RELAXED);
    return join(thread, returned);
}

static struct encoder *create(const struct model_config *config, enum encoder_dtype dtype,
                              float scale, char error[ERROR_BYTES])
{
    const struct encoder_options options = {
        .dtype = dtype, .max_batch_tokens = 16, .max_batch_sequences = 2};
    struct random_model random;
    random_model_make(&random, config, 1);
    ((float *)random.model.weights.layers[0].ffn_in.weight.data)[0] *= scale;
    struct encoder *encoder = encoder_cuda.create(&random.model, &options, error);
    random_model_free(&random);
    return encoder;
}

static void expect_refusal(const struct model_config *config, enum encoder_dtype dtype, float scale,
                           const char *words)
{
    char error[ERROR_BYTES] = "";
    EXPECT(create(config, dtype, scale, error) == NULL);
    if (strstr(error, words) == NULL)
        fprintf(stderr, "\"%s\" does not say \"%s\"\n", error, words);
    EXPECT(strstr(error, words) != NULL);
    EXPECT_EQUAL(standin_counters().live_objects, 0);
    standin_reset();
}

static void a_machine_without_a_card_gets_a_sentence(void)
{
    standin_set_device(0, 0, 0, 0);
    expect_refusal(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_AUTO, 1.0f, "no NVIDIA GPU is visible");
}

static void an_old_card_is_refused_by_name(void)
{
    standin_set_device(1, 7, 5, 40);
    expect_refusal(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_AUTO, 1.0f, "compute capability 7.5");
}

static void what_the_backend_lacks_is_refused(void)
{
    struct model_config odd = RANDOM_MODEL_SMALL;
    expect_refusal(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_INT8, 1.0f, "choose one of them as --dtype");
    odd.ffn_dim = 36;
    expect_refusal(&odd, ENCODER_DTYPE_AUTO, 1.0f, "multiples of 8");
    setenv("WEIR_CUDA_GEMM", "own", 1);
    expect_refusal(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_AUTO, 1.0f, "multiples of 64: unset it");
    odd.hidden_dim = 64;
    odd.ffn_dim = 96;
    expect_refusal(&odd, ENCODER_DTYPE_AUTO, 1.0f, "multiples of 64: unset it");
    odd.ffn_dim = 64;
    expect_refusal(&odd, ENCODER_DTYPE_FLOAT32, 1.0f, "needs --dtype float16 or bfloat16");
    setenv("WEIR_CUDA_GEMM", "Own", 1);
    expect_refusal(&odd, ENCODER_DTYPE_AUTO, 1.0f,
                   "WEIR_CUDA_GEMM is \"Own\", and can only be own: unset");
    unsetenv("WEIR_CUDA_GEMM");
}

static void the_watchdogs_time_is_a_number_of_milliseconds(void)
{
    static const char *const wrong[] = {"0",   "-1", "3600001", "10s",
                                        "1e4", "x",  " ",       "99999999999999999999"};
    static const struct {
        const char *word;
        uint64_t ms;
    } right[] = {{"1", 1}, {"3600000", 3600000}, {"", 10000}};
    char error[ERROR_BYTES] = "";
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        setenv("WEIR_CUDA_WATCHDOG_MS", wrong[i], 1);
        expect_refusal(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_AUTO, 1.0f,
                       "milliseconds from 1 to 3600000");
    }
    for (size_t i = 0; i < ARRAY_COUNT(right); i++) {
        setenv("WEIR_CUDA_WATCHDOG_MS", right[i].word, 1);
        struct encoder *encoder = create(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_AUTO, 1.0f, error);
        /* 1 ms may be too short for the first text, here: then the watchdog has barked. */
        EXPECT(encoder != NULL || (i == 0 && strstr(error, "first forward pass") != NULL));
        if (encoder != NULL) {
            EXPECT_EQUAL(encoder->watchdog_ns, right[i].ms * NS_PER_MS);
            encoder_cuda.destroy(encoder);
        }
    }
    unsetenv("WEIR_CUDA_WATCHDOG_MS");
}

/* As Docker's and Kubernetes' files have it where a line is left blank. */
static void an_empty_variable_is_as_good_as_none(void)
{
    static const char *const variables[] = {"WEIR_CUDA_GEMM", "WEIR_CUDA_FFN",
                                            "WEIR_CUDA_TUNE_FILE"};
    char error[ERROR_BYTES] = "";
    for (size_t i = 0; i < ARRAY_COUNT(variables); i++)
        setenv(variables[i], "", 1);
    struct encoder *encoder = create(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_AUTO, 1.0f, error);
    EXPECT(encoder != NULL);
    EXPECT(strstr(encoder_cuda.describe(encoder), "own") == NULL);
    encoder_cuda.destroy(encoder);
    for (size_t i = 0; i < ARRAY_COUNT(variables); i++)
        unsetenv(variables[i]);
}

static void a_weight_beyond_float16_is_refused(void)
{
    char error[ERROR_BYTES] = "";
    expect_refusal(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_FLOAT16, 1e9f, "too large for float16");
    struct encoder *encoder = create(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_FLOAT32, 1.0f, error);
    EXPECT(encoder != NULL);
    EXPECT(strstr(encoder_cuda.describe(encoder), "cuBLASLt 13.1 float32, CUDA stand-in, 132 ") !=
           NULL);
    EXPECT_EQUAL(encoder->gemm_context.compute_type, CUBLAS_COMPUTE_32F_PEDANTIC);
    encoder_cuda.destroy(encoder);
}

static void expect_refusal_of_sizes(uint32_t hidden_dim, uint32_t n_heads, uint32_t ffn_dim)
{
    struct model_config config = RANDOM_MODEL_SMALL;
    config.hidden_dim = hidden_dim;
    config.n_heads = n_heads;
    config.ffn_dim = ffn_dim;
    config.n_layers = 1;
    expect_refusal(&config, ENCODER_DTYPE_AUTO, 1.0f, "hidden at most 2048, heads at most 256");
}

static void sizes_that_the_kernels_cannot_hold_are_refused(void)
{
    char error[ERROR_BYTES] = "";
    struct model_config deep = RANDOM_MODEL_SMALL;
    expect_refusal_of_sizes(2056, 257, 8); /* a row that no warp holds */
    expect_refusal_of_sizes(264, 1, 8);    /* a head that no warp holds */
    expect_refusal_of_sizes(24, 2, 8);     /* heads of 12 */
    expect_refusal_of_sizes(36, 1, 8);     /* rows that are no whole vectors */
    deep.hidden_dim = 256;
    deep.n_layers = 1;
    struct encoder *encoder = create(&deep, ENCODER_DTYPE_AUTO, 1.0f, error);
    EXPECT(encoder != NULL);
    encoder_cuda.destroy(encoder);
}

/* Weights may be finite and what they make is not: the logits are looked at, too. */
static void a_first_pass_without_finite_logits_is_refused(void)
{
    const struct encoder_options options = {
        .dtype = ENCODER_DTYPE_FLOAT32, .max_batch_tokens = 16, .max_batch_sequences = 2};
    const float wild[] = {INFINITY, -INFINITY, NAN};
    for (size_t i = 0; i < ARRAY_COUNT(wild); i++) {
        char error[ERROR_BYTES] = "";
        struct random_model random;
        random_model_make(&random, &RANDOM_MODEL_SMALL, 1);
        ((float *)random.model.weights.classifier.bias.data)[1] = wild[i];
        EXPECT(encoder_cuda.create(&random.model, &options, error) == NULL);
        EXPECT(strstr(error, "no finite logits") != NULL);
        EXPECT_EQUAL(standin_counters().live_objects, 0);
        random_model_free(&random);
    }
}

/* As in a container at its limit of processes. The first loads cuBLASLt, the second makes graphs,
 * without which all is answered as before. */
static void threads_that_cannot_be_started_are_an_error_or_a_slower_server(void)
{
    const uint32_t input_ids[] = {3, 1, 4}, cu_seqlens[] = {0, 3}, type_starts[] = {3};
    const struct batch batch = {input_ids, cu_seqlens, type_starts, 1, 3};
    float logits[2];
    char error[ERROR_BYTES] = "";
    threads_until_failure = 1;
    expect_refusal(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_AUTO, 1.0f, "no thread can be started");
    threads_until_failure = 2;
    struct encoder *encoder = create(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_AUTO, 1.0f, error);
    EXPECT(encoder != NULL && threads_until_failure == 0);
    EXPECT(cuda_graphs_are_made(&encoder->graphs)); /* all that can be: else who waits hangs */
    EXPECT_EQUAL(encoder->graphs.n_ready, 0);
    EXPECT_EQUAL(encoder_cuda.forward(encoder, &batch, logits), 0);
    encoder_cuda.destroy(encoder);
    EXPECT_EQUAL(standin_counters().live_objects, 0);
}

/* Half a second each: who has no card that serves does not wait for the library, and who has one
 * does not wait for both in turn. */
static void cublas_loads_beside_the_making_of_the_context(void)
{
    n_started = 0;
    standin_set_device(1, 7, 5, 40);
    expect_refusal(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_AUTO, 1.0f, "compute capability 7.5");
    EXPECT_EQUAL(n_started, 0);
    standin_fail_call_of("cudaStreamCreateWithFlags", 1); /* the first call that needs a context */
    expect_refusal(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_AUTO, 1.0f, "the creation of a stream");
    EXPECT_EQUAL(n_started, 1);
}

static void large_cards_are_given_larger_batches(void)
{
    standin_set_device(1, 8, 9, 99);
    EXPECT_EQUAL(encoder_cuda.useful_batch_tokens(NULL), 2048);
    standin_set_device(1, 9, 0, 100);
    EXPECT_EQUAL(encoder_cuda.useful_batch_tokens(NULL), 8192);
    standin_set_device(0, 0, 0, 132);
    EXPECT_EQUAL(encoder_cuda.useful_batch_tokens(NULL), 2048);
    EXPECT_EQUAL(cudaGetLastError(), cudaSuccess); /* a launch would meet it */
    standin_reset();
}

static void a_missing_cublas_gets_a_sentence(void)
{
    char *path = strdup(getenv("WEIR_CUBLASLT"));
    setenv("WEIR_CUBLASLT", "/nowhere/libcublasLt.so", 1);
    expect_refusal(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_AUTO, 1.0f, "cuBLASLt cannot be opened");
    setenv("WEIR_CUBLASLT", path, 1);
    free(path);
}

/* Every call in turn, those of the thread that makes graphs too: always a sentence or an encoder,
 * never anything left behind. */
static void any_call_may_fail_and_nothing_leaks(void)
{
    uint64_t n = 1, n_calls = CALLS_MAX;
    const uint32_t n_threads_before = n_threads; /* the stand-in's card */
    for (; n <= n_calls; n += n < 300 ? 1 : 17) {
        char error[ERROR_BYTES] = "";
        const uint64_t before = standin_counters().api_calls;
        standin_fail_call(n);
        struct encoder *encoder = create(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_AUTO, 1.0f, error);
        EXPECT(encoder != NULL || error[0] != 0);
        if (encoder != NULL) {
            cuda_graphs_wait(&encoder->graphs);
            n_calls = standin_counters().api_calls - before;
        }
        encoder_cuda.destroy(encoder);
        EXPECT_EQUAL(standin_counters().live_objects, 0);
        EXPECT_EQUAL(n_threads, n_threads_before);
        standin_reset();
    }
    EXPECT(n > 600 && n_calls < CALLS_MAX);
}

/* The buckets for at most n_max sequences are these, and no other: each is a graph. */
#define EXPECT_SEQUENCE_BUCKETS(n_max, ...)                      \
    do {                                                         \
        const uint32_t rows_[] = {__VA_ARGS__};                  \
        struct cuda_buckets buckets_;                            \
        cuda_buckets_of_sequences(&buckets_, n_max);             \
        EXPECT_EQUAL(buckets_.count, ARRAY_COUNT(rows_));        \
        EXPECT(memcmp(buckets_.rows, rows_, sizeof rows_) == 0); \
    } while (0)

static void buckets_grow_and_hold_every_size(void)
{
    struct cuda_buckets buckets;
    cuda_buckets_of_tokens(&buckets, 8192);
    EXPECT_EQUAL(buckets.count, 8 + 14 + 28);
    for (uint32_t rows = 1; rows <= 8192; rows++) {
        const uint32_t bucket = cuda_bucket_find(&buckets, rows);
        EXPECT(buckets.rows[bucket] >= rows);
        EXPECT(bucket == 0 || buckets.rows[bucket - 1] < rows);
        EXPECT(rows <= 128 || buckets.rows[bucket] - rows < 64 || rows > 1024);
    }
    cuda_buckets_of_tokens(&buckets, 17);
    EXPECT_EQUAL(cuda_buckets_largest(&buckets), 32);
    EXPECT_SEQUENCE_BUCKETS(1, 1);
    EXPECT_SEQUENCE_BUCKETS(8, 1, 2, 4, 8);
    EXPECT_SEQUENCE_BUCKETS(12, 1, 2, 4, 8, 12);
    EXPECT_SEQUENCE_BUCKETS(64, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64);
    EXPECT_SEQUENCE_BUCKETS(65, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 65);
    cuda_buckets_of_tokens(&buckets, 8193);
    EXPECT_EQUAL(cuda_buckets_largest(&buckets), 8192 + 1024);
    cuda_buckets_of_sequences(&buckets, 100);
    for (uint32_t rows = 1; rows <= 100; rows++)
        EXPECT(buckets.rows[cuda_bucket_find(&buckets, rows)] >= rows);
}

static void buckets_become_ready_by_doubling_and_then_all(void)
{
    static const uint32_t first[] = {16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 48, 80};
    struct cuda_buckets buckets;
    uint32_t order[CUDA_BUCKETS_MAX];
    bool is_there[CUDA_BUCKETS_MAX] = {false};
    cuda_buckets_of_tokens(&buckets, 8192);
    cuda_buckets_order(&buckets, order);
    for (uint32_t i = 0; i < buckets.count; i++) {
        EXPECT(i >= ARRAY_COUNT(first) || buckets.rows[order[i]] == first[i]);
        EXPECT(!is_there[order[i]]);
        is_there[order[i]] = true;
    }
}

static void a_batch_gets_the_smallest_bucket_that_is_ready(void)
{
    struct cuda_buckets buckets;
    cuda_buckets_of_tokens(&buckets, 64);
    cuda_bucket_make_ready(&buckets, 3);
    cuda_bucket_make_ready(&buckets, 1);
    EXPECT(!cuda_bucket_is_ready(&buckets, 0) && cuda_bucket_is_ready(&buckets, 1));
    EXPECT_EQUAL(cuda_bucket_find_ready(&buckets, 1), 1);
    EXPECT_EQUAL(cuda_bucket_find_ready(&buckets, 32), 1);
    EXPECT_EQUAL(cuda_bucket_find_ready(&buckets, 33), 3);
    cuda_bucket_make_ready(&buckets, 0);
    EXPECT_EQUAL(cuda_bucket_find_ready(&buckets, 16), 0);
}

int main(void)
{
    RUN(a_machine_without_a_card_gets_a_sentence);
    RUN(an_old_card_is_refused_by_name);
    RUN(what_the_backend_lacks_is_refused);
    RUN(the_watchdogs_time_is_a_number_of_milliseconds);
    RUN(an_empty_variable_is_as_good_as_none);
    RUN(a_weight_beyond_float16_is_refused);
    RUN(sizes_that_the_kernels_cannot_hold_are_refused);
    RUN(a_first_pass_without_finite_logits_is_refused);
    RUN(threads_that_cannot_be_started_are_an_error_or_a_slower_server);
    RUN(cublas_loads_beside_the_making_of_the_context);
    RUN(large_cards_are_given_larger_batches);
    RUN(a_missing_cublas_gets_a_sentence);
    RUN(any_call_may_fail_and_nothing_leaks);
    RUN(buckets_grow_and_hold_every_size);
    RUN(buckets_become_ready_by_doubling_and_then_all);
    RUN(a_batch_gets_the_smallest_bucket_that_is_ready);
    return 0;
}
