/* The same lane code with threads instead of processes, over one mapping, so that a race detector
 * sees both sides: it keeps its books by address, and two mappings of one page look unrelated to
 * it.
 *
 * A worker thread, and for each of two lanes a loop thread and a completion thread. */
#include "shm/lane.h"
#include "shm/layout.h"
#include "tests/shm/own_path.h"
#include "tests/test.h"
#include <pthread.h>
#include <semaphore.h>

#define N_LANES   2
#define BATCH_MAX 8

static const struct segment_geometry geometry = {
    .n_lanes = N_LANES, .slots_per_lane = 16, .payload_bytes = 256, .result_bytes = 16};
static struct segment segment;
static uint64_t n_texts = 20000; /* a lane */
static _Atomic uint32_t n_loops_running = N_LANES;

static uint32_t take_batch(struct lane_consumer *consumers, struct lane_ticket *batch,
                           uint64_t *first_words)
{
    uint32_t n = 0;
    for (uint32_t lane = 0; lane < N_LANES; lane++)
        while (n < BATCH_MAX && lane_peek(&consumers[lane], clock_now_ns(), &batch[n])) {
            uint64_t payload[32];
            if (!lane_take(&consumers[lane], &batch[n], payload, clock_now_ns()))
                continue; /* cancelled */
            for (uint32_t i = 1; i < batch[n].weight; i++)
                EXPECT(payload[i] == payload[0]);
            first_words[n++] = payload[0];
        }
    return n;
}

static void *work(void *argument)
{
    struct lane_consumer *consumers = argument;
    while (atomic_load(&n_loops_running) > 0) {
        struct lane_ticket batch[BATCH_MAX];
        uint64_t words[BATCH_MAX];
        uint32_t n = take_batch(consumers, batch, words);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t result[2] = {words[i], ~words[i]};
            lane_complete(&consumers[batch[i].lane_index], &batch[i], LANE_STATUS_OK, result,
                          sizeof(result), n, clock_now_ns());
        }
        for (uint32_t lane = 0; n > 0 && lane < N_LANES; lane++)
            lane_ring_frontend(&consumers[lane]);
        if (n == 0)
            lane_wait_work(consumers, N_LANES, 2 * NS_PER_US, NS_PER_S);
    }
    return NULL;
}

struct frontend {
    uint32_t lane;
    struct lane_producer producer;
    sem_t woken;
    _Atomic bool ended;
    uint64_t words[16], n_answered, n_cancelled;
};

static void *wait_for_completions(void *argument)
{
    struct frontend *frontend = argument;
    while (!atomic_load(&frontend->ended))
        if (lane_wait_completion(&segment, frontend->lane, NS_PER_S))
            sem_post(&frontend->woken);
    return NULL;
}

static void submit(struct frontend *frontend, uint64_t number)
{
    uint32_t slot_index;
    if (!lane_reserve(&frontend->producer, &slot_index))
        return;
    uint32_t n_words = 1 + (uint32_t)(number % 32);
    uint64_t *payload = lane_payload(&frontend->producer, slot_index);
    for (uint32_t i = 0; i < n_words; i++)
        payload[i] = number;
    lane_payload_used(&frontend->producer, slot_index, n_words * 8);
    frontend->words[slot_index] = number;
    lane_submit(&frontend->producer, slot_index, n_words, clock_now_ns(), UINT64_MAX);
    if (number % 7 == 0 && lane_cancel(&frontend->producer, slot_index)) {
        lane_release(&frontend->producer, slot_index);
        frontend->n_cancelled++;
    }
}

static void reap(struct frontend *frontend)
{
    struct lane_completion completion;
    while (lane_reap(&frontend->producer, clock_now_ns(), &completion)) {
        const uint64_t *result = completion.result;
        EXPECT(result[0] == frontend->words[completion.slot_index] && result[1] == ~result[0]);
        lane_release(&frontend->producer, completion.slot_index);
        frontend->n_answered++;
    }
}

static void wait_to_be_woken(struct frontend *frontend)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    sem_timedwait(&frontend->woken, &until);
}

static void *loop(void *argument)
{
    struct frontend *frontend = argument;
    for (uint64_t number = 1; number <= n_texts; number++) {
        submit(frontend, number);
        reap(frontend);
        if (number % 5 == 0 || frontend->producer.n_free == 0)
            wait_to_be_woken(frontend);
    }
    while (frontend->producer.n_free < geometry.slots_per_lane) {
        wait_to_be_woken(frontend);
        reap(frontend);
    }
    atomic_store(&frontend->ended, true);
    atomic_fetch_sub(&n_loops_running, 1);
    lane_wake_worker(&segment);
    return NULL;
}

static void threads_on_one_mapping_do_not_race(void)
{
    static struct frontend frontends[N_LANES];
    struct lane_consumer consumers[N_LANES];
    pthread_t worker, loops[N_LANES], waiters[N_LANES];
    char error[ERROR_BYTES];
    for (uint32_t lane = 0; lane < N_LANES; lane++) {
        frontends[lane].lane = lane;
        sem_init(&frontends[lane].woken, 0, 0);
        EXPECT_EQUAL(lane_attach_consumer(&consumers[lane], &segment, lane, error), 0);
        EXPECT_EQUAL(lane_attach_producer(&frontends[lane].producer, &segment, lane, error), 0);
    }
    pthread_create(&worker, NULL, work, consumers);
    for (uint32_t lane = 0; lane < N_LANES; lane++) {
        pthread_create(&waiters[lane], NULL, wait_for_completions, &frontends[lane]);
        pthread_create(&loops[lane], NULL, loop, &frontends[lane]);
    }
    for (uint32_t lane = 0; lane < N_LANES; lane++) {
        pthread_join(loops[lane], NULL);
        pthread_join(waiters[lane], NULL);
        printf("lane %u: %" PRIu64 " answered, %" PRIu64 " cancelled\n", lane,
               frontends[lane].n_answered, frontends[lane].n_cancelled);
        EXPECT(frontends[lane].n_answered > 0);
        lane_detach_producer(&frontends[lane].producer);
    }
    pthread_join(worker, NULL);
    for (uint32_t lane = 0; lane < N_LANES; lane++)
        lane_detach_consumer(&consumers[lane]);
}

int main(void)
{
    char path[64], error[ERROR_BYTES];
    own_path(path);
    EXPECT_EQUAL(segment_open_worker(&segment, path, &geometry, "model", error), 0);
    RUN(threads_on_one_mapping_do_not_race);
    segment_close(&segment);
    return 0;
}
