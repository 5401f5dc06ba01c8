/* The waiter thread of completion.h. */
#include "frontend/completion.h"

/* Bounds how long a stop can go unnoticed. */
#define COMPLETION_WAIT_NS (50 * NS_PER_MS)

static void on_message(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    (void)receiver;
    CHECK(h2o_linklist_is_empty(messages));
}

static void *completion_thread(void *argument)
{
    struct completion *completion = argument;
    /* Acquire: pairs with the release in completion_close(). */
    while (!atomic_load_explicit(&completion->stopping, memory_order_acquire))
        if (lane_wait_completion(completion->segment, completion->lane_index, COMPLETION_WAIT_NS))
            h2o_multithread_send_message(&completion->receiver, NULL);
    return NULL;
}

int completion_open(struct completion *completion, struct segment *segment, uint32_t lane_index,
                    h2o_multithread_queue_t *queue)
{
    completion->segment = segment;
    completion->lane_index = lane_index;
    atomic_init(&completion->stopping, false);
    h2o_multithread_register_receiver(queue, &completion->receiver, on_message);
    int rc = pthread_create(&completion->thread, NULL, completion_thread, completion);
    completion->running = rc == 0;
    return -rc;
}

void completion_close(struct completion *completion)
{
    if (!completion->running)
        return;
    atomic_store_explicit(&completion->stopping, true, memory_order_release);
    pthread_join(completion->thread, NULL);
    h2o_multithread_unregister_receiver(completion->receiver.queue, &completion->receiver);
    completion->running = false;
}
