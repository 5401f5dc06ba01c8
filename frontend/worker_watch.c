/* The judgement of worker_watch.h. */
#include "frontend/worker_watch.h"

#include "shm/lane.h"

void worker_watch_update(struct worker_watch *watch, const struct segment *segment, uint64_t now_ns)
{
    process_read(segment, PROCESS_WORKER, &watch->view);
    watch->alive = process_is_alive(&watch->view);
    watch->epoch = segment_worker_epoch(segment);
    watch->queue_depth = 0;
    for (uint32_t lane = 0; lane < segment->geometry.n_lanes; lane++)
        watch->queue_depth += lane_depth(segment, lane);
    if (watch->alive && watch->view.state == PROCESS_STATE_READY)
        watch->away_since_ns = 0;
    else if (watch->away_since_ns == 0)
        watch->away_since_ns = now_ns;
}

bool worker_watch_is_given_up(const struct worker_watch *watch, uint64_t now_ns)
{
    return watch->away_since_ns != 0 && now_ns - watch->away_since_ns > WORKER_AWAY_MAX_NS;
}

const char *worker_watch_complaint(const struct worker_watch *watch, bool draining, uint64_t now_ns)
{
    if (draining)
        return "draining: this process was told to stop";
    if (!watch->alive)
        return "the worker is not running; it is being replaced";
    if (watch->view.state == PROCESS_STATE_STARTING)
        return "the worker is starting";
    if (watch->view.state != PROCESS_STATE_READY)
        return "the worker does not serve";
    uint64_t silent_ns = now_ns > watch->view.heartbeat_ns ? now_ns - watch->view.heartbeat_ns : 0;
    if (silent_ns > watch->silent_max_ns)
        return "the worker's heartbeat is old; it hangs and is about to be replaced";
    return NULL;
}

const char *worker_watch_state_word(enum process_state state)
{
    static const char *const words[] = {
        [PROCESS_STATE_EMPTY] = "none",    [PROCESS_STATE_STARTING] = "starting",
        [PROCESS_STATE_READY] = "ready",   [PROCESS_STATE_DRAINING] = "draining",
        [PROCESS_STATE_FAILED] = "failed",
    };
    return (size_t)state < ARRAY_COUNT(words) ? words[state] : "unknown";
}
