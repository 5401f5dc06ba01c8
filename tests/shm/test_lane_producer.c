/* The frontend's side of a lane, step by step. */
#include "tests/shm/lane_pair.h"
#include "tests/test.h"
#include <errno.h>
#include <unistd.h>

static void full_exists_in_reserve_only(void)
{
    struct lane_pair pair;
    uint32_t slot_index;
    lane_pair_open(&pair);
    EXPECT_EQUAL(pair.producer.n_free, LANE_PAIR_SLOTS);
    for (uint32_t i = 0; i < LANE_PAIR_SLOTS; i++)
        lane_pair_submit(&pair, "a", 1);
    EXPECT(!lane_reserve(&pair.producer, &slot_index));
    EXPECT(lane_cancel(&pair.producer, 3));
    lane_release(&pair.producer, 3);
    EXPECT(lane_reserve(&pair.producer, &slot_index));
    EXPECT_EQUAL(slot_index, 3);
    EXPECT(!lane_reserve(&pair.producer, &slot_index));
    lane_pair_close(&pair);
}

static void a_slot_goes_round_a_thousand_times(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    for (int i = 0; i < 1000; i++) {
        lane_pair_submit(&pair, "first", 1);
        lane_pair_submit(&pair, "second", 2);
        struct lane_ticket first = lane_pair_take(&pair, "first", 3);
        struct lane_ticket second = lane_pair_take(&pair, "second", 3);
        lane_pair_complete(&pair, &second, "2");
        lane_pair_complete(&pair, &first, "1");
        lane_pair_reap(&pair, "2", 4);
        lane_pair_reap(&pair, "1", 4);
        EXPECT_EQUAL(pair.producer.n_free, LANE_PAIR_SLOTS);
    }
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_RESCUES), 0);
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_RESYNCS), 0);
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_BELL_WAKES), 0); /* nobody slept */
    lane_pair_close(&pair);
}

static void a_completion_carries_its_times_and_its_batch(void)
{
    struct lane_pair pair;
    struct lane_completion completion;
    char payload[100];
    lane_pair_open(&pair);
    uint32_t slot_index = lane_pair_submit(&pair, "a", 10);
    struct lane_ticket ticket;
    EXPECT(lane_peek(&pair.consumer, 20, &ticket));
    EXPECT(lane_take(&pair.consumer, &ticket, payload, 20));
    lane_complete(&pair.consumer, &ticket, LANE_STATUS_FAILED, NULL, 0, 77, 30);
    EXPECT(lane_reap(&pair.producer, 40, &completion));
    EXPECT_EQUAL(completion.slot_index, slot_index);
    EXPECT_EQUAL(completion.status, LANE_STATUS_FAILED);
    EXPECT_EQUAL(completion.submitted_ns, 10);
    EXPECT_EQUAL(completion.taken_ns, 20);
    EXPECT_EQUAL(completion.done_ns, 30);
    EXPECT_EQUAL(completion.batch_weight, 77);
    lane_pair_close(&pair);
}

static void cancel_wins_before_take_and_loses_after(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    char payload[100];
    lane_pair_open(&pair);
    uint32_t slot_index = lane_pair_submit(&pair, "a", 1);
    EXPECT(lane_peek(&pair.consumer, 2, &ticket));
    EXPECT(lane_cancel(&pair.producer, slot_index));
    EXPECT(!lane_take(&pair.consumer, &ticket, payload, 3));
    lane_release(&pair.producer, slot_index);
    lane_pair_submit(&pair, "b", 4);
    ticket = lane_pair_take(&pair, "b", 5);
    EXPECT(!lane_cancel(&pair.producer, slot_index));
    lane_pair_complete(&pair, &ticket, "B");
    EXPECT(!lane_cancel(&pair.producer, slot_index));
    lane_pair_reap(&pair, "B", 6);
    lane_pair_close(&pair);
}

static void a_cancelled_slot_may_be_written_and_submitted_again(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    uint32_t slot_index = lane_pair_submit(&pair, "a", 1);
    EXPECT(lane_cancel(&pair.producer, slot_index));
    strcpy(lane_payload(&pair.producer, slot_index), "again");
    lane_submit(&pair.producer, slot_index, 1, 2, UINT64_MAX);
    struct lane_ticket ticket = lane_pair_take(&pair, "again", 3);
    lane_pair_complete(&pair, &ticket, "A");
    lane_pair_reap(&pair, "A", 4);
    lane_pair_close(&pair);
}

static void a_reaped_slot_is_not_reaped_again_before_its_release(void)
{
    struct lane_pair pair;
    struct lane_completion completion;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "a", 1);
    struct lane_ticket ticket = lane_pair_take(&pair, "a", 2);
    lane_pair_complete(&pair, &ticket, "A");
    EXPECT(lane_reap(&pair.producer, 3, &completion));
    /* Scans come and go while the caller holds it. */
    for (uint64_t now_ns = 3; now_ns < NS_PER_S; now_ns += LANE_SCAN_PERIOD_NS)
        EXPECT(!lane_reap(&pair.producer, now_ns, &completion));
    EXPECT_STRING(completion.result, "A");
    lane_release(&pair.producer, completion.slot_index);
    EXPECT(!lane_reap(&pair.producer, 2 * NS_PER_S, &completion));
    lane_pair_close(&pair);
}

static void a_completion_whose_ring_entry_is_lost_is_found_within_a_scan_period(void)
{
    struct lane_pair pair;
    struct lane_completion completion;
    lane_pair_open(&pair);
    EXPECT(!lane_reap(&pair.producer, NS_PER_S, &completion)); /* a scan: the next is due later */
    lane_pair_submit(&pair, "a", 1);
    struct lane_ticket ticket = lane_pair_take(&pair, "a", 2);
    uint32_t tail = atomic_load(&pair.lane->complete_tail);
    lane_pair_complete(&pair, &ticket, "A");
    atomic_store(&pair.lane->complete_tail, tail); /* the worker died before this store */
    EXPECT(!lane_reap(&pair.producer, NS_PER_S + LANE_SCAN_PERIOD_NS - 1, &completion));
    lane_pair_reap(&pair, "A", NS_PER_S + LANE_SCAN_PERIOD_NS);
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_RESCUES), 1);
    lane_pair_close(&pair);
}

static void a_new_worker_makes_the_scan_due_at_once(void)
{
    struct lane_pair pair;
    struct lane_completion completion;
    lane_pair_open(&pair);
    EXPECT(!lane_reap(&pair.producer, NS_PER_S, &completion));
    lane_pair_submit(&pair, "a", 1);
    struct lane_ticket ticket = lane_pair_take(&pair, "a", 2);
    uint32_t tail = atomic_load(&pair.lane->complete_tail);
    lane_pair_complete(&pair, &ticket, "A");
    atomic_store(&pair.lane->complete_tail, tail);
    EXPECT_EQUAL(lane_pair_new_worker(&pair), 0);
    lane_pair_reap(&pair, "A", NS_PER_S + 1);
    lane_pair_close(&pair);
}

static void a_wild_completion_ring_costs_a_scan_and_nothing_else(void)
{
    struct lane_pair pair;
    struct lane_completion completion;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "a", 1);
    struct lane_ticket ticket = lane_pair_take(&pair, "a", 2);
    lane_pair_complete(&pair, &ticket, "A");
    atomic_store(&pair.lane->complete_tail, 0xdeadbeef);
    lane_pair_reap(&pair, "A", NS_PER_S);
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_RESYNCS), 1);
    EXPECT_EQUAL(atomic_load(&pair.lane->complete_head), 0xdeadbeef);
    /* The worker's own position is the authority: its next completion sets the end right again. */
    lane_pair_submit(&pair, "b", 3);
    ticket = lane_pair_take(&pair, "b", 4);
    lane_pair_complete(&pair, &ticket, "B");
    EXPECT(!lane_reap(&pair.producer, NS_PER_S + 1, &completion)); /* the gap between two scans */
    lane_pair_reap(&pair, "B", NS_PER_S + LANE_SCAN_GAP_NS);
    lane_pair_close(&pair);
}

static void ring_entries_that_name_no_slot_are_counted(void)
{
    struct lane_pair pair;
    struct lane_completion completion;
    lane_pair_open(&pair);
    layout_complete_ring(pair.lane, &pair.worker.geometry)[0] = LANE_PAIR_SLOTS;
    layout_complete_ring(pair.lane, &pair.worker.geometry)[1] = UINT32_MAX;
    layout_complete_ring(pair.lane, &pair.worker.geometry)[2] = 3; /* a free slot */
    atomic_store(&pair.lane->complete_tail, 3);
    EXPECT(!lane_reap(&pair.producer, 1, &completion));
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_BAD_ENTRIES), 2);
    lane_pair_close(&pair);
}

static void positions_may_wrap_around(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    pair.producer.submit_position = pair.consumer.peek_position = UINT32_MAX - 2;
    pair.consumer.complete_position = pair.producer.reap_position = UINT32_MAX - 2;
    for (int i = 0; i < 10; i++) {
        lane_pair_submit(&pair, "a", 1);
        struct lane_ticket ticket = lane_pair_take(&pair, "a", 2);
        lane_pair_complete(&pair, &ticket, "A");
        lane_pair_reap(&pair, "A", 3);
    }
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_RESYNCS), 0);
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_RESCUES), 0);
    lane_pair_close(&pair);
}

static void a_new_frontend_cancels_the_queued_and_frees_the_done(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    char payload[100];
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "done", 1);
    ticket = lane_pair_take(&pair, "done", 2);
    lane_pair_complete(&pair, &ticket, "D");
    lane_pair_submit(&pair, "queued", 3);
    EXPECT(lane_peek(&pair.consumer, 4, &ticket));
    lane_pair_new_frontend(&pair);
    EXPECT_EQUAL(pair.producer.n_free, LANE_PAIR_SLOTS);
    EXPECT(!lane_take(&pair.consumer, &ticket, payload, 5));
    struct lane_completion completion;
    EXPECT(!lane_reap(&pair.producer, 6, &completion));
    lane_pair_close(&pair);
}

static void a_zombie_comes_back_once_the_worker_is_done_with_it(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "zombie", 1);
    struct lane_ticket zombie = lane_pair_take(&pair, "zombie", 2);
    lane_pair_new_frontend(&pair);
    EXPECT_EQUAL(pair.producer.n_free, LANE_PAIR_SLOTS - 1);
    lane_pair_submit(&pair, "new", 3);
    struct lane_ticket ticket = lane_pair_take(&pair, "new", 4);
    lane_pair_complete(&pair, &ticket, "N");
    lane_pair_complete(&pair, &zombie, "Z");
    lane_pair_reap(&pair, "N", 5);
    lane_pair_reap(&pair, "Z", 5);
    EXPECT_EQUAL(pair.producer.n_free, LANE_PAIR_SLOTS);
    lane_pair_close(&pair);
}

static void a_new_frontend_repairs_states_that_do_not_exist(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    atomic_store(&lane_pair_slot(&pair, 2)->state_word, UINT64_MAX);
    lane_pair_new_frontend(&pair);
    EXPECT_EQUAL(pair.producer.n_free, LANE_PAIR_SLOTS);
    EXPECT_EQUAL(lane_pair_state(&pair, 2), SLOT_STATE_FREE);
    lane_pair_close(&pair);
}

static void two_dead_frontends_with_full_rings_do_no_harm(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    for (int death = 0; death < 5; death++) {
        for (uint32_t i = 0; i < LANE_PAIR_SLOTS; i++)
            lane_pair_submit(&pair, "lost", 1);
        lane_pair_new_frontend(&pair);
    }
    lane_pair_submit(&pair, "alive", 2);
    struct lane_ticket ticket = lane_pair_take(&pair, "alive", NS_PER_S);
    lane_pair_complete(&pair, &ticket, "A");
    lane_pair_reap(&pair, "A", NS_PER_S);
    lane_pair_close(&pair);
}

static void a_lane_that_is_not_there_is_refused_with_a_sentence(void)
{
    struct lane_pair pair;
    struct lane_producer producer;
    char error[ERROR_BYTES];
    lane_pair_open(&pair);
    EXPECT_EQUAL(lane_attach_producer(&producer, &pair.frontend, 2, error), -EINVAL);
    EXPECT_STRING(error, "there is no lane 2: the segment has lanes 0 to 1");
    lane_pair_close(&pair);
}

static void submit_unreserved(void *argument)
{
    lane_submit(&((struct lane_pair *)argument)->producer, 0, 1, 1, 1);
}

static void release_queued(void *argument)
{
    lane_release(&((struct lane_pair *)argument)->producer, lane_pair_submit(argument, "a", 1));
}

static void release_twice(void *argument)
{
    struct lane_pair *pair = argument;
    uint32_t slot_index;
    EXPECT(lane_reserve(&pair->producer, &slot_index));
    lane_release(&pair->producer, slot_index);
    lane_release(&pair->producer, slot_index);
}

static void payload_too_long(void *argument)
{
    struct lane_pair *pair = argument;
    uint32_t slot_index;
    EXPECT(lane_reserve(&pair->producer, &slot_index));
    lane_payload_used(&pair->producer, slot_index, 101);
}

static void misuse_breaks_a_check(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    expect_check(submit_unreserved, &pair);
    expect_check(release_queued, &pair);
    expect_check(release_twice, &pair);
    expect_check(payload_too_long, &pair);
    lane_pair_close(&pair);
}

int main(void)
{
    RUN(full_exists_in_reserve_only);
    RUN(a_slot_goes_round_a_thousand_times);
    RUN(a_completion_carries_its_times_and_its_batch);
    RUN(cancel_wins_before_take_and_loses_after);
    RUN(a_cancelled_slot_may_be_written_and_submitted_again);
    RUN(a_reaped_slot_is_not_reaped_again_before_its_release);
    RUN(a_completion_whose_ring_entry_is_lost_is_found_within_a_scan_period);
    RUN(a_new_worker_makes_the_scan_due_at_once);
    RUN(a_wild_completion_ring_costs_a_scan_and_nothing_else);
    RUN(ring_entries_that_name_no_slot_are_counted);
    RUN(positions_may_wrap_around);
    RUN(a_new_frontend_cancels_the_queued_and_frees_the_done);
    RUN(a_zombie_comes_back_once_the_worker_is_done_with_it);
    RUN(a_new_frontend_repairs_states_that_do_not_exist);
    RUN(two_dead_frontends_with_full_rings_do_no_harm);
    RUN(a_lane_that_is_not_there_is_refused_with_a_sentence);
    RUN(misuse_breaks_a_check);
    return 0;
}
