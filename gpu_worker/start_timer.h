/* The one clock of a start. main.c and the encoder it opens end phases on it, one after another, so
 * that their sum is the whole, without what is done beside the first answers.
 *
 * It crosses the encoder seam by pointer: a module has a copy of its own of every function of ours,
 * so who keeps the times is called through the pointer. A phase that runs beside others has a copy
 * of the timer, whose clock its thread sets. */
#ifndef WEIR_GPU_WORKER_START_TIMER_H
#define WEIR_GPU_WORKER_START_TIMER_H

#include "shm/start.h"

struct start_timer {
    uint64_t began_ns; /* the phase that runs */
    void (*took)(void *context, enum start_phase phase, uint64_t took_ns);
    void *context;
};

/* The phase that runs was this one; the next begins. NULL: nobody asks. */
static inline void start_timer_end(struct start_timer *timer, enum start_phase phase)
{
    uint64_t now_ns = clock_now_ns();

    if (!timer)
        return;
    timer->took(timer->context, phase, now_ns - timer->began_ns);
    timer->began_ns = now_ns;
}

#endif
