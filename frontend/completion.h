/* How a futex wakes libh2o's loop: a thread sleeps on the lane's bell and posts an empty message
 * for each completion that the loop has not taken yet. The loop reaps after every turn whatever
 * woke it, so a post is a hint, and one for nothing does no harm. The thread calls nothing of
 * libh2o but h2o_multithread_send_message(), the only function of 2.2.5 that other threads may
 * call. */
#ifndef WEIR_FRONTEND_COMPLETION_H
#define WEIR_FRONTEND_COMPLETION_H

#include <h2o.h>
#include <pthread.h>
#include <stdatomic.h>

#include "shm/lane.h"

struct completion {
    struct segment *segment;
    uint32_t lane_index;
    h2o_multithread_receiver_t receiver;
    atomic_bool stopping;
    pthread_t thread;
    bool running;
};

/* Starts the thread. 0 or -errno. */
int completion_open(struct completion *completion, struct segment *segment, uint32_t lane_index,
                    h2o_multithread_queue_t *queue);
/* Stops and joins it. A zeroed object may be closed. */
void completion_close(struct completion *completion);

#endif
