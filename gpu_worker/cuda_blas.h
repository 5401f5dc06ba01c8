/* cuBLASLt, opened at run time: the module starts on machines with CUDA 12's library or with 13's,
 * and says a sentence where there is neither. Only what we call, and only what both versions have
 * alike. */
#ifndef WEIR_GPU_WORKER_CUDA_BLAS_H
#define WEIR_GPU_WORKER_CUDA_BLAS_H

#include <cublasLt.h>

#include "shm/base.h"

/* X(our name, the library's name). */
#define CUDA_BLAS_FUNCTIONS(X)                              \
    X(create, cublasLtCreate)                               \
    X(destroy, cublasLtDestroy)                             \
    X(get_version, cublasLtGetVersion)                      \
    X(matmul_create, cublasLtMatmulDescCreate)              \
    X(matmul_destroy, cublasLtMatmulDescDestroy)            \
    X(matmul_set, cublasLtMatmulDescSetAttribute)           \
    X(layout_create, cublasLtMatrixLayoutCreate)            \
    X(layout_destroy, cublasLtMatrixLayoutDestroy)          \
    X(preference_create, cublasLtMatmulPreferenceCreate)    \
    X(preference_destroy, cublasLtMatmulPreferenceDestroy)  \
    X(preference_set, cublasLtMatmulPreferenceSetAttribute) \
    X(heuristic, cublasLtMatmulAlgoGetHeuristic)            \
    X(check, cublasLtMatmulAlgoCheck)                       \
    X(matmul, cublasLtMatmul)

struct cuda_blas {
    void *library;
    cublasLtHandle_t handle;
    size_t version; /* 130100 is 13.1.0 */
#define CUDA_BLAS_POINTER(name, function) __typeof__(&function) name;
    CUDA_BLAS_FUNCTIONS(CUDA_BLAS_POINTER)
};

/* Opens WEIR_CUBLASLT if that is set, else the newest version that the driver can serve. Needs no
 * card yet. A zeroed object may be closed. 0 or -errno with a sentence. */
int cuda_blas_open(struct cuda_blas *blas, int driver_version, char error[ERROR_BYTES]);

/* A handle for the calling thread's card. 0, or -EIO with a sentence. */
int cuda_blas_create_handle(struct cuda_blas *blas, char error[ERROR_BYTES]);

/* The handle, then the library. */
void cuda_blas_close(struct cuda_blas *blas);

/* 0, or -EIO with a sentence. */
int cuda_blas_check(cublasStatus_t status, const char *what, char error[ERROR_BYTES]);

#endif
