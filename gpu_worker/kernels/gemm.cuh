/* Our own GEMM, for every product of the model: x is (n_rows, in_dim), W is (out_dim, in_dim).
 *
 *     y = activation(x W^T + b)        or, for the residual,    y = y + x W^T + b
 *
 * cuBLASLt has no exact GELU, so beside it the GELU is a pass of its own over the widest matrix of
 * the model; and it takes half a second to load. Tiles of 64 x 64 x 32, four warps of 32 x 32 each,
 * three stages of cp.async, swizzled so that ldmatrix meets no bank conflict. Each output is one
 * chain of k steps in ascending order, so its bits do not depend on n_rows. */
#ifndef WEIR_GPU_WORKER_KERNELS_GEMM_CUH
#define WEIR_GPU_WORKER_KERNELS_GEMM_CUH

#include "gpu_worker/kernels/gelu.cuh"

#define GEMM_TILE     KERNEL_GEMM_OUT_MULTIPLE /* rows of x and of W a block */
#define GEMM_TILE_K   KERNEL_GEMM_IN_MULTIPLE
#define GEMM_STAGES   3
#define GEMM_THREADS  128
#define GEMM_ELEMENTS (GEMM_TILE * GEMM_TILE_K) /* of one operand in one stage */

namespace ELEMENT_NAME
{

/* The four 16-byte chunks of a row take turns, so that eight rows fall into eight groups of banks
 * (tile_offset() in attention.cuh, for rows of 32 elements). */
__device__ __forceinline__ uint32_t gemm_offset(uint32_t row, uint32_t chunk)
{
    return row * GEMM_TILE_K + (chunk ^ (row / 2 % 4)) * VECTOR_ELEMENTS;
}

/* Starts the copy of one operand's tile; rows past n_rows are zeros. */
__device__ __forceinline__ void gemm_load(element *tile /* shared (64, 32) */,
                                          const element *matrix /* (n_rows, in_dim) */,
                                          uint32_t first_row, uint32_t n_rows, uint32_t in_dim,
                                          uint32_t step)
{
    const uint32_t chunks = GEMM_TILE_K / VECTOR_ELEMENTS;
#pragma unroll
    for (uint32_t i = 0; i < GEMM_TILE * chunks / GEMM_THREADS; i++) {
        const uint32_t row = (threadIdx.x + i * GEMM_THREADS) / chunks;
        const uint32_t chunk = (threadIdx.x + i * GEMM_THREADS) % chunks;
        const bool live = first_row + row < n_rows;
        const element *from = matrix + (size_t)(live ? first_row + row : 0) * in_dim +
                              step * GEMM_TILE_K + chunk * VECTOR_ELEMENTS;
        copy_async_16(tile + gemm_offset(row, chunk), from, live);
    }
}

/* sums += x W^T for one stage: this warp's 32 x 32 as 2 x 4 fragments of 16 x 8. */
__device__ __forceinline__ void gemm_multiply(float sums[2][4][4], const element *x_tile,
                                              const element *w_tile, uint32_t warp_row,
                                              uint32_t warp_column, uint32_t lane)
{
#pragma unroll
    for (int k = 0; k < GEMM_TILE_K / 16; k++) {
        uint32_t x[2][4], w[2][4]; /* of w: columns of y 0-7 for both halves of k, then 8-15 */
#pragma unroll
        for (int i = 0; i < 2; i++) {
            ldmatrix_x4(x[i],
                        x_tile + gemm_offset(warp_row + i * 16 + lane % 16, 2 * k + lane / 16));
            ldmatrix_x4(w[i], w_tile + gemm_offset(warp_column + i * 16 + lane / 16 * 8 + lane % 8,
                                                   2 * k + lane / 8 % 2));
        }
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                mma_m16n8k16(sums[i][j], x[i], w[j / 2] + j % 2 * 2);
    }
}

/* Two neighbours of a row of y. */
template <int EPILOGUE>
__device__ __forceinline__ void gemm_store_pair(void *y, size_t index, const element *bias,
                                                float low, float high)
{
    if (EPILOGUE == GEMM_FLOAT) {
        *(float2 *)((float *)y + index) = make_float2(low, high);
        return;
    }
    low += element_to_float(bias[0]);
    high += element_to_float(bias[1]);
    if (EPILOGUE == GEMM_RESIDUAL) {
        const float2 before = pair_to_floats(*(const element_pair *)((element *)y + index));
        low += before.x;
        high += before.y;
    }
    if (EPILOGUE == GEMM_RELU) {
        low = fmaxf(low, 0.0f);
        high = fmaxf(high, 0.0f);
    }
    if (EPILOGUE == GEMM_GELU) {
        low = gelu_exact(low);
        high = gelu_exact(high);
    }
    *(element_pair *)((element *)y + index) = floats_to_pair(low, high);
}

/* The warp's 32 x 32, but for rows that do not exist. */
template <int EPILOGUE>
__device__ __forceinline__ void
gemm_store(void *y /* (n_rows, out_dim) */, const element *bias /* (out_dim) */,
           const float sums[2][4][4], uint32_t first_row, uint32_t first_column, uint32_t n_rows,
           uint32_t out_dim, uint32_t lane)
{
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const uint32_t row = first_row + i * 16 + half * 8 + lane / 4;
                const uint32_t column = first_column + j * 8 + lane % 4 * 2;
                if (row < n_rows)
                    gemm_store_pair<EPILOGUE>(y, (size_t)row * out_dim + column, bias + column,
                                              sums[i][j][2 * half], sums[i][j][2 * half + 1]);
            }
}

/* One tile of y. A step's operands are loaded two turns before they are multiplied; a stage is
 * loaded anew once all four warps have multiplied what it held. */
template <int EPILOGUE>
__global__ void __launch_bounds__(GEMM_THREADS)
    gemm_kernel(void *y /* (n_rows, out_dim) */, const element *x /* (n_rows, in_dim) */,
                const element *weight /* (out_dim, in_dim) */, const element *bias /* (out_dim) */,
                uint32_t n_rows, uint32_t out_dim, uint32_t in_dim)
{
    SHARED_ARRAY(element, x_tiles, GEMM_STAGES * GEMM_ELEMENTS);
    SHARED_ARRAY(element, w_tiles, GEMM_STAGES * GEMM_ELEMENTS);
    const uint32_t first_row = blockIdx.y * GEMM_TILE, first_column = blockIdx.x * GEMM_TILE;
    const uint32_t warp = threadIdx.x / WARP_THREADS, lane = threadIdx.x % WARP_THREADS;
    const uint32_t warp_row = warp / 2 * 32, warp_column = warp % 2 * 32;
    const uint32_t n_steps = in_dim / GEMM_TILE_K;
    float sums[2][4][4] = {};
    for (uint32_t load = 0; load < n_steps + GEMM_STAGES - 1; load++) {
        if (load >= GEMM_STAGES - 1) { /* the step of two turns ago is there, for all warps */
            copy_async_wait<GEMM_STAGES - 2>();
            __syncthreads();
        }
        if (load < n_steps) {
            const uint32_t stage = load % GEMM_STAGES * GEMM_ELEMENTS;
            gemm_load(x_tiles + stage, x, first_row, n_rows, in_dim, load);
            gemm_load(w_tiles + stage, weight, first_column, out_dim, in_dim, load);
        }
        copy_async_commit();
        if (load >= GEMM_STAGES - 1) {
            const uint32_t stage = (load - (GEMM_STAGES - 1)) % GEMM_STAGES * GEMM_ELEMENTS;
            gemm_multiply(sums, x_tiles + stage, w_tiles + stage, warp_row, warp_column, lane);
        }
    }
    copy_async_wait<0>();
    gemm_store<EPILOGUE>(y, bias, sums, first_row + warp_row, first_column + warp_column, n_rows,
                         out_dim, lane);
}

/* A number, for kernels are found by the name they are launched by: in PTX that has a number. */
#define GEMM_LAUNCH(epilogue)                                                 \
    LAUNCH(gemm_kernel<epilogue>, grid, block, stream, y, (const element *)x, \
           (const element *)weight, (const element *)bias, n_rows, out_dim, in_dim)

static cudaError_t gemm(void *y, const void *x, const void *weight, const void *bias,
                        enum gemm_epilogue epilogue, uint32_t n_rows, uint32_t out_dim,
                        uint32_t in_dim, cudaStream_t stream)
{
    const dim3 grid(out_dim / GEMM_TILE, ceil_div(n_rows, GEMM_TILE)), block(GEMM_THREADS);
    static_assert(GEMM_BIAS == 0 && GEMM_RESIDUAL == 1 && GEMM_RELU == 2 && GEMM_GELU == 3, "");
    switch (epilogue) {
    case GEMM_BIAS:
        return GEMM_LAUNCH(0);
    case GEMM_RESIDUAL:
        return GEMM_LAUNCH(1);
    case GEMM_RELU:
        return GEMM_LAUNCH(2);
    case GEMM_GELU:
        return GEMM_LAUNCH(3);
    default:
        return GEMM_LAUNCH(4);
    }
}

} // namespace ELEMENT_NAME

#endif
