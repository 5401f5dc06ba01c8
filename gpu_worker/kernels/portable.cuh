/* The only place where a kernel source sees which compiler it has. nvcc gets the machine's
 * instructions; the host compiler gets tests/cuda/emulation, which runs the same source on the CPU,
 * one fiber a thread. Everything else in this folder is plain CUDA C++ for both.
 *
 *     SHARED_ARRAY(type, name, count)     a block's shared memory
 *     LAUNCH(kernel, grid, block, stream, arguments...)
 *     load_16_bytes, store_16_bytes, store_8_bytes    one vector access each
 *     floats_to_e4m3_pair         two values as E4M3 codes, the first in the low byte
 *     ldmatrix_x4, _transposed    four 8x8 matrices of 2-byte elements into a warp's registers
 *     mma_m16n8k16                d += a b: (16, 8) float32 += (16, 16) (16, 8) elements, by a warp
 *     copy_async_16, _commit, _wait<n>    global to shared memory, past the registers
 *     publish_to_host             a word that the host may see only after all that came before
 *
 * Lane l tells ldmatrix where row l % 8 of matrix l / 8 lies. Which lane holds which element of a
 * fragment is the PTX manual's ("Matrix Fragments for mma.m16n8k16"). */
#ifndef WEIR_GPU_WORKER_KERNELS_PORTABLE_CUH
#define WEIR_GPU_WORKER_KERNELS_PORTABLE_CUH

#include <stdint.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#define WARP_THREADS 32
#define ALL_LANES    0xffffffffu

#ifndef __CUDACC__
#include "emulation/portable_host.h"
#else

#include <cuda_runtime.h>

#define SHARED_ARRAY(type, name, count) __shared__ __align__(128) type name[count]
#ifdef __CUDACC_RTC__ /* device code only: a launch merely says that the kernel is needed */
#define LAUNCH(kernel, grid, block, stream, ...) ((void)(kernel), cudaSuccess)
#else
#define LAUNCH(kernel, grid, block, stream, ...) \
    (kernel<<<(grid), (block), 0, (stream)>>>(__VA_ARGS__), cudaGetLastError())
#endif

__device__ __forceinline__ uint4 load_16_bytes(const void *from)
{
    return *(const uint4 *)from;
}

__device__ __forceinline__ void store_16_bytes(void *to, uint4 value)
{
    *(uint4 *)to = value;
}

__device__ __forceinline__ void store_8_bytes(void *to, uint2 value)
{
    *(uint2 *)to = value;
}

#if defined __CUDA_ARCH__ && __CUDA_ARCH__ < 890
/* Never called: fp8 is refused on such a card (cuda_fp8.h), which has no instruction for it. */
__device__ __forceinline__ uint16_t floats_to_e4m3_pair(float, float)
{
    __trap();
    return 0;
}
#else
__device__ __forceinline__ uint16_t floats_to_e4m3_pair(float low, float high)
{
    uint16_t codes;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
    return codes;
}
#endif

__device__ __forceinline__ uint32_t shared_address(const void *pointer)
{
    return (uint32_t)__cvta_generic_to_shared(pointer);
}

__device__ __forceinline__ void ldmatrix_x4(uint32_t out[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ __forceinline__ void ldmatrix_x4_transposed(uint32_t out[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* ELEMENT_PTX is "f16" or "bf16": element.cuh says which. */
#define mma_m16n8k16(d, a, b)                                                         \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." ELEMENT_PTX "." ELEMENT_PTX \
                 ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"         \
                 : "+f"((d)[0]), "+f"((d)[1]), "+f"((d)[2]), "+f"((d)[3])             \
                 : "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "r"((b)[0]), "r"((b)[1]))

/* Where `live` is false nothing is read and zeros are written. */
__device__ __forceinline__ void copy_async_16(void *shared, const void *global, bool live)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(shared)), "l"(global), "r"(live ? 16 : 0)
                 : "memory");
}

__device__ __forceinline__ void copy_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most `pending` of the groups that this thread committed are under way. */
template <int pending> __device__ __forceinline__ void copy_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

__device__ __forceinline__ void publish_to_host(uint32_t *word, uint32_t value)
{
    __threadfence_system();
    *(volatile uint32_t *)word = value;
}

#endif
#endif
