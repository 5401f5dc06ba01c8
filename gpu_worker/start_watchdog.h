/* Bounds a worker's start, phase by phase: a call into a card's driver may never return, and the
 * encoder's create() with it, where no heartbeat is looked at yet. A thread looks at the clock.
 *
 *     begin(DEVICE)   move(WEIGHTS)   move(ALGORITHMS) ...   end
 *     [--- bound ---] [--- bound ---] [--- bound ---]        nobody looks any more
 *
 * One thread calls; `hangs` is called on the watchdog's own, once at most, and need not return. */
#ifndef WEIR_GPU_WORKER_START_WATCHDOG_H
#define WEIR_GPU_WORKER_START_WATCHDOG_H

#include <pthread.h>

#include "shm/start.h"

struct start_watchdog {
    bool begun; /* there is a thread to join */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* and what follows is under the mutex */
    bool over;
    enum start_phase phase;
    uint64_t deadline_ns, bound_ns;
    void (*hangs)(void *context, enum start_phase phase);
    void *context;
};

/* A zeroed watchdog begins to look, at `phase`. 0 or -errno: then nobody looks. */
int start_watchdog_begin(struct start_watchdog *watchdog, uint64_t bound_ns, enum start_phase phase,
                         void (*hangs)(void *context, enum start_phase phase), void *context);

/* The phase that runs now, with its whole time before it. Nothing where nothing was begun. */
void start_watchdog_move(struct start_watchdog *watchdog, enum start_phase phase);

/* The start is over, or has failed. Nothing where nothing was begun. */
void start_watchdog_end(struct start_watchdog *watchdog);

#endif
