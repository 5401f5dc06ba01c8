/* Which request's deadline comes next: a binary heap of fixed capacity, ordered by time. libh2o's
 * own timers are one list for each duration, in milliseconds of the wall clock; ours come from the
 * clients, in nanoseconds of the monotonic clock. Pure; one thread. */
#ifndef WEIR_FRONTEND_DEADLINES_H
#define WEIR_FRONTEND_DEADLINES_H

#include "shm/base.h"

/* Lies inside the thing that has a deadline. */
struct deadline {
    uint64_t at_ns;
    uint32_t position; /* in the heap, counted from 1; 0: not in it */
};

struct deadlines {
    struct deadline **heap; /* owned, (capacity) */
    uint32_t n, capacity;
};

/* 0 or -ENOMEM. A zeroed object may be closed. */
int deadlines_open(struct deadlines *deadlines, uint32_t capacity);
void deadlines_close(struct deadlines *deadlines);

void deadlines_add(struct deadlines *deadlines, struct deadline *deadline, uint64_t at_ns);
/* Does nothing where it is not in the heap. */
void deadlines_remove(struct deadlines *deadlines, struct deadline *deadline);

/* The earliest one, or NULL. */
struct deadline *deadlines_first(const struct deadlines *deadlines);

#endif
