/* E4M3 codes (Micikevicius et al., arXiv:2209.05433) beside the elements: what a GEMM in fp8 reads.
 * Only the fp8 set writes them; in all others these functions are empty, so that one source makes
 * the kernels of all sets.
 *
 *     code = E4M3(value * inverse_scale)     sign, 4 bits of exponent, 3 of mantissa
 *
 * rounded to nearest even; beyond 448 the largest code, a NaN stays one. The scale is one for a
 * whole matrix, fixed at start: see cuda_fp8.h. */
#ifndef WEIR_GPU_WORKER_KERNELS_FP8_CUH
#define WEIR_GPU_WORKER_KERNELS_FP8_CUH

#include "gpu_worker/kernels/element.cuh"

#if defined ELEMENT_FP8
#define ELEMENT_HAS_FP8 1
#else
#define ELEMENT_HAS_FP8 0
#endif

#define QUANTIZE_THREADS 256

namespace ELEMENT_NAME
{

#if ELEMENT_HAS_FP8
__device__ __forceinline__ bool wants_codes(const struct fp8_output &to)
{
    return to.codes != NULL;
}

/* The same matrix from its element `first` on. */
__device__ __forceinline__ struct fp8_output codes_from(struct fp8_output to, size_t first)
{
    if (wants_codes(to))
        to.codes = (uint8_t *)to.codes + first;
    return to;
}

/* Two elements from `at`, which is even. */
__device__ __forceinline__ void store_code_pair(const struct fp8_output &to, size_t at, float low,
                                                float high)
{
    *(uint16_t *)((uint8_t *)to.codes + at) =
        floats_to_e4m3_pair(low * to.inverse_scale, high * to.inverse_scale);
}

__device__ __forceinline__ void store_code(const struct fp8_output &to, size_t at, float value)
{
    ((uint8_t *)to.codes)[at] = (uint8_t)floats_to_e4m3_pair(value * to.inverse_scale, 0.0f);
}

/* Eight elements from `at`, a multiple of 8; none where no codes are wanted. */
__device__ __forceinline__ void store_codes(const struct fp8_output &to, size_t at,
                                            const float values[VECTOR_ELEMENTS])
{
    uint32_t words[2];
    if (!wants_codes(to))
        return;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float *four = values + 4 * i;
        words[i] =
            floats_to_e4m3_pair(four[0] * to.inverse_scale, four[1] * to.inverse_scale) |
            (uint32_t)floats_to_e4m3_pair(four[2] * to.inverse_scale, four[3] * to.inverse_scale)
                << 16;
    }
    store_8_bytes((uint8_t *)to.codes + at, make_uint2(words[0], words[1]));
}

/* codes = E4M3(max(x, least) * inverse_scale) */
__global__ void __launch_bounds__(QUANTIZE_THREADS)
    quantize_kernel(struct fp8_output out, const element *x /* (n_vectors, 8) */, float least,
                    uint64_t n_vectors)
{
    const uint64_t i = (uint64_t)blockIdx.x * QUANTIZE_THREADS + threadIdx.x;
    float values[VECTOR_ELEMENTS];
    if (i >= n_vectors)
        return;
    load_vector(values, x + i * VECTOR_ELEMENTS);
#pragma unroll
    for (int j = 0; j < VECTOR_ELEMENTS; j++)
        values[j] = values[j] < least ? least : values[j]; /* a NaN stays one */
    store_codes(out, i * VECTOR_ELEMENTS, values);
}

/* codes = E4M3(in * inverse_scale) */
__global__ void __launch_bounds__(QUANTIZE_THREADS)
    quantize_weights_kernel(struct fp8_output out, const float *in /* (n_vectors, 8) */,
                            uint64_t n_vectors)
{
    const uint64_t i = (uint64_t)blockIdx.x * QUANTIZE_THREADS + threadIdx.x;
    float values[VECTOR_ELEMENTS];
    if (i >= n_vectors)
        return;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const uint4 bits = load_16_bytes(in + i * VECTOR_ELEMENTS + 4 * half);
        memcpy(values + 4 * half, &bits, sizeof bits);
    }
    store_codes(out, i * VECTOR_ELEMENTS, values);
}

static cudaError_t quantize(struct fp8_output out, const void *x, float least, uint64_t n_elements,
                            cudaStream_t stream)
{
    const uint64_t n_vectors = n_elements / VECTOR_ELEMENTS;
    return LAUNCH(quantize_kernel, dim3(ceil_div(n_vectors, QUANTIZE_THREADS)),
                  dim3(QUANTIZE_THREADS), stream, out, (const element *)x, least, n_vectors);
}

static cudaError_t quantize_weights(struct fp8_output out, const float *in, uint64_t n_elements,
                                    cudaStream_t stream)
{
    const uint64_t n_vectors = n_elements / VECTOR_ELEMENTS;
    return LAUNCH(quantize_weights_kernel, dim3(ceil_div(n_vectors, QUANTIZE_THREADS)),
                  dim3(QUANTIZE_THREADS), stream, out, in, n_vectors);
}
#else
__device__ __forceinline__ bool wants_codes(const struct fp8_output &)
{
    return false;
}

__device__ __forceinline__ struct fp8_output codes_from(struct fp8_output to, size_t)
{
    return to;
}

__device__ __forceinline__ void store_code_pair(const struct fp8_output &, size_t, float, float)
{
}

__device__ __forceinline__ void store_code(const struct fp8_output &, size_t, float)
{
}

__device__ __forceinline__ void store_codes(const struct fp8_output &, size_t,
                                            const float[VECTOR_ELEMENTS])
{
}
#endif

} // namespace ELEMENT_NAME

#endif
