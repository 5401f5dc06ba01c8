/* Bucket edges, quantiles, and merging of blocks. */
#include "shm/layout.h"
#include "shm/stats.h"
#include "tests/shm/lane_pair.h"
#include "tests/test.h"

static void small_values_have_a_bucket_each(void)
{
    for (uint64_t value = 0; value < 16; value++) {
        EXPECT_EQUAL(stats_bucket(value), value);
        EXPECT_EQUAL(stats_bucket_upper((uint32_t)value), value);
    }
    EXPECT_EQUAL(stats_bucket(16), 16);
    EXPECT_EQUAL(stats_bucket(17), 16);
    EXPECT_EQUAL(stats_bucket(18), 17);
}

static void every_upper_edge_is_the_last_of_its_bucket(void)
{
    for (uint32_t bucket = 0; bucket < STATS_BUCKETS_COUNT - 1; bucket++) {
        EXPECT_EQUAL(stats_bucket(stats_bucket_upper(bucket)), bucket);
        EXPECT_EQUAL(stats_bucket(stats_bucket_upper(bucket) + 1), bucket + 1);
    }
}

static void the_last_bucket_takes_all_that_is_larger(void)
{
    uint64_t last = (UINT64_C(1) << 40) - 1;
    EXPECT_EQUAL(stats_bucket_upper(STATS_BUCKETS_COUNT - 1), last);
    EXPECT_EQUAL(stats_bucket(last), STATS_BUCKETS_COUNT - 1);
    EXPECT_EQUAL(stats_bucket(last + 1), STATS_BUCKETS_COUNT - 1);
    EXPECT_EQUAL(stats_bucket(UINT64_MAX), STATS_BUCKETS_COUNT - 1);
}

static void no_bucket_is_wider_than_an_eighth_of_its_values(void)
{
    for (uint32_t bucket = STATS_SUB_BUCKETS; bucket < STATS_BUCKETS_COUNT; bucket++) {
        uint64_t lower = stats_bucket_upper(bucket - 1) + 1;
        uint64_t width = stats_bucket_upper(bucket) - lower + 1;
        EXPECT(width * STATS_SUB_BUCKETS <= lower);
    }
}

static void quantiles_are_upper_edges(void)
{
    static struct stats_histogram_view view;
    EXPECT_EQUAL(stats_quantile(&view, 0.5), 0);
    view.buckets[stats_bucket(5)] = 90;
    view.buckets[stats_bucket(1000)] = 9;
    view.buckets[stats_bucket(100000)] = 1;
    view.count = 100;
    EXPECT_EQUAL(stats_quantile(&view, 0), 5);
    EXPECT_EQUAL(stats_quantile(&view, 0.5), 5);
    EXPECT_EQUAL(stats_quantile(&view, 0.9), 5);
    EXPECT_EQUAL(stats_quantile(&view, 0.91), stats_bucket_upper(stats_bucket(1000)));
    EXPECT_EQUAL(stats_quantile(&view, 0.99), stats_bucket_upper(stats_bucket(1000)));
    EXPECT_EQUAL(stats_quantile(&view, 1), stats_bucket_upper(stats_bucket(100000)));
}

static void a_count_beyond_the_buckets_still_gives_an_answer(void)
{
    static struct stats_histogram_view view;
    view.count = 10; /* a damaged segment */
    EXPECT_EQUAL(stats_quantile(&view, 0.5), stats_bucket_upper(STATS_BUCKETS_COUNT - 1));
}

static void merging_sums_the_worker_and_every_lane(void)
{
    struct lane_pair pair;
    static struct stats_view view;
    lane_pair_open(&pair);
    stats_add(stats_writer(&pair.worker, PROCESS_WORKER), STATS_TEXTS, 1);
    stats_add(stats_writer(&pair.frontend, 0), STATS_TEXTS, 10);
    stats_add(stats_writer(&pair.frontend, 1), STATS_TEXTS, 100);
    stats_record(stats_writer(&pair.frontend, 0), STATS_HISTOGRAM_TOTAL, 7);
    stats_record(stats_writer(&pair.frontend, 1), STATS_HISTOGRAM_TOTAL, 7);
    stats_record(stats_writer(&pair.frontend, 1), STATS_HISTOGRAM_TOTAL, 3000);
    stats_merge(&pair.worker, &view);
    EXPECT_EQUAL(view.counters[STATS_TEXTS], 111);
    EXPECT_EQUAL(view.counters[STATS_TOKENS], 0);
    EXPECT_EQUAL(view.counters[STATS_WORKER_STARTS], 1);
    EXPECT_EQUAL(view.histograms[STATS_HISTOGRAM_TOTAL].count, 3);
    EXPECT_EQUAL(view.histograms[STATS_HISTOGRAM_TOTAL].sum, 3014);
    EXPECT_EQUAL(view.histograms[STATS_HISTOGRAM_TOTAL].buckets[7], 2);
    EXPECT_EQUAL(view.histograms[STATS_HISTOGRAM_QUEUE].count, 0);
    lane_pair_close(&pair);
}

static void counters_outlive_their_writers(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    stats_add(stats_writer(&pair.worker, PROCESS_WORKER), STATS_BATCHES, 5);
    lane_pair_new_worker(&pair);
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_BATCHES), 5);
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_WORKER_STARTS), 2);
    lane_pair_close(&pair);
}

int main(void)
{
    RUN(small_values_have_a_bucket_each);
    RUN(every_upper_edge_is_the_last_of_its_bucket);
    RUN(the_last_bucket_takes_all_that_is_larger);
    RUN(no_bucket_is_wider_than_an_eighth_of_its_values);
    RUN(quantiles_are_upper_edges);
    RUN(a_count_beyond_the_buckets_still_gives_an_answer);
    RUN(merging_sums_the_worker_and_every_lane);
    RUN(counters_outlive_their_writers);
    return 0;
}
