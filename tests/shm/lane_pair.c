/* The two sides of lane_pair.h. */
#include "tests/shm/lane_pair.h"
#include "tests/shm/own_path.h"
#include "tests/test.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct segment_geometry geometry = {
    .n_lanes = 2, .slots_per_lane = LANE_PAIR_SLOTS, .payload_bytes = 100, .result_bytes = 20};

void lane_pair_open(struct lane_pair *pair)
{
    char error[ERROR_BYTES];
    *pair = (struct lane_pair){0};
    own_path(pair->path);
    EXPECT_EQUAL(segment_open_worker(&pair->worker, pair->path, &geometry, "model", error), 0);
    EXPECT_EQUAL(segment_open_frontend(&pair->frontend, pair->path, error), 0);
    EXPECT_EQUAL(lane_attach_consumer(&pair->consumer, &pair->worker, 0, error), 0);
    EXPECT_EQUAL(lane_attach_producer(&pair->producer, &pair->frontend, 0, error), 0);
    pair->lane = layout_lane(&pair->worker, 0);
}

void lane_pair_close(struct lane_pair *pair)
{
    lane_detach_producer(&pair->producer);
    lane_detach_consumer(&pair->consumer);
    segment_close(&pair->frontend);
    segment_close(&pair->worker);
    unlink(pair->path);
}

uint32_t lane_pair_new_worker(struct lane_pair *pair)
{
    return lane_pair_new_worker_told(pair, NULL, NULL);
}

uint32_t lane_pair_new_worker_told(struct lane_pair *pair,
                                   void (*poisoned)(void *context, const void *payload),
                                   void *context)
{
    char error[ERROR_BYTES];
    lane_detach_consumer(&pair->consumer);
    segment_close(&pair->worker);
    EXPECT_EQUAL(segment_open_worker(&pair->worker, pair->path, &geometry, "model", error), 0);
    EXPECT_EQUAL(lane_attach_consumer(&pair->consumer, &pair->worker, 0, error), 0);
    pair->lane = layout_lane(&pair->worker, 0);
    return lane_recover(&pair->consumer, LANE_TRIES_MAX, poisoned, context);
}

void lane_pair_new_frontend(struct lane_pair *pair)
{
    char error[ERROR_BYTES];
    lane_detach_producer(&pair->producer);
    EXPECT_EQUAL(lane_attach_producer(&pair->producer, &pair->frontend, 0, error), 0);
}

uint32_t lane_pair_submit(struct lane_pair *pair, const char *text, uint64_t now_ns)
{
    uint32_t slot_index;
    EXPECT(lane_reserve(&pair->producer, &slot_index));
    strcpy(lane_payload(&pair->producer, slot_index), text);
    lane_submit(&pair->producer, slot_index, (uint32_t)strlen(text), now_ns, UINT64_MAX);
    return slot_index;
}

struct lane_ticket lane_pair_take(struct lane_pair *pair, const char *text, uint64_t now_ns)
{
    struct lane_ticket ticket;
    char payload[100];
    EXPECT(lane_peek(&pair->consumer, now_ns, &ticket));
    EXPECT(lane_take(&pair->consumer, &ticket, payload, now_ns));
    EXPECT_STRING(payload, text);
    return ticket;
}

void lane_pair_complete(struct lane_pair *pair, const struct lane_ticket *ticket,
                        const char *result)
{
    lane_complete(&pair->consumer, ticket, LANE_STATUS_OK, result, (uint32_t)strlen(result) + 1, 1,
                  0);
    lane_ring_frontend(&pair->consumer);
}

void lane_pair_reap(struct lane_pair *pair, const char *result, uint64_t now_ns)
{
    struct lane_completion completion;
    EXPECT(lane_reap(&pair->producer, now_ns, &completion));
    EXPECT_EQUAL(completion.status, LANE_STATUS_OK);
    EXPECT_STRING(completion.result, result);
    lane_release(&pair->producer, completion.slot_index);
}

struct slot_header *lane_pair_slot(struct lane_pair *pair, uint32_t slot_index)
{
    return layout_slot(pair->lane, &geometry, slot_index);
}

uint32_t lane_pair_state(struct lane_pair *pair, uint32_t slot_index)
{
    return slot_word_state(atomic_load(&lane_pair_slot(pair, slot_index)->state_word));
}

uint64_t lane_pair_counter(struct lane_pair *pair, enum stats_counter counter)
{
    static struct stats_view view;
    stats_merge(&pair->worker, &view);
    return view.counters[counter];
}

void expect_check(void (*function)(void *argument), void *argument)
{
    fflush(NULL);
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        signal(SIGABRT, SIG_DFL); /* sanitizers may hold it */
        function(argument);
        _exit(0);
    }
    int status;
    EXPECT_EQUAL(waitpid(child, &status, 0), child);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
