/* The element type of one translation unit, and how eight of its values move between memory and
 * float32 registers. Each of kernels_float16.cu, kernels_bfloat16.cu, kernels_float32.cu and
 * kernels_fp8.cu defines one of ELEMENT_FLOAT16, ELEMENT_BFLOAT16, ELEMENT_FLOAT32, ELEMENT_FP8 and
 * includes all kernels. In the fp8 set elements are float16; the codes beside them are fp8.cuh's.
 *
 * All arithmetic but the tensor cores' products is float32; elements are only how values rest. */
#ifndef WEIR_GPU_WORKER_KERNELS_ELEMENT_CUH
#define WEIR_GPU_WORKER_KERNELS_ELEMENT_CUH

#include "gpu_worker/kernels/kernels.h"

#if defined ELEMENT_FP8
#define ELEMENT_FLOAT16
#define ELEMENT_NAME             fp8
#define ELEMENT_WORD             "fp8"
#define ELEMENT_PTX              "f16"
#define ELEMENT_HAS_TENSOR_CORES 1
#elif defined ELEMENT_FLOAT16
#define ELEMENT_NAME             float16
#define ELEMENT_WORD             "float16"
#define ELEMENT_PTX              "f16"
#define ELEMENT_HAS_TENSOR_CORES 1
#elif defined ELEMENT_BFLOAT16
#define ELEMENT_NAME             bfloat16
#define ELEMENT_WORD             "bfloat16"
#define ELEMENT_PTX              "bf16"
#define ELEMENT_HAS_TENSOR_CORES 1
#else
#define ELEMENT_NAME             float32
#define ELEMENT_WORD             "float32"
#define ELEMENT_HAS_TENSOR_CORES 0
#endif

#include "gpu_worker/kernels/portable.cuh"

#define VECTOR_ELEMENTS 8 /* what one thread moves at a time: 16 bytes of 2-byte elements */

namespace ELEMENT_NAME
{

#if defined ELEMENT_FLOAT16
typedef __half element;
typedef __half2 element_pair;

__device__ __forceinline__ float2 pair_to_floats(element_pair pair)
{
    return __half22float2(pair);
}

__device__ __forceinline__ element_pair floats_to_pair(float low, float high)
{
    return __floats2half2_rn(low, high);
}

__device__ __forceinline__ float element_to_float(element value)
{
    return __half2float(value);
}

__device__ __forceinline__ element float_to_element(float value)
{
    return __float2half_rn(value);
}
#elif defined ELEMENT_BFLOAT16
typedef __nv_bfloat16 element;
typedef __nv_bfloat162 element_pair;

__device__ __forceinline__ float2 pair_to_floats(element_pair pair)
{
    return __bfloat1622float2(pair);
}

__device__ __forceinline__ element_pair floats_to_pair(float low, float high)
{
    return __floats2bfloat162_rn(low, high);
}

__device__ __forceinline__ float element_to_float(element value)
{
    return __bfloat162float(value);
}

__device__ __forceinline__ element float_to_element(float value)
{
    return __float2bfloat16_rn(value);
}
#else
typedef float element;

__device__ __forceinline__ float element_to_float(element value)
{
    return value;
}

__device__ __forceinline__ element float_to_element(float value)
{
    return value;
}
#endif

#if ELEMENT_HAS_TENSOR_CORES
/* A register of a tensor-core fragment is two elements. */
__device__ __forceinline__ float2 bits_to_floats(uint32_t bits)
{
    element_pair pair;
    memcpy((void *)&pair, &bits, sizeof pair);
    return pair_to_floats(pair);
}

__device__ __forceinline__ uint32_t floats_to_bits(float low, float high)
{
    element_pair pair = floats_to_pair(low, high);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

__device__ __forceinline__ void load_vector(float out[VECTOR_ELEMENTS], const element *from)
{
    const uint4 bits = load_16_bytes(from);
    const float2 pairs[4] = {bits_to_floats(bits.x), bits_to_floats(bits.y), bits_to_floats(bits.z),
                             bits_to_floats(bits.w)};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        out[2 * i] = pairs[i].x;
        out[2 * i + 1] = pairs[i].y;
    }
}

__device__ __forceinline__ void store_vector(element *to, const float in[VECTOR_ELEMENTS])
{
    store_16_bytes(to, make_uint4(floats_to_bits(in[0], in[1]), floats_to_bits(in[2], in[3]),
                                  floats_to_bits(in[4], in[5]), floats_to_bits(in[6], in[7])));
}
#else
__device__ __forceinline__ void load_vector(float out[VECTOR_ELEMENTS], const element *from)
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint4 bits = load_16_bytes(from + 4 * i);
        memcpy(out + 4 * i, &bits, sizeof bits);
    }
}

__device__ __forceinline__ void store_vector(element *to, const float in[VECTOR_ELEMENTS])
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint4 bits;
        memcpy(&bits, in + 4 * i, sizeof bits);
        store_16_bytes(to + 4 * i, bits);
    }
}
#endif

/* Sum and maximum over a warp, the same bits in every lane. */
__device__ __forceinline__ float warp_sum(float value)
{
#pragma unroll
    for (int distance = WARP_THREADS / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    return value;
}

__device__ __forceinline__ float warp_max(float value)
{
#pragma unroll
    for (int distance = WARP_THREADS / 2; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, distance));
    return value;
}

} // namespace ELEMENT_NAME

static __host__ __device__ inline uint32_t ceil_div(uint64_t dividend, uint32_t divisor)
{
    return (uint32_t)((dividend + divisor - 1) / divisor);
}

#endif
