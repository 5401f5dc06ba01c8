/* What this frontend knows of the worker, and whether the server as a whole is healthy.
 *
 * Health means that batches go through the encoder: a worker that is dead, not ready, silent, or
 * draining makes /health say so. Requests are not refused for that reason alone: a worker is back
 * within a second or two, and they wait in their lane until their deadline. Only a worker that has
 * been away for WORKER_AWAY_MAX_NS is given up. */
#ifndef WEIR_FRONTEND_WORKER_WATCH_H
#define WEIR_FRONTEND_WORKER_WATCH_H

#include "shm/process.h"

#define WORKER_AWAY_MAX_NS (15 * NS_PER_S)

struct worker_watch {
    struct process_view view;
    bool alive;
    uint32_t epoch;
    uint32_t queue_depth; /* of all lanes */
    /* The heartbeat's greatest age: --hang-timeout-ms, at which the supervisor replaces the worker,
     * and no less. It beats between batches, and one batch of a large model on a few cores takes
     * many seconds; a platform that asks /health meanwhile must not end a server that is merely
     * busy. */
    uint64_t silent_max_ns;
    uint64_t away_since_ns; /* 0 while alive and ready */
};

/* Reads the process table. Once a tick: it opens a file in /proc. */
void worker_watch_update(struct worker_watch *watch, const struct segment *segment,
                         uint64_t now_ns);

/* True when new requests are hopeless: answer 503. */
bool worker_watch_is_given_up(const struct worker_watch *watch, uint64_t now_ns);

/* NULL when healthy, else the reason as a sentence. Pure. */
const char *worker_watch_complaint(const struct worker_watch *watch, bool draining,
                                   uint64_t now_ns);

const char *worker_watch_state_word(enum process_state state);

#endif
