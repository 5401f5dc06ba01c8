/* Trials of cuBLASLt's algorithms: they tell orders of summation apart for every type and size of
 * model, wherever a row lies, and a card that fails is not taken for an algorithm that differs. */
#include <math.h>

#include "gpu_worker/cuda_engine.h"
#include "shm/log.h"
#include "tests/cuda/standin/standin.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/test.h"

#define CALLS_MAX 5000

static struct encoder *create(const struct model_config *config, enum encoder_dtype dtype,
                              uint32_t max_tokens)
{
    const struct encoder_options options = {
        .dtype = dtype, .max_batch_tokens = max_tokens, .max_batch_sequences = 40};
    struct random_model random;
    char error[ERROR_BYTES] = "";
    random_model_make(&random, config, 1);
    struct encoder *encoder = encoder_cuda.create(&random.model, &options, error);
    random_model_free(&random);
    return encoder;
}

static void destroy(struct encoder *encoder)
{
    encoder_cuda.destroy(encoder);
    EXPECT_EQUAL(standin_counters().live_objects, 0);
    standin_reset();
}

static int order_in(const struct cuda_gemm *gemm, uint32_t bucket)
{
    return standin_algorithm_order(&gemm->algorithms[bucket]);
}

/* The stand-in's cuBLASLt likes the other order best for up to 32 rows, and for more one that adds
 * in it in a bucket's last rows. */
static void expect_one_order(const struct encoder *encoder)
{
    for (uint32_t i = 0; i < CUDA_GEMM_COUNT; i++) {
        const struct cuda_gemm *gemm = &encoder->gemms[i];
        const uint32_t last = gemm->buckets->count - 1;
        EXPECT(order_in(gemm, last) >= 0);
        for (uint32_t bucket = 0; bucket < last; bucket++) {
            EXPECT(cuda_bucket_is_ready(gemm->buckets, bucket));
            EXPECT_EQUAL(order_in(gemm, bucket), order_in(gemm, last));
        }
    }
}

/* 32 products a sum, and as few rows as there can be: the numbers of such a model would tell
 * nothing of orders, least of all in bfloat16. */
static void orders_are_told_apart_in_the_smallest_models(void)
{
    static const enum encoder_dtype dtypes[] = {ENCODER_DTYPE_FLOAT16, ENCODER_DTYPE_BFLOAT16,
                                                ENCODER_DTYPE_FLOAT32};
    struct model_config config = RANDOM_MODEL_SMALL;
    for (size_t d = 0; d < ARRAY_COUNT(dtypes); d++)
        for (uint32_t dim = 16; dim <= 32; dim += 16) {
            config.hidden_dim = config.ffn_dim = dim;
            struct encoder *encoder = create(&config, dtypes[d], 48);
            EXPECT(encoder != NULL);
            cuda_graphs_wait(&encoder->graphs);
            expect_one_order(encoder);
            destroy(encoder);
        }
}

/* Rows of x come twice, else each row of x and of the weights is another one: where the two were
 * alike, y[i][j] and y[j][i] would be, too, and who takes one for the other would go unnoticed.
 * Signs do not count: partners have the other one in x. */
static void expect_rows_of_their_own(const struct cuda_trial_tile *tile)
{
    const uint32_t n = CUDA_TRIAL_ROWS, columns = tile->in_dim;
    const float *x = tile->x, *weight = tile->weight;
    EXPECT_EQUAL(tile->type, CUDA_R_32F);
    EXPECT(memcmp(x, x + n * columns, n * columns * sizeof *x) == 0);
    for (uint32_t i = 0; i < n + CUDA_TRIAL_COLUMNS; i++)
        for (uint32_t j = 0; j < i; j++) {
            const float *one = i < n ? x + i * columns : weight + (i - n) * columns;
            const float *other = j < n ? x + j * columns : weight + (j - n) * columns;
            uint32_t n_alike = 0;
            for (uint32_t c = 0; c < columns; c++)
                n_alike += fabsf(one[c]) == fabsf(other[c]);
            EXPECT(n_alike < columns / 4);
        }
}

static void inputs_of_a_trial_differ_in_every_operand(void)
{
    struct model_config config = RANDOM_MODEL_SMALL;
    config.ffn_dim = 48; /* rows of two lengths */
    struct encoder *encoder = create(&config, ENCODER_DTYPE_FLOAT32, 48);
    EXPECT(encoder != NULL);
    cuda_graphs_wait(&encoder->graphs);
    EXPECT_EQUAL(encoder->trials.n_tiles, 2);
    for (uint32_t i = 0; i < encoder->trials.n_tiles; i++)
        expect_rows_of_their_own(&encoder->trials.tiles[i]);
    destroy(encoder);
}

/* How many of a GEMM's compared outputs the other order changes, on the trial's own inputs. */
static uint32_t count_differing(struct encoder *e, uint32_t index, uint32_t *n_outputs)
{
    struct cuda_gemm_operands operands[CUDA_GEMM_COUNT];
    struct cuda_gemm *gemm = &e->gemms[index];
    const uint32_t last = gemm->buckets->count - 1;
    const uint32_t bytes = (uint32_t)cuda_gemm_type_bytes(gemm->y_type);
    const uint32_t columns =
        gemm->out_dim < CUDA_TRIAL_COLUMNS ? gemm->out_dim : CUDA_TRIAL_COLUMNS;
    static unsigned char one[1 << 20], other[1 << 20];
    unsigned char *const outputs[] = {one, other};
    char error[ERROR_BYTES];
    uint32_t n = 0;
    cuda_forward_operands(e, operands);
    const struct cuda_trial trial =
        cuda_trial_of(&e->trials, &e->gemm_context, gemm, index, &operands[index]);
    for (int order = 0; order < 2; order++) {
        standin_set_algorithm_order(&gemm->algorithms[last], order);
        EXPECT_EQUAL(cuda_trial_keep_reference(&trial, error), 0);
        EXPECT(CUDA_TRIAL_ROWS * gemm->out_dim * bytes <= sizeof one);
        memcpy(outputs[order], trial.expected, CUDA_TRIAL_ROWS * gemm->out_dim * bytes);
    }
    for (uint32_t row = 0; row < CUDA_TRIAL_ROWS; row++)
        for (uint32_t i = 0; i < columns; i++)
            n += memcmp(one + (row * gemm->out_dim + i) * bytes,
                        other + (row * gemm->out_dim + i) * bytes, bytes) != 0;
    *n_outputs = CUDA_TRIAL_ROWS * columns;
    return n;
}

/* One in five at the least, where a model's numbers had one in thousands; so that they all miss is
 * out of the question. */
static void many_outputs_of_a_trial_differ_between_orders(void)
{
    static const enum encoder_dtype dtypes[] = {ENCODER_DTYPE_FLOAT16, ENCODER_DTYPE_BFLOAT16,
                                                ENCODER_DTYPE_FLOAT32};
    for (size_t d = 0; d < ARRAY_COUNT(dtypes); d++) {
        struct encoder *encoder = create(&RANDOM_MODEL_SMALL, dtypes[d], 48);
        EXPECT(encoder != NULL);
        cuda_graphs_wait(&encoder->graphs);
        for (uint32_t i = 0; i < CUDA_GEMM_COUNT; i++) {
            uint32_t n_outputs;
            const uint32_t n = count_differing(encoder, i, &n_outputs);
            EXPECT(5 * n >= n_outputs);
        }
        destroy(encoder);
    }
}

/* A start whose n-th call fails is refused, or chooses as the others do: its neighbours, whose
 * cards are well, must have its bits. */
static void a_failing_card_changes_no_reference(void)
{
    uint32_t n_created = 0;
    struct encoder *well = create(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_FLOAT16, 48);
    int orders[CUDA_GEMM_COUNT];
    for (uint32_t i = 0; i < CUDA_GEMM_COUNT; i++)
        orders[i] = order_in(&well->gemms[i], well->gemms[i].buckets->count - 1);
    destroy(well);
    standin_allow_graphs(0);
    /* Of the 29 calls that a search makes one or two are its GEMMs: densely at first. */
    for (uint64_t n = 1; n < CALLS_MAX && n_created < 40; n += n_created < 20 ? 3 : 19) {
        standin_allow_graphs(0);
        standin_fail_call(n);
        struct encoder *encoder = create(&RANDOM_MODEL_SMALL, ENCODER_DTYPE_FLOAT16, 48);
        standin_allow_graphs(UINT64_MAX);
        for (uint32_t i = 0; encoder != NULL && i < CUDA_GEMM_COUNT; i++) {
            const struct cuda_gemm *gemm = &encoder->gemms[i];
            EXPECT_EQUAL(order_in(gemm, gemm->buckets->count - 1), orders[i]);
        }
        n_created += encoder != NULL;
        destroy(encoder);
    }
    EXPECT_EQUAL(n_created, 40);
}

int main(void)
{
    log_init("test", false, LOG_SEVERITY_ERROR);
    RUN(orders_are_told_apart_in_the_smallest_models);
    RUN(inputs_of_a_trial_differ_in_every_operand);
    RUN(many_outputs_of_a_trial_differ_between_orders);
    RUN(a_failing_card_changes_no_reference);
    return 0;
}
