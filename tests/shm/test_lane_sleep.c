/* Who sleeps on a lane, until when, and what ends it. No test here sleeps for its own sake: those
 * that reach a time-out give it as 0 or measure that it is not exceeded. */
#include "tests/shm/lane_pair.h"
#include "tests/test.h"
#include <pthread.h>

#define LONG_NS (3600 * NS_PER_S)

static void work_that_is_there_ends_the_wait_at_once(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    EXPECT(!lane_wait_work(&pair.consumer, 1, 0, 0));
    lane_pair_submit(&pair, "a", 1);
    EXPECT(lane_wait_work(&pair.consumer, 1, 0, LONG_NS));
    EXPECT(lane_wait_work(&pair.consumer, 1, LONG_NS, LONG_NS)); /* by spinning */
    lane_pair_take(&pair, "a", 2);
    EXPECT(!lane_wait_work(&pair.consumer, 1, 0, 0));
    lane_pair_close(&pair);
}

static void any_of_several_lanes_ends_the_wait(void)
{
    struct lane_pair pair;
    struct lane_consumer consumers[2];
    struct lane_producer second;
    char error[ERROR_BYTES];
    uint32_t slot_index;
    lane_pair_open(&pair);
    EXPECT_EQUAL(lane_attach_consumer(&consumers[0], &pair.worker, 0, error), 0);
    EXPECT_EQUAL(lane_attach_consumer(&consumers[1], &pair.worker, 1, error), 0);
    EXPECT_EQUAL(lane_attach_producer(&second, &pair.frontend, 1, error), 0);
    EXPECT(lane_reserve(&second, &slot_index));
    lane_submit(&second, slot_index, 1, 1, 1);
    EXPECT(lane_wait_work(consumers, 2, 0, LONG_NS));
    lane_detach_producer(&second);
    lane_detach_consumer(&consumers[0]);
    lane_detach_consumer(&consumers[1]);
    lane_pair_close(&pair);
}

static void a_spin_is_bounded(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    EXPECT(!lane_wait_work(&pair.consumer, 1, NS_PER_MS, 0));
    lane_pair_close(&pair);
}

static void no_wait_is_longer_than_the_time_between_two_scans(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    EXPECT(!lane_wait_work(&pair.consumer, 1, 0, LONG_NS)); /* or the test times out */
    EXPECT(!lane_wait_completion(&pair.frontend, 0, LONG_NS));
    lane_pair_close(&pair);
}

static void a_wake_before_the_wait_ends_it_once(void)
{
    struct lane_pair pair;
    uint64_t before_ns, took_ns = LANE_SCAN_PERIOD_NS;
    lane_pair_open(&pair);
    /* On a busy machine a try may lose the processor for longer; without the wake none is short. */
    for (int tries = 0; tries < 100 && took_ns >= LANE_SCAN_PERIOD_NS; tries++) {
        lane_wake_worker(&pair.frontend); /* a signal handler, while the worker was busy */
        before_ns = clock_now_ns();
        EXPECT(!lane_wait_work(&pair.consumer, 1, 0, LONG_NS));
        took_ns = clock_now_ns() - before_ns;
    }
    EXPECT(took_ns < LANE_SCAN_PERIOD_NS);
    before_ns = clock_now_ns();
    EXPECT(!lane_wait_work(&pair.consumer, 1, 0, LONG_NS));
    EXPECT(clock_now_ns() - before_ns >= LANE_SCAN_PERIOD_NS); /* spent */
    lane_pair_close(&pair);
}

static void a_completion_is_announced_once(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "a", 1);
    lane_pair_submit(&pair, "b", 1);
    struct lane_ticket a = lane_pair_take(&pair, "a", 2), b = lane_pair_take(&pair, "b", 2);
    EXPECT(!lane_wait_completion(&pair.frontend, 0, 0));
    lane_pair_complete(&pair, &a, "A");
    EXPECT(lane_wait_completion(&pair.frontend, 0, LONG_NS));
    EXPECT(!lane_wait_completion(&pair.frontend, 0, 0)); /* the loop knows, but has not reaped */
    lane_pair_complete(&pair, &b, "B");
    EXPECT(lane_wait_completion(&pair.frontend, 0, LONG_NS));
    lane_pair_reap(&pair, "A", 3);
    lane_pair_reap(&pair, "B", 3);
    EXPECT(!lane_wait_completion(&pair.frontend, 0, 0));
    lane_pair_close(&pair);
}

static void a_completion_the_loop_has_reaped_is_not_announced(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "a", 1);
    struct lane_ticket ticket = lane_pair_take(&pair, "a", 2);
    lane_pair_complete(&pair, &ticket, "A");
    lane_pair_reap(&pair, "A", 3);
    EXPECT(!lane_wait_completion(&pair.frontend, 0, 0));
    lane_pair_close(&pair);
}

static void only_sleepers_cost_a_wake(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "a", 1);
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_BELL_WAKES), 0);
    atomic_store(&pair.worker.header->worker_bell.sleeping, 1);
    lane_pair_submit(&pair, "b", 1);
    lane_pair_submit(&pair, "c", 1);
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_BELL_WAKES), 1);
    lane_pair_close(&pair);
}

/* ---- a worker thread that only sleeps and answers ---- */

#define ROUNDS 20000

static void *answer(void *argument)
{
    struct lane_pair *pair = argument;
    for (int n = 0; n < ROUNDS;) {
        struct lane_ticket ticket;
        char payload[100];
        while (lane_peek(&pair->consumer, clock_now_ns(), &ticket)) {
            EXPECT(lane_take(&pair->consumer, &ticket, payload, 1));
            lane_pair_complete(pair, &ticket, payload);
            n++;
        }
        lane_wait_work(&pair->consumer, 1, 0, LONG_NS);
    }
    return NULL;
}

static void both_sides_sleep_and_wake_each_other(void)
{
    struct lane_pair pair;
    pthread_t thread;
    lane_pair_open(&pair);
    pthread_create(&thread, NULL, answer, &pair);
    uint64_t before_ns = clock_now_ns();
    for (int round = 0; round < ROUNDS; round++) {
        struct lane_completion completion;
        char text[16];
        snprintf(text, sizeof(text), "%d", round);
        lane_pair_submit(&pair, text, clock_now_ns());
        while (!lane_reap(&pair.producer, clock_now_ns(), &completion))
            lane_wait_completion(&pair.frontend, 0, LONG_NS);
        EXPECT_STRING(completion.result, text);
        lane_release(&pair.producer, completion.slot_index);
    }
    uint64_t round_ns = (clock_now_ns() - before_ns) / ROUNDS;
    pthread_join(thread, NULL);
    printf("%" PRIu64 " us a round, %.2f wakes\n", round_ns / NS_PER_US,
           (double)lane_pair_counter(&pair, STATS_BELL_WAKES) / ROUNDS);
    /* A scan that falls between a state word and its ring entry finds the slot first: rare,
     * harmless. */
    EXPECT(lane_pair_counter(&pair, STATS_LANE_RESCUES) < ROUNDS / 100);
    lane_pair_close(&pair);
}

int main(void)
{
    RUN(work_that_is_there_ends_the_wait_at_once);
    RUN(any_of_several_lanes_ends_the_wait);
    RUN(a_spin_is_bounded);
    RUN(no_wait_is_longer_than_the_time_between_two_scans);
    RUN(a_wake_before_the_wait_ends_it_once);
    RUN(a_completion_is_announced_once);
    RUN(a_completion_the_loop_has_reaped_is_not_announced);
    RUN(only_sleepers_cost_a_wake);
    RUN(both_sides_sleep_and_wake_each_other);
    return 0;
}
