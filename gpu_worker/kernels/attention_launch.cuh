/* Which attention kernel serves which element type and head_dim, and over what grid. */
#ifndef WEIR_GPU_WORKER_KERNELS_ATTENTION_LAUNCH_CUH
#define WEIR_GPU_WORKER_KERNELS_ATTENTION_LAUNCH_CUH

#include "gpu_worker/kernels/attention_rows.cuh"
#if ELEMENT_HAS_TENSOR_CORES
#include "gpu_worker/kernels/attention.cuh"
#endif

namespace ELEMENT_NAME
{

/* Scores are kept in units of log 2, so that the softmax is exp2 alone. */
static float attention_scale_log2(uint32_t head_dim)
{
    const float log2_e = 1.44269504089f;
    return log2_e / sqrtf((float)head_dim);
}

static cudaError_t attention_any_head(void *context, struct fp8_output instead, const void *qkv,
                                      const struct kernel_batch *batch, uint32_t n_rows,
                                      uint32_t hidden_dim, uint32_t n_heads, cudaStream_t stream)
{
    const uint32_t head_dim = hidden_dim / n_heads;
    const dim3 grid(ceil_div(n_rows, ATTENTION_ROWS_WARPS), n_heads),
        block(ATTENTION_ROWS_WARPS * WARP_THREADS);
    return LAUNCH_FOR_HEAD(attention_rows_kernel, head_dim, grid, block, stream, (element *)context,
                           instead, (const element *)qkv, *batch, hidden_dim, head_dim,
                           attention_scale_log2(head_dim));
}

#if ELEMENT_HAS_TENSOR_CORES
/* One block for each 32 rows of the bucket: enough for texts of the usual lengths at once; where a
 * batch has more work (very many very short texts) the blocks stride. */
static cudaError_t attention(void *context, struct fp8_output instead, const void *qkv,
                             const struct kernel_batch *batch, uint32_t n_rows, uint32_t hidden_dim,
                             uint32_t n_heads, cudaStream_t stream)
{
    const uint32_t head_dim = hidden_dim / n_heads;
    const dim3 grid(ceil_div(n_rows, 32) + 1, n_heads), block(ATTENTION_THREADS);
    const float scale_log2 = attention_scale_log2(head_dim);
    if (head_dim == 64)
        return LAUNCH(attention_kernel<64>, grid, block, stream, (element *)context, instead,
                      (const element *)qkv, *batch, hidden_dim, scale_log2);
    if (head_dim == 32)
        return LAUNCH(attention_kernel<32>, grid, block, stream, (element *)context, instead,
                      (const element *)qkv, *batch, hidden_dim, scale_log2);
    return attention_any_head(context, instead, qkv, batch, n_rows, hidden_dim, n_heads, stream);
}
#else
static cudaError_t attention(void *context, struct fp8_output instead, const void *qkv,
                             const struct kernel_batch *batch, uint32_t n_rows, uint32_t hidden_dim,
                             uint32_t n_heads, cudaStream_t stream)
{
    return attention_any_head(context, instead, qkv, batch, n_rows, hidden_dim, n_heads, stream);
}
#endif

static cudaError_t attention_cls(void *context, const void *query, const void *key_value,
                                 const struct kernel_batch *batch, uint32_t n_sequence_rows,
                                 uint32_t hidden_dim, uint32_t n_heads, cudaStream_t stream)
{
    const uint32_t head_dim = hidden_dim / n_heads;
    const dim3 grid(ceil_div(n_sequence_rows, ATTENTION_ROWS_WARPS), n_heads),
        block(ATTENTION_ROWS_WARPS * WARP_THREADS);
    return LAUNCH_FOR_HEAD(attention_cls_kernel, head_dim, grid, block, stream, (element *)context,
                           (const element *)query, (const element *)key_value, *batch, hidden_dim,
                           head_dim, attention_scale_log2(head_dim));
}

} // namespace ELEMENT_NAME

#endif
