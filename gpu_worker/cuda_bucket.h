/* Buckets: the row counts for which graphs are captured. A batch runs in the smallest bucket that
 * holds it; rows between its own and the bucket's are zeros that nobody looks at, at most 15 in 100
 * beyond 128 rows.
 *
 * A bucket is ready when all its GEMMs have an algorithm with the reference's bits. Until then, and
 * where none was found, its batches run in the next larger one that is: more rows that nobody looks
 * at, the same bits. The largest is the reference itself, and ready before the first batch. */
#ifndef WEIR_GPU_WORKER_CUDA_BUCKET_H
#define WEIR_GPU_WORKER_CUDA_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#define CUDA_BUCKETS_MAX 128

struct cuda_buckets {
    uint32_t rows[CUDA_BUCKETS_MAX]; /* ascending */
    uint32_t count;
    bool is_ready[CUDA_BUCKETS_MAX]; /* atomic, release: written once, while others read */
};

/* 16 to 128 by 16, to 1024 by 64, to 8192 by 256, then by 1024; the last holds max_tokens. */
void cuda_buckets_of_tokens(struct cuda_buckets *buckets, uint32_t max_tokens);

/* 1, 2, 4, 8, 12, 16, 24, 32, 48, ...; the last is max_sequences. */
void cuda_buckets_of_sequences(struct cuda_buckets *buckets, uint32_t max_sequences);

/* The index of the smallest bucket of at least `rows`, which the last bucket holds. */
uint32_t cuda_bucket_find(const struct cuda_buckets *buckets, uint32_t rows);

/* The order in which buckets are made ready: first those that have at least twice the rows of the
 * one before, so that soon no batch runs in a much larger bucket than its own; then the others,
 * small ones first. */
void cuda_buckets_order(const struct cuda_buckets *buckets, uint32_t order[CUDA_BUCKETS_MAX]);

/* Batches may run in the bucket from now on. */
void cuda_bucket_make_ready(struct cuda_buckets *buckets, uint32_t bucket);

bool cuda_bucket_is_ready(const struct cuda_buckets *buckets, uint32_t bucket);

/* The index of the smallest bucket of at least `rows` that is ready. */
uint32_t cuda_bucket_find_ready(const struct cuda_buckets *buckets, uint32_t rows);

static inline uint32_t cuda_buckets_largest(const struct cuda_buckets *buckets)
{
    return buckets->rows[buckets->count - 1];
}

#endif
