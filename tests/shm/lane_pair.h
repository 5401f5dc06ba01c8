/* A segment with one lane and both of its sides in one process, each through a mapping of its own.
 */
#ifndef WEIR_TESTS_SHM_LANE_PAIR_H
#define WEIR_TESTS_SHM_LANE_PAIR_H

#include "shm/lane.h"
#include "shm/layout.h"
#include "shm/process.h"

#define LANE_PAIR_SLOTS 8

struct lane_pair {
    char path[64];
    struct segment worker, frontend;
    struct lane_consumer consumer;
    struct lane_producer producer;
    struct lane_header *lane; /* the worker's view */
};

void lane_pair_open(struct lane_pair *pair);
void lane_pair_close(struct lane_pair *pair); /* removes the file */

/* The worker dies (its memory and its lock are gone) and another one opens the segment and
 * attaches. Returns what lane_recover() returned. */
uint32_t lane_pair_new_worker(struct lane_pair *pair);
/* The same; lane_recover() gets the two. */
uint32_t lane_pair_new_worker_told(struct lane_pair *pair,
                                   void (*poisoned)(void *context, const void *payload),
                                   void *context);
/* The same for the frontend. */
void lane_pair_new_frontend(struct lane_pair *pair);

/* Reserves, writes `text` and submits at time `now_ns`; the slot's index. */
uint32_t lane_pair_submit(struct lane_pair *pair, const char *text, uint64_t now_ns);
/* Peeks and takes the next text; expects that there is one and that it is `text`. */
struct lane_ticket lane_pair_take(struct lane_pair *pair, const char *text, uint64_t now_ns);
void lane_pair_complete(struct lane_pair *pair, const struct lane_ticket *ticket,
                        const char *result);
/* Reaps one completion, expects its result and releases it. */
void lane_pair_reap(struct lane_pair *pair, const char *result, uint64_t now_ns);

struct slot_header *lane_pair_slot(struct lane_pair *pair, uint32_t slot_index);
uint32_t lane_pair_state(struct lane_pair *pair, uint32_t slot_index);
uint64_t lane_pair_counter(struct lane_pair *pair, enum stats_counter counter);

/* Expects that the process died by SIGABRT in `function`: a CHECK that must break. */
void expect_check(void (*function)(void *argument), void *argument);

#endif
