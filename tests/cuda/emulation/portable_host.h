/* The host compiler's half of gpu_worker/kernels/portable.cuh: CUDA's words, and ours, over the
 * emulated GPU. Included only by kernel sources. */
#ifndef WEIR_TESTS_CUDA_EMULATION_PORTABLE_HOST_H
#define WEIR_TESTS_CUDA_EMULATION_PORTABLE_HOST_H

#include <cuda_fp8.h>
#include <math.h>
#include <string.h>

#include <vector>

#include "emulation/gpu.h"

#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __forceinline__
#define __forceinline__ inline

#define threadIdx (gpu::thread_index())
#define blockIdx  (gpu::block_index())
#define blockDim  (gpu::block_size())
#define gridDim   (gpu::grid_size())

#define SHARED_ARRAY(type, name, count) \
    static char name##_key;             \
    type *name = (type *)gpu::shared_array(&name##_key, sizeof(type) * (count))

template <class parameter> static inline std::vector<unsigned char> bytes_of(parameter value)
{
    std::vector<unsigned char> bytes(sizeof value);
    memcpy(bytes.data(), &value, sizeof value);
    return bytes;
}

/* The arguments are taken by value when the kernel is launched, as CUDA takes them. */
template <class... parameters, class... values>
cudaError_t launch_by_value(const char *name, void (*kernel)(parameters...), dim3 grid, dim3 block,
                            cudaStream_t stream, values... given)
{
    const gpu::arguments bytes = {bytes_of<parameters>(given)...};
    return gpu::launch(
        name, grid, block, stream, [=] { kernel(given...); }, bytes);
}
#define LAUNCH(kernel, grid, block, stream, ...) \
    launch_by_value(ELEMENT_WORD "::" #kernel, kernel, grid, block, stream, __VA_ARGS__)

static inline uint4 load_16_bytes(const void *from)
{
    uint4 value;
    gpu::check_alignment(from, sizeof value, "a 16-byte load");
    memcpy(&value, from, sizeof value);
    return value;
}

static inline void store_16_bytes(void *to, uint4 value)
{
    gpu::check_alignment(to, sizeof value, "a 16-byte store");
    memcpy(to, &value, sizeof value);
}

static inline void store_8_bytes(void *to, uint2 value)
{
    gpu::check_alignment(to, sizeof value, "an 8-byte store");
    memcpy(to, &value, sizeof value);
}

static inline uint16_t floats_to_e4m3_pair(float low, float high)
{
    return (uint16_t)(__nv_cvt_float_to_fp8(low, __NV_SATFINITE, __NV_E4M3) |
                      __nv_cvt_float_to_fp8(high, __NV_SATFINITE, __NV_E4M3) << 8);
}

static inline void ldmatrix_x4(uint32_t out[4], const void *row)
{
    gpu::load_matrices(out, row, false);
}

static inline void ldmatrix_x4_transposed(uint32_t out[4], const void *row)
{
    gpu::load_matrices(out, row, true);
}

/* Widens the fragments here, where the element type is known. A macro as on the card:
 * bits_to_floats is the including namespace's. */
#define mma_m16n8k16(d, a, b)                                                              \
    do {                                                                                   \
        float a_[8], b_[4];                                                                \
        for (int i_ = 0; i_ < 4; i_++)                                                     \
            memcpy(a_ + 2 * i_, &(const float2 &)bits_to_floats((a)[i_]), sizeof(float2)); \
        for (int i_ = 0; i_ < 2; i_++)                                                     \
            memcpy(b_ + 2 * i_, &(const float2 &)bits_to_floats((b)[i_]), sizeof(float2)); \
        gpu::multiply_fragments(d, a_, b_);                                                \
    } while (0)

static inline void copy_async_16(void *shared, const void *global, bool live)
{
    gpu::copy_async(shared, global, live);
}

static inline void copy_async_commit()
{
    gpu::copy_async_commit_group();
}

template <int pending> static inline void copy_async_wait()
{
    gpu::copy_async_wait_group(pending);
}

static inline void publish_to_host(uint32_t *word, uint32_t value)
{
    gpu::system_fence();
    gpu::publish(word, value);
}

static inline void __threadfence_system()
{
    gpu::system_fence();
}

static inline void __syncthreads()
{
    gpu::block_barrier();
}

static inline void __syncwarp(unsigned mask = ALL_LANES)
{
    gpu::warp_barrier(mask);
}

static inline float shuffle_float(unsigned mask, float value, int source_lane)
{
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = gpu::shuffle(mask, bits, source_lane);
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float __shfl_xor_sync(unsigned mask, float value, int lane_mask)
{
    return shuffle_float(mask, value, gpu::lane() ^ lane_mask);
}

static inline float __shfl_sync(unsigned mask, float value, int source_lane)
{
    return shuffle_float(mask, value, source_lane % WARP_THREADS);
}

static inline uint32_t atomicAdd(uint32_t *word, uint32_t value)
{
    return __atomic_fetch_add(word, value, __ATOMIC_RELAXED);
}

static inline uint32_t atomicMax(uint32_t *word, uint32_t value)
{
    uint32_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
    while (old < value && !__atomic_compare_exchange_n(word, &old, value, true, __ATOMIC_RELAXED,
                                                       __ATOMIC_RELAXED))
        continue;
    return old;
}

static inline uint32_t min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}

static inline float __fdividef(float a, float b)
{
    return a / b;
}

#endif
