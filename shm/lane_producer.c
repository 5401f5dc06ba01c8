/* The frontend's side of a lane.
 *
 * What it knows of each slot is private (`holdings`), because the shared word cannot say it: a slot
 * that was reaped stays DONE until it is released, and must not be reaped twice when a scan or a
 * repeated ring entry comes by; a zombie runs for a predecessor. Invariant: a slot is in the free
 * stack exactly when its holding is FREE, and then its shared state is FREE. */
#include "shm/doorbell.h"
#include "shm/lane.h"
#include "shm/layout.h"
#include "shm/step.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum holding {
    HOLDING_FREE,
    HOLDING_RESERVED,  /* the caller writes the payload; shared state FREE */
    HOLDING_SUBMITTED, /* queued, running, or done and not yet reaped */
    HOLDING_ZOMBIE,    /* the same, for a predecessor's request */
    HOLDING_REAPED,    /* the caller reads the result; shared state DONE */
};

static struct lane_header *lane_of(const struct lane_producer *producer)
{
    return layout_lane(producer->segment, producer->lane_index);
}

static struct slot_header *slot_of(const struct lane_producer *producer, uint32_t slot_index)
{
    return layout_slot(lane_of(producer), &producer->segment->geometry, slot_index);
}

static uint32_t n_slots_of(const struct lane_producer *producer)
{
    return producer->segment->geometry.slots_per_lane;
}

static void push_free(struct lane_producer *producer, uint32_t slot_index)
{
    CHECK(producer->n_free < n_slots_of(producer));
    producer->holdings[slot_index] = HOLDING_FREE;
    producer->free_slots[producer->n_free++] = slot_index;
}

/* The word of the slot's next use, which makes every late compare-and-swap on this one fail. */
static uint64_t next_free_word(uint64_t word)
{
    return slot_word(slot_word_generation(word) + 1, 0, 0, SLOT_STATE_FREE);
}

/* QUEUED -> FREE, unless the worker is faster. */
static bool withdraw(struct slot_header *slot)
{
    uint64_t word = atomic_load_explicit(&slot->state_word, memory_order_acquire);
    while (slot_word_state(word) == SLOT_STATE_QUEUED) {
        SHM_STEP();
        /* Acquire: on failure the word says what the worker made of it. Release: the slot's next
         * use happens after. */
        if (atomic_compare_exchange_weak_explicit(&slot->state_word, &word, next_free_word(word),
                                                  memory_order_acq_rel, memory_order_acquire))
            return true;
    }
    return false;
}

/* ---- adopting the lane ---- */

/* Queued, done, or a state that does not exist: free. Compare-and-swap for each, because a worker
 * may be taking what is queued, or a new one be queueing again what a moment ago was running. */
static void adopt_slot(struct lane_producer *producer, uint32_t slot_index)
{
    struct slot_header *slot = slot_of(producer, slot_index);
    uint64_t word = atomic_load_explicit(&slot->state_word, memory_order_acquire);
    bool freed = slot_word_state(word) == SLOT_STATE_FREE;
    while (!freed && slot_word_state(word) != SLOT_STATE_RUNNING) {
        SHM_STEP();
        /* Release: pairs with the worker's acquire when it looks at the slot's next use. */
        freed =
            atomic_compare_exchange_weak_explicit(&slot->state_word, &word, next_free_word(word),
                                                  memory_order_acq_rel, memory_order_acquire);
    }
    if (freed)
        push_free(producer, slot_index);
    else
        producer->holdings[slot_index] = HOLDING_ZOMBIE;
}

static void adopt_rings(struct lane_producer *producer)
{
    struct lane_header *lane = lane_of(producer);
    producer->submit_position = atomic_load_explicit(&lane->submit_tail, memory_order_relaxed);
    /* Acquire is not needed: the entries are not read, the slots' words are. */
    producer->reap_position = atomic_load_explicit(&lane->complete_tail, memory_order_relaxed);
    SHM_STEP();
    atomic_store_explicit(&lane->complete_head, producer->reap_position, memory_order_relaxed);
    atomic_store_explicit(&lane->complete_announced, producer->reap_position, memory_order_relaxed);
}

int lane_attach_producer(struct lane_producer *producer, struct segment *segment,
                         uint32_t lane_index, char error[ERROR_BYTES])
{
    *producer = (struct lane_producer){.segment = segment, .lane_index = lane_index};
    if (lane_index >= segment->geometry.n_lanes) {
        snprintf(error, ERROR_BYTES, "there is no lane %u: the segment has lanes 0 to %u",
                 lane_index, segment->geometry.n_lanes - 1);
        return -EINVAL;
    }
    uint32_t n_slots = n_slots_of(producer);
    producer->free_slots = malloc(n_slots * sizeof(*producer->free_slots));
    producer->holdings = malloc(n_slots * sizeof(*producer->holdings));
    if (!producer->free_slots || !producer->holdings) {
        lane_detach_producer(producer);
        snprintf(error, ERROR_BYTES, "no memory for the %u slots of lane %u", n_slots, lane_index);
        return -ENOMEM;
    }
    producer->stats = stats_writer(segment, lane_index);
    producer->worker_epoch_seen = segment_worker_epoch(segment);
    producer->scan_position = n_slots;
    adopt_rings(producer);
    /* Downwards, so that the stack gives slot 0 first: easier to follow in the inspector. */
    for (uint32_t slot_index = n_slots; slot_index-- > 0;)
        adopt_slot(producer, slot_index);
    return 0;
}

void lane_detach_producer(struct lane_producer *producer)
{
    free(producer->free_slots);
    free(producer->holdings);
    *producer = (struct lane_producer){0};
}

/* ---- there ---- */

bool lane_reserve(struct lane_producer *producer, uint32_t *slot_index)
{
    if (producer->n_free == 0)
        return false;
    *slot_index = producer->free_slots[--producer->n_free];
    producer->holdings[*slot_index] = HOLDING_RESERVED;
    atomic_store_explicit(&slot_of(producer, *slot_index)->payload_used,
                          producer->segment->geometry.payload_bytes, memory_order_relaxed);
    return true;
}

void *lane_payload(struct lane_producer *producer, uint32_t slot_index)
{
    struct slot_header *slot = slot_of(producer, slot_index);
    CHECK(producer->holdings[slot_index] == HOLDING_RESERVED);
    return layout_payload(slot);
}

void lane_payload_used(struct lane_producer *producer, uint32_t slot_index, uint32_t bytes)
{
    struct slot_header *slot = slot_of(producer, slot_index);
    CHECK(producer->holdings[slot_index] == HOLDING_RESERVED);
    CHECK(bytes <= producer->segment->geometry.payload_bytes);
    atomic_store_explicit(&slot->payload_used, bytes, memory_order_relaxed);
}

/* Publishes the slot's number. The ring is never full: see lane.h. */
static void push_submission(struct lane_producer *producer, uint32_t slot_index)
{
    struct lane_header *lane = lane_of(producer);
    uint32_t entries = layout_ring_entries(&producer->segment->geometry);
    SHM_STEP();
    atomic_store_explicit(&layout_submit_ring(lane)[producer->submit_position % entries],
                          slot_index, memory_order_relaxed);
    producer->submit_position++;
    SHM_STEP();
    /* seq_cst: the store W of doorbell.h's argument; pairs with the load in has_work(). As a
     * release it also publishes the entry to the acquire in show_from_ring(). */
    atomic_store_explicit(&lane->submit_tail, producer->submit_position, memory_order_seq_cst);
}

void lane_submit(struct lane_producer *producer, uint32_t slot_index, uint32_t weight,
                 uint64_t now_ns, uint64_t deadline_ns)
{
    struct slot_header *slot = slot_of(producer, slot_index);
    CHECK(producer->holdings[slot_index] == HOLDING_RESERVED);
    producer->holdings[slot_index] = HOLDING_SUBMITTED;
    atomic_store_explicit(&slot->submitted_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->deadline_ns, deadline_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->weight, weight, memory_order_relaxed);
    uint64_t word = atomic_load_explicit(&slot->state_word, memory_order_relaxed);
    SHM_STEP();
    /* Release: pairs with the acquire in show() and lane_take(); publishes payload and numbers. A
     * plain store: a FREE slot is ours alone. */
    atomic_store_explicit(&slot->state_word,
                          slot_word(slot_word_generation(word), 0, 0, SLOT_STATE_QUEUED),
                          memory_order_release);
    push_submission(producer, slot_index);
    if (doorbell_ring(&producer->segment->header->worker_bell))
        stats_add(producer->stats, STATS_BELL_WAKES, 1);
}

bool lane_cancel(struct lane_producer *producer, uint32_t slot_index)
{
    struct slot_header *slot = slot_of(producer, slot_index);
    CHECK(producer->holdings[slot_index] == HOLDING_SUBMITTED);
    if (!withdraw(slot))
        return false;
    producer->holdings[slot_index] = HOLDING_RESERVED;
    return true;
}

/* ---- and back ---- */

/* Hands the slot to the caller if it is done and he does not have it yet. */
static bool reap_slot(struct lane_producer *producer, uint32_t slot_index,
                      struct lane_completion *completion)
{
    if (producer->holdings[slot_index] != HOLDING_SUBMITTED &&
        producer->holdings[slot_index] != HOLDING_ZOMBIE)
        return false;
    struct slot_header *slot = slot_of(producer, slot_index);
    /* Acquire: pairs with the release in finish(); the result is read after it. */
    uint64_t word = atomic_load_explicit(&slot->state_word, memory_order_acquire);
    if (slot_word_state(word) != SLOT_STATE_DONE)
        return false;
    producer->holdings[slot_index] = HOLDING_REAPED;
    uint32_t status = atomic_load_explicit(&slot->status, memory_order_relaxed);
    *completion = (struct lane_completion){
        .slot_index = slot_index,
        .status = status <= LANE_STATUS_FAILED ? (enum lane_status)status : LANE_STATUS_FAILED,
        .result = layout_result(slot, &producer->segment->geometry),
        .submitted_ns = atomic_load_explicit(&slot->submitted_ns, memory_order_relaxed),
        .taken_ns = atomic_load_explicit(&slot->taken_ns, memory_order_relaxed),
        .done_ns = atomic_load_explicit(&slot->done_ns, memory_order_relaxed),
        .batch_weight = atomic_load_explicit(&slot->batch_weight, memory_order_relaxed),
    };
    return true;
}

static void want_scan(struct lane_producer *producer)
{
    producer->next_scan_ns =
        min_u64(producer->next_scan_ns, producer->last_scan_ns + LANE_SCAN_GAP_NS);
}

static bool reap_from_ring(struct lane_producer *producer, struct lane_completion *completion)
{
    struct lane_header *lane = lane_of(producer);
    uint32_t entries = layout_ring_entries(&producer->segment->geometry);
    /* Acquire: pairs with the release in push_completion(); the entries are read after it. */
    uint32_t tail = atomic_load_explicit(&lane->complete_tail, memory_order_acquire);
    if (tail == producer->reap_position)
        return false;
    bool found = false;
    if (tail - producer->reap_position >= entries) {
        producer->reap_position = tail;
        stats_add(producer->stats, STATS_LANE_RESYNCS, 1);
        want_scan(producer);
    }
    while (!found && producer->reap_position != tail) {
        uint32_t slot_index = atomic_load_explicit(
            &layout_complete_ring(lane,
                                  &producer->segment->geometry)[producer->reap_position % entries],
            memory_order_relaxed);
        producer->reap_position++;
        if (slot_index < n_slots_of(producer))
            found = reap_slot(producer, slot_index, completion);
        else
            stats_add(producer->stats, STATS_LANE_BAD_ENTRIES, 1);
    }
    SHM_STEP();
    atomic_store_explicit(&lane->complete_head, producer->reap_position, memory_order_relaxed);
    return found;
}

/* Goes on with the scan that is under way; one slot a call is handed out, the rest waits for the
 * next. */
static bool reap_from_scan(struct lane_producer *producer, struct lane_completion *completion)
{
    while (producer->scan_position < n_slots_of(producer)) {
        uint32_t slot_index = producer->scan_position++;
        if (!reap_slot(producer, slot_index, completion))
            continue;
        stats_add(producer->stats, STATS_LANE_RESCUES, 1);
        return true;
    }
    return false;
}

bool lane_reap(struct lane_producer *producer, uint64_t now_ns, struct lane_completion *completion)
{
    if (reap_from_ring(producer, completion))
        return true;
    if (reap_from_scan(producer, completion))
        return true;
    uint32_t epoch = segment_worker_epoch(producer->segment);
    if (now_ns < producer->next_scan_ns && epoch == producer->worker_epoch_seen)
        return false;
    producer->worker_epoch_seen = epoch;
    producer->last_scan_ns = now_ns;
    producer->next_scan_ns = now_ns + LANE_SCAN_PERIOD_NS;
    producer->scan_position = 0;
    return reap_from_scan(producer, completion);
}

void lane_release(struct lane_producer *producer, uint32_t slot_index)
{
    struct slot_header *slot = slot_of(producer, slot_index);
    uint8_t holding = producer->holdings[slot_index];
    CHECK(holding == HOLDING_RESERVED || holding == HOLDING_REAPED);
    if (holding == HOLDING_REAPED) {
        uint64_t word = atomic_load_explicit(&slot->state_word, memory_order_relaxed);
        SHM_STEP();
        /* Release: our reading of the result happens before the worker writes the next one. A plain
         * store: a DONE slot is ours alone. */
        atomic_store_explicit(&slot->state_word, next_free_word(word), memory_order_release);
    }
    push_free(producer, slot_index);
}
