/* Bucket arithmetic; see cuda_bucket.h. */
#include "gpu_worker/cuda_bucket.h"

#include "shm/base.h"

static uint32_t token_step(uint32_t rows)
{
    if (rows < 128)
        return 16;
    if (rows < 1024)
        return 64;
    return rows < 8192 ? 256 : 1024;
}

void cuda_buckets_of_tokens(struct cuda_buckets *buckets, uint32_t max_tokens)
{
    uint32_t rows = 0;
    *buckets = (struct cuda_buckets){0};
    while (rows < max_tokens) {
        CHECK(buckets->count < CUDA_BUCKETS_MAX);
        rows += token_step(rows);
        buckets->rows[buckets->count++] = rows;
    }
}

void cuda_buckets_of_sequences(struct cuda_buckets *buckets, uint32_t max_sequences)
{
    uint32_t rows = 1;
    *buckets = (struct cuda_buckets){0};
    while (rows < max_sequences) {
        CHECK(buckets->count + 2 < CUDA_BUCKETS_MAX);
        buckets->rows[buckets->count++] = rows;
        if (rows >= 8 && rows + rows / 2 < max_sequences)
            buckets->rows[buckets->count++] = rows + rows / 2;
        rows *= 2;
    }
    buckets->rows[buckets->count++] = max_sequences;
}

uint32_t cuda_bucket_find(const struct cuda_buckets *buckets, uint32_t rows)
{
    uint32_t low = 0, high = buckets->count - 1;
    CHECK(buckets->count > 0 && rows <= cuda_buckets_largest(buckets));
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (buckets->rows[middle] >= rows)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void cuda_buckets_order(const struct cuda_buckets *buckets, uint32_t order[CUDA_BUCKETS_MAX])
{
    bool is_early[CUDA_BUCKETS_MAX] = {false};
    uint32_t n = 0, rows_wanted = 0;
    for (uint32_t i = 0; i < buckets->count; i++) {
        is_early[i] = buckets->rows[i] >= rows_wanted;
        if (is_early[i]) {
            rows_wanted = 2 * buckets->rows[i];
            order[n++] = i;
        }
    }
    for (uint32_t i = 0; i < buckets->count; i++)
        if (!is_early[i])
            order[n++] = i;
}

void cuda_bucket_make_ready(struct cuda_buckets *buckets, uint32_t bucket)
{
    /* Release: who sees it sees the algorithms that were chosen before. Pairs with the acquire
     * below. */
    __atomic_store_n(&buckets->is_ready[bucket], true, __ATOMIC_RELEASE);
}

bool cuda_bucket_is_ready(const struct cuda_buckets *buckets, uint32_t bucket)
{
    return __atomic_load_n(&buckets->is_ready[bucket], __ATOMIC_ACQUIRE);
}

uint32_t cuda_bucket_find_ready(const struct cuda_buckets *buckets, uint32_t rows)
{
    uint32_t bucket = cuda_bucket_find(buckets, rows);
    while (!cuda_bucket_is_ready(buckets, bucket)) {
        bucket++;
        CHECK(bucket < buckets->count);
    }
    return bucket;
}
