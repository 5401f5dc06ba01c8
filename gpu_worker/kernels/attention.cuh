/* Self-attention over packed sequences, on tensor cores, head_dim 32 and 64:
 *
 *     context = softmax(Q K^T / sqrt(head_dim)) V     within each sequence, for each head
 *
 * A warp owns 16 query rows and walks over its sequence's keys with the running maximum and sum of
 * the online softmax (Milakov and Gimelshein, arXiv:1805.02867), all in registers as in
 * FlashAttention-2 (arXiv:2307.08691): the scores' accumulator fragment is, rounded, the next
 * product's operand. Which warp owns what is the descriptor's work (kernels.h):
 *
 *     wide blocks     four warps, 64 rows of one sequence; its keys and values pass through shared
 *                     memory in tiles of 64, two of them in turn, loaded by all four warps
 *     narrow blocks   four warps on their own, each with a sequence of at most 32 tokens, all of it
 *                     in shared memory at once; no barrier but the warp's own
 *
 * Keys past the sequence's end are loaded as zeros and masked. Tiles are swizzled in shared memory
 * so that ldmatrix meets no bank conflict (the emulation counts them). Blocks stride over the work,
 * so that the grid can be fixed when the graph is captured. */
#ifndef WEIR_GPU_WORKER_KERNELS_ATTENTION_CUH
#define WEIR_GPU_WORKER_KERNELS_ATTENTION_CUH

#include "gpu_worker/kernels/attention_rows.cuh"

#define ATTENTION_WARPS        WORK_WORDS_A_BLOCK
#define ATTENTION_THREADS      (ATTENTION_WARPS * WARP_THREADS)
#define ATTENTION_BLOCKS_AN_SM 3 /* as many as shared memory allows; holds it to 128 registers */
#define WIDE_KEYS              64

namespace ELEMENT_NAME
{

/* A warp's 16 rows, as tensor-core fragments: lane l holds rows l/4 and l/4 + 8, columns 2 (l%4)
 * and the next of each group of 8. */
template <int head_dim> struct attention_rows {
    uint32_t query[head_dim / 16][4];
    float context[head_dim / 8][4];
    float max[2], sum[2]; /* of the lane's two rows, scores in units of log 2 */
};

/* One word of work, unpacked, with what the descriptor says of its sequence. */
struct attention_work {
    uint32_t first_token; /* of the sequence, in the batch */
    uint32_t length;      /* 0: no work */
    uint32_t first_row;   /* of the 16, within the sequence */
};

__device__ __forceinline__ struct attention_work read_work(const struct kernel_batch &batch,
                                                           uint32_t block, uint32_t warp)
{
    const uint32_t *cu_seqlens = batch.descriptor + batch.layout.cu_seqlens;
    const uint32_t word = batch.descriptor[batch.layout.work + block * WORK_WORDS_A_BLOCK + warp];
    struct attention_work work = {0, 0, 0};
    if (word == WORK_NONE)
        return work;
    const uint32_t sequence = word >> WORK_TILE_BITS;
    work.first_token = cu_seqlens[sequence];
    work.length = cu_seqlens[sequence + 1] - work.first_token;
    work.first_row = (word & ((1u << WORK_TILE_BITS) - 1)) * WORK_ROWS;
    return work;
}

/* Where 16-byte chunk `chunk` of row `row` lies in a tile, in elements: the eight rows that one
 * ldmatrix reads at the same chunk fall into eight different groups of banks. */
template <int head_dim>
__device__ __forceinline__ uint32_t tile_offset(uint32_t row, uint32_t chunk)
{
    const uint32_t chunks = head_dim / VECTOR_ELEMENTS;
    const uint32_t turn = chunks == 8 ? row % 8 : row / 2 % 4;
    return row * head_dim + (chunk ^ turn) * VECTOR_ELEMENTS;
}

/* `n_threads` threads start the copy of n_rows rows into a tile; rows past the sequence's end are
 * zeros. */
template <int head_dim, int n_rows, int n_threads>
__device__ __forceinline__ void
load_tile(element *tile /* shared (n_rows, head_dim) */,
          const element *from /* row 0 of the sequence, at this head's first column */,
          uint32_t stride, uint32_t first_row, uint32_t length, uint32_t thread)
{
    const uint32_t chunks = head_dim / VECTOR_ELEMENTS;
    static_assert(n_rows * chunks % n_threads == 0, "every thread copies as many chunks");
#pragma unroll
    for (uint32_t i = 0; i < n_rows * chunks / n_threads; i++) {
        const uint32_t row = (thread + i * n_threads) / chunks;
        const uint32_t chunk = (thread + i * n_threads) % chunks;
        const bool live = first_row + row < length;
        const uint32_t source = (live ? first_row + row : 0) * stride;
        copy_async_16(tile + tile_offset<head_dim>(row, chunk),
                      from + source + chunk * VECTOR_ELEMENTS, live);
    }
}

/* Takes the warp's query rows out of their tile, and begins the softmax with a maximum below every
 * score. */
template <int head_dim>
__device__ __forceinline__ void
begin_rows(struct attention_rows<head_dim> &rows,
           const element *query_tile /* shared; the warp's rows begin at first_row */,
           uint32_t first_row, uint32_t lane)
{
#pragma unroll
    for (int k = 0; k < head_dim / 16; k++)
        ldmatrix_x4(rows.query[k],
                    query_tile + tile_offset<head_dim>(first_row + lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (int j = 0; j < head_dim / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            rows.context[j][i] = 0.0f;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        rows.max[half] = MASKED_SCORE;
        rows.sum[half] = 0.0f;
    }
}

/* scores = Q K^T for one tile of keys. */
template <int head_dim, int n_keys>
__device__ __forceinline__ void
score_tile(float scores[n_keys / 8][4], const struct attention_rows<head_dim> &rows,
           const element *keys /* shared (n_keys, head_dim) */, uint32_t lane)
{
#pragma unroll
    for (int j = 0; j < n_keys / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            scores[j][i] = 0.0f;
#pragma unroll
    for (int k = 0; k < head_dim / 16; k++)
#pragma unroll
        for (int j = 0; j < n_keys / 16; j++) {
            uint32_t key[4]; /* keys 0-7 of columns 0-7 and 8-15, then keys 8-15 of both */
            ldmatrix_x4(key, keys + tile_offset<head_dim>(j * 16 + lane / 16 * 8 + lane % 8,
                                                          2 * k + lane / 8 % 2));
            mma_m16n8k16(scores[2 * j], rows.query[k], key);
            mma_m16n8k16(scores[2 * j + 1], rows.query[k], key + 2);
        }
}

/* Scores become weights relative to the rows' new maximum; what was summed so far is rescaled. */
template <int head_dim, int n_keys>
__device__ __forceinline__ void
softmax_tile(float scores[n_keys / 8][4], struct attention_rows<head_dim> &rows, uint32_t first_key,
             uint32_t length, float scale_log2, uint32_t lane)
{
    float max[2] = {rows.max[0], rows.max[1]};
#pragma unroll
    for (int j = 0; j < n_keys / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint32_t key = first_key + j * 8 + lane % 4 * 2 + i % 2;
            scores[j][i] = key < length ? scores[j][i] * scale_log2 : MASKED_SCORE;
            max[i / 2] = fmaxf(max[i / 2], scores[j][i]);
        }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        max[half] = fmaxf(max[half], __shfl_xor_sync(ALL_LANES, max[half], 1));
        max[half] = fmaxf(max[half], __shfl_xor_sync(ALL_LANES, max[half], 2));
        const float rescale = exp2f(rows.max[half] - max[half]);
        rows.max[half] = max[half];
        rows.sum[half] *= rescale;
#pragma unroll
        for (int j = 0; j < head_dim / 8; j++) {
            rows.context[j][2 * half] *= rescale;
            rows.context[j][2 * half + 1] *= rescale;
        }
    }
#pragma unroll
    for (int j = 0; j < n_keys / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            scores[j][i] = exp2f(scores[j][i] - max[i / 2]);
            rows.sum[i / 2] += scores[j][i];
        }
}

/* context += weights V. */
template <int head_dim, int n_keys>
__device__ __forceinline__ void
add_values(struct attention_rows<head_dim> &rows, const float weights[n_keys / 8][4],
           const element *values /* shared (n_keys, head_dim) */, uint32_t lane)
{
#pragma unroll
    for (int k = 0; k < n_keys / 16; k++) {
        const uint32_t weight[4] = {floats_to_bits(weights[2 * k][0], weights[2 * k][1]),
                                    floats_to_bits(weights[2 * k][2], weights[2 * k][3]),
                                    floats_to_bits(weights[2 * k + 1][0], weights[2 * k + 1][1]),
                                    floats_to_bits(weights[2 * k + 1][2], weights[2 * k + 1][3])};
#pragma unroll
        for (int j = 0; j < head_dim / 16; j++) {
            uint32_t value[4]; /* columns 0-7 of keys 0-7 and 8-15, then columns 8-15 of both */
            ldmatrix_x4_transposed(
                value, values + tile_offset<head_dim>(k * 16 + lane / 8 % 2 * 8 + lane % 8,
                                                      2 * j + lane / 16));
            mma_m16n8k16(rows.context[2 * j], weight, value);
            mma_m16n8k16(rows.context[2 * j + 1], weight, value + 2);
        }
    }
}

template <int head_dim, int n_keys>
__device__ __forceinline__ void
attend_tile(struct attention_rows<head_dim> &rows, const element *keys, const element *values,
            uint32_t first_key, uint32_t length, float scale_log2, uint32_t lane)
{
    float scores[n_keys / 8][4];
    score_tile<head_dim, n_keys>(scores, rows, keys, lane);
    softmax_tile<head_dim, n_keys>(scores, rows, first_key, length, scale_log2, lane);
    add_values<head_dim, n_keys>(rows, scores, values, lane);
}

/* Divides by the softmax's sum and writes the rows that exist. */
template <int head_dim>
__device__ __forceinline__ void
finish_rows(element *context /* row 0 of the sequence, at this head's first column */,
            struct fp8_output instead /* the same place */, struct attention_rows<head_dim> &rows,
            uint32_t first_row, uint32_t length, uint32_t hidden_dim, uint32_t lane)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const uint32_t row = first_row + half * 8 + lane / 4;
        float sum = rows.sum[half];
        sum += __shfl_xor_sync(ALL_LANES, sum, 1);
        sum += __shfl_xor_sync(ALL_LANES, sum, 2);
        const float scale = 1.0f / sum;
        if (row >= length)
            continue;
#pragma unroll
        for (int j = 0; j < head_dim / 8; j++) {
            const size_t at = (size_t)row * hidden_dim + j * 8 + lane % 4 * 2;
            const float low = rows.context[j][2 * half] * scale;
            const float high = rows.context[j][2 * half + 1] * scale;
            if (wants_codes(instead))
                store_code_pair(instead, at, low, high);
            else
                *(element_pair *)(context + at) = floats_to_pair(low, high);
        }
    }
}

template <int head_dim>
__device__ __forceinline__ void load_keys_values(element *keys, element *values, const element *qkv,
                                                 uint32_t hidden_dim, uint32_t first_key,
                                                 uint32_t length)
{
    load_tile<head_dim, WIDE_KEYS, ATTENTION_THREADS>(keys, qkv + hidden_dim, 3 * hidden_dim,
                                                      first_key, length, threadIdx.x);
    load_tile<head_dim, WIDE_KEYS, ATTENTION_THREADS>(values, qkv + 2 * hidden_dim, 3 * hidden_dim,
                                                      first_key, length, threadIdx.x);
}

/* Four warps, 64 rows of one long sequence. Every warp joins every load and barrier, also one whose
 * rows lie past the end. */
template <int head_dim>
__device__ __forceinline__ void attend_wide(element *context, struct fp8_output instead,
                                            const element *qkv, element *shared,
                                            struct attention_work work, uint32_t hidden_dim,
                                            float scale_log2, uint32_t warp, uint32_t lane)
{
    const int tile = WIDE_KEYS * head_dim;
    element *query = shared, *keys = query + tile, *values = keys + 2 * tile;
    const uint32_t stride = 3 * hidden_dim, n_tiles = ceil_div(work.length, WIDE_KEYS);
    const uint32_t block_row = work.first_row - warp * WORK_ROWS;
    struct attention_rows<head_dim> rows;
    load_tile<head_dim, WIDE_KEYS, ATTENTION_THREADS>(query, qkv, stride, block_row, work.length,
                                                      threadIdx.x);
    load_keys_values<head_dim>(keys, values, qkv, hidden_dim, 0, work.length);
    copy_async_commit();
    for (uint32_t i = 0; i < n_tiles; i++) {
        const int slot = i % 2 * tile;
        if (i + 1 < n_tiles)
            load_keys_values<head_dim>(keys + tile - slot, values + tile - slot, qkv, hidden_dim,
                                       (i + 1) * WIDE_KEYS, work.length);
        copy_async_commit();
        copy_async_wait<1>();
        __syncthreads(); /* tile i is there for all */
        if (i == 0)
            begin_rows<head_dim>(rows, query, warp * WORK_ROWS, lane);
        if (work.first_row < work.length)
            attend_tile<head_dim, WIDE_KEYS>(rows, keys + slot, values + slot, i * WIDE_KEYS,
                                             work.length, scale_log2, lane);
        __syncthreads(); /* nobody needs tile i any longer */
    }
    copy_async_wait<0>();
    if (work.first_row < work.length)
        finish_rows<head_dim>(context, instead, rows, work.first_row, work.length, hidden_dim,
                              lane);
}

/* One warp, 16 rows of one short sequence. */
template <int head_dim>
__device__ __forceinline__ void attend_narrow(element *context, struct fp8_output instead,
                                              const element *qkv, element *shared /* this warp's */,
                                              struct attention_work work, uint32_t hidden_dim,
                                              float scale_log2, uint32_t lane)
{
    element *query = shared, *keys = query + WORK_ROWS * head_dim,
            *values = keys + WORK_NARROW_LENGTH * head_dim;
    const uint32_t stride = 3 * hidden_dim;
    struct attention_rows<head_dim> rows;
    load_tile<head_dim, WORK_ROWS, WARP_THREADS>(query, qkv, stride, work.first_row, work.length,
                                                 lane);
    load_tile<head_dim, WORK_NARROW_LENGTH, WARP_THREADS>(keys, qkv + hidden_dim, stride, 0,
                                                          work.length, lane);
    load_tile<head_dim, WORK_NARROW_LENGTH, WARP_THREADS>(values, qkv + 2 * hidden_dim, stride, 0,
                                                          work.length, lane);
    copy_async_commit();
    copy_async_wait<0>();
    __syncwarp();
    begin_rows<head_dim>(rows, query, 0, lane);
    if (work.length <= 16)
        attend_tile<head_dim, 16>(rows, keys, values, 0, work.length, scale_log2, lane);
    else
        attend_tile<head_dim, 32>(rows, keys, values, 0, work.length, scale_log2, lane);
    finish_rows<head_dim>(context, instead, rows, work.first_row, work.length, hidden_dim, lane);
}

/* The batch's work for the head blockIdx.y: four words at a time, the wide ones first. */
template <int head_dim>
__global__ void __launch_bounds__(ATTENTION_THREADS, ATTENTION_BLOCKS_AN_SM)
    attention_kernel(element *context /* (n_rows, hidden_dim) */,
                     struct fp8_output instead /* (n_rows, hidden_dim) */,
                     const element *qkv /* (n_rows, 3 * hidden_dim) */, struct kernel_batch batch,
                     uint32_t hidden_dim, float scale_log2)
{
    SHARED_ARRAY(element, shared, 5 * WIDE_KEYS * head_dim);
    const int narrow_elements = (WORK_ROWS + 2 * WORK_NARROW_LENGTH) * head_dim;
    const struct batch_header *header = (const struct batch_header *)batch.descriptor;
    const uint32_t warp = threadIdx.x / WARP_THREADS, lane = threadIdx.x % WARP_THREADS;
    const uint32_t column = blockIdx.y * head_dim;
    for (uint32_t block = blockIdx.x; block < header->n_blocks; block += gridDim.x) {
        const struct attention_work work = read_work(batch, block, warp);
        const size_t at = (size_t)work.first_token * hidden_dim + column;
        const struct fp8_output codes = codes_from(instead, at);
        element *out = context + at;
        const element *in = qkv + (size_t)work.first_token * 3 * hidden_dim + column;
        if (block < header->n_wide_blocks)
            attend_wide<head_dim>(out, codes, in, shared, work, hidden_dim, scale_log2, warp, lane);
        else if (work.length > 0)
            attend_narrow<head_dim>(out, codes, in, shared + warp * narrow_elements, work,
                                    hidden_dim, scale_log2, lane);
    }
}

} // namespace ELEMENT_NAME

#endif
