/* The worker's side of a lane.
 *
 * A scan must not show again what the worker already holds as a ticket, and the shared word of such
 * a slot still says QUEUED. So for each slot the state word it was last shown with is kept
 * (`shown`): the generation in it differs after a cancel, the tries after a recovery. The memory is
 * private, and that is right: when this worker dies, its tickets die with it and its successor must
 * be shown all. */
#include "shm/doorbell.h"
#include "shm/lane.h"
#include "shm/layout.h"
#include "shm/step.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lane_header *lane_of(const struct lane_consumer *consumer)
{
    return layout_lane(consumer->segment, consumer->lane_index);
}

static struct slot_header *slot_of(const struct lane_consumer *consumer, uint32_t slot_index)
{
    return layout_slot(lane_of(consumer), &consumer->segment->geometry, slot_index);
}

int lane_attach_consumer(struct lane_consumer *consumer, struct segment *segment,
                         uint32_t lane_index, char error[ERROR_BYTES])
{
    *consumer = (struct lane_consumer){.segment = segment, .lane_index = lane_index};
    if (lane_index >= segment->geometry.n_lanes) {
        snprintf(error, ERROR_BYTES, "there is no lane %u: the segment has lanes 0 to %u",
                 lane_index, segment->geometry.n_lanes - 1);
        return -EINVAL;
    }
    uint32_t n_slots = segment->geometry.slots_per_lane;
    consumer->shown = calloc(n_slots, sizeof(*consumer->shown)); /* 0: a FREE word, never shown */
    consumer->found = calloc(n_slots, sizeof(*consumer->found));
    if (!consumer->shown || !consumer->found) {
        lane_detach_consumer(consumer);
        snprintf(error, ERROR_BYTES, "no memory for the %u slots of lane %u", n_slots, lane_index);
        return -ENOMEM;
    }
    struct lane_header *lane = lane_of(consumer);
    consumer->stats = stats_writer(segment, PROCESS_WORKER);
    consumer->worker_epoch = segment_worker_epoch(segment);
    consumer->peek_position = atomic_load_explicit(&lane->submit_head, memory_order_relaxed);
    consumer->complete_position = atomic_load_explicit(&lane->complete_tail, memory_order_relaxed);
    consumer->rings_seen = doorbell_rings(&segment->header->worker_bell);
    return 0;
}

void lane_detach_consumer(struct lane_consumer *consumer)
{
    free(consumer->shown);
    free(consumer->found);
    *consumer = (struct lane_consumer){0};
}

/* ---- giving back ---- */

static void push_completion(struct lane_consumer *consumer, uint32_t slot_index)
{
    struct lane_header *lane = lane_of(consumer);
    const struct segment_geometry *geometry = &consumer->segment->geometry;
    uint32_t at = consumer->complete_position % layout_ring_entries(geometry);
    SHM_STEP();
    atomic_store_explicit(&layout_complete_ring(lane, geometry)[at], slot_index,
                          memory_order_relaxed);
    consumer->complete_position++;
    SHM_STEP();
    /* seq_cst: the store W of doorbell.h's argument; pairs with the load in has_unannounced(). As a
     * release it also publishes the entry to the acquire in reap_from_ring(). */
    atomic_store_explicit(&lane->complete_tail, consumer->complete_position, memory_order_seq_cst);
}

/* What stands in the slot beside its word once it is done. */
struct outcome {
    enum lane_status status;
    const void *result;
    uint32_t result_bytes, batch_weight;
    uint64_t done_ns;
};

/* Hands a slot with this word, ours or queued, to the frontend. False: its word is another one by
 * now. The look before the writes matters: a ticket kept too long may name a slot that was
 * cancelled, submitted again and is DONE, and then these fields are another text's. Nobody but this
 * thread makes a slot DONE, so between the look and the swap it cannot become so. */
static bool finish(struct lane_consumer *consumer, uint32_t slot_index, uint64_t word,
                   const struct outcome *outcome)
{
    struct slot_header *slot = slot_of(consumer, slot_index);
    if (atomic_load_explicit(&slot->state_word, memory_order_relaxed) != word)
        return false;
    SHM_STEP();
    if (outcome->result_bytes > 0)
        memcpy(layout_result(slot, &consumer->segment->geometry), outcome->result,
               outcome->result_bytes);
    atomic_store_explicit(&slot->done_ns, outcome->done_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->status, outcome->status, memory_order_relaxed);
    atomic_store_explicit(&slot->batch_weight, outcome->batch_weight, memory_order_relaxed);
    SHM_STEP();
    uint64_t done = slot_word(slot_word_generation(word), consumer->worker_epoch,
                              slot_word_tries(word), SLOT_STATE_DONE);
    /* Release: pairs with the acquire in reap_slot(); publishes status and result. */
    if (!atomic_compare_exchange_strong_explicit(&slot->state_word, &word, done,
                                                 memory_order_release, memory_order_relaxed))
        return false;
    push_completion(consumer, slot_index);
    return true;
}

/* ---- after a death ---- */

uint32_t lane_recover(struct lane_consumer *consumer, uint32_t tries_max,
                      void (*poisoned)(void *context, const void *payload), void *context)
{
    uint32_t n_queued = 0, n_slots = consumer->segment->geometry.slots_per_lane;
    for (uint32_t slot_index = 0; slot_index < n_slots; slot_index++) {
        struct slot_header *slot = slot_of(consumer, slot_index);
        uint64_t word = atomic_load_explicit(&slot->state_word, memory_order_acquire);
        if (slot_word_state(word) != SLOT_STATE_RUNNING ||
            slot_word_epoch(word) == (consumer->worker_epoch & 0xffff))
            continue;
        if (slot_word_tries(word) >= tries_max) {
            if (poisoned)
                poisoned(context, layout_payload(slot));
            struct outcome outcome = {.status = LANE_STATUS_POISONED, .done_ns = clock_now_ns()};
            finish(consumer, slot_index, word, &outcome);
            continue;
        }
        SHM_STEP();
        uint64_t queued =
            slot_word(slot_word_generation(word), 0, slot_word_tries(word), SLOT_STATE_QUEUED);
        /* Compare-and-swap although the slot is ours: a wild frontend must not be overwritten into
         * a state it did not have. Relaxed: nothing is published that was not there before. */
        if (atomic_compare_exchange_strong_explicit(&slot->state_word, &word, queued,
                                                    memory_order_relaxed, memory_order_relaxed))
            n_queued++;
    }
    /* Whatever the dead worker had peeked at lies behind the ring's head: only a scan finds it. */
    consumer->next_scan_ns = 0;
    lane_ring_frontend(consumer);
    return n_queued;
}

/* ---- looking ---- */

/* Fills the ticket if the slot is queued and was not shown with this word. The numbers may be those
 * of a later use of the slot: then the word is another one by now, and lane_take() will say so. */
static bool show(struct lane_consumer *consumer, uint32_t slot_index, struct lane_ticket *ticket)
{
    struct slot_header *slot = slot_of(consumer, slot_index);
    /* Acquire: pairs with the release in lane_submit(). */
    uint64_t word = atomic_load_explicit(&slot->state_word, memory_order_acquire);
    if (slot_word_state(word) != SLOT_STATE_QUEUED || consumer->shown[slot_index] == word)
        return false;
    consumer->shown[slot_index] = word;
    *ticket = (struct lane_ticket){
        .lane_index = consumer->lane_index,
        .slot_index = slot_index,
        .state_word = word,
        .weight = atomic_load_explicit(&slot->weight, memory_order_relaxed),
        .tries = slot_word_tries(word),
        .submitted_ns = atomic_load_explicit(&slot->submitted_ns, memory_order_relaxed),
        .deadline_ns = atomic_load_explicit(&slot->deadline_ns, memory_order_relaxed),
    };
    return true;
}

static bool show_from_ring(struct lane_consumer *consumer, struct lane_ticket *ticket)
{
    struct lane_header *lane = lane_of(consumer);
    const struct segment_geometry *geometry = &consumer->segment->geometry;
    uint32_t entries = layout_ring_entries(geometry);
    /* Acquire: pairs with the store in push_submission(); the entries are read after it. */
    uint32_t tail = atomic_load_explicit(&lane->submit_tail, memory_order_acquire);
    if (tail == consumer->peek_position)
        return false;
    bool found = false;
    if (tail - consumer->peek_position >= entries) {
        consumer->peek_position = tail;
        stats_add(consumer->stats, STATS_LANE_RESYNCS, 1);
        consumer->next_scan_ns =
            min_u64(consumer->next_scan_ns, consumer->last_scan_ns + LANE_SCAN_GAP_NS);
    }
    while (!found && consumer->peek_position != tail) {
        uint32_t slot_index = atomic_load_explicit(
            &layout_submit_ring(lane)[consumer->peek_position % entries], memory_order_relaxed);
        consumer->peek_position++;
        if (slot_index < geometry->slots_per_lane)
            found = show(consumer, slot_index, ticket);
        else
            stats_add(consumer->stats, STATS_LANE_BAD_ENTRIES, 1);
    }
    SHM_STEP();
    atomic_store_explicit(&lane->submit_head, consumer->peek_position, memory_order_relaxed);
    return found;
}

/* ---- what a scan finds: a heap, so that it is shown oldest first ---- */

static bool is_older(const struct lane_consumer *consumer, uint32_t a, uint32_t b)
{
    return atomic_load_explicit(&slot_of(consumer, a)->submitted_ns, memory_order_relaxed) <
           atomic_load_explicit(&slot_of(consumer, b)->submitted_ns, memory_order_relaxed);
}

static void found_swap(struct lane_consumer *consumer, uint32_t a, uint32_t b)
{
    uint32_t slot_index = consumer->found[a];
    consumer->found[a] = consumer->found[b];
    consumer->found[b] = slot_index;
}

static void found_push(struct lane_consumer *consumer, uint32_t slot_index)
{
    uint32_t at = consumer->n_found++;
    consumer->found[at] = slot_index;
    while (at > 0 && is_older(consumer, consumer->found[at], consumer->found[(at - 1) / 2])) {
        found_swap(consumer, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

static uint32_t found_pop(struct lane_consumer *consumer)
{
    uint32_t oldest = consumer->found[0];
    consumer->found[0] = consumer->found[--consumer->n_found];
    for (uint32_t at = 0, child = 1; child < consumer->n_found; child = 2 * at + 1) {
        if (child + 1 < consumer->n_found &&
            is_older(consumer, consumer->found[child + 1], consumer->found[child]))
            child++;
        if (!is_older(consumer, consumer->found[child], consumer->found[at]))
            break;
        found_swap(consumer, at, child);
        at = child;
    }
    return oldest;
}

static void scan(struct lane_consumer *consumer, uint64_t now_ns)
{
    consumer->last_scan_ns = now_ns;
    consumer->next_scan_ns = now_ns + LANE_SCAN_PERIOD_NS;
    consumer->n_found = 0;
    uint32_t n_slots = consumer->segment->geometry.slots_per_lane;
    for (uint32_t slot_index = 0; slot_index < n_slots; slot_index++) {
        uint64_t word =
            atomic_load_explicit(&slot_of(consumer, slot_index)->state_word, memory_order_relaxed);
        if (slot_word_state(word) == SLOT_STATE_QUEUED && consumer->shown[slot_index] != word)
            found_push(consumer, slot_index);
    }
}

static bool show_from_scan(struct lane_consumer *consumer, struct lane_ticket *ticket)
{
    while (consumer->n_found > 0) {
        if (!show(consumer, found_pop(consumer), ticket))
            continue; /* cancelled since the scan */
        stats_add(consumer->stats, STATS_LANE_RESCUES, 1);
        return true;
    }
    return false;
}

bool lane_peek(struct lane_consumer *consumer, uint64_t now_ns, struct lane_ticket *ticket)
{
    if (show_from_scan(consumer, ticket))
        return true;
    /* The ring first, so that a scan finds only what the ring lost; unless it is long overdue
     * because the ring never runs dry. A recovering worker's scan (0) is overdue: what it finds is
     * older. */
    if (now_ns < consumer->next_scan_ns + LANE_SCAN_PERIOD_NS && show_from_ring(consumer, ticket))
        return true;
    if (now_ns >= consumer->next_scan_ns) {
        scan(consumer, now_ns);
        if (show_from_scan(consumer, ticket))
            return true;
    }
    return show_from_ring(consumer, ticket);
}

/* ---- taking and completing ---- */

bool lane_take(struct lane_consumer *consumer, struct lane_ticket *ticket, void *payload,
               uint64_t now_ns)
{
    CHECK(ticket->lane_index == consumer->lane_index);
    struct slot_header *slot = slot_of(consumer, ticket->slot_index);
    uint64_t word = ticket->state_word;
    uint64_t running = slot_word(slot_word_generation(word), consumer->worker_epoch,
                                 slot_word_tries(word) + 1, SLOT_STATE_RUNNING);
    SHM_STEP();
    /* Acquire: pairs with the release in lane_submit(); the payload is read after it. */
    if (!atomic_compare_exchange_strong_explicit(&slot->state_word, &word, running,
                                                 memory_order_acquire, memory_order_relaxed))
        return false;
    SHM_STEP();
    ticket->state_word = running;
    uint32_t payload_bytes = consumer->segment->geometry.payload_bytes;
    uint32_t used = atomic_load_explicit(&slot->payload_used, memory_order_relaxed);
    if (used > payload_bytes)
        used = payload_bytes;
    memcpy(payload, layout_payload(slot), used);
    /* Never the bytes of another text that lay there: they would be somebody else's. */
    memset((char *)payload + used, 0, payload_bytes - used);
    atomic_store_explicit(&slot->taken_ns, now_ns, memory_order_relaxed);
    return true;
}

bool lane_expire(struct lane_consumer *consumer, const struct lane_ticket *ticket, uint64_t now_ns)
{
    CHECK(ticket->lane_index == consumer->lane_index);
    CHECK(slot_word_state(ticket->state_word) == SLOT_STATE_QUEUED);
    struct outcome outcome = {.status = LANE_STATUS_EXPIRED, .done_ns = now_ns};
    return finish(consumer, ticket->slot_index, ticket->state_word, &outcome);
}

void lane_complete(struct lane_consumer *consumer, const struct lane_ticket *ticket,
                   enum lane_status status, const void *result, uint32_t result_bytes,
                   uint32_t batch_weight, uint64_t now_ns)
{
    CHECK(ticket->lane_index == consumer->lane_index);
    CHECK(slot_word_state(ticket->state_word) == SLOT_STATE_RUNNING);
    CHECK(status <= LANE_STATUS_FAILED);
    CHECK(result_bytes <= consumer->segment->geometry.result_bytes);
    struct outcome outcome = {.status = status,
                              .result = result,
                              .result_bytes = result_bytes,
                              .batch_weight = batch_weight,
                              .done_ns = now_ns};
    /* A running slot changes under us only if a process went wild, or a worker believed dead is
     * not. */
    if (!finish(consumer, ticket->slot_index, ticket->state_word, &outcome))
        stats_add(consumer->stats, STATS_LANE_LATE_RESULTS, 1);
}

void lane_ring_frontend(struct lane_consumer *consumer)
{
    if (doorbell_ring(&lane_of(consumer)->bell))
        stats_add(consumer->stats, STATS_BELL_WAKES, 1);
}
