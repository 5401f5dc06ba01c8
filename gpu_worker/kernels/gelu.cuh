/* GELU in its exact form, x Phi(x) = x/2 (1 + erf(x / sqrt(2))), as BERT was trained with it.
 * cuBLASLt offers only the tanh form, which is off by up to 4.7e-4.
 *
 * erf by Abramowitz and Stegun 7.1.26: a polynomial in 1 / (1 + p|x|) times exp(-x^2), absolute
 * error below 1.5e-7 in exact arithmetic, no branch, and cheaper than erff(). */
#ifndef WEIR_GPU_WORKER_KERNELS_GELU_CUH
#define WEIR_GPU_WORKER_KERNELS_GELU_CUH

#include "gpu_worker/kernels/fp8.cuh"

#define GELU_THREADS 256

namespace ELEMENT_NAME
{

/* t = 1 / (1 + p|x|)     erf(x) = sign(x) (1 - (a1 t + a2 t^2 + ... + a5 t^5) exp(-x^2)) */
__device__ __forceinline__ float erf_approximate(float x)
{
    const float t = __fdividef(1.0f, 1.0f + 0.3275911f * fabsf(x));
    const float polynomial =
        t * (0.254829592f +
             t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    const float log2_e = 1.44269504089f;
    return copysignf(1.0f - polynomial * exp2f(-x * x * log2_e), x);
}

__device__ __forceinline__ float gelu_exact(float x)
{
    const float sqrt_half = 0.70710678118654752f;
    return 0.5f * x * (1.0f + erf_approximate(x * sqrt_half));
}

/* x = x Phi(x), eight elements a thread; or the codes of that, and x stays. */
__global__ void __launch_bounds__(GELU_THREADS)
    gelu_kernel(element *x /* (n_vectors, 8), in place */, struct fp8_output instead,
                uint64_t n_vectors)
{
    const uint64_t i = (uint64_t)blockIdx.x * GELU_THREADS + threadIdx.x;
    float values[VECTOR_ELEMENTS];
    if (i >= n_vectors)
        return;
    load_vector(values, x + i * VECTOR_ELEMENTS);
#pragma unroll
    for (int j = 0; j < VECTOR_ELEMENTS; j++)
        values[j] = gelu_exact(values[j]);
    if (wants_codes(instead))
        store_codes(instead, i * VECTOR_ELEMENTS, values);
    else
        store_vector(x + i * VECTOR_ELEMENTS, values);
}

static cudaError_t gelu(void *x, struct fp8_output instead, uint64_t n_elements,
                        cudaStream_t stream)
{
    const uint64_t n_vectors = n_elements / VECTOR_ELEMENTS;
    const dim3 grid(ceil_div(n_vectors, GELU_THREADS)), block(GELU_THREADS);
    return LAUNCH(gelu_kernel, grid, block, stream, (element *)x, instead, n_vectors);
}

} // namespace ELEMENT_NAME

#endif
