/* Copies out of a segment that may be changing, stale or damaged, and words for the numbers in it.
 */
#include "shm/inspect.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* A live ring or slot may change while it is read; after so many tries it is shown as it is. */
#define READ_ATTEMPTS 8

void inspect_read_process(const struct segment *segment, uint32_t index,
                          struct inspect_process *process)
{
    const struct process_entry *entry =
        index == PROCESS_WORKER ? &segment->header->worker : &layout_lane(segment, index)->frontend;
    process_read(segment, index, &process->view);
    process->state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    process->alive = process_is_alive(&process->view);
}

/* Head, tail, head again: when the head stood still, the tail is of the same moment. */
static void read_ring(const struct segment *segment, const _Atomic uint32_t *head,
                      const _Atomic uint32_t *tail, const _Atomic uint32_t *entries,
                      struct inspect_ring *ring)
{
    ring->is_settled = false;
    for (int attempt = 0; attempt < READ_ATTEMPTS && !ring->is_settled; attempt++) {
        ring->head = atomic_load_explicit(head, memory_order_acquire);
        ring->tail = atomic_load_explicit(tail, memory_order_acquire);
        ring->is_settled = ring->head == atomic_load_explicit(head, memory_order_acquire);
    }
    ring->n_bad_entries = 0;
    uint32_t n_entries = layout_ring_entries(&segment->geometry);
    if (ring->tail - ring->head >= n_entries)
        return; /* the ends are no guide to the entries */
    for (uint32_t at = ring->head; at != ring->tail; at++)
        ring->n_bad_entries +=
            atomic_load_explicit(&entries[at % n_entries], memory_order_relaxed) >=
            segment->geometry.slots_per_lane;
}

static void count_slot(const struct slot_header *slot, struct inspect_lane *lane)
{
    uint32_t state = slot_word_state(atomic_load_explicit(&slot->state_word, memory_order_acquire));
    lane->n_slots[state < SLOT_STATE_COUNT ? state : SLOT_STATE_COUNT]++;
    if (state != SLOT_STATE_QUEUED)
        return;
    uint64_t submitted_ns = atomic_load_explicit(&slot->submitted_ns, memory_order_relaxed);
    if (lane->oldest_queued_ns == 0 || submitted_ns < lane->oldest_queued_ns)
        lane->oldest_queued_ns = submitted_ns;
}

/* Answers first: a request counts before its answer does, so the sum never runs ahead. */
static void read_requests(const struct stats_block *stats, struct inspect_lane *lane)
{
    for (uint32_t i = STATS_RESPONSES_OK; i <= STATS_RESPONSES_LOST; i++)
        lane->responses += atomic_load_explicit(&stats->counters[i], memory_order_acquire);
    lane->requests = atomic_load_explicit(&stats->counters[STATS_REQUESTS], memory_order_acquire);
}

void inspect_read_lane(const struct segment *segment, uint32_t lane_index,
                       struct inspect_lane *lane)
{
    const struct segment_geometry *geometry = &segment->geometry;
    struct lane_header *shared = layout_lane(segment, lane_index);
    *lane = (struct inspect_lane){0};
    inspect_read_process(segment, lane_index, &lane->frontend);
    read_ring(segment, &shared->submit_head, &shared->submit_tail, layout_submit_ring(shared),
              &lane->submit);
    read_ring(segment, &shared->complete_head, &shared->complete_tail,
              layout_complete_ring(shared, geometry), &lane->complete);
    lane->rings = atomic_load_explicit(&shared->bell.rings, memory_order_relaxed);
    lane->sleeping = atomic_load_explicit(&shared->bell.sleeping, memory_order_relaxed);
    for (uint32_t i = 0; i < geometry->slots_per_lane; i++)
        count_slot(layout_slot(shared, geometry, i), lane);
    read_requests(&shared->stats, lane);
}

void inspect_read_slot(const struct segment *segment, uint32_t lane_index, uint32_t slot_index,
                       struct inspect_slot *slot)
{
    const struct slot_header *shared =
        layout_slot(layout_lane(segment, lane_index), &segment->geometry, slot_index);
    slot->is_settled = false;
    for (int attempt = 0; attempt < READ_ATTEMPTS && !slot->is_settled; attempt++) {
        slot->word = atomic_load_explicit(&shared->state_word, memory_order_acquire);
        slot->submitted_ns = atomic_load_explicit(&shared->submitted_ns, memory_order_acquire);
        slot->deadline_ns = atomic_load_explicit(&shared->deadline_ns, memory_order_acquire);
        slot->weight = atomic_load_explicit(&shared->weight, memory_order_acquire);
        slot->payload_used = atomic_load_explicit(&shared->payload_used, memory_order_acquire);
        slot->taken_ns = atomic_load_explicit(&shared->taken_ns, memory_order_acquire);
        slot->done_ns = atomic_load_explicit(&shared->done_ns, memory_order_acquire);
        slot->status = atomic_load_explicit(&shared->status, memory_order_acquire);
        slot->batch_weight = atomic_load_explicit(&shared->batch_weight, memory_order_acquire);
        slot->is_settled =
            slot->word == atomic_load_explicit(&shared->state_word, memory_order_acquire);
    }
}

uint32_t inspect_queue_depth(const struct segment *segment)
{
    uint32_t depth = 0;
    for (uint32_t lane = 0; lane < segment->geometry.n_lanes; lane++)
        depth += lane_depth(segment, lane);
    return depth;
}

/* ---- words ---- */

static const char *word(const char *const *words, size_t count, uint32_t index)
{
    return index < count ? words[index] : "?";
}

const char *inspect_process_state(uint32_t state)
{
    static const char *const words[] = {"EMPTY", "STARTING", "READY", "DRAINING", "FAILED"};
    _Static_assert(ARRAY_COUNT(words) == PROCESS_STATE_FAILED + 1, "a word for each state");
    return word(words, ARRAY_COUNT(words), state);
}

const char *inspect_slot_state(uint32_t state)
{
    static const char *const words[] = {"FREE", "QUEUED", "RUNNING", "DONE"};
    _Static_assert(ARRAY_COUNT(words) == SLOT_STATE_COUNT, "a word for each state");
    return word(words, ARRAY_COUNT(words), state);
}

const char *inspect_lane_status(uint32_t status)
{
    static const char *const words[] = {"OK", "EXPIRED", "POISONED", "INVALID", "FAILED"};
    _Static_assert(ARRAY_COUNT(words) == LANE_STATUS_FAILED + 1, "a word for each status");
    return word(words, ARRAY_COUNT(words), status);
}

const char *inspect_duration(char text[INSPECT_DURATION_BYTES], uint64_t ns)
{
    if (ns < NS_PER_US)
        snprintf(text, INSPECT_DURATION_BYTES, "%u ns", (unsigned)ns);
    else if (ns < NS_PER_MS)
        snprintf(text, INSPECT_DURATION_BYTES, "%.1f us", (double)ns / NS_PER_US);
    else if (ns < NS_PER_S)
        snprintf(text, INSPECT_DURATION_BYTES, "%.1f ms", (double)ns / NS_PER_MS);
    else
        snprintf(text, INSPECT_DURATION_BYTES, "%.1f s", (double)ns / NS_PER_S);
    return text;
}

uint64_t inspect_age_ns(uint64_t now_ns, uint64_t then_ns)
{
    return now_ns > then_ns ? now_ns - then_ns : 0;
}

void inspect_printable(char *to, size_t size, const char *from)
{
    size_t at = 0;
    for (; from[at] && at < size - 1; at++)
        to[at] =
            isascii((unsigned char)from[at]) && isprint((unsigned char)from[at]) ? from[at] : '?';
    to[at] = 0;
}

void inspect_print_process(const char *role, const struct inspect_process *process, uint64_t now_ns)
{
    const struct process_view *view = &process->view;
    char age[INSPECT_DURATION_BYTES], text[PROCESS_LAST_WORDS_SIZE];
    if (process->state == PROCESS_STATE_EMPTY) {
        printf("%-12s never started\n", role);
        return;
    }
    printf("%-12s %s, pid %u %s, heartbeat %s ago", role, inspect_process_state(process->state),
           view->pid, process->alive ? "alive" : "DEAD",
           inspect_duration(age, inspect_age_ns(now_ns, view->heartbeat_ns)));
    if (view->last_batch_ns > 0)
        printf(", batch %s ago",
               inspect_duration(age, inspect_age_ns(now_ns, view->last_batch_ns)));
    inspect_printable(text, sizeof(view->description), view->description);
    if (text[0])
        printf(", %s", text);
    inspect_printable(text, sizeof(text), view->last_words);
    if (text[0])
        printf("\n             last words: %s", text);
    printf("\n");
}
