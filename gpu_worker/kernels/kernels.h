/* The seam between the host side of the CUDA encoder (C) and its kernels (CUDA C++): what lies in
 * the memory that both see, and one launcher for each kernel.
 *
 * A batch travels in one block of 32-bit words, its descriptor. The host writes it into mapped,
 * pinned memory; the first kernel of a batch copies it into device memory, where the later ones
 * read it, so that only one kernel ever waits for the bus:
 *
 *     struct batch_header | cu_seqlens (n_sequences + 1) | work (n_blocks, 4) | tokens (n_tokens)
 *
 * the three arrays at fixed offsets (struct descriptor_layout). The tokens stay in mapped memory:
 * each is read once.
 *
 * Two descriptors and two rows of results take turns, so that a batch can be written and queued
 * while its predecessor runs. Which one is current the card knows by itself: it counts the batches
 * it has done, so the same captured graph serves both. Batch numbers start with 1. */
#ifndef WEIR_GPU_WORKER_KERNELS_KERNELS_H
#define WEIR_GPU_WORKER_KERNELS_KERNELS_H

#include <stdint.h>

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BATCHES_IN_FLIGHT 2

/* The widest row that the row kernels keep in registers, and the deepest head. */
#define KERNEL_HIDDEN_DIM_MAX 2048
#define KERNEL_HEAD_DIM_MAX   256

struct batch_header {
    uint32_t number; /* of the batch, counted from 1; the result carries it back */
    uint32_t n_tokens;
    uint32_t n_sequences;
    uint32_t n_blocks; /* of attention work, the wide ones first */
    uint32_t n_wide_blocks;
    uint32_t reserved[11]; /* one cache line */
};

/* Offsets in 32-bit words from the header, fixed when the encoder is created. */
struct descriptor_layout {
    uint32_t cu_seqlens, work, tokens, n_words;
};

struct packed_token {
    uint32_t id; /* clamped by the kernel: a wild id cannot read outside the table */
    uint16_t position, type;
};

/* The type of the tokens that fill a batch up to its bucket: their rows of x become zeros. */
#define TOKEN_FILLER UINT16_MAX

/* One word of attention work: a sequence and 16 of its rows. A block of four warps takes four
 * words: wide blocks the four tiles of 64 rows of one long sequence, whose keys the warps share;
 * narrow blocks any four tiles of short sequences, each warp on its own. A sequence's length alone
 * decides which, so its batch-mates cannot change its bits. */
#define WORK_WORDS_A_BLOCK 4
#define WORK_ROWS          16 /* query rows of one word */
#define WORK_WIDE_ROWS     (WORK_WORDS_A_BLOCK * WORK_ROWS)
#define WORK_NARROW_LENGTH 32 /* sequences no longer than this go to narrow blocks */
#define WORK_NONE          UINT32_MAX
#define WORK_TILE_BITS     10 /* tile = first row / 16 < 2^10; the sequence above it */

/* What a result says of itself, in mapped memory; the card writes, the host polls. */
struct batch_signal {
    uint32_t almost_done; /* number of the newest batch that has reached its [CLS] tail */
    uint32_t reserved0[15];
    uint32_t done; /* number of the newest batch whose logits are there */
    uint32_t reserved1[15];
};

/* Pointers of one encoder that several kernels share. Device memory but where it says mapped. */
struct kernel_batch {
    const uint32_t *staging;     /* mapped: (2, layout.n_words), as the host wrote them */
    uint32_t *descriptor;        /* (layout.tokens): the current one's copy */
    uint32_t *batches_done;      /* (1) */
    uint32_t *tickets;           /* (1): zero between batches */
    struct batch_signal *signal; /* mapped: (1) */
    struct descriptor_layout layout;
};

struct embedding_tables {
    const void *words;     /* (vocab_size, hidden_dim) */
    const void *positions; /* (n_positions, hidden_dim) */
    const void *types;     /* (n_types, hidden_dim); NULL where n_types is 0 */
    uint32_t vocab_size, n_positions, n_types;
};

struct norm_weights {
    const void *weight, *bias; /* (hidden_dim) */
    float eps;
};

/* What the next GEMM reads, with the fp8 set: one E4M3 code an element, of value * inverse_scale
 * rounded to nearest even; what is out of range becomes the largest code, a NaN stays one. Where
 * codes is NULL, and in all other sets, nothing is written. */
struct fp8_output {
    void *codes; /* (n_rows, columns), as the elements beside it */
    float inverse_scale;
};

enum pooler_activation { POOLER_RELU, POOLER_TANH };

/* x W^T + b, y + x W^T + b, ReLU or GELU of x W^T + b, and x W^T in float32. */
enum gemm_epilogue { GEMM_BIAS, GEMM_RESIDUAL, GEMM_RELU, GEMM_GELU, GEMM_FLOAT };
#define KERNEL_GEMM_OUT_MULTIPLE 64
#define KERNEL_GEMM_IN_MULTIPLE  32

/* All launchers of one element type: float16, bfloat16, float32, and fp8, whose elements are
 * float16 and whose GEMMs may read E4M3 codes. Matrices are row-major. `n_rows` is the bucket's:
 * rows past the batch's own are never looked at. Each returns what cudaGetLastError() said of the
 * launch. */
struct kernel_set {
    const char *dtype;
    uint32_t element_bytes;

    /* x = LayerNorm(words[id] + positions[position] + types[type]); zeros past n_tokens. Also
     * copies the descriptor. */
    cudaError_t (*embed_layernorm)(void *x /* (n_rows, hidden_dim) */, struct fp8_output also,
                                   const struct kernel_batch *batch,
                                   const struct embedding_tables *tables,
                                   const struct norm_weights *norm, uint32_t n_rows,
                                   uint32_t hidden_dim, cudaStream_t stream);

    /* x = LayerNorm(x), in place. */
    cudaError_t (*layernorm)(void *x /* (n_rows, hidden_dim) */, struct fp8_output also,
                             const struct norm_weights *norm, uint32_t n_rows, uint32_t hidden_dim,
                             cudaStream_t stream);

    /* x = x * Phi(x), the exact (erf) form, in place; or into `instead`, and x stays. n_elements is
     * a multiple of 8. */
    cudaError_t (*gelu)(void *x /* (n_elements) */, struct fp8_output instead, uint64_t n_elements,
                        cudaStream_t stream);

    /* context = softmax(Q K^T / sqrt(head_dim)) V, within each sequence; or into `instead`. */
    cudaError_t (*attention)(void *context /* (n_rows, hidden_dim) */, struct fp8_output instead,
                             const void *qkv /* (n_rows, 3 * hidden_dim) */,
                             const struct kernel_batch *batch, uint32_t n_rows, uint32_t hidden_dim,
                             uint32_t n_heads, cudaStream_t stream);

    /* The same for the first row of each sequence only. */
    cudaError_t (*attention_cls)(void *context /* (n_sequence_rows, hidden_dim) */,
                                 const void *query /* (n_sequence_rows, hidden_dim) */,
                                 const void *key_value /* (n_rows, 2 * hidden_dim) */,
                                 const struct kernel_batch *batch, uint32_t n_sequence_rows,
                                 uint32_t hidden_dim, uint32_t n_heads, cudaStream_t stream);

    /* cls = the first row of each sequence; zeros past n_sequences. Signals "almost done". */
    cudaError_t (*gather_cls)(void *cls /* (n_sequence_rows, hidden_dim) */,
                              const void *x /* (n_rows, hidden_dim) */,
                              const struct kernel_batch *batch, uint32_t n_sequence_rows,
                              uint32_t hidden_dim, cudaStream_t stream);

    /* logits = activation(pooled + pooler_bias) W^T + b in float32, and then "done". The logits of
     * odd batches lie logits_stride floats behind those of even ones. */
    cudaError_t (*classify)(float *logits /* mapped: (2, logits_stride) */, uint32_t logits_stride,
                            const float *pooled /* (n_sequence_rows, hidden_dim) */,
                            const float *pooler_bias /* (hidden_dim) */,
                            const float *weight /* (n_labels, hidden_dim) */,
                            const float *bias /* (n_labels) */, enum pooler_activation activation,
                            const struct kernel_batch *batch, uint32_t n_sequence_rows,
                            uint32_t hidden_dim, uint32_t n_labels, cudaStream_t stream);

    /* y = epilogue(x W^T) by our own tensor-core GEMM; NULL for float32. out_dim and in_dim are
     * multiples of KERNEL_GEMM_OUT_MULTIPLE and KERNEL_GEMM_IN_MULTIPLE. */
    cudaError_t (*gemm)(void *y /* (n_rows, out_dim); float32 with GEMM_FLOAT */,
                        const void *x /* (n_rows, in_dim) */,
                        const void *weight /* (out_dim, in_dim) */,
                        const void *bias /* (out_dim); unused with GEMM_FLOAT */,
                        enum gemm_epilogue epilogue, uint32_t n_rows, uint32_t out_dim,
                        uint32_t in_dim, cudaStream_t stream);

    /* out = in as this element type; sets *overflow where a finite value becomes infinite. */
    cudaError_t (*convert)(void *out /* (n_elements) */, const float *in /* (n_elements) */,
                           uint64_t n_elements, uint32_t *overflow, cudaStream_t stream);

    /* *amax_bits = the largest |x| of the batch's tokens, or what was there if that is larger; the
     * bits of a float32, whose order is theirs. n_columns is a multiple of 8. */
    cudaError_t (*record_amax)(uint32_t *amax_bits /* (1) */,
                               const void *x /* (n_rows, n_columns) */,
                               const struct kernel_batch *batch, uint32_t n_rows,
                               uint32_t n_columns, cudaStream_t stream);

    /* Elements, or float32 weights, as codes; NULL but in the fp8 set. n_elements is a multiple of
     * 8. What is less than `least` counts as that: 0 is a ReLU. */
    cudaError_t (*quantize)(struct fp8_output out, const void *x /* (n_elements) */, float least,
                            uint64_t n_elements, cudaStream_t stream);
    cudaError_t (*quantize_weights)(struct fp8_output out, const float *in /* (n_elements) */,
                                    uint64_t n_elements, cudaStream_t stream);
};

extern const struct kernel_set kernel_set_float16, kernel_set_bfloat16, kernel_set_float32,
    kernel_set_fp8;

#ifdef __cplusplus
}
#endif

#endif
