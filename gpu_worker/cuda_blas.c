/* Opens cuBLASLt; see cuda_blas.h. */
#include "gpu_worker/cuda_blas.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "shm/log.h"

/* A library of CUDA 13 needs a driver of CUDA 13. */
#define DRIVER_OF_CUDA_13 13000

/* Both versions must agree on what crosses the boundary. */
_Static_assert(sizeof(cublasLtMatmulAlgo_t) == 64, "cublasLtMatmulAlgo_t changed");
_Static_assert(sizeof(cublasLtMatmulHeuristicResult_t) == 96, "heuristic result changed");
_Static_assert(CUBLASLT_MATMUL_DESC_TRANSA == 3 && CUBLASLT_MATMUL_DESC_EPILOGUE == 7 &&
                   CUBLASLT_MATMUL_DESC_BIAS_POINTER == 8,
               "cuBLASLt's attribute numbers changed");
_Static_assert(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES == 1 &&
                   CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK == 3,
               "cuBLASLt's preference numbers changed");

static void *open_library(int driver_version)
{
    static const char *const NAMES[] = {
        "libcublasLt.so.13", "/usr/local/cuda/lib64/libcublasLt.so.13", "libcublasLt.so.12",
        "/usr/local/cuda/lib64/libcublasLt.so.12"};
    const char *named = getenv("WEIR_CUBLASLT");
    if (named != NULL && named[0] != 0)
        return dlopen(named, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = driver_version >= DRIVER_OF_CUDA_13 ? 0 : 2; i < ARRAY_COUNT(NAMES); i++) {
        void *library = dlopen(NAMES[i], RTLD_NOW | RTLD_LOCAL);
        if (library != NULL)
            return library;
    }
    return NULL;
}

static int find_functions(struct cuda_blas *blas, char error[ERROR_BYTES])
{
#define CUDA_BLAS_FIND(name, function)                                                  \
    *(void **)&blas->name = dlsym(blas->library, #function);                            \
    if (blas->name == NULL) {                                                           \
        snprintf(error, ERROR_BYTES, "cuBLASLt has no %s: it must be version 12 or 13", \
                 #function);                                                            \
        return -ENOSYS;                                                                 \
    }
    CUDA_BLAS_FUNCTIONS(CUDA_BLAS_FIND)
    return 0;
}

int cuda_blas_open(struct cuda_blas *blas, int driver_version, char error[ERROR_BYTES])
{
    *blas = (struct cuda_blas){0};
    blas->library = open_library(driver_version);
    if (blas->library == NULL) {
        const char *reason = dlerror();
        snprintf(
            error, ERROR_BYTES,
            "cuBLASLt cannot be opened (%.120s): install libcublas of CUDA 12 or 13, or name its "
            "file in WEIR_CUBLASLT",
            reason != NULL ? reason : "no reason given");
        return -ENOENT;
    }
    const int result = find_functions(blas, error);
    if (result != 0)
        cuda_blas_close(blas);
    else
        blas->version = blas->get_version();
    return result;
}

int cuda_blas_create_handle(struct cuda_blas *blas, char error[ERROR_BYTES])
{
    return cuda_blas_check(blas->create(&blas->handle), "cublasLtCreate", error);
}

void cuda_blas_close(struct cuda_blas *blas)
{
    if (blas->handle != NULL)
        blas->destroy(blas->handle);
    if (blas->library != NULL)
        dlclose(blas->library);
    *blas = (struct cuda_blas){0};
}

int cuda_blas_check(cublasStatus_t status, const char *what, char error[ERROR_BYTES])
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return 0;
    snprintf(error, ERROR_BYTES, "cuBLASLt: %s failed with status %d", what, (int)status);
    return -EIO;
}
