/* The CUDA encoder's start: what it refuses, in which words, that a failure of any call leaves
 * nothing behind; and the arithmetic of buckets and plans. */
#include <errno.h>

#include "gpu_worker/cuda_engine.h"
#include "tests/cuda/standin/standin.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/test.h"

#define CALLS_MAX 100000

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
    unsetenv("WEIR_CUDA_GEMM");
}

static void a_weight_beyond_float16_is_refused(void)
{
    char error[ERROR_BYTES] = "";
    expect_refusal(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_FLOAT16, 1e9f, "too large for float16");
    struct encoder *encoder = create(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_FLOAT32, 1.0f, error);
    EXPECT(encoder != NULL);
    EXPECT(strstr(encoder_cuda.describe(encoder), "float32") != NULL);
    encoder_cuda.destroy(encoder);
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
        standin_reset();
    }
    EXPECT(n > 600 && n_calls < CALLS_MAX);
}

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
    cuda_buckets_of_sequences(&buckets, 100);
    for (uint32_t rows = 1; rows <= 100; rows++)
        EXPECT(buckets.rows[cuda_bucket_find(&buckets, rows)] >= rows);
    cuda_buckets_of_sequences(&buckets, 1);
    EXPECT_EQUAL(buckets.count, 1);
}

int main(void)
{
    RUN(a_machine_without_a_card_gets_a_sentence);
    RUN(an_old_card_is_refused_by_name);
    RUN(what_the_backend_lacks_is_refused);
    RUN(a_weight_beyond_float16_is_refused);
    RUN(a_missing_cublas_gets_a_sentence);
    RUN(any_call_may_fail_and_nothing_leaks);
    RUN(buckets_grow_and_hold_every_size);
    return 0;
}
