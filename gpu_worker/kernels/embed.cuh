/* The first kernel of a batch: token ids to normalized embeddings, and the descriptor's copy.
 *
 *     x[t] = LayerNorm(words[id_t] + positions[position_t] + types[type_t])
 *
 * Tokens come straight out of the host's mapped memory, each read once. Everything that indexes a
 * table is clamped here: the ids were written by another process, and no value of theirs may read
 * outside the tables. The last block copies the descriptor, for the later kernels. */
#ifndef WEIR_GPU_WORKER_KERNELS_EMBED_CUH
#define WEIR_GPU_WORKER_KERNELS_EMBED_CUH

#include "gpu_worker/kernels/layernorm.cuh"

#define EMBED_WARPS 8 /* rows of one block: their tokens are 64 bytes */

/* Up to 128 registers, but for the widest rows, which need more: told nothing, ptxas aims lower and
 * spills on sm_89. */
#define EMBED_BLOCKS_AN_SM(n_vectors) ((n_vectors) <= 4 ? 2 : 1)

namespace ELEMENT_NAME
{

/* Copies what is used of the descriptor: the header, cu_seqlens and the work of this batch. */
__device__ __forceinline__ void copy_descriptor(uint32_t *to, const uint32_t *from,
                                                struct descriptor_layout layout)
{
    const struct batch_header *header = (const struct batch_header *)from;
    const uint32_t n_header = sizeof(struct batch_header) / sizeof(uint32_t);
    const uint32_t n_work = header->n_blocks * WORK_WORDS_A_BLOCK;
    for (uint32_t i = threadIdx.x; i < n_header; i += blockDim.x)
        to[i] = from[i];
    for (uint32_t i = threadIdx.x; i <= header->n_sequences; i += blockDim.x)
        to[layout.cu_seqlens + i] = from[layout.cu_seqlens + i];
    for (uint32_t i = threadIdx.x; i < n_work; i += blockDim.x)
        to[layout.work + i] = from[layout.work + i];
}

/* Adds row `index` (or the last one) of an embedding table to the lane's part of x. */
template <int n_vectors>
__device__ __forceinline__ void add_embedding(float x[n_vectors][VECTOR_ELEMENTS],
                                              const element *table /* (n_rows, hidden_dim) */,
                                              uint32_t n_rows, uint32_t index, uint32_t hidden_dim)
{
    const element *row = table + (size_t)min(index, n_rows - 1) * hidden_dim;
#pragma unroll
    for (int i = 0; i < n_vectors; i++) {
        float values[VECTOR_ELEMENTS];
        load_lane_vector(values, row, i, hidden_dim);
#pragma unroll
        for (int j = 0; j < VECTOR_ELEMENTS; j++)
            x[i][j] += values[j];
    }
}

template <int n_vectors>
__device__ __forceinline__ void
embed_row(element *y /* (hidden_dim) */, struct fp8_output also /* (hidden_dim) */,
          struct packed_token token, const struct embedding_tables &tables,
          const struct norm_weights &norm, uint32_t hidden_dim)
{
    float x[n_vectors][VECTOR_ELEMENTS] = {};
    add_embedding<n_vectors>(x, (const element *)tables.words, tables.vocab_size, token.id,
                             hidden_dim);
    add_embedding<n_vectors>(x, (const element *)tables.positions, tables.n_positions,
                             token.position, hidden_dim);
    if (tables.n_types > 0)
        add_embedding<n_vectors>(x, (const element *)tables.types, tables.n_types, token.type,
                                 hidden_dim);
    normalize_row<n_vectors>(y, also, x, (const element *)norm.weight, (const element *)norm.bias,
                             hidden_dim, norm.eps);
}

template <int n_vectors>
__device__ __forceinline__ void zero_row(element *y /* (hidden_dim) */,
                                         struct fp8_output also /* (hidden_dim) */,
                                         uint32_t hidden_dim)
{
    const float zeros[VECTOR_ELEMENTS] = {};
#pragma unroll
    for (int i = 0; i < n_vectors; i++)
        if (lane_column(i) < hidden_dim) {
            store_vector(y + lane_column(i), zeros);
            store_codes(also, lane_column(i), zeros);
        }
}

/* The grid has one block more than the rows need: that one copies the descriptor. A block fetches
 * its tokens by one read over the bus. */
template <int n_vectors>
__global__ void __launch_bounds__(EMBED_WARPS *WARP_THREADS, EMBED_BLOCKS_AN_SM(n_vectors))
    embed_layernorm_kernel(element *x /* (n_rows, hidden_dim) */,
                           struct fp8_output also /* (n_rows, hidden_dim) */,
                           struct kernel_batch batch, struct embedding_tables tables,
                           struct norm_weights norm, uint32_t n_rows, uint32_t hidden_dim)
{
    SHARED_ARRAY(struct packed_token, tokens, EMBED_WARPS);
    const uint32_t number = *batch.batches_done + 1;
    const uint32_t *staging =
        batch.staging + (size_t)(number % BATCHES_IN_FLIGHT) * batch.layout.n_words;
    const uint32_t first_row = blockIdx.x * EMBED_WARPS, warp = threadIdx.x / WARP_THREADS;
    if (blockIdx.x == gridDim.x - 1) {
        copy_descriptor(batch.descriptor, staging, batch.layout);
        return;
    }
    if (threadIdx.x < EMBED_WARPS && first_row + threadIdx.x < n_rows)
        tokens[threadIdx.x] =
            ((const struct packed_token *)(staging + batch.layout.tokens))[first_row + threadIdx.x];
    __syncthreads();
    if (first_row + warp >= n_rows)
        return;
    x += (size_t)(first_row + warp) * hidden_dim;
    also = codes_from(also, (size_t)(first_row + warp) * hidden_dim);
    if (tokens[warp].type == TOKEN_FILLER)
        zero_row<n_vectors>(x, also, hidden_dim);
    else
        embed_row<n_vectors>(x, also, tokens[warp], tables, norm, hidden_dim);
}

static cudaError_t embed_layernorm(void *x, struct fp8_output also,
                                   const struct kernel_batch *batch,
                                   const struct embedding_tables *tables,
                                   const struct norm_weights *norm, uint32_t n_rows,
                                   uint32_t hidden_dim, cudaStream_t stream)
{
    const dim3 grid(ceil_div(n_rows, EMBED_WARPS) + 1), block(EMBED_WARPS * WARP_THREADS);
    return LAUNCH_FOR_WIDTH(embed_layernorm_kernel, hidden_dim, grid, block, stream, (element *)x,
                            also, *batch, *tables, *norm, n_rows, hidden_dim);
}

} // namespace ELEMENT_NAME

#endif
