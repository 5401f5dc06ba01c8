/* The encoder's own arithmetic: everything that is no matrix product with weights. One source,
 * compiled once for each tier of vector registers; cpu_kernels_best() picks the widest that this
 * CPU runs.
 *
 * All of it is float32, works on one token or one (sequence, head) at a time, and sums in an order
 * that depends on dimensions and lengths only: the same text gives the same bits wherever it lies.
 */
#ifndef WEIR_GPU_WORKER_CPU_KERNELS_H
#define WEIR_GPU_WORKER_CPU_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

struct cpu_norm {
    const float *weight, *bias; /* (dim) */
    float eps;
};

struct cpu_attention {
    const float *q;                           /* (n_queries, head_dim) */
    const float *k;                           /* (n_keys, head_dim) */
    const float *v;                           /* (n_keys, head_dim) */
    float *out;                               /* (n_queries, head_dim); may be q itself */
    uint32_t q_stride, kv_stride, out_stride; /* floats from one row to the next */
    uint32_t n_queries, n_keys, head_dim;
    float scale;    /* 1 / sqrt(head_dim) */
    float *scratch; /* cpu_attention_scratch_bytes(), 64-byte aligned, own to the thread */
};

/* No vector is wider. */
#define CPU_KERNELS_LANES_MAX 16

struct cpu_kernels {
    const char *tier;
    bool (*supported)(void);
    /* out (dim) = norm(a + b + c); b and c may be NULL. out may be a. Statistics in two passes. */
    void (*add_norm)(const float *a, const float *b, const float *c, const struct cpu_norm *norm,
                     uint32_t dim, float *out);
    /* out = softmax(q k^T scale) v for one head of one sequence. */
    void (*attention)(const struct cpu_attention *job);
    /* out (out_dim) = weight (out_dim, dim) x + bias (out_dim). For the few columns of the head. */
    void (*project)(const float *x, const float *weight, const float *bias, uint32_t dim,
                    uint32_t out_dim, float *out);
};

/* Bytes for attention over up to max_keys keys, whatever the tier. */
uint64_t cpu_attention_scratch_bytes(uint32_t max_keys, uint32_t head_dim);

/* All tiers that were compiled, widest first; NULL behind the last. Some may not be supported here.
 */
const struct cpu_kernels *const *cpu_kernels_all(void);
const struct cpu_kernels *cpu_kernels_best(void);

#endif
