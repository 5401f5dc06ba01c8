/* Attention one query row at a time, a warp for each row and head, in float32:
 *
 *     context = softmax(q K^T / sqrt(head_dim)) V     within the row's sequence
 *
 * It is what the last layer needs, where only [CLS] asks, and what serves every row where the
 * tensor-core kernel does not apply (float32, or a head_dim other than 32 and 64).
 *
 * Keys are taken 32 at a time. First each lane scores one key; then the lanes turn to the columns
 * and add up the values, weight by weight. The softmax is online, as in attention.cuh. */
#ifndef WEIR_GPU_WORKER_KERNELS_ATTENTION_ROWS_CUH
#define WEIR_GPU_WORKER_KERNELS_ATTENTION_ROWS_CUH

#include "gpu_worker/kernels/fp8.cuh"

#define ATTENTION_ROWS_WARPS 4

/* Up to 128 registers: told nothing, ptxas aims at 40 and spills. */
#define ATTENTION_ROWS_BLOCKS_AN_SM 4

/* Of a key that does not count: its weight is 0. Finite, so that no difference of two is a NaN. */
#define MASKED_SCORE -1e30f

/* Calls LAUNCH with the smallest instantiation whose lanes hold the columns of one head. */
#define LAUNCH_FOR_HEAD(kernel, head_dim, ...)            \
    ((head_dim) <= 32    ? LAUNCH(kernel<1>, __VA_ARGS__) \
     : (head_dim) <= 64  ? LAUNCH(kernel<2>, __VA_ARGS__) \
     : (head_dim) <= 128 ? LAUNCH(kernel<4>, __VA_ARGS__) \
                         : LAUNCH(kernel<8>, __VA_ARGS__))

namespace ELEMENT_NAME
{

/* The matrices of one head: pointers to its first column in row 0 of the sequence. */
struct row_attention {
    const element *key, *value;
    uint32_t stride; /* of keys and values, in elements */
    uint32_t length, head_dim;
    float scale_log2;
};

__device__ __forceinline__ float dot(const element *a /* (n) */, const element *b /* (n) */,
                                     uint32_t n)
{
    float sum = 0.0f;
#pragma unroll 2
    for (uint32_t i = 0; i < n; i += VECTOR_ELEMENTS) {
        float x[VECTOR_ELEMENTS], y[VECTOR_ELEMENTS];
        load_vector(x, a + i);
        load_vector(y, b + i);
#pragma unroll
        for (int j = 0; j < VECTOR_ELEMENTS; j++)
            sum += x[j] * y[j];
    }
    return sum;
}

/* A warp computes context = softmax(query K^T) V for one row. */
template <int columns_a_lane>
__device__ __forceinline__ void
attend_row(element *context /* (head_dim) */, struct fp8_output instead /* (head_dim) */,
           const element *query /* (head_dim) */, const struct row_attention &a, uint32_t lane)
{
    float sums[columns_a_lane] = {}, max = MASKED_SCORE, weight_sum = 0.0f;
#pragma unroll 1
    for (uint32_t first_key = 0; first_key < a.length; first_key += WARP_THREADS) {
        const uint32_t n_keys = min(a.length - first_key, (uint32_t)WARP_THREADS);
        const uint32_t key = first_key + min(lane, n_keys - 1); /* spare lanes repeat the last */
        const float product = dot(query, a.key + (size_t)key * a.stride, a.head_dim);
        const float score = lane < n_keys ? product * a.scale_log2 : MASKED_SCORE;
        const float new_max = fmaxf(max, warp_max(score));
        const float weight = exp2f(score - new_max), rescale = exp2f(max - new_max);
        weight_sum = weight_sum * rescale + warp_sum(weight);
        max = new_max;
#pragma unroll
        for (int c = 0; c < columns_a_lane; c++)
            sums[c] *= rescale;
#pragma unroll 4
        for (uint32_t i = 0; i < WARP_THREADS; i++) {
            const float w = __shfl_sync(ALL_LANES, weight, i); /* zero past the last key */
            const element *value = a.value + (size_t)(first_key + min(i, n_keys - 1)) * a.stride;
#pragma unroll
            for (int c = 0; c < columns_a_lane; c++)
                sums[c] +=
                    w * element_to_float(value[min(c * WARP_THREADS + lane, a.head_dim - 1)]);
        }
    }
#pragma unroll
    for (int c = 0; c < columns_a_lane; c++)
        if (c * WARP_THREADS + lane < a.head_dim && wants_codes(instead))
            store_code(instead, c * WARP_THREADS + lane, sums[c] / weight_sum);
        else if (c * WARP_THREADS + lane < a.head_dim)
            context[c * WARP_THREADS + lane] = float_to_element(sums[c] / weight_sum);
}

/* The sequence that owns a token: the last whose start is not behind it. */
__device__ __forceinline__ uint32_t find_sequence(const uint32_t *cu_seqlens, uint32_t n_sequences,
                                                  uint32_t token)
{
    uint32_t low = 0, high = n_sequences;
#pragma unroll 1
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (cu_seqlens[middle] <= token)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Every token's row, for the head blockIdx.y. */
template <int columns_a_lane>
__global__ void __launch_bounds__(ATTENTION_ROWS_WARPS *WARP_THREADS, ATTENTION_ROWS_BLOCKS_AN_SM)
    attention_rows_kernel(element *context /* (n_rows, hidden_dim) */,
                          struct fp8_output instead /* (n_rows, hidden_dim) */,
                          const element *qkv /* (n_rows, 3 * hidden_dim) */,
                          struct kernel_batch batch, uint32_t hidden_dim, uint32_t head_dim,
                          float scale_log2)
{
    const struct batch_header *header = (const struct batch_header *)batch.descriptor;
    const uint32_t *cu_seqlens = batch.descriptor + batch.layout.cu_seqlens;
    const uint32_t token = blockIdx.x * ATTENTION_ROWS_WARPS + threadIdx.x / WARP_THREADS;
    const uint32_t stride = 3 * hidden_dim, column = blockIdx.y * head_dim;
    if (token >= header->n_tokens)
        return;
    const uint32_t sequence = find_sequence(cu_seqlens, header->n_sequences, token);
    const uint32_t first = cu_seqlens[sequence];
    const element *in = qkv + (size_t)first * stride + column;
    const struct row_attention a = {in + hidden_dim, in + 2 * hidden_dim,
                                    stride,          cu_seqlens[sequence + 1] - first,
                                    head_dim,        scale_log2};
    const size_t at = (size_t)token * hidden_dim + column;
    attend_row<columns_a_lane>(context + at, codes_from(instead, at),
                               in + (size_t)(token - first) * stride, a,
                               threadIdx.x % WARP_THREADS);
}

/* The row of each sequence's [CLS], whose query does not lie beside keys and values. */
template <int columns_a_lane>
__global__ void __launch_bounds__(ATTENTION_ROWS_WARPS *WARP_THREADS, ATTENTION_ROWS_BLOCKS_AN_SM)
    attention_cls_kernel(element *context /* (n_sequence_rows, hidden_dim) */,
                         const element *query /* (n_sequence_rows, hidden_dim) */,
                         const element *key_value /* (n_rows, 2 * hidden_dim) */,
                         struct kernel_batch batch, uint32_t hidden_dim, uint32_t head_dim,
                         float scale_log2)
{
    const struct batch_header *header = (const struct batch_header *)batch.descriptor;
    const uint32_t *cu_seqlens = batch.descriptor + batch.layout.cu_seqlens;
    const uint32_t sequence = blockIdx.x * ATTENTION_ROWS_WARPS + threadIdx.x / WARP_THREADS;
    const uint32_t stride = 2 * hidden_dim, column = blockIdx.y * head_dim;
    if (sequence >= header->n_sequences)
        return;
    const uint32_t first = cu_seqlens[sequence];
    const element *in = key_value + (size_t)first * stride + column;
    const struct row_attention a = {
        in, in + hidden_dim, stride, cu_seqlens[sequence + 1] - first, head_dim, scale_log2};
    const size_t row = (size_t)sequence * hidden_dim + column;
    attend_row<columns_a_lane>(context + row, fp8_output{NULL, 0.0f}, query + row, a,
                               threadIdx.x % WARP_THREADS);
}

} // namespace ELEMENT_NAME

#endif
