/* The CPU's own arithmetic, in every tier that this machine runs, against plain loops in double
 * precision; and each tier's promise that place does not matter. */
#include "gpu_worker/cpu_kernels.h"
#include "shm/base.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/test.h"

#include <math.h>

#define DIM_MAX    200
#define KEYS_MAX   600
#define STRIDE_MAX 260

static const struct cpu_kernels *tier;
static uint64_t seed;

static void fill(float *numbers, size_t count, float scale)
{
    for (size_t i = 0; i < count; i++)
        numbers[i] = scale * random_float(&seed);
}

static void expect_close(const char *what, float got, double expected, double tolerance)
{
    if (fabs(got - expected) <= tolerance * (1 + fabs(expected)))
        return;
    fprintf(stderr, "%s, tier %s: %.9g, expected %.9g\n", what, tier->tier, got, expected);
    exit(1);
}

/* ---- norm ------------------------------------------------------------------------------------ */

static void check_norm(uint32_t dim, bool with_b, bool with_c)
{
    float a[DIM_MAX], b[DIM_MAX], c[DIM_MAX], weight[DIM_MAX], bias[DIM_MAX], out[DIM_MAX];
    double x[DIM_MAX], mean = 0, variance = 0;
    struct cpu_norm norm = {weight, bias, 1e-5f};

    fill(a, dim, 3);
    fill(b, dim, 1);
    fill(c, dim, 1);
    fill(weight, dim, 1);
    fill(bias, dim, 1);
    for (uint32_t i = 0; i < dim; i++) {
        a[i] += 10; /* a mean far from zero: a one-pass variance would lose its digits */
        x[i] = (double)a[i] + (with_b ? b[i] : 0) + (with_c ? c[i] : 0);
        mean += x[i] / dim;
    }
    for (uint32_t i = 0; i < dim; i++)
        variance += (x[i] - mean) * (x[i] - mean) / dim;
    tier->add_norm(a, with_b ? b : NULL, with_c ? c : NULL, &norm, dim, out);
    for (uint32_t i = 0; i < dim; i++)
        expect_close("norm", out[i], (x[i] - mean) / sqrt(variance + 1e-5f) * weight[i] + bias[i],
                     1e-5);
    tier->add_norm(a, with_b ? b : NULL, with_c ? c : NULL, &norm, dim, a);
    EXPECT(memcmp(a, out, dim * sizeof(float)) == 0); /* in place */
}

static void norms_are_those_of_the_formula_for_any_width(void)
{
    for (uint32_t dim = 1; dim <= DIM_MAX; dim += dim < 40 ? 1 : 13)
        for (int terms = 0; terms < 4; terms++)
            check_norm(dim, terms & 1, terms & 2);
}

/* ---- attention ------------------------------------------------------------------------------- */

static float q[KEYS_MAX * STRIDE_MAX], k[KEYS_MAX * STRIDE_MAX], v[KEYS_MAX * STRIDE_MAX];
static float out[KEYS_MAX * STRIDE_MAX];

static struct cpu_attention job_of(uint32_t n_queries, uint32_t n_keys, uint32_t head_dim)
{
    return (struct cpu_attention){
        .q = q,
        .k = k,
        .v = v,
        .out = out,
        .q_stride = head_dim + 3,
        .kv_stride = head_dim + 5,
        .out_stride = head_dim + 7,
        .n_queries = n_queries,
        .n_keys = n_keys,
        .head_dim = head_dim,
        .scale = 1.0f / sqrtf((float)head_dim),
    };
}

/* Runs with scratch of exactly the promised size: under ASan a byte more is an error. */
static void attend(struct cpu_attention *job)
{
    uint64_t bytes = cpu_attention_scratch_bytes(job->n_keys, job->head_dim);

    job->scratch = aligned_alloc(64, align_up_u64(bytes, 64));
    EXPECT(job->scratch != NULL);
    memset(job->scratch, 0xff, bytes); /* NaNs */
    tier->attention(job);
    free(job->scratch);
}

static void expected_row(const struct cpu_attention *job, uint32_t query, double *row)
{
    static double scores[KEYS_MAX];
    double largest = -INFINITY, sum = 0;

    for (uint32_t j = 0; j < job->n_keys; j++) {
        scores[j] = 0;
        for (uint32_t d = 0; d < job->head_dim; d++)
            scores[j] += (double)q[query * job->q_stride + d] * k[j * job->kv_stride + d];
        scores[j] *= job->scale;
        largest = fmax(largest, scores[j]);
    }
    for (uint32_t j = 0; j < job->n_keys; j++)
        sum += scores[j] = exp(scores[j] - largest);
    for (uint32_t d = 0; d < job->head_dim; d++) {
        row[d] = 0;
        for (uint32_t j = 0; j < job->n_keys; j++)
            row[d] += scores[j] / sum * v[j * job->kv_stride + d];
    }
}

static void check_attention(uint32_t n_queries, uint32_t n_keys, uint32_t head_dim, float scale)
{
    struct cpu_attention job = job_of(n_queries, n_keys, head_dim);

    fill(q, ARRAY_COUNT(q), scale);
    fill(k, ARRAY_COUNT(k), scale);
    fill(v, ARRAY_COUNT(v), 1);
    for (size_t i = 0; i < ARRAY_COUNT(out); i++)
        out[i] = 7;
    attend(&job);
    for (uint32_t i = 0; i < n_queries; i++) {
        double expected[STRIDE_MAX];

        expected_row(&job, i, expected);
        for (uint32_t d = 0; d < head_dim; d++)
            expect_close("attention", out[i * job.out_stride + d], expected[d], 5e-6);
        for (uint32_t d = head_dim; d < job.out_stride; d++)
            EXPECT(out[i * job.out_stride + d] == 7); /* nothing beside the row is written */
    }
}

static void attention_is_that_of_the_formula_for_any_shape(void)
{
    static const uint32_t head_dims[] = {1, 4, 6, 16, 31, 32, 64, 80, 128};

    for (size_t h = 0; h < ARRAY_COUNT(head_dims); h++) {
        for (uint32_t n = 1; n <= 70; n += n < 20 ? 1 : 7)
            check_attention(n, n, head_dims[h], 1);
        check_attention(1, 33, head_dims[h], 1); /* [CLS] alone */
    }
    check_attention(512, 512, 64, 1);
    check_attention(3, 600, 64, 1);
}

/* Scores of some thousands: e^x underflows for all keys but the largest. */
static void attention_survives_scores_of_any_size(void)
{
    check_attention(20, 20, 64, 30);
    check_attention(20, 20, 64, 1e-20f);
    check_attention(5, 40, 8, 300);
}

static void a_querys_place_does_not_change_its_bits(void)
{
    struct cpu_attention job = job_of(37, 37, 64);
    static float all[KEYS_MAX * STRIDE_MAX];

    fill(q, ARRAY_COUNT(q), 1);
    fill(k, ARRAY_COUNT(k), 1);
    fill(v, ARRAY_COUNT(v), 1);
    attend(&job);
    memcpy(all, out, sizeof(all));
    for (uint32_t i = 0; i < 37; i++) {
        struct cpu_attention alone = job;

        alone.q = q + i * job.q_stride;
        alone.n_queries = 1;
        attend(&alone);
        EXPECT(memcmp(out, all + i * job.out_stride, 64 * sizeof(float)) == 0);
    }
}

static void the_output_may_take_the_querys_place(void)
{
    struct cpu_attention job = job_of(21, 21, 64);
    static float apart[21 * STRIDE_MAX];

    fill(q, ARRAY_COUNT(q), 1);
    fill(k, ARRAY_COUNT(k), 1);
    fill(v, ARRAY_COUNT(v), 1);
    attend(&job);
    memcpy(apart, out, sizeof(apart));
    job.out = q;
    job.out_stride = job.q_stride;
    attend(&job);
    for (uint32_t i = 0; i < 21; i++)
        EXPECT(memcmp(q + i * job.q_stride, apart + i * (64 + 7), 64 * sizeof(float)) == 0);
}

/* ---- head ------------------------------------------------------------------------------------ */

static void projections_are_those_of_the_formula_for_any_width(void)
{
    float x[DIM_MAX], weight[3 * DIM_MAX], bias[3], y[3];

    for (uint32_t dim = 1; dim <= DIM_MAX; dim++) {
        fill(x, dim, 1);
        fill(weight, 3 * dim, 1);
        fill(bias, 3, 1);
        tier->project(x, weight, bias, dim, 3, y);
        for (uint32_t row = 0; row < 3; row++) {
            double expected = bias[row];
            for (uint32_t i = 0; i < dim; i++)
                expected += (double)x[i] * weight[row * dim + i];
            expect_close("project", y[row], expected, 2e-5);
        }
    }
}

int main(void)
{
    for (const struct cpu_kernels *const *all = cpu_kernels_all(); *all; all++) {
        tier = *all;
        seed = 1;
        if (!tier->supported()) {
            printf("skipped: this CPU does not run the tier %s\n", tier->tier);
            continue;
        }
        printf("tier %s\n", tier->tier);
        RUN(norms_are_those_of_the_formula_for_any_width);
        RUN(attention_is_that_of_the_formula_for_any_shape);
        RUN(attention_survives_scores_of_any_size);
        RUN(a_querys_place_does_not_change_its_bits);
        RUN(the_output_may_take_the_querys_place);
        RUN(projections_are_those_of_the_formula_for_any_width);
    }
    EXPECT(cpu_kernels_best()->supported());
    return 0;
}
