/* oneDNN behind the one thing we use it for: a matrix product with a prepacked weight matrix, a
 * bias and an activation, on one thread.
 *
 *     out = activation(in x weight^T + bias)
 *
 *     out (rows, out_dim), in (rows, in_dim), weight (out_dim, in_dim), bias (out_dim)
 *
 * The C interface changed between major versions 2 and 3: cpu_dnnl_dialect.h knows both, and
 * nothing else includes dnnl.h. */
#ifndef WEIR_GPU_WORKER_CPU_DNNL_H
#define WEIR_GPU_WORKER_CPU_DNNL_H

#include "shm/base.h"

enum cpu_activation { CPU_ACTIVATION_NONE, CPU_ACTIVATION_GELU /* erf */, CPU_ACTIVATION_RELU };

struct cpu_dnnl_shape {
    uint32_t in_dim, out_dim;
    uint32_t in_stride, out_stride; /* floats from one row to the next */
    enum cpu_activation activation;
};

struct cpu_dnnl;         /* engine and one stream for each thread */
struct cpu_dnnl_product; /* compiled for one shape and one number of rows */
struct cpu_dnnl_weights; /* a packed weight matrix and its bias */

struct cpu_dnnl *cpu_dnnl_create(uint32_t n_threads, char error[ERROR_BYTES]);
void cpu_dnnl_destroy(struct cpu_dnnl *dnnl);
/* "2.6.3" */
void cpu_dnnl_version(char version[32]);

struct cpu_dnnl_product *cpu_dnnl_product_create(struct cpu_dnnl *dnnl,
                                                 const struct cpu_dnnl_shape *shape, uint32_t rows,
                                                 char error[ERROR_BYTES]);
void cpu_dnnl_product_destroy(struct cpu_dnnl_product *product);
/* Bytes that the library wants a packed weight matrix, and a running product's scratch, to have. */
uint64_t cpu_dnnl_weights_bytes(const struct cpu_dnnl_product *product);
uint64_t cpu_dnnl_scratch_bytes(const struct cpu_dnnl_product *product);
/* Whether weights packed for one can be used by the other. */
bool cpu_dnnl_same_packing(const struct cpu_dnnl_product *a, const struct cpu_dnnl_product *b);

/* Packs weight (out_dim, in_dim) into `packed` (weights_bytes, 64-byte aligned); bias (out_dim) is
 * borrowed, both for the object's life. `thread` as in cpu_dnnl_run(). */
struct cpu_dnnl_weights *cpu_dnnl_weights_create(struct cpu_dnnl *dnnl, uint32_t thread,
                                                 const struct cpu_dnnl_product *product,
                                                 const float *weight, float *bias, void *packed,
                                                 char error[ERROR_BYTES]);
void cpu_dnnl_weights_destroy(struct cpu_dnnl_weights *weights);

/* Runs on the calling thread, which must have said omp_set_num_threads(1); `thread` < n_threads
 * names its stream, `scratch` (scratch_bytes) is its own. 0 or -EIO. */
int cpu_dnnl_run(struct cpu_dnnl_product *product, uint32_t thread,
                 const struct cpu_dnnl_weights *weights, const float *in /* (rows, in_dim) */,
                 float *out /* (rows, out_dim) */, void *scratch);

#endif
