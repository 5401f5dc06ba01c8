/* The whole CUDA encoder, end to end, over the stand-in: logits against plain loops in double, the
 * same bits for the same text in any company and with another batch in flight. */
#include <math.h>
#include <unistd.h>

#include "gpu_worker/cuda_engine.h"
#include "tests/cuda/standin/standin.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/gpu_worker/reference_encoder.h"
#include "tests/test.h"

#define TOKENS_MAX 192

static struct encoder *open_encoder(const struct random_model *random, enum encoder_dtype dtype)
{
    const struct encoder_options options = {
        .dtype = dtype, .max_batch_tokens = TOKENS_MAX, .max_batch_sequences = 32};
    char error[ERROR_BYTES] = "";
    struct encoder *encoder = encoder_cuda.create(&random->model, &options, error);
    if (encoder == NULL)
        fprintf(stderr, "%s\n", error);
    EXPECT(encoder != NULL);
    return encoder;
}

static void close_encoder(struct encoder *encoder)
{
    encoder_cuda.destroy(encoder);
    EXPECT_EQUAL(standin_counters().live_objects, 0);
}

static double largest_error(const struct random_model *random, const struct random_texts *texts,
                            const float *logits)
{
    const uint32_t n_labels = random->model.config.n_labels;
    double expected[8], largest = 0.0;
    for (uint32_t s = 0; s < texts->batch.n_sequences; s++) {
        const uint32_t first = texts->cu_seqlens[s];
        reference_logits(&random->model, texts->input_ids + first, texts->cu_seqlens[s + 1] - first,
                         texts->type_starts[s], expected);
        for (uint32_t i = 0; i < n_labels; i++) {
            const double error = fabs(logits[s * n_labels + i] - expected[i]);
            largest = error <= largest ? largest : error;
            EXPECT(isfinite(logits[s * n_labels + i]));
        }
    }
    return largest;
}

static void check_logits(const struct model_config *config, enum encoder_dtype dtype,
                         double tolerance)
{
    static const uint32_t batches[][8] = {
        {1}, {128}, {5, 40, 1, 16, 33}, {12, 12, 12}, {70, 3, 100}};
    struct random_model random;
    struct random_texts texts;
    float logits[32 * 8];
    random_model_make(&random, config, 5);
    struct encoder *encoder = open_encoder(&random, dtype);
    for (size_t b = 0; b < ARRAY_COUNT(batches); b++) {
        uint32_t n = 0;
        while (n < 8 && batches[b][n] > 0)
            n++;
        random_texts_make(&texts, &random.model.config, batches[b], n, b + 1);
        EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts.batch, logits), 0);
        const double error = largest_error(&random, &texts, logits);
        if (!(error < tolerance))
            fprintf(stderr, "batch %zu: error %g, tolerance %g\n", b, error, tolerance);
        EXPECT(error < tolerance);
    }
    close_encoder(encoder);
    random_model_free(&random);
}

static void float32_logits_equal_the_reference(void)
{
    check_logits(&RANDOM_MODEL_DISTILBERT, ENCODER_DTYPE_FLOAT32, 1e-4);
    check_logits(&RANDOM_MODEL_BERT, ENCODER_DTYPE_FLOAT32, 1e-4);
}

static void float16_logits_equal_the_reference(void)
{
    check_logits(&RANDOM_MODEL_DISTILBERT, ENCODER_DTYPE_AUTO, 1e-2);
    check_logits(&RANDOM_MODEL_BERT, ENCODER_DTYPE_FLOAT16, 1e-2);
}

static void bfloat16_logits_are_near_the_reference(void)
{
    check_logits(&RANDOM_MODEL_DISTILBERT, ENCODER_DTYPE_BFLOAT16, 8e-2);
    check_logits(&RANDOM_MODEL_BERT, ENCODER_DTYPE_BFLOAT16, 8e-2);
}

static void a_relu_model_and_a_model_of_one_layer_are_right(void)
{
    struct model_config config = RANDOM_MODEL_DISTILBERT;
    config.activation = MODEL_RELU;
    check_logits(&config, ENCODER_DTYPE_FLOAT16, 1e-2);
    config = RANDOM_MODEL_BERT;
    config.n_layers = 1;
    check_logits(&config, ENCODER_DTYPE_FLOAT32, 1e-4);
}

static void our_own_ffn_gemm_gives_the_same_answers(void)
{
    setenv("WEIR_CUDA_FFN", "own", 1);
    check_logits(&RANDOM_MODEL_DISTILBERT, ENCODER_DTYPE_FLOAT16, 1e-2);
    unsetenv("WEIR_CUDA_FFN");
}

/* A text of `length` tokens alone and among others. */
static void check_same_bits(enum encoder_dtype dtype, uint32_t length)
{
    const uint32_t alone_lengths[] = {length}, among_lengths[] = {40, 9, length, 33, 1, 2};
    struct random_model random;
    struct random_texts alone, among;
    float alone_logits[2], among_logits[12];
    random_model_make(&random, &RANDOM_MODEL_DISTILBERT, 5);
    random_texts_make(&alone, &random.model.config, alone_lengths, 1, 3);
    random_texts_make(&among, &random.model.config, among_lengths, 6, 4);
    memcpy(among.input_ids + 49, alone.input_ids, sizeof(uint32_t) * length);
    struct encoder *encoder = open_encoder(&random, dtype);
    EXPECT_EQUAL(encoder_cuda.forward(encoder, &alone.batch, alone_logits), 0);
    EXPECT_EQUAL(encoder_cuda.forward(encoder, &among.batch, among_logits), 0);
    EXPECT(memcmp(alone_logits, among_logits + 4, sizeof alone_logits) == 0);
    close_encoder(encoder);
    random_model_free(&random);
}

/* The stand-in's cuBLASLt prefers algorithms with other bits for few rows, so this fails where the
 * encoder takes its first offer. */
static void same_text_same_bits_whatever_shares_its_batch(void)
{
    static const enum encoder_dtype dtypes[] = {ENCODER_DTYPE_FLOAT16, ENCODER_DTYPE_BFLOAT16,
                                                ENCODER_DTYPE_FLOAT32};
    for (size_t d = 0; d < ARRAY_COUNT(dtypes); d += BY_SANITIZER(1, 2, 2))
        for (uint32_t length = 1; length <= 65;
             length += length < 30 ? BY_SANITIZER(13, 26, 26) : 19)
            check_same_bits(dtypes[d], length);
}

/* Without cuBLASLt anywhere. */
static void our_own_gemms_give_the_same_answers_alone(void)
{
    struct model_config relu = RANDOM_MODEL_DISTILBERT;
    char *path = strdup(getenv("WEIR_CUBLASLT"));
    const uint64_t matmuls = standin_counters().matmuls;
    relu.activation = MODEL_RELU;
    setenv("WEIR_CUDA_GEMM", "own", 1);
    setenv("WEIR_CUBLASLT", "/nowhere/libcublasLt.so", 1);
    check_logits(&RANDOM_MODEL_DISTILBERT, ENCODER_DTYPE_FLOAT16, 1e-2);
    check_logits(&RANDOM_MODEL_DISTILBERT, ENCODER_DTYPE_BFLOAT16, 8e-2);
    check_logits(&relu, ENCODER_DTYPE_FLOAT16, 1e-2);
    check_same_bits(ENCODER_DTYPE_FLOAT16, 20);
    EXPECT_EQUAL(standin_counters().matmuls, matmuls);
    unsetenv("WEIR_CUDA_GEMM");
    setenv("WEIR_CUBLASLT", path, 1);
    free(path);
}

/* Waits for the oldest batch. */
static int collect(struct encoder *encoder, float *logits)
{
    int result = 0;
    while (result == 0) {
        result = cuda_collect(encoder, logits, clock_now_ns());
        usleep(100);
    }
    return result;
}

static void two_batches_fly_at_once_and_come_back_in_order(void)
{
    const uint32_t first_lengths[] = {60, 30}, second_lengths[] = {4, 4, 4};
    struct random_model random;
    struct random_texts first, second;
    float logits[32];
    random_model_make(&random, &RANDOM_MODEL_DISTILBERT, 5);
    struct encoder *encoder = open_encoder(&random, ENCODER_DTYPE_FLOAT16);
    random_texts_make(&first, &random.model.config, first_lengths, 2, 1);
    random_texts_make(&second, &random.model.config, second_lengths, 3, 2);
    for (int round = 0; round < 3; round++) {
        standin_hang(true);
        EXPECT_EQUAL(cuda_submit(encoder, &first.batch), 0);
        EXPECT_EQUAL(cuda_submit(encoder, &second.batch), 0);
        EXPECT_EQUAL(cuda_collect(encoder, logits, clock_now_ns()), 0);
        EXPECT(!cuda_almost_done(encoder));
        standin_hang(false);
        EXPECT_EQUAL(collect(encoder, logits), 1);
        EXPECT(largest_error(&random, &first, logits) < 1e-2);
        EXPECT_EQUAL(collect(encoder, logits), 1);
        EXPECT(largest_error(&random, &second, logits) < 1e-2);
        EXPECT(cuda_almost_done(encoder));
    }
    close_encoder(encoder);
    random_model_free(&random);
}

/* Descriptors and rows of logits take turns: many batches, two at a time, give the bits that each
 * gives alone. */
static void batches_in_flight_give_the_bits_of_batches_alone(void)
{
    enum { N_BATCHES = 7 };
    const uint32_t lengths[] = {60, 30, 4, 17, 1, 5};
    struct random_model random;
    static struct random_texts texts[N_BATCHES];
    float alone[N_BATCHES][32], logits[32];
    random_model_make(&random, &RANDOM_MODEL_DISTILBERT, 5);
    struct encoder *encoder = open_encoder(&random, ENCODER_DTYPE_FLOAT16);
    for (uint32_t b = 0; b < N_BATCHES; b++) {
        random_texts_make(&texts[b], &random.model.config, lengths, 1 + b % 6, b + 1);
        EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts[b].batch, alone[b]), 0);
    }
    EXPECT_EQUAL(encoder_cuda.submit(encoder, &texts[0].batch), 0);
    for (uint32_t b = 0; b < N_BATCHES; b++) {
        int result = 0;
        while (!encoder_cuda.almost_done(encoder))
            usleep(100);
        if (b + 1 < N_BATCHES)
            EXPECT_EQUAL(encoder_cuda.submit(encoder, &texts[b + 1].batch), 0);
        while (result == 0) {
            result = encoder_cuda.collect(encoder, logits, clock_now_ns());
            usleep(100);
        }
        EXPECT_EQUAL(result, 1);
        EXPECT(memcmp(alone[b], logits, sizeof(float) * 2 * texts[b].batch.n_sequences) == 0);
    }
    close_encoder(encoder);
    random_model_free(&random);
}

/* As many tokens, texts and labels as there is room for, twice in flight; the bucket holds more
 * tokens than the limit, and the FFN is as wide as trained models have it. */
static void a_batch_at_all_its_limits_is_right(void)
{
    enum { N_TEXTS = 30, LENGTH = 6 };
    const struct encoder_options options = {.dtype = ENCODER_DTYPE_FLOAT16,
                                            .max_batch_tokens = N_TEXTS * LENGTH,
                                            .max_batch_sequences = N_TEXTS};
    uint32_t lengths[N_TEXTS];
    struct model_config config = RANDOM_MODEL_BERT;
    struct random_model random;
    static struct random_texts texts[2];
    float logits[N_TEXTS * 5];
    char error[ERROR_BYTES] = "";
    config.ffn_dim = 4 * config.hidden_dim;
    random_model_make(&random, &config, 5);
    struct encoder *encoder = encoder_cuda.create(&random.model, &options, error);
    EXPECT(encoder != NULL);
    for (uint32_t s = 0; s < N_TEXTS; s++)
        lengths[s] = LENGTH;
    for (uint32_t i = 0; i < 2; i++) {
        random_texts_make(&texts[i], &random.model.config, lengths, N_TEXTS, i + 1);
        EXPECT_EQUAL(cuda_submit(encoder, &texts[i].batch), 0);
    }
    cudaDeviceSynchronize(); /* the second's logits lie there, too, and not upon the first's */
    for (uint32_t i = 0; i < 2; i++) {
        EXPECT_EQUAL(collect(encoder, logits), 1);
        EXPECT(largest_error(&random, &texts[i], logits) < 1e-2);
    }
    close_encoder(encoder);
    random_model_free(&random);
}

/* A table that passes the upload's buffer in more than one go: the words behind the first. */
static void weights_of_more_than_one_buffer_arrive(void)
{
    const uint32_t lengths[] = {30, 8}, words_a_buffer = (4u << 20) / (64 * sizeof(float));
    struct model_config config = RANDOM_MODEL_DISTILBERT;
    struct random_model random;
    struct random_texts texts;
    float logits[4];
    config.vocab_size = words_a_buffer + 30;
    random_model_make(&random, &config, 5);
    random_texts_make(&texts, &random.model.config, lengths, 2, 1);
    for (uint32_t i = 0; i < texts.batch.n_tokens; i++)
        texts.input_ids[i] = words_a_buffer - 30 + texts.input_ids[i] % 60;
    struct encoder *encoder = open_encoder(&random, ENCODER_DTYPE_FLOAT32);
    EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts.batch, logits), 0);
    EXPECT(largest_error(&random, &texts, logits) < 1e-4);
    close_encoder(encoder);
    random_model_free(&random);
}

/* Sizes that do not fit its tiles: it is asked for, and cuBLASLt does it. */
static void our_own_ffn_gemm_stands_back_where_it_does_not_apply(void)
{
    struct model_config narrow = RANDOM_MODEL_DISTILBERT, odd = RANDOM_MODEL_DISTILBERT,
                        relu = RANDOM_MODEL_DISTILBERT;
    narrow.ffn_dim = 96;
    odd.hidden_dim = 72;
    relu.activation = MODEL_RELU;
    setenv("WEIR_CUDA_FFN", "own", 1);
    check_logits(&narrow, ENCODER_DTYPE_FLOAT16, 1e-2);
    check_logits(&odd, ENCODER_DTYPE_FLOAT16, 1e-2);
    check_logits(&relu, ENCODER_DTYPE_FLOAT16, 1e-2);
    unsetenv("WEIR_CUDA_FFN");
}

int main(void)
{
    RUN(float32_logits_equal_the_reference);
    RUN(float16_logits_equal_the_reference);
    RUN(a_relu_model_and_a_model_of_one_layer_are_right);
    RUN(our_own_ffn_gemm_gives_the_same_answers);
    RUN(our_own_gemms_give_the_same_answers_alone);
    RUN(same_text_same_bits_whatever_shares_its_batch);
    RUN(two_batches_fly_at_once_and_come_back_in_order);
    RUN(batches_in_flight_give_the_bits_of_batches_alone);
    RUN(a_batch_at_all_its_limits_is_right);
    RUN(weights_of_more_than_one_buffer_arrive);
    if (BY_SANITIZER(true, false, false)) { /* more of the same code */
        RUN(bfloat16_logits_are_near_the_reference);
        RUN(our_own_ffn_gemm_stands_back_where_it_does_not_apply);
    }
    return 0;
}
