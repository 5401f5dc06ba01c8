/* Compiled once for each tier, by CMake: CPU_TIER names the tier, CPU_LANES the floats of a vector.
 * The vectors are GCC's portable ones, so the one source serves AVX-512, AVX2 and any other
 * machine.
 *
 * Attention, for one head of one sequence, n keys of d floats:
 *
 *     keys^T (d, n)   <- k                       once: then four queries share each load of keys
 *     scores (4, n)   <- q keys^T * scale        for four queries at a time
 *     scores          <- exp(scores - maximum)   sums kept, division at the end
 *     out    (4, d)   <- scores v / sums
 *
 * The scores of four queries stay in the first-level cache; nothing of n x n size is ever stored.
 * The last group of queries repeats its last row instead of being shorter: one code path, so one
 * order of sums. */
#include "gpu_worker/cpu_kernels.h"

#include <math.h>
#include <string.h>

#define QUERIES 4 /* rows of a register tile */
#define COLUMNS 4 /* vectors of a register tile */
#define ALWAYS  static inline __attribute__((always_inline))

#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)
#define TEXT_(a)    #a
#define TEXT(a)     TEXT_(a)

typedef float lanes __attribute__((vector_size(CPU_LANES * sizeof(float))));
typedef int32_t int_lanes __attribute__((vector_size(CPU_LANES * sizeof(int32_t))));

_Static_assert(CPU_LANES <= CPU_KERNELS_LANES_MAX, "buffers have room behind them for the widest");

ALWAYS lanes load(const float *from)
{
    lanes value;
    memcpy(&value, from, sizeof(value));
    return value;
}

ALWAYS void store(float *to, lanes value)
{
    memcpy(to, &value, sizeof(value));
}

ALWAYS lanes splat(float value)
{
    return value - (lanes){0};
}

ALWAYS lanes larger(lanes a, lanes b)
{
    int_lanes choose_a = a > b;
    return (lanes)((choose_a & (int_lanes)a) | (~choose_a & (int_lanes)b));
}

ALWAYS float sum_of(lanes value)
{
    float sum = 0;
    for (int i = 0; i < CPU_LANES; i++)
        sum += value[i];
    return sum;
}

ALWAYS float max_of(lanes value)
{
    float largest = value[0];
    for (int i = 1; i < CPU_LANES; i++)
        largest = value[i] > largest ? value[i] : largest;
    return largest;
}

/* e^x for x <= 0, relative error below 2e-7. x = n ln 2 + r with |r| <= ln 2 / 2, then a polynomial
 * for e^r (Cephes expf's coefficients) and n into the exponent. Results below 2^-126 become 2^-126.
 */
ALWAYS lanes exp_lanes(lanes x)
{
    const lanes shifter = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    lanes n, r, p;
    int_lanes exponent;

    x = larger(x, splat(-87.3f));
    n = (x * 1.44269504f + shifter) - shifter;
    r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + (r + 1.0f);
    exponent = (__builtin_convertvector(n, int_lanes) + 127) << 23;
    return p * (lanes)exponent;
}

/* ---- layer norm ------------------------------------------------------------------------------ */

ALWAYS float add_rows(const float *a, const float *b, const float *c, uint32_t dim, float *out)
{
    lanes sums = {0};
    float sum = 0;
    uint32_t i = 0;

    for (; i + CPU_LANES <= dim; i += CPU_LANES) {
        lanes x = load(a + i);
        if (b)
            x += load(b + i);
        if (c)
            x += load(c + i);
        store(out + i, x);
        sums += x;
    }
    for (; i < dim; i++) {
        float x = a[i];
        if (b)
            x += b[i];
        if (c)
            x += c[i];
        out[i] = x;
        sum += x;
    }
    return sum_of(sums) + sum;
}

ALWAYS float sum_of_squares(const float *x, float mean, uint32_t dim)
{
    lanes sums = {0};
    float sum = 0;
    uint32_t i = 0;

    for (; i + CPU_LANES <= dim; i += CPU_LANES) {
        lanes d = load(x + i) - mean;
        sums += d * d;
    }
    for (; i < dim; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sum_of(sums) + sum;
}

static void add_norm(const float *a, const float *b, const float *c, const struct cpu_norm *norm,
                     uint32_t dim, float *out)
{
    float mean = add_rows(a, b, c, dim, out) / (float)dim;
    float variance = sum_of_squares(out, mean, dim) / (float)dim;
    float scale = 1.0f / sqrtf(variance + norm->eps);
    uint32_t i = 0;

    for (; i + CPU_LANES <= dim; i += CPU_LANES)
        store(out + i,
              (load(out + i) - mean) * scale * load(norm->weight + i) + load(norm->bias + i));
    for (; i < dim; i++)
        out[i] = (out[i] - mean) * scale * norm->weight[i] + norm->bias[i];
}

/* ---- attention ------------------------------------------------------------------------------- */

ALWAYS uint32_t round_up(uint32_t value, uint32_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

/* to (head_dim, n_padded) <- k (n_keys, head_dim), zeros behind the last key. */
static void transpose_keys(const struct cpu_attention *job, uint32_t n_padded, float *to)
{
    for (uint32_t first = 0; first < n_padded; first += CPU_LANES) {
        uint32_t n = job->n_keys - first < CPU_LANES ? job->n_keys - first : CPU_LANES;
        const float *k = job->k + (uint64_t)first * job->kv_stride;

        for (uint32_t d = 0; d < job->head_dim; d++) {
            lanes column = {0};
            for (uint32_t i = 0; i < n; i++)
                column[i] = k[(uint64_t)i * job->kv_stride + d];
            store(to + (uint64_t)d * n_padded + first, column);
        }
    }
}

/* Rows of v that end amid a vector are copied, with zeros behind: what lies there in memory is
 * another head's, and another thread may be writing it. */
static const float *whole_vectors(const struct cpu_attention *job, uint32_t d_padded, float *copy,
                                  uint32_t *stride)
{
    *stride = job->kv_stride;
    if (d_padded == job->head_dim)
        return job->v;
    *stride = d_padded;
    for (uint32_t i = 0; i < job->n_keys; i++) {
        float *row = copy + (uint64_t)i * d_padded;
        memcpy(row, job->v + (uint64_t)i * job->kv_stride, job->head_dim * sizeof(float));
        memset(row + job->head_dim, 0, (d_padded - job->head_dim) * sizeof(float));
    }
    return copy;
}

/* to[i] (n_columns vectors) = sum over j < depth of a[i][j * a_step] * b (depth, b_stride) */
ALWAYS void tile(const uint32_t n_columns, const float *const a[QUERIES], const float *b,
                 uint32_t b_stride, uint32_t depth, float *const to[QUERIES])
{
    lanes sums[QUERIES][COLUMNS];

    for (uint32_t i = 0; i < QUERIES; i++)
        for (uint32_t c = 0; c < n_columns; c++)
            sums[i][c] = (lanes){0};
    for (uint32_t j = 0; j < depth; j++) {
        const float *row = b + (uint64_t)j * b_stride;
        for (uint32_t i = 0; i < QUERIES; i++) {
            lanes factor = splat(a[i][j]);
            for (uint32_t c = 0; c < n_columns; c++)
                sums[i][c] += factor * load(row + c * CPU_LANES);
        }
    }
    for (uint32_t i = 0; i < QUERIES; i++)
        for (uint32_t c = 0; c < n_columns; c++)
            store(to[i] + c * CPU_LANES, sums[i][c]);
}

/* to[i] (width floats) = a[i] (depth) x b (depth, width); width a multiple of CPU_LANES. */
static void product(const float *const a[QUERIES], const float *b, uint32_t b_stride,
                    uint32_t depth, uint32_t width, float *const to[QUERIES])
{
    uint32_t at = 0;
    float *here[QUERIES];

    while (at < width) {
        for (uint32_t i = 0; i < QUERIES; i++)
            here[i] = to[i] + at;
        if (width - at >= COLUMNS * CPU_LANES) {
            tile(COLUMNS, a, b + at, b_stride, depth, here);
            at += COLUMNS * CPU_LANES;
        } else {
            tile(1, a, b + at, b_stride, depth, here);
            at += CPU_LANES;
        }
    }
}

/* scores (n) <- exp((scores - maximum) * scale); returns their sum. What stands behind n adds
 * 2^-126 a piece to a sum that is at least 1: nothing. */
static float exponentials(float *scores, uint32_t n, uint32_t n_padded, float scale)
{
    lanes largest = splat(-INFINITY), sums = {0};
    lanes maximum;

    for (uint32_t i = n; i < n_padded; i++)
        scores[i] = -INFINITY;
    for (uint32_t i = 0; i < n_padded; i += CPU_LANES)
        largest = larger(load(scores + i), largest);
    maximum = splat(max_of(largest));
    for (uint32_t i = 0; i < n_padded; i += CPU_LANES) {
        lanes x = exp_lanes((load(scores + i) - maximum) * scale);
        store(scores + i, x);
        sums += x;
    }
    return sum_of(sums);
}

static void attention(const struct cpu_attention *job)
{
    uint32_t n_padded = round_up(job->n_keys, CPU_LANES);
    uint32_t d_padded = round_up(job->head_dim, CPU_LANES);
    float *keys = job->scratch;
    float *scores = keys + (uint64_t)job->head_dim * n_padded;
    float *result = scores + (uint64_t)QUERIES * n_padded;
    uint32_t v_stride;
    const float *v = whole_vectors(job, d_padded, result + (uint64_t)QUERIES * d_padded, &v_stride);

    transpose_keys(job, n_padded, keys);
    for (uint32_t first = 0; first < job->n_queries; first += QUERIES) {
        const float *query[QUERIES], *weights[QUERIES];
        float *score[QUERIES], *mixed[QUERIES], sum[QUERIES];

        for (uint32_t i = 0; i < QUERIES; i++) {
            uint32_t row = first + i < job->n_queries ? first + i : job->n_queries - 1;
            query[i] = job->q + (uint64_t)row * job->q_stride;
            weights[i] = score[i] = scores + (uint64_t)i * n_padded;
            mixed[i] = result + (uint64_t)i * d_padded;
        }
        product(query, keys, n_padded, job->head_dim, n_padded, score);
        for (uint32_t i = 0; i < QUERIES; i++)
            sum[i] = exponentials(score[i], job->n_keys, n_padded, job->scale);
        product(weights, v, v_stride, job->n_keys, d_padded, mixed);
        for (uint32_t i = 0; i < QUERIES && first + i < job->n_queries; i++)
            for (uint32_t d = 0; d < job->head_dim; d++)
                job->out[(uint64_t)(first + i) * job->out_stride + d] = mixed[i][d] * (1 / sum[i]);
    }
}

/* ---- head ------------------------------------------------------------------------------------ */

static void project(const float *x, const float *weight, const float *bias, uint32_t dim,
                    uint32_t out_dim, float *out)
{
    for (uint32_t row = 0; row < out_dim; row++) {
        const float *w = weight + (uint64_t)row * dim;
        lanes sums = {0};
        float sum = bias[row];
        uint32_t i = 0;

        for (; i + CPU_LANES <= dim; i += CPU_LANES)
            sums += load(x + i) * load(w + i);
        for (; i < dim; i++)
            sum += x[i] * w[i];
        out[row] = sum_of(sums) + sum;
    }
}

/* ---- the tier -------------------------------------------------------------------------------- */

static bool supported(void)
{
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("fma");
#elif defined(__AVX2__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
#else
    return true;
#endif
}

extern const struct cpu_kernels JOIN(cpu_kernels_, CPU_TIER);
const struct cpu_kernels JOIN(cpu_kernels_, CPU_TIER) = {
    .tier = TEXT(CPU_TIER),
    .supported = supported,
    .add_norm = add_norm,
    .attention = attention,
    .project = project,
};
