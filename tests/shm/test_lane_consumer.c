/* The worker's side of a lane, step by step. */
#include "tests/shm/lane_pair.h"
#include "tests/test.h"
#include <errno.h>
#include <unistd.h>

static bool peek(struct lane_pair *pair, uint64_t now_ns, struct lane_ticket *ticket)
{
    return lane_peek(&pair->consumer, now_ns, ticket);
}

static void tickets_come_oldest_first_with_what_was_submitted(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    lane_pair_open(&pair);
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t slot_index;
        EXPECT(lane_reserve(&pair.producer, &slot_index));
        lane_submit(&pair.producer, slot_index, 100 + i, 10 + i, 1000 + i);
    }
    for (uint32_t i = 0; i < 5; i++) {
        EXPECT(peek(&pair, 20, &ticket));
        EXPECT_EQUAL(ticket.weight, 100 + i);
        EXPECT_EQUAL(ticket.submitted_ns, 10 + i);
        EXPECT_EQUAL(ticket.deadline_ns, 1000 + i);
        EXPECT_EQUAL(ticket.tries, 0);
    }
    EXPECT(!peek(&pair, 20, &ticket));
    lane_pair_close(&pair);
}

static void a_ticket_is_shown_once_however_many_scans_go_by(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "a", 1);
    EXPECT(peek(&pair, 2, &ticket));
    for (uint64_t now_ns = 2; now_ns < NS_PER_S; now_ns += LANE_SCAN_PERIOD_NS)
        EXPECT(!peek(&pair, now_ns, &ticket));
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_RESCUES), 0);
    lane_pair_close(&pair);
}

static void a_resubmitted_slot_is_shown_anew_and_the_old_ticket_is_void(void)
{
    struct lane_pair pair;
    struct lane_ticket old, new;
    char payload[100];
    lane_pair_open(&pair);
    uint32_t slot_index = lane_pair_submit(&pair, "old", 1);
    EXPECT(peek(&pair, 2, &old));
    EXPECT(lane_cancel(&pair.producer, slot_index));
    lane_release(&pair.producer, slot_index);
    EXPECT_EQUAL(lane_pair_submit(&pair, "new", 3), slot_index);
    EXPECT(peek(&pair, 4, &new));
    EXPECT(!lane_take(&pair.consumer, &old, payload, 5));
    EXPECT(!lane_expire(&pair.consumer, &old, 5));
    EXPECT(lane_take(&pair.consumer, &new, payload, 5));
    EXPECT_STRING(payload, "new");
    lane_pair_close(&pair);
}

static void an_old_ticket_does_not_spoil_a_later_answer(void)
{
    struct lane_pair pair;
    struct lane_ticket old;
    lane_pair_open(&pair);
    uint32_t slot_index = lane_pair_submit(&pair, "old", 1);
    EXPECT(peek(&pair, 2, &old));
    EXPECT(lane_cancel(&pair.producer, slot_index));
    lane_release(&pair.producer, slot_index);
    EXPECT_EQUAL(lane_pair_submit(&pair, "new", 3), slot_index);
    struct lane_ticket ticket = lane_pair_take(&pair, "new", 4);
    lane_pair_complete(&pair, &ticket, "N");
    EXPECT(!lane_expire(&pair.consumer, &old, 5)); /* must not write EXPIRED into N's slot */
    lane_pair_reap(&pair, "N", 6);
    lane_pair_close(&pair);
}

static void an_expired_ticket_comes_back_as_expired(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    struct lane_completion completion;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "a", 1);
    EXPECT(peek(&pair, 2, &ticket));
    EXPECT(lane_expire(&pair.consumer, &ticket, 9));
    EXPECT(lane_reap(&pair.producer, 10, &completion));
    EXPECT_EQUAL(completion.status, LANE_STATUS_EXPIRED);
    EXPECT_EQUAL(completion.done_ns, 9);
    lane_pair_close(&pair);
}

static void only_the_used_bytes_travel_and_zeroes_follow_them(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    uint32_t slot_index;
    char payload[100];
    lane_pair_open(&pair);
    EXPECT(lane_reserve(&pair.producer, &slot_index));
    memset(lane_payload(&pair.producer, slot_index), 'x', 100);
    lane_payload_used(&pair.producer, slot_index, 10);
    lane_submit(&pair.producer, slot_index, 1, 1, UINT64_MAX);
    EXPECT(peek(&pair, 2, &ticket));
    memset(payload, 'y', sizeof(payload));
    EXPECT(lane_take(&pair.consumer, &ticket, payload, 3));
    for (int i = 0; i < 100; i++)
        EXPECT_EQUAL(payload[i], i < 10 ? 'x' : 0);
    lane_pair_complete(&pair, &ticket, "X");
    lane_pair_reap(&pair, "X", 4);
    /* Not said again: the next use of the slot copies all. */
    EXPECT(lane_reserve(&pair.producer, &slot_index));
    lane_submit(&pair.producer, slot_index, 1, 5, UINT64_MAX);
    EXPECT(peek(&pair, 6, &ticket) && lane_take(&pair.consumer, &ticket, payload, 6));
    EXPECT_EQUAL(payload[99], 'x');
    lane_pair_close(&pair);
}

static void a_wild_payload_length_is_clamped(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    char payload[100];
    lane_pair_open(&pair);
    uint32_t slot_index = lane_pair_submit(&pair, "a", 1);
    atomic_store(&lane_pair_slot(&pair, slot_index)->payload_used, UINT32_MAX);
    EXPECT(peek(&pair, 2, &ticket));
    EXPECT(lane_take(&pair.consumer, &ticket, payload, 3)); /* ASan watches `payload` */
    lane_pair_close(&pair);
}

static void slots_whose_ring_entries_are_lost_are_found_oldest_first(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    lane_pair_open(&pair);
    EXPECT(!peek(&pair, NS_PER_S, &ticket));
    for (uint64_t submitted_ns = 107; submitted_ns >= 100; submitted_ns--)
        lane_pair_submit(&pair, "a", submitted_ns); /* slot 0 is the youngest */
    atomic_store(&pair.lane->submit_tail, 0);
    EXPECT(!peek(&pair, NS_PER_S + LANE_SCAN_PERIOD_NS - 1, &ticket));
    for (uint32_t i = 0; i < LANE_PAIR_SLOTS; i++) {
        EXPECT(peek(&pair, NS_PER_S + LANE_SCAN_PERIOD_NS, &ticket));
        EXPECT_EQUAL(ticket.submitted_ns, 100 + i);
    }
    EXPECT(!peek(&pair, 9 * NS_PER_S, &ticket));
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_RESCUES), LANE_PAIR_SLOTS);
    lane_pair_close(&pair);
}

static void a_busy_ring_does_not_hide_a_lost_slot_for_ever(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    lane_pair_open(&pair);
    EXPECT(!peek(&pair, NS_PER_S, &ticket));
    uint32_t lost = lane_pair_submit(&pair, "lost", 1);
    pair.consumer.peek_position = atomic_load(&pair.lane->submit_tail);
    bool found = false;
    uint64_t now_ns = NS_PER_S;
    for (; !found && now_ns < 2 * NS_PER_S; now_ns += NS_PER_MS) {
        lane_pair_submit(&pair, "busy", 2);
        EXPECT(peek(&pair, now_ns, &ticket)); /* the ring never runs dry between two peeks */
        found = ticket.slot_index == lost;
        if (!found) {
            EXPECT(lane_cancel(&pair.producer, ticket.slot_index));
            lane_release(&pair.producer, ticket.slot_index);
        }
    }
    EXPECT(found && now_ns <= NS_PER_S + 2 * LANE_SCAN_PERIOD_NS + NS_PER_MS);
    lane_pair_close(&pair);
}

static void a_ring_lapped_by_cancels_loses_no_slot(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    lane_pair_open(&pair);
    EXPECT(!peek(&pair, NS_PER_S, &ticket));
    uint32_t first = lane_pair_submit(&pair, "first", 1);
    for (int i = 0; i < 100; i++) {
        uint32_t slot_index = lane_pair_submit(&pair, "gone", 2);
        EXPECT(lane_cancel(&pair.producer, slot_index));
        lane_release(&pair.producer, slot_index);
    }
    EXPECT(!peek(&pair, NS_PER_S + 1, &ticket)); /* two scans keep their distance */
    EXPECT(peek(&pair, NS_PER_S + LANE_SCAN_GAP_NS, &ticket));
    EXPECT_EQUAL(ticket.slot_index, first);
    EXPECT(!peek(&pair, NS_PER_S + LANE_SCAN_GAP_NS, &ticket));
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_RESYNCS), 1);
    lane_pair_close(&pair);
}

static void a_wild_submission_ring_costs_a_scan_and_nothing_else(void)
{
    static const uint32_t wild[] = {16, 17, 1000, 0x7fffffff, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < ARRAY_COUNT(wild); i++) {
        struct lane_pair pair;
        struct lane_ticket ticket;
        lane_pair_open(&pair);
        uint32_t slot_index = lane_pair_submit(&pair, "a", 1);
        atomic_store(&pair.lane->submit_tail, wild[i]);
        EXPECT(peek(&pair, NS_PER_S, &ticket));
        EXPECT_EQUAL(ticket.slot_index, slot_index);
        EXPECT(!peek(&pair, NS_PER_S, &ticket));
        EXPECT(!lane_wait_work(&pair.consumer, 1, 0, 0)); /* and nothing keeps it awake */
        EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_RESYNCS), 1);
        lane_pair_close(&pair);
    }
}

static void wild_ring_entries_and_states_are_stepped_over(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    lane_pair_open(&pair);
    for (uint32_t i = 0; i < 15; i++)
        layout_submit_ring(pair.lane)[i] = i * 0x11111111u;
    for (uint32_t i = 0; i < LANE_PAIR_SLOTS; i++)
        atomic_store(&lane_pair_slot(&pair, i)->state_word, 0xfefefefefefefe00u + 4 + i);
    atomic_store(&pair.lane->submit_tail, 15);
    EXPECT(!peek(&pair, NS_PER_S, &ticket));
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_BAD_ENTRIES), 14); /* 0 is a slot */
    EXPECT_EQUAL(lane_pair_new_worker(&pair), 0);
    lane_pair_close(&pair);
}

static void a_result_for_a_slot_that_is_not_ours_is_dropped_and_counted(void)
{
    struct lane_pair pair;
    struct lane_completion completion;
    lane_pair_open(&pair);
    uint32_t slot_index = lane_pair_submit(&pair, "a", 1);
    struct lane_ticket ticket = lane_pair_take(&pair, "a", 2);
    uint64_t foreign = ticket.state_word + (UINT64_C(1) << 32);
    atomic_store(&lane_pair_slot(&pair, slot_index)->state_word, foreign);
    lane_pair_complete(&pair, &ticket, "A");
    EXPECT(atomic_load(&lane_pair_slot(&pair, slot_index)->state_word) == foreign);
    EXPECT_STRING(layout_result(lane_pair_slot(&pair, slot_index), &pair.worker.geometry), "");
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_LATE_RESULTS), 1);
    EXPECT(!lane_reap(&pair.producer, 3, &completion));
    lane_pair_close(&pair);
}

/* ---- deaths ---- */

static void a_new_worker_is_shown_what_the_dead_one_had_peeked_at(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "a", 1);
    lane_pair_submit(&pair, "b", 2);
    EXPECT(peek(&pair, 3, &ticket) && peek(&pair, 3, &ticket));
    EXPECT_EQUAL(lane_pair_new_worker(&pair), 0); /* none was running */
    ticket = lane_pair_take(&pair, "a", 4);
    EXPECT_EQUAL(ticket.tries, 0);
    lane_pair_take(&pair, "b", 4);
    lane_pair_close(&pair);
}

static void what_was_running_is_shown_again_with_its_tries(void)
{
    struct lane_pair pair;
    struct lane_ticket ticket;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "ran", 1);
    lane_pair_take(&pair, "ran", 2);
    lane_pair_submit(&pair, "waited", 3);
    EXPECT_EQUAL(lane_pair_new_worker(&pair), 1);
    EXPECT(peek(&pair, NS_PER_S, &ticket));
    EXPECT_EQUAL(ticket.tries, 1);
    EXPECT_EQUAL(ticket.submitted_ns, 1);
    EXPECT(peek(&pair, NS_PER_S, &ticket));
    EXPECT_EQUAL(ticket.tries, 0);
    lane_pair_close(&pair);
}

static void count_poisoned(void *context, const void *payload)
{
    EXPECT_STRING(payload, "poison");
    ++*(int *)context;
}

static void a_slot_that_killed_two_workers_is_answered_as_poisoned(void)
{
    struct lane_pair pair;
    struct lane_completion completion;
    int n_poisoned = 0;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "poison", 1);
    lane_pair_take(&pair, "poison", 2);
    EXPECT_EQUAL(lane_pair_new_worker(&pair), 1);
    lane_pair_take(&pair, "poison", 3);
    EXPECT_EQUAL(lane_pair_new_worker_told(&pair, count_poisoned, &n_poisoned), 0);
    EXPECT_EQUAL(n_poisoned, 1);
    EXPECT(lane_reap(&pair.producer, 4, &completion));
    EXPECT_EQUAL(completion.status, LANE_STATUS_POISONED);
    lane_pair_close(&pair);
}

static void recovery_leaves_its_own_running_slots_alone(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "a", 1);
    struct lane_ticket ticket = lane_pair_take(&pair, "a", 2);
    EXPECT_EQUAL(lane_recover(&pair.consumer, LANE_TRIES_MAX, NULL, NULL), 0);
    lane_pair_complete(&pair, &ticket, "A");
    lane_pair_reap(&pair, "A", 3);
    lane_pair_close(&pair);
}

static void a_worker_believed_dead_cannot_complete_any_more(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    lane_pair_submit(&pair, "a", 1);
    struct lane_ticket late = lane_pair_take(&pair, "a", 2);
    EXPECT_EQUAL(lane_pair_new_worker(&pair), 1);
    struct lane_ticket ticket = lane_pair_take(&pair, "a", 3);
    EXPECT(late.state_word != ticket.state_word);
    lane_complete(&pair.consumer, &late, LANE_STATUS_OK, "late", 5, 1, 4);
    EXPECT_EQUAL(lane_pair_counter(&pair, STATS_LANE_LATE_RESULTS), 1);
    lane_pair_complete(&pair, &ticket, "A");
    lane_pair_reap(&pair, "A", 5);
    lane_pair_close(&pair);
}

static void depth_counts_queued_and_running(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    EXPECT_EQUAL(lane_depth(&pair.worker, 0), 0);
    lane_pair_submit(&pair, "a", 1);
    lane_pair_submit(&pair, "b", 1);
    struct lane_ticket ticket = lane_pair_take(&pair, "a", 2);
    EXPECT_EQUAL(lane_depth(&pair.worker, 0), 2);
    lane_pair_complete(&pair, &ticket, "A");
    EXPECT_EQUAL(lane_depth(&pair.frontend, 0), 1);
    EXPECT_EQUAL(lane_depth(&pair.worker, 1), 0);
    lane_pair_close(&pair);
}

static void complete_untaken(void *argument)
{
    struct lane_pair *pair = argument;
    lane_pair_submit(pair, "a", 1);
    struct lane_ticket ticket;
    EXPECT(peek(pair, 2, &ticket));
    lane_pair_complete(pair, &ticket, "A"); /* never taken */
}

static void result_too_long(void *argument)
{
    struct lane_pair *pair = argument;
    lane_pair_submit(pair, "a", 1);
    struct lane_ticket ticket = lane_pair_take(pair, "a", 2);
    lane_complete(&pair->consumer, &ticket, LANE_STATUS_OK, "", 21, 1, 3);
}

static void misuse_breaks_a_check(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    expect_check(complete_untaken, &pair);
    lane_pair_close(&pair);
    lane_pair_open(&pair);
    expect_check(result_too_long, &pair);
    lane_pair_close(&pair);
}

int main(void)
{
    RUN(tickets_come_oldest_first_with_what_was_submitted);
    RUN(a_ticket_is_shown_once_however_many_scans_go_by);
    RUN(a_resubmitted_slot_is_shown_anew_and_the_old_ticket_is_void);
    RUN(an_old_ticket_does_not_spoil_a_later_answer);
    RUN(an_expired_ticket_comes_back_as_expired);
    RUN(only_the_used_bytes_travel_and_zeroes_follow_them);
    RUN(a_wild_payload_length_is_clamped);
    RUN(slots_whose_ring_entries_are_lost_are_found_oldest_first);
    RUN(a_busy_ring_does_not_hide_a_lost_slot_for_ever);
    RUN(a_ring_lapped_by_cancels_loses_no_slot);
    RUN(a_wild_submission_ring_costs_a_scan_and_nothing_else);
    RUN(wild_ring_entries_and_states_are_stepped_over);
    RUN(a_result_for_a_slot_that_is_not_ours_is_dropped_and_counted);
    RUN(a_new_worker_is_shown_what_the_dead_one_had_peeked_at);
    RUN(what_was_running_is_shown_again_with_its_tries);
    RUN(a_slot_that_killed_two_workers_is_answered_as_poisoned);
    RUN(recovery_leaves_its_own_running_slots_alone);
    RUN(a_worker_believed_dead_cannot_complete_any_more);
    RUN(depth_counts_queued_and_running);
    RUN(misuse_breaks_a_check);
    return 0;
}
