/* Adding to one's own block, summing all blocks, and the arithmetic of log-linear buckets. */
#include "shm/stats.h"
#include "shm/layout.h"

#define STATS_SUB_BUCKET_BITS 3
_Static_assert(1 << STATS_SUB_BUCKET_BITS == STATS_SUB_BUCKETS, "8 sub-buckets are 3 bits");

/* The first octave is linear (0..7), each later one has 8 buckets: octaves 2^3 to 2^39. */
#define STATS_VALUE_BITS 40
_Static_assert((STATS_VALUE_BITS - STATS_SUB_BUCKET_BITS + 1) * STATS_SUB_BUCKETS ==
                   STATS_BUCKETS_COUNT,
               "the buckets cover 0 .. 2^40 - 1");

struct stats_block *stats_writer(struct segment *segment, uint32_t index)
{
    if (index == PROCESS_WORKER)
        return &segment->header->worker_stats;
    return &layout_lane(segment, index)->stats;
}

/* One writer: no other store can come between the load and the store. Relaxed: readers add up
 * numbers of slightly different moments anyway. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

void stats_add(struct stats_block *block, enum stats_counter counter, uint64_t n)
{
    CHECK(counter < STATS_COUNTER_COUNT);
    add(&block->counters[counter], n);
}

uint64_t stats_counted(const struct stats_block *block, enum stats_counter counter)
{
    CHECK(counter < STATS_COUNTER_COUNT);
    return atomic_load_explicit(&block->counters[counter], memory_order_relaxed);
}

void stats_record(struct stats_block *block, enum stats_histogram histogram, uint64_t value)
{
    CHECK(histogram < STATS_HISTOGRAM_COUNT);
    add(&block->histograms[histogram].buckets[stats_bucket(value)], 1);
    add(&block->histograms[histogram].sum, value);
}

static void merge_block(const struct stats_block *block, struct stats_view *view)
{
    for (uint32_t i = 0; i < STATS_COUNTER_COUNT; i++)
        view->counters[i] += atomic_load_explicit(&block->counters[i], memory_order_relaxed);
    for (uint32_t i = 0; i < STATS_HISTOGRAM_COUNT; i++) {
        const struct stats_histogram_shared *from = &block->histograms[i];
        struct stats_histogram_view *to = &view->histograms[i];
        for (uint32_t bucket = 0; bucket < STATS_BUCKETS_COUNT; bucket++) {
            uint64_t n = atomic_load_explicit(&from->buckets[bucket], memory_order_relaxed);
            to->buckets[bucket] += n;
            /* The count is the buckets' sum, so that the two always agree in a scrape. */
            to->count += n;
        }
        to->sum += atomic_load_explicit(&from->sum, memory_order_relaxed);
    }
}

void stats_merge(const struct segment *segment, struct stats_view *view)
{
    *view = (struct stats_view){0};
    merge_block(&segment->header->worker_stats, view);
    for (uint32_t lane = 0; lane < segment->geometry.n_lanes; lane++)
        merge_block(&layout_lane(segment, lane)->stats, view);
}

uint32_t stats_bucket(uint64_t value)
{
    if (value < STATS_SUB_BUCKETS)
        return (uint32_t)value;
    if (value >> STATS_VALUE_BITS)
        return STATS_BUCKETS_COUNT - 1;
    uint32_t octave = 63 - (uint32_t)__builtin_clzll(value);
    uint32_t shift = octave - STATS_SUB_BUCKET_BITS;
    uint32_t sub_bucket = (uint32_t)(value >> shift) & (STATS_SUB_BUCKETS - 1);
    return (shift + 1) * STATS_SUB_BUCKETS + sub_bucket;
}

uint64_t stats_bucket_upper(uint32_t bucket)
{
    CHECK(bucket < STATS_BUCKETS_COUNT);
    if (bucket < STATS_SUB_BUCKETS)
        return bucket;
    uint32_t shift = bucket / STATS_SUB_BUCKETS - 1;
    uint64_t lower = (uint64_t)(STATS_SUB_BUCKETS + bucket % STATS_SUB_BUCKETS) << shift;
    return lower + (UINT64_C(1) << shift) - 1;
}

uint64_t stats_quantile(const struct stats_histogram_view *histogram, double q)
{
    if (histogram->count == 0)
        return 0;
    CHECK(q >= 0 && q <= 1);
    double wanted = q * (double)histogram->count;
    uint64_t seen = 0;
    for (uint32_t bucket = 0; bucket < STATS_BUCKETS_COUNT; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen > 0 && (double)seen >= wanted)
            return stats_bucket_upper(bucket);
    }
    return stats_bucket_upper(STATS_BUCKETS_COUNT - 1);
}
