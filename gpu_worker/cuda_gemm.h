/* GEMMs by cuBLASLt, or by our kernel: y = x W^T (+ bias) (+ y), row-major, as the former's "TN"
 * form wants them without a transpose: W (out_dim, in_dim) is the transposed column-major A, x
 * (n_rows, in_dim) is B.
 *
 * Same text, same bits: which algorithm is fast depends on the number of rows, but a text must not
 * feel how many others share its batch. So each GEMM has one reference, the algorithm that cuBLASLt
 * likes best for the largest bucket, and a bucket may use another one only if, tried on the card
 * (cuda_trial.h), it gives the same bits for the same rows. */
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
    /* By bucket; one that is not ready (cuda_bucket.h) has none yet. */
    cublasLtMatmulAlgo_t algorithms[CUDA_BUCKETS_MAX];
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

/* Whether that algorithm can be captured into a bucket's graph, which only a try can tell. Launches
 * nothing. */
bool cuda_gemm_can_be_captured(const struct cuda_gemm_context *context,
                               const struct cuda_gemm *gemm,
                               const struct cuda_gemm_operands *operands, uint32_t bucket,
                               const cublasLtMatmulAlgo_t *algorithm);

/* ---- for trials: one call of cuBLASLt, with any number of rows and any algorithm ---- */

struct cuda_gemm_call {
    cublasLtMatmulDesc_t matmul;
    cublasLtMatrixLayout_t weight, x, y;
};

/* What cuBLASLt needs to be told. 0 or -EIO with a sentence. What failed may be closed. */
int cuda_gemm_call_open(const struct cuda_gemm_context *context, const struct cuda_gemm *gemm,
                        const struct cuda_gemm_operands *operands, uint32_t n_rows,
                        struct cuda_gemm_call *call, char error[ERROR_BYTES]);
void cuda_gemm_call_close(const struct cuda_blas *blas, struct cuda_gemm_call *call);

/* Queues it on the context's stream. */
cublasStatus_t cuda_gemm_call_run(const struct cuda_gemm_context *context,
                                  const struct cuda_gemm *gemm,
                                  const struct cuda_gemm_operands *operands,
                                  const struct cuda_gemm_call *call,
                                  const cublasLtMatmulAlgo_t *algorithm);

static inline uint64_t cuda_gemm_type_bytes(cudaDataType_t type)
{
    return type == CUDA_R_32F ? 4 : type == CUDA_R_8F_E4M3 ? 1 : 2;
}

#endif
