/* GEMMs by cuBLASLt, or by our kernel: y = x W^T (+ bias) (+ y), row-major, as the former's "TN"
 * form wants them without a transpose: W (out_dim, in_dim) is the transposed column-major A, x
 * (n_rows, in_dim) is B.
 *
 * Same text, same bits: which algorithm is fast depends on the number of rows, but a text must not
 * feel how many others share its batch. So each GEMM has one reference, the algorithm that cuBLASLt
 * likes best for the largest bucket, and a bucket may use another one only if, tried at start, it
 * gives the same bits for the same rows. Split-K is not offered: its parts depend on the shape.
 * Where several have those bits and can be captured, cuBLASLt's favourite among them is taken or,
 * if times are wanted, the fastest; the reference is never chosen by time, so a choice by time has
 * the same bits. */
#ifndef WEIR_GPU_WORKER_CUDA_GEMM_H
#define WEIR_GPU_WORKER_CUDA_GEMM_H

#include "gpu_worker/cuda_blas.h"
#include "gpu_worker/cuda_bucket.h"
#include "gpu_worker/kernels/kernels.h"

#define CUDA_GEMM_WORKSPACE_BYTES (32u << 20)

/* What is the same for all layers. */
struct cuda_gemm {
    const char *name;
    uint32_t out_dim, in_dim;
    cublasLtEpilogue_t epilogue; /* DEFAULT, BIAS or RELU_BIAS */
    float beta;                  /* 1 adds y as it was: the residual */
    cudaDataType_t x_type;       /* of x and of the weights; CUDA_R_8F_E4M3 takes scales */
    cudaDataType_t y_type;
    const struct cuda_buckets *buckets;
    cublasLtMatmulAlgo_t algorithms[CUDA_BUCKETS_MAX]; /* by bucket */
};

/* What every GEMM of an encoder shares. */
struct cuda_gemm_context {
    const struct kernel_set *own; /* whose GEMM takes cuBLASLt's place; NULL: cuBLASLt */
    struct cuda_blas blas;
    cudaDataType_t element_type;
    cublasComputeType_t compute_type; /* 32F, or 32F_PEDANTIC for float32 */
    void *workspace;                  /* device, CUDA_GEMM_WORKSPACE_BYTES */
    cudaStream_t stream;
};

/* Operands, in device memory. */
struct cuda_gemm_operands {
    void *y;                             /* (n_rows, out_dim) of y_type */
    const void *x;                       /* (n_rows, in_dim) of x_type */
    const void *weight;                  /* (out_dim, in_dim) of x_type */
    const void *bias;                    /* (out_dim) elements; NULL with the default epilogue */
    const float *x_scale, *weight_scale; /* (1), with CUDA_R_8F_E4M3; else NULL */
};

/* Queues the GEMM for one bucket on the context's stream. */
int cuda_gemm_enqueue(const struct cuda_gemm_context *context, const struct cuda_gemm *gemm,
                      const struct cuda_gemm_operands *operands, uint32_t bucket,
                      char error[ERROR_BYTES]);

/* Whether cuBLASLt can run the bucket's algorithm in our workspace. Launches nothing. */
bool cuda_gemm_accepts(const struct cuda_gemm_context *context, const struct cuda_gemm *gemm,
                       const struct cuda_gemm_operands *operands, uint32_t bucket);

/* Whether the algorithms of all buckets can be captured into a graph, which only a try can tell;
 * the first that cannot is a line in the log. Launches nothing. */
bool cuda_gemm_can_be_captured(const struct cuda_gemm_context *context,
                               const struct cuda_gemm *gemm,
                               const struct cuda_gemm_operands *operands);

/* Chooses gemm->algorithms by trial on `operands`, whose y is overwritten: x and y have room for
 * x_rows, at least the largest bucket. `timed`: by time among those with the reference's bits,
 * which takes seconds on a card. Takes memory for the comparison and gives it back. */
int cuda_gemm_choose(const struct cuda_gemm_context *context, struct cuda_gemm *gemm,
                     const struct cuda_gemm_operands *operands, uint32_t x_rows, bool timed,
                     char error[ERROR_BYTES]);

#endif
