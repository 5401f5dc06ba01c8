/* A lane's queue is a doubly linked list through an array that has one node for each slot, so
 * adding, replacing and removing cost the same few stores however many wait. */
#include "gpu_worker/batcher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX

struct node {
    struct lane_ticket ticket;
    uint32_t next, previous; /* slot indices */
    bool waiting;
};

struct queue {
    uint32_t first, last;
    struct node *nodes; /* (slots_per_lane) */
};

struct batcher {
    struct batcher_limits limits;
    struct queue *queues; /* (n_lanes) */
    struct node *nodes;   /* (n_lanes, slots_per_lane) */
    uint32_t n_waiting;
    uint32_t opening_lane;         /* gets the first place of the next batch */
    uint64_t earliest_deadline_ns; /* no waiting text's deadline is before it */
};

struct batcher *batcher_create(const struct batcher_limits *limits, char error[ERROR_BYTES])
{
    struct batcher *batcher = calloc(1, sizeof(*batcher));

    CHECK(limits->n_lanes >= 1 && limits->slots_per_lane >= 1);
    CHECK(limits->max_tokens >= 1 && limits->max_sequences >= 1);
    if (batcher) {
        batcher->limits = *limits;
        batcher->queues = calloc(limits->n_lanes, sizeof(*batcher->queues));
        batcher->nodes =
            calloc((size_t)limits->n_lanes * limits->slots_per_lane, sizeof(*batcher->nodes));
    }
    if (!batcher || !batcher->queues || !batcher->nodes) {
        snprintf(error, ERROR_BYTES, "no memory for the queues of %u lanes of %u slots",
                 limits->n_lanes, limits->slots_per_lane);
        batcher_destroy(batcher);
        return NULL;
    }
    batcher->earliest_deadline_ns = UINT64_MAX;
    for (uint32_t i = 0; i < limits->n_lanes; i++)
        batcher->queues[i] = (struct queue){
            .first = NOBODY,
            .last = NOBODY,
            .nodes = batcher->nodes + (size_t)i * limits->slots_per_lane,
        };
    return batcher;
}

void batcher_destroy(struct batcher *batcher)
{
    if (!batcher)
        return;
    free(batcher->queues);
    free(batcher->nodes);
    free(batcher);
}

static void unlink_slot(struct batcher *batcher, struct queue *queue, uint32_t slot)
{
    struct node *node = &queue->nodes[slot];

    if (node->previous == NOBODY)
        queue->first = node->next;
    else
        queue->nodes[node->previous].next = node->next;
    if (node->next == NOBODY)
        queue->last = node->previous;
    else
        queue->nodes[node->next].previous = node->previous;
    node->waiting = false;
    batcher->n_waiting--;
}

void batcher_add(struct batcher *batcher, const struct lane_ticket *ticket)
{
    struct queue *queue;
    struct node *node;
    uint32_t slot = ticket->slot_index;

    CHECK(ticket->lane_index < batcher->limits.n_lanes);
    CHECK(slot < batcher->limits.slots_per_lane);
    queue = &batcher->queues[ticket->lane_index];
    node = &queue->nodes[slot];
    if (node->waiting)
        unlink_slot(batcher, queue, slot);
    *node =
        (struct node){.ticket = *ticket, .next = NOBODY, .previous = queue->last, .waiting = true};
    node->ticket.weight = (uint32_t)min_u64(max_u64(ticket->weight, 1), batcher->limits.max_tokens);
    if (queue->last == NOBODY)
        queue->first = slot;
    else
        queue->nodes[queue->last].next = slot;
    queue->last = slot;
    batcher->n_waiting++;
    batcher->earliest_deadline_ns = min_u64(batcher->earliest_deadline_ns, ticket->deadline_ns);
}

uint32_t batcher_expire(struct batcher *batcher, uint64_t now_ns,
                        void (*expired)(void *context, const struct lane_ticket *ticket),
                        void *context)
{
    uint32_t n_expired = 0;

    if (now_ns < batcher->earliest_deadline_ns)
        return 0;
    batcher->earliest_deadline_ns = UINT64_MAX;
    for (uint32_t lane = 0; lane < batcher->limits.n_lanes; lane++) {
        struct queue *queue = &batcher->queues[lane];
        uint32_t next;

        for (uint32_t slot = queue->first; slot != NOBODY; slot = next) {
            struct node *node = &queue->nodes[slot];

            next = node->next;
            if (node->ticket.deadline_ns > now_ns) {
                batcher->earliest_deadline_ns =
                    min_u64(batcher->earliest_deadline_ns, node->ticket.deadline_ns);
                continue;
            }
            unlink_slot(batcher, queue, slot);
            expired(context, &node->ticket);
            n_expired++;
        }
    }
    return n_expired;
}

/* ---- the next batch -------------------------------------------------------------------------- */

/* The lane whose turn is number i in each round of the next batch. */
static uint32_t lane_in_turn(const struct batcher *batcher, uint32_t i)
{
    return (batcher->opening_lane + i) % batcher->limits.n_lanes;
}

/* NULL: nobody waits there. */
static const struct lane_ticket *first_in_lane(const struct batcher *batcher, uint32_t lane)
{
    const struct queue *queue = &batcher->queues[lane];

    return queue->first == NOBODY ? NULL : &queue->nodes[queue->first].ticket;
}

struct filling {
    struct lane_ticket *tickets;
    uint32_t n_tickets, n_tokens;
    bool alone;            /* holds a text that runs without company */
    uint32_t refused_lane; /* the first whose text did not fit, else NOBODY */
};

static bool fits(const struct batcher *batcher, const struct filling *batch,
                 const struct lane_ticket *ticket)
{
    if (batch->n_tickets == 0)
        return true;
    return !batch->alone && ticket->tries == 0 &&
           batch->n_tickets < batcher->limits.max_sequences &&
           ticket->weight <= batcher->limits.max_tokens - batch->n_tokens;
}

/* Moves the lane's first text into the batch. False when there is none or it does not fit. */
static bool take_first(struct batcher *batcher, uint32_t lane, struct filling *batch)
{
    const struct lane_ticket *ticket = first_in_lane(batcher, lane);

    if (!ticket)
        return false;
    if (!fits(batcher, batch, ticket)) {
        if (batch->refused_lane == NOBODY)
            batch->refused_lane = lane;
        return false;
    }
    batch->tickets[batch->n_tickets++] = *ticket;
    batch->n_tokens += ticket->weight;
    batch->alone = ticket->tries > 0;
    unlink_slot(batcher, &batcher->queues[lane], ticket->slot_index);
    return true;
}

uint32_t batcher_next(struct batcher *batcher, struct lane_ticket *tickets)
{
    struct filling batch = {.tickets = tickets, .refused_lane = NOBODY};
    bool closed[SEGMENT_LANES_MAX] = {false};
    bool took = true;

    while (took) {
        took = false;
        for (uint32_t i = 0; i < batcher->limits.n_lanes; i++) {
            uint32_t lane = lane_in_turn(batcher, i);
            if (closed[lane])
                continue;
            closed[lane] = !take_first(batcher, lane, &batch);
            took |= !closed[lane];
        }
    }
    batcher->opening_lane =
        batch.refused_lane != NOBODY ? batch.refused_lane : lane_in_turn(batcher, 1);
    return batch.n_tickets;
}

/* The lane that opens a batch gets its first text in, so that text decides. */
bool batcher_next_is_alone(const struct batcher *batcher)
{
    for (uint32_t i = 0; i < batcher->limits.n_lanes; i++) {
        const struct lane_ticket *ticket = first_in_lane(batcher, lane_in_turn(batcher, i));
        if (ticket)
            return ticket->tries > 0;
    }
    return false;
}

uint32_t batcher_waiting(const struct batcher *batcher)
{
    return batcher->n_waiting;
}
