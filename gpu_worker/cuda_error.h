/* Every CUDA call is checked: with a sentence while the encoder is being created, with -EIO and a
 * log line afterwards. */
#ifndef WEIR_GPU_WORKER_CUDA_ERROR_H
#define WEIR_GPU_WORKER_CUDA_ERROR_H

#include <cuda_runtime_api.h>

#include "shm/base.h"

/* 0, or -EIO with a sentence that says what failed and, where it can be told, what to do. */
int cuda_check(cudaError_t status, const char *what, char error[ERROR_BYTES]);

/* 0, or -EIO after logging the same sentence. */
int cuda_check_logged(cudaError_t status, const char *what);

#endif
