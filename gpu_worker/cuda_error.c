/* CUDA's statuses as sentences. */
#include "gpu_worker/cuda_error.h"

#include <errno.h>
#include <stdio.h>

#include "shm/log.h"

static const char *advice(cudaError_t status)
{
    switch (status) {
    case cudaErrorNoDevice:
        return "no NVIDIA GPU is visible: give the container one, or use --backend cpu";
    case cudaErrorInsufficientDriver:
        return "the driver is older than this build of weir needs, or there is none: use the image "
               "built with CUDA 12, or --backend cpu";
    case cudaErrorMemoryAllocation:
        return "the GPU's memory does not suffice: lower --max-batch-tokens";
    case cudaErrorNoKernelImageForDevice:
        return "this build has no code for this GPU: rebuild with WEIR_CUDA_TARGETS naming it";
    default:
        return cudaGetErrorString(status);
    }
}

int cuda_check(cudaError_t status, const char *what, char error[ERROR_BYTES])
{
    if (status == cudaSuccess)
        return 0;
    snprintf(error, ERROR_BYTES, "CUDA: %s failed (%s): %s", what, cudaGetErrorName(status),
             advice(status));
    return -EIO;
}

int cuda_check_logged(cudaError_t status, const char *what)
{
    char error[ERROR_BYTES];
    const int result = cuda_check(status, what, error);
    if (result != 0)
        log_error("%s", error);
    return result;
}
