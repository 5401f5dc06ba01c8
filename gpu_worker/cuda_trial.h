/* Trials: which algorithms of cuBLASLt give a GEMM's reference bits, shown by running them.
 *
 * A trial has inputs, outputs and a workspace of its own, so batches may run beside it. Its inputs
 * are made so that two orders of summation can hardly give the same bits. A model's own numbers
 * hide the order: once sums of 768 products are rounded to bfloat16, 1 of 3,100 differs, and of 32
 * products next to none. Here the columns of x and of the weights come in pairs, in a random order,
 *
 *     x[j'] = -x[j]    w[j'] = w[j]    so that    sum of x[j] w[j] = 0
 *
 * and their sizes are spread over 12 powers of two. In exact arithmetic every sum is 0; what comes
 * out is nothing but the rounding errors on the way, which are those of one order. The bias is of
 * their size, so it shows when it was added; and where a GEMM adds to y, it runs twice, the second
 * time upon the first one's errors. Of sums of 32 products, rounded to bfloat16, 6 in 10 differ
 * between two orders (simulated), of 768 products 98 in 100; a trial compares CUDA_TRIAL_ROWS *
 * CUDA_TRIAL_COLUMNS different ones.
 *
 * Rows of x repeat, so a row's place must not matter either: the first, the middle and the last
 * rows of y are compared. An algorithm that gives its last tiles to several blocks is found so.
 *
 * Split-K is not offered: its parts depend on the shape. Of several algorithms with the reference's
 * bits that can be captured, cuBLASLt's favourite is taken or, if times are wanted, the fastest;
 * the reference is never chosen by time, so a choice by time has the same bits. */
#ifndef WEIR_GPU_WORKER_CUDA_TRIAL_H
#define WEIR_GPU_WORKER_CUDA_TRIAL_H

#include "gpu_worker/cuda_gemm.h"
#include "gpu_worker/cuda_memory.h"

/* Of x and of the weights, that differ; then they repeat. Odd, so that they fall on other places of
 * each tile. */
#define CUDA_TRIAL_ROWS    37
#define CUDA_TRIAL_COLUMNS 61

#define CUDA_TRIAL_WINDOWS 3  /* of rows that are compared: the first, the middle, the last */
#define CUDA_TRIAL_GEMMS   16 /* at most */
#define CUDA_TRIAL_TILES   4  /* at most: types of x times lengths of its rows */

/* The inputs that GEMMs of one type and length of rows are tried on. Device memory. */
struct cuda_trial_tile {
    cudaDataType_t type;
    uint32_t in_dim;
    void *x;      /* (2 * CUDA_TRIAL_ROWS, in_dim): twice the same */
    void *weight; /* (CUDA_TRIAL_COLUMNS, in_dim) */
};

struct cuda_trials {
    struct cuda_trial_tile tiles[CUDA_TRIAL_TILES];
    uint32_t n_tiles;
    void *x, *weight, *bias, *y, *workspace; /* device; room for every GEMM and bucket */
    float *scale;                            /* device (1): 1, with fp8 */
    uint64_t bias_elements;
    /* Mapped memory. */
    unsigned char *fetched; /* rows of y as they come from the card */
    /* (CUDA_TRIAL_ROWS, out_dim) of y by GEMM: the reference's. Undefined until it was run. */
    unsigned char *expected[CUDA_TRIAL_GEMMS];
};

/* Asks for memory for trials of all of these, whose shapes are set. */
void cuda_trials_plan(struct cuda_trials *trials, const struct cuda_gemm *gemms, uint32_t n_gemms,
                      struct cuda_plan *device, struct cuda_plan *mapped);

/* Makes the inputs. 0 or -errno with a sentence. */
int cuda_trials_begin(struct cuda_trials *trials, cudaDataType_t element_type, cudaStream_t stream,
                      char error[ERROR_BYTES]);

/* One GEMM under trial: on the context's stream and handle, one at a time for all of a
 * cuda_trials. */
struct cuda_trial {
    const struct cuda_trials *trials;
    struct cuda_gemm_context context;    /* with the trials' workspace */
    struct cuda_gemm *gemm;              /* whose algorithms are set */
    unsigned char *expected;             /* the reference's bits */
    const struct cuda_gemm_operands *of; /* a batch's operands, for the question of captures */
};

struct cuda_trial cuda_trial_of(const struct cuda_trials *trials,
                                const struct cuda_gemm_context *context, struct cuda_gemm *gemm,
                                uint32_t index, const struct cuda_gemm_operands *operands);

/* Makes cuBLASLt's favourite for the largest bucket, of those that run and give a row the same bits
 * in any place, that bucket's algorithm and the reference. */
int cuda_trial_find_reference(const struct cuda_trial *trial, char error[ERROR_BYTES]);

/* The reference is the algorithm that the largest bucket has. */
int cuda_trial_keep_reference(const struct cuda_trial *trial, char error[ERROR_BYTES]);

/* Sets the bucket's algorithm to one with the reference's bits. -EIO where there is none, or it
 * cannot be told: then the bucket must not be used. `timed`: the fastest, which takes milliseconds
 * on a card that nothing else uses. */
int cuda_trial_choose(const struct cuda_trial *trial, uint32_t bucket, bool timed,
                      char error[ERROR_BYTES]);

/* How long `enqueue` takes the card. False where that cannot be told. */
bool cuda_trial_time(cudaStream_t stream, bool (*enqueue)(void *context), void *context,
                     float *milliseconds);

#endif
