/* Weights arrive as float32 and rest as elements, rounded to nearest even. */
#ifndef WEIR_GPU_WORKER_KERNELS_CONVERT_CUH
#define WEIR_GPU_WORKER_KERNELS_CONVERT_CUH

#include "gpu_worker/kernels/element.cuh"

#define CONVERT_THREADS 256

namespace ELEMENT_NAME
{

/* out = in; *overflow = 1 where a finite value became infinite. */
__global__ void __launch_bounds__(CONVERT_THREADS)
    convert_kernel(element *out /* (n_elements) */, const float *in /* (n_elements) */,
                   uint64_t n_elements, uint32_t *overflow /* (1) */)
{
    const uint64_t i = (uint64_t)blockIdx.x * CONVERT_THREADS + threadIdx.x;
    if (i >= n_elements)
        return;
    out[i] = float_to_element(in[i]);
    if (isinf(element_to_float(out[i])) && !isinf(in[i]))
        *overflow = 1; /* by several threads perhaps, all the same word */
}

static cudaError_t convert(void *out, const float *in, uint64_t n_elements, uint32_t *overflow,
                           cudaStream_t stream)
{
    return LAUNCH(convert_kernel, dim3(ceil_div(n_elements, CONVERT_THREADS)),
                  dim3(CONVERT_THREADS), stream, (element *)out, in, n_elements, overflow);
}

} // namespace ELEMENT_NAME

#endif
