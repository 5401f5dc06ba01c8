/* Looks at the clock of a start; see start_watchdog.h. */
#include "gpu_worker/start_watchdog.h"

#include <string.h>

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

static void *look(void *argument)
{
    struct start_watchdog *watchdog = argument;
    bool hangs = false;

    pthread_mutex_lock(&watchdog->mutex);
    while (!watchdog->over && !hangs) {
        struct timespec deadline = timespec_of(watchdog->deadline_ns);

        pthread_cond_timedwait(&watchdog->changed, &watchdog->mutex, &deadline);
        hangs = !watchdog->over && clock_now_ns() >= watchdog->deadline_ns;
    }
    pthread_mutex_unlock(&watchdog->mutex);
    if (hangs)
        watchdog->hangs(watchdog->context, watchdog->phase);
    return NULL;
}

int start_watchdog_begin(struct start_watchdog *watchdog, uint64_t bound_ns, enum start_phase phase,
                         void (*hangs)(void *context, enum start_phase phase), void *context)
{
    pthread_condattr_t monotonic;
    int status;

    CHECK(!watchdog->begun);
    watchdog->bound_ns = bound_ns;
    watchdog->deadline_ns = clock_now_ns() + bound_ns;
    watchdog->phase = phase;
    watchdog->hangs = hangs;
    watchdog->context = context;
    pthread_mutex_init(&watchdog->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&watchdog->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    status = pthread_create(&watchdog->thread, NULL, look, watchdog);
    watchdog->begun = status == 0;
    return -status;
}

void start_watchdog_move(struct start_watchdog *watchdog, enum start_phase phase)
{
    if (!watchdog->begun)
        return;
    pthread_mutex_lock(&watchdog->mutex);
    watchdog->phase = phase;
    watchdog->deadline_ns = clock_now_ns() + watchdog->bound_ns;
    pthread_mutex_unlock(&watchdog->mutex); /* it looks at the new time when the old one is over */
}

void start_watchdog_end(struct start_watchdog *watchdog)
{
    if (!watchdog->begun)
        return;
    pthread_mutex_lock(&watchdog->mutex);
    watchdog->over = true;
    pthread_cond_signal(&watchdog->changed);
    pthread_mutex_unlock(&watchdog->mutex);
    pthread_join(watchdog->thread, NULL);
    pthread_cond_destroy(&watchdog->changed);
    pthread_mutex_destroy(&watchdog->mutex);
    memset(watchdog, 0, sizeof(*watchdog));
}
