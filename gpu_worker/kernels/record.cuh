/* The range of what a GEMM reads, recorded while a float model serves, of which fp8's scales are
 * made (cuda_fp8.h):
 *
 *     amax = max(amax, |x|)
 *
 * Rows past the batch's own hold whatever was there and do not count. */
#ifndef WEIR_GPU_WORKER_KERNELS_RECORD_CUH
#define WEIR_GPU_WORKER_KERNELS_RECORD_CUH

#include "gpu_worker/kernels/element.cuh"

#define RECORD_WARPS 4 /* rows of one block */

namespace ELEMENT_NAME
{

/* One warp a row; the bits of a float that is not negative are ordered as it is. */
__global__ void __launch_bounds__(RECORD_WARPS *WARP_THREADS)
    record_amax_kernel(uint32_t *amax_bits /* (1) */, const element *x /* (n_rows, n_columns) */,
                       struct kernel_batch batch, uint32_t n_columns)
{
    const struct batch_header *header = (const struct batch_header *)batch.descriptor;
    const uint32_t row = blockIdx.x * RECORD_WARPS + threadIdx.x / WARP_THREADS;
    float amax = 0.0f;
    if (row >= header->n_tokens)
        return;
    x += (size_t)row * n_columns;
    for (uint32_t i = threadIdx.x % WARP_THREADS * VECTOR_ELEMENTS; i < n_columns;
         i += WARP_THREADS * VECTOR_ELEMENTS) {
        float values[VECTOR_ELEMENTS];
        load_vector(values, x + i);
#pragma unroll
        for (int j = 0; j < VECTOR_ELEMENTS; j++)
            amax = fmaxf(amax, fabsf(values[j]));
    }
    amax = warp_max(amax);
    if (threadIdx.x % WARP_THREADS == 0) {
        uint32_t bits;
        memcpy(&bits, &amax, sizeof bits);
        atomicMax(amax_bits, bits);
    }
}

static cudaError_t record_amax(uint32_t *amax_bits, const void *x, const struct kernel_batch *batch,
                               uint32_t n_rows, uint32_t n_columns, cudaStream_t stream)
{
    return LAUNCH(record_amax_kernel, dim3(ceil_div(n_rows, RECORD_WARPS)),
                  dim3(RECORD_WARPS * WARP_THREADS), stream, amax_bits, (const element *)x, *batch,
                  n_columns);
}

} // namespace ELEMENT_NAME

#endif
