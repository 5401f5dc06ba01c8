/* Products cut into blocks and slices, against plain loops: every number of rows, widths that are
 * no multiple of anything, several products in one stage. */
#include "gpu_worker/cpu_gemm.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/test.h"

#include <math.h>
#include <stdatomic.h>

#define ROWS_MAX 300
#define PAD      5 /* floats between rows, which nothing may write */

struct bench {
    struct cpu_pool *pool;
    struct cpu_arena arena;
    struct cpu_gemm gemm;
    struct cpu_gemm_kind kind;
    struct cpu_gemm_linear linear;
    struct model_linear model;
    struct cpu_dnnl_shape shape;
    float *weight, *bias, *in, *out;
};

static void *floats(size_t count)
{
    void *memory = calloc(count, sizeof(float));
    EXPECT(memory != NULL);
    return memory;
}

static void open_bench(struct bench *bench, uint32_t in_dim, uint32_t out_dim,
                       enum cpu_activation activation, uint32_t n_threads)
{
    uint32_t room = cpu_gemm_rows_room(ROWS_MAX);
    uint64_t seed = in_dim + out_dim;
    char error[ERROR_BYTES] = "";
    float *staging = floats((size_t)in_dim * out_dim);

    memset(bench, 0, sizeof(*bench));
    bench->shape =
        (struct cpu_dnnl_shape){in_dim, out_dim, in_dim + PAD, out_dim + PAD, activation};
    bench->weight = floats((size_t)in_dim * out_dim);
    bench->bias = floats(out_dim);
    bench->in = floats((size_t)room * bench->shape.in_stride);
    bench->out = floats((size_t)room * bench->shape.out_stride);
    for (uint32_t i = 0; i < in_dim * out_dim; i++)
        bench->weight[i] = random_float(&seed) / sqrtf((float)in_dim);
    for (uint32_t i = 0; i < out_dim; i++)
        bench->bias[i] = random_float(&seed);
    for (uint32_t i = 0; i < room * bench->shape.in_stride; i++)
        bench->in[i] = random_float(&seed);
    bench->model.weight = (struct model_tensor){bench->weight, MODEL_FLOAT32, out_dim, in_dim};
    bench->model.bias = (struct model_tensor){bench->bias, MODEL_FLOAT32, 1, out_dim};

    bench->pool = cpu_pool_create(n_threads, error);
    EXPECT_EQUAL(cpu_gemm_open(&bench->gemm, bench->pool, error), 0);
    EXPECT_EQUAL(cpu_gemm_kind_open(&bench->gemm, &bench->kind, &bench->shape, error), 0);
    EXPECT_EQUAL(cpu_gemm_linear_plan(&bench->linear, &bench->kind, &bench->arena, error), 0);
    cpu_gemm_plan(&bench->gemm, &bench->arena, ROWS_MAX);
    EXPECT_EQUAL(cpu_arena_take(&bench->arena, error), 0);
    EXPECT_EQUAL(
        cpu_gemm_linear_pack(&bench->gemm, &bench->linear, 0, &bench->model, staging, error), 0);
    free(staging);
}

static void close_bench(struct bench *bench)
{
    cpu_gemm_linear_close(&bench->linear);
    cpu_gemm_close(&bench->gemm);
    cpu_pool_destroy(bench->pool);
    cpu_arena_release(&bench->arena);
    free(bench->weight);
    free(bench->bias);
    free(bench->in);
    free(bench->out);
}

static double expected(const struct bench *bench, uint32_t row, uint32_t column)
{
    double sum = bench->bias[column];

    for (uint32_t i = 0; i < bench->shape.in_dim; i++)
        sum += (double)bench->in[row * bench->shape.in_stride + i] *
               bench->weight[column * bench->shape.in_dim + i];
    if (bench->shape.activation == CPU_ACTIVATION_RELU)
        return fmax(sum, 0);
    if (bench->shape.activation == CPU_ACTIVATION_GELU)
        return 0.5 * sum * (1 + erf(sum / sqrt(2)));
    return sum;
}

static void expect_rows(const struct bench *bench, uint32_t first, uint32_t n_rows)
{
    for (uint32_t row = first; row < first + n_rows; row++) {
        const float *out = bench->out + row * bench->shape.out_stride;

        for (uint32_t column = 0; column < bench->shape.out_dim; column++)
            EXPECT(fabs(out[column] - expected(bench, row, column)) < 2e-5);
        for (uint32_t i = 0; i < PAD; i++)
            EXPECT(out[bench->shape.out_dim + i] == 0);
    }
}

static void products_are_those_of_the_formula(void)
{
    static const struct {
        uint32_t in_dim, out_dim;
        enum cpu_activation activation;
        uint32_t n_threads;
    } cases[] = {
        {64, 64, CPU_ACTIVATION_NONE, 1},   {64, 128, CPU_ACTIVATION_GELU, 2},
        {33, 70, CPU_ACTIVATION_RELU, 2},   {1, 1, CPU_ACTIVATION_NONE, 3},
        {200, 401, CPU_ACTIVATION_GELU, 1}, {96, 250, CPU_ACTIVATION_NONE, 3},
    };

    for (size_t c = 0; c < ARRAY_COUNT(cases); c++) {
        struct bench bench;
        uint32_t n_rows = 0;

        open_bench(&bench, cases[c].in_dim, cases[c].out_dim, cases[c].activation,
                   cases[c].n_threads);
        for (n_rows = 1; n_rows <= ROWS_MAX; n_rows = n_rows * 2 + 1) {
            struct cpu_gemm_part part = {&bench.linear, bench.in, bench.out, n_rows};

            EXPECT_EQUAL(cpu_gemm_run(&bench.gemm, &part, 1, NULL, NULL), 0);
            expect_rows(&bench, 0, n_rows);
        }
        close_bench(&bench);
    }
}

struct seen {
    _Atomic uint32_t rows[ROWS_MAX];
    const struct bench *bench;
};

/* All slices of a row must be there when the row is called done. */
static void note_rows(void *context, uint32_t first_row, uint32_t n_rows)
{
    struct seen *seen = context;

    expect_rows(seen->bench, first_row, n_rows);
    for (uint32_t i = 0; i < n_rows; i++)
        atomic_fetch_add(&seen->rows[first_row + i], 1);
}

static void each_row_is_called_done_once_and_not_before_it_is(void)
{
    static struct seen seen;
    struct bench bench;

    open_bench(&bench, 48, 520, CPU_ACTIVATION_NONE, 3);
    EXPECT(bench.kind.n_slices >= 3);
    seen.bench = &bench;
    for (uint32_t n_rows = 1; n_rows <= ROWS_MAX; n_rows += 37) {
        struct cpu_gemm_part part = {&bench.linear, bench.in, bench.out, n_rows};

        memset(bench.out, 0, (size_t)ROWS_MAX * bench.shape.out_stride * sizeof(float));
        memset(&seen.rows, 0, sizeof(seen.rows));
        EXPECT_EQUAL(cpu_gemm_run(&bench.gemm, &part, 1, note_rows, &seen), 0);
        for (uint32_t row = 0; row < ROWS_MAX; row++)
            EXPECT_EQUAL(seen.rows[row], row < n_rows);
    }
    close_bench(&bench);
}

/* Far enough apart for the spare rows of each. */
static void parts_of_different_sizes_share_a_stage(void)
{
    struct bench bench;

    open_bench(&bench, 64, 192, CPU_ACTIVATION_NONE, 2);
    for (uint32_t n_rows = 1; n_rows < 100; n_rows += 9) {
        uint32_t first[] = {0, 110, 220}, count[] = {n_rows, 100 - n_rows, 1};
        struct cpu_gemm_part parts[3];

        for (int i = 0; i < 3; i++)
            parts[i] =
                (struct cpu_gemm_part){&bench.linear, bench.in + first[i] * bench.shape.in_stride,
                                       bench.out + first[i] * bench.shape.out_stride, count[i]};
        EXPECT_EQUAL(cpu_gemm_run(&bench.gemm, parts, 3, NULL, NULL), 0);
        for (int i = 0; i < 3; i++)
            expect_rows(&bench, first[i], count[i]);
    }
    close_bench(&bench);
}

static void steps_that_pass_the_bits_check_stay_usable(void)
{
    char error[ERROR_BYTES] = "";
    struct bench bench;
    uint32_t n_usable = 0;

    open_bench(&bench, 768, 384, CPU_ACTIVATION_GELU, 2);
    EXPECT_EQUAL(cpu_gemm_check_bits(&bench.gemm, &bench.linear, bench.in, bench.out, error), 0);
    for (uint32_t i = 0; i < CPU_GEMM_STEPS; i++)
        n_usable += bench.gemm.usable[i];
    printf("   %u of %d steps of the ladder are usable\n", n_usable, CPU_GEMM_STEPS);
    EXPECT(n_usable >= 1);
    close_bench(&bench);
}

/* Any set of usable steps must do: on some CPU it will be another one than here. */
static void a_ladder_with_steps_missing_serves_all_the_same(void)
{
    struct bench bench;

    open_bench(&bench, 40, 65, CPU_ACTIVATION_NONE, 2);
    for (uint32_t set = 1; set < 1u << CPU_GEMM_STEPS; set += 1009) {
        uint32_t n_rows = 1 + set * 7 % ROWS_MAX;
        struct cpu_gemm_part part = {&bench.linear, bench.in, bench.out, n_rows};

        for (uint32_t i = 0; i < CPU_GEMM_STEPS; i++)
            bench.gemm.usable[i] = set >> i & 1;
        EXPECT_EQUAL(cpu_gemm_run(&bench.gemm, &part, 1, NULL, NULL), 0);
        expect_rows(&bench, 0, n_rows);
    }
    close_bench(&bench);
}

int main(void)
{
    RUN(products_are_those_of_the_formula);
    RUN(each_row_is_called_done_once_and_not_before_it_is);
    RUN(parts_of_different_sizes_share_a_stage);
    RUN(steps_that_pass_the_bits_check_stay_usable);
    RUN(a_ladder_with_steps_missing_serves_all_the_same);
    return 0;
}
