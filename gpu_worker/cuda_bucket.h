/* Buckets: the row counts for which graphs are captured. A batch runs in the smallest bucket that
 * holds it; rows between its own and the bucket's are zeros that nobody looks at, at most 15 in 100
 * beyond 128 rows. Pure arithmetic. */
#ifndef WEIR_GPU_WORKER_CUDA_BUCKET_H
#define WEIR_GPU_WORKER_CUDA_BUCKET_H

#include <stdint.h>

#define CUDA_BUCKETS_MAX 128

struct cuda_buckets {
    uint32_t rows[CUDA_BUCKETS_MAX]; /* ascending */
    uint32_t count;
};

/* 16 to 128 by 16, to 1024 by 64, to 8192 by 256, then by 1024; the last holds max_tokens. */
void cuda_buckets_of_tokens(struct cuda_buckets *buckets, uint32_t max_tokens);

/* 1, 2, 4, 8, 12, 16, 24, 32, 48, ...; the last is max_sequences. */
void cuda_buckets_of_sequences(struct cuda_buckets *buckets, uint32_t max_sequences);

/* The index of the smallest bucket of at least `rows`, which the last bucket holds. */
uint32_t cuda_bucket_find(const struct cuda_buckets *buckets, uint32_t rows);

static inline uint32_t cuda_buckets_largest(const struct cuda_buckets *buckets)
{
    return buckets->rows[buckets->count - 1];
}

#endif
