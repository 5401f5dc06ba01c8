/* Which of the waiting texts make the next batch. A policy, nothing else: what comes out depends on
 * the tickets put in and on now_ns alone. It touches no shared memory, reads no clock and allocates
 * nothing after creation.
 *
 * - Nothing waits for company: whenever the encoder is free and a text waits, there is a batch.
 *   While it runs the next one fills, so batches grow with load by themselves.
 * - Within a lane first come, first served. Over lanes one text each in turn, so a lane with a
 *   thousand waiting texts costs another lane's single text no more than its own share of a batch.
 * - A text is never split. One that does not fit closes its lane for this batch, and its lane opens
 *   the next one: a long text cannot starve behind short ones.
 * - A text whose worker died while it ran (tries > 0) runs alone: if it kills again, it kills
 *   nobody else's work.
 * - A text whose deadline passed is not computed. */
#ifndef WEIR_GPU_WORKER_BATCHER_H
#define WEIR_GPU_WORKER_BATCHER_H

#include "shm/lane.h"

struct batcher_limits {
    uint32_t n_lanes, slots_per_lane;
    uint32_t max_tokens;    /* of a batch; at least 1 */
    uint32_t max_sequences; /* of a batch; at least 1 */
};

struct batcher;

/* NULL with a sentence when there is no memory. */
struct batcher *batcher_create(const struct batcher_limits *limits, char error[ERROR_BYTES]);
void batcher_destroy(struct batcher *batcher);

/* Adds a waiting text at its lane's end. A slot has one state, so a ticket for a slot that already
 * waits here replaces the older one (which was cancelled). The weight is bounded to 1 ..
 * max_tokens: it comes from another process. */
void batcher_add(struct batcher *batcher, const struct lane_ticket *ticket);

/* Removes every text whose deadline is not after now_ns and calls `expired` with it. Looks at
 * nothing as long as no deadline can have passed. Returns their number. */
uint32_t batcher_expire(struct batcher *batcher, uint64_t now_ns,
                        void (*expired)(void *context, const struct lane_ticket *ticket),
                        void *context);

/* Removes the next batch's texts and writes them to tickets (max_sequences). Returns their number;
 * 0 only when nothing waits. */
uint32_t batcher_next(struct batcher *batcher, struct lane_ticket *tickets);

/* Whether the next batch, if any, is a text that runs alone. */
bool batcher_next_is_alone(const struct batcher *batcher);

uint32_t batcher_waiting(const struct batcher *batcher);

#endif
