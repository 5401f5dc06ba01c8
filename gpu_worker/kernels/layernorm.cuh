/* LayerNorm over rows (Ba, Kiros and Hinton, arXiv:1607.06450), the variance over all n elements:
 *
 *     y = (x - mean) / sqrt(variance + eps) * weight + bias
 *
 * One warp owns a row and holds it in registers, 8 elements a lane and vector, so mean and variance
 * are two exact passes over registers: one read and one write of memory, no shared memory, no
 * barrier. A row's bits depend on the row alone. */
#ifndef WEIR_GPU_WORKER_KERNELS_LAYERNORM_CUH
#define WEIR_GPU_WORKER_KERNELS_LAYERNORM_CUH

#include "gpu_worker/kernels/fp8.cuh"

#define ROW_WARPS 4 /* rows of one block */

/* Calls LAUNCH with the smallest instantiation whose warp holds a row of hidden_dim elements. */
#define LAUNCH_FOR_WIDTH(kernel, hidden_dim, ...)            \
    ((hidden_dim) <= 256    ? LAUNCH(kernel<1>, __VA_ARGS__) \
     : (hidden_dim) <= 512  ? LAUNCH(kernel<2>, __VA_ARGS__) \
     : (hidden_dim) <= 768  ? LAUNCH(kernel<3>, __VA_ARGS__) \
     : (hidden_dim) <= 1024 ? LAUNCH(kernel<4>, __VA_ARGS__) \
                            : LAUNCH(kernel<8>, __VA_ARGS__))

namespace ELEMENT_NAME
{

/* The first element of this lane's vector `i`; past hidden_dim the lane has no such vector. */
__device__ __forceinline__ uint32_t lane_column(int i)
{
    return (i * WARP_THREADS + threadIdx.x % WARP_THREADS) * VECTOR_ELEMENTS;
}

/* A lane without that vector reads the row's last one and ignores it: cheaper than a branch. */
__device__ __forceinline__ void load_lane_vector(float out[VECTOR_ELEMENTS],
                                                 const element *row /* (hidden_dim) */, int i,
                                                 uint32_t hidden_dim)
{
    load_vector(out, row + min(lane_column(i), hidden_dim - VECTOR_ELEMENTS));
}

/* A warp normalizes its row, `x`, and writes it out. */
template <int n_vectors>
__device__ __forceinline__ void
normalize_row(element *y /* (hidden_dim) */, struct fp8_output also /* (hidden_dim) */,
              float x[n_vectors][VECTOR_ELEMENTS], const element *weight /* (hidden_dim) */,
              const element *bias /* (hidden_dim) */, uint32_t hidden_dim, float eps)
{
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < n_vectors; i++)
#pragma unroll
        for (int j = 0; j < VECTOR_ELEMENTS; j++)
            sum += lane_column(i) < hidden_dim ? x[i][j] : 0.0f;
    const float mean = warp_sum(sum) / hidden_dim;
#pragma unroll
    for (int i = 0; i < n_vectors; i++)
#pragma unroll
        for (int j = 0; j < VECTOR_ELEMENTS; j++) {
            x[i][j] = lane_column(i) < hidden_dim ? x[i][j] - mean : 0.0f;
            squares += x[i][j] * x[i][j];
        }
    const float scale = rsqrtf(warp_sum(squares) / hidden_dim + eps);
#pragma unroll
    for (int i = 0; i < n_vectors; i++) {
        const uint32_t column = lane_column(i);
        float w[VECTOR_ELEMENTS], b[VECTOR_ELEMENTS];
        load_lane_vector(w, weight, i, hidden_dim);
        load_lane_vector(b, bias, i, hidden_dim);
#pragma unroll
        for (int j = 0; j < VECTOR_ELEMENTS; j++)
            x[i][j] = x[i][j] * scale * w[j] + b[j];
        if (column < hidden_dim) {
            store_vector(y + column, x[i]);
            store_codes(also, column, x[i]);
        }
    }
}

/* x = LayerNorm(x), a warp a row. The residual is in x already: the GEMM before added it
 * (beta = 1). */
template <int n_vectors>
__global__ void __launch_bounds__(ROW_WARPS *WARP_THREADS)
    layernorm_kernel(element *x /* (n_rows, hidden_dim), in place */,
                     struct fp8_output also /* (n_rows, hidden_dim) */,
                     const element *weight /* (hidden_dim) */,
                     const element *bias /* (hidden_dim) */, float eps, uint32_t n_rows,
                     uint32_t hidden_dim)
{
    const uint32_t row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP_THREADS;
    float values[n_vectors][VECTOR_ELEMENTS];
    if (row >= n_rows)
        return;
    x += (size_t)row * hidden_dim;
#pragma unroll
    for (int i = 0; i < n_vectors; i++)
        load_lane_vector(values[i], x, i, hidden_dim);
    also = codes_from(also, (size_t)row * hidden_dim);
    normalize_row<n_vectors>(x, also, values, weight, bias, hidden_dim, eps);
}

static cudaError_t layernorm(void *x, struct fp8_output also, const struct norm_weights *norm,
                             uint32_t n_rows, uint32_t hidden_dim, cudaStream_t stream)
{
    const dim3 grid(ceil_div(n_rows, ROW_WARPS)), block(ROW_WARPS * WARP_THREADS);
    return LAUNCH_FOR_WIDTH(layernorm_kernel, hidden_dim, grid, block, stream, (element *)x, also,
                            (const element *)norm->weight, (const element *)norm->bias, norm->eps,
                            n_rows, hidden_dim);
}

} // namespace ELEMENT_NAME

#endif
