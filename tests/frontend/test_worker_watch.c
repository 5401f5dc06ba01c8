/* When the server calls itself healthy. */
#include "frontend/worker_watch.h"
#include "tests/test.h"

#define NOW           (1000 * NS_PER_S)
#define SILENT_MAX_NS (30 * NS_PER_S)

static struct worker_watch well(void)
{
    return (struct worker_watch){
        .view = {.state = PROCESS_STATE_READY, .heartbeat_ns = NOW},
        .alive = true,
        .epoch = 1,
        .silent_max_ns = SILENT_MAX_NS,
    };
}

static void a_ready_worker_with_a_heartbeat_is_healthy(void)
{
    struct worker_watch watch = well();
    EXPECT(worker_watch_complaint(&watch, false, NOW) == NULL);
    watch.view.heartbeat_ns = NOW + NS_PER_S; /* beat after our clock was read */
    EXPECT(worker_watch_complaint(&watch, false, NOW) == NULL);
}

static void everything_else_has_a_reason(void)
{
    struct worker_watch watch = well();
    EXPECT(strstr(worker_watch_complaint(&watch, true, NOW), "draining") != NULL);
    watch.alive = false;
    EXPECT(strstr(worker_watch_complaint(&watch, false, NOW), "not running") != NULL);
    watch = well();
    watch.view.state = PROCESS_STATE_STARTING;
    EXPECT(strstr(worker_watch_complaint(&watch, false, NOW), "starting") != NULL);
    watch.view.state = PROCESS_STATE_FAILED;
    EXPECT(worker_watch_complaint(&watch, false, NOW) != NULL);
    watch.view.state = PROCESS_STATE_DRAINING;
    EXPECT(worker_watch_complaint(&watch, false, NOW) != NULL);
}

static void a_long_batch_is_no_complaint_until_the_supervisor_acts(void)
{
    struct worker_watch watch = well();
    watch.queue_depth = 1;
    EXPECT(worker_watch_complaint(&watch, false, NOW + SILENT_MAX_NS) == NULL);
    EXPECT(worker_watch_complaint(&watch, false, NOW + SILENT_MAX_NS + 1) != NULL);
}

static void a_worker_is_given_up_after_its_time_away(void)
{
    struct worker_watch watch = well();
    EXPECT(!worker_watch_is_given_up(&watch, NOW));
    watch.away_since_ns = NOW;
    EXPECT(!worker_watch_is_given_up(&watch, NOW + WORKER_AWAY_MAX_NS));
    EXPECT(worker_watch_is_given_up(&watch, NOW + WORKER_AWAY_MAX_NS + 1));
}

static void every_state_has_a_word(void)
{
    EXPECT_STRING(worker_watch_state_word(PROCESS_STATE_READY), "ready");
    EXPECT_STRING(worker_watch_state_word((enum process_state)99), "unknown");
}

int main(void)
{
    RUN(a_ready_worker_with_a_heartbeat_is_healthy);
    RUN(everything_else_has_a_reason);
    RUN(a_long_batch_is_no_complaint_until_the_supervisor_acts);
    RUN(a_worker_is_given_up_after_its_time_away);
    RUN(every_state_has_a_word);
    return 0;
}
