/* What the hop through shared memory costs. Not a test: figures for docs, run by hand on a quiet
 * machine.
 *
 *     shm_bench
 *
 * 1. one thread, no sleep: reserve + submit + peek + take + complete + reap + release of a text
 * 2. two processes, one text at a time: the round trip, hot (the other side spins) and through
 * futexes, and after a pause in which caches and cores cool down
 * 3. two processes under load: wake-ups a text, the worker busy for a while with each batch */
#include "shm/lane.h"
#include "shm/layout.h"
#include "tests/shm/own_path.h"
#include "tests/test.h"
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS         256
#define PAYLOAD_BYTES 2048
#define ROUNDS        20000

static const struct segment_geometry geometry = {
    .n_lanes = 1, .slots_per_lane = SLOTS, .payload_bytes = PAYLOAD_BYTES, .result_bytes = 8};
static char path[64], error[ERROR_BYTES];

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static void submit(struct lane_producer *producer, uint32_t bytes)
{
    uint32_t slot_index;
    EXPECT(lane_reserve(producer, &slot_index));
    memset(lane_payload(producer, slot_index), 7, bytes);
    lane_payload_used(producer, slot_index, bytes);
    lane_submit(producer, slot_index, 1, clock_now_ns(), UINT64_MAX);
}

static uint32_t reap_all(struct lane_producer *producer)
{
    struct lane_completion completion;
    uint32_t n = 0;
    for (; lane_reap(producer, clock_now_ns(), &completion); n++)
        lane_release(producer, completion.slot_index);
    return n;
}

/* Takes and completes what is there, at most `batch_max`, after `busy_ns` of work. */
static uint32_t serve(struct lane_consumer *consumer, uint32_t batch_max, uint64_t busy_ns)
{
    static struct lane_ticket batch[SLOTS];
    static char payload[PAYLOAD_BYTES];
    uint32_t n = 0;
    uint64_t now_ns = clock_now_ns();
    while (n < batch_max && lane_peek(consumer, now_ns, &batch[n]))
        n += lane_take(consumer, &batch[n], payload, now_ns);
    while (n > 0 && clock_now_ns() - now_ns < busy_ns)
        ;
    for (uint32_t i = 0; i < n; i++)
        lane_complete(consumer, &batch[i], LANE_STATUS_OK, payload, 8, n, now_ns);
    if (n > 0)
        lane_ring_frontend(consumer);
    return n;
}

/* ---- 1 ---- */

static void one_thread(struct segment *segment, uint32_t bytes, uint32_t batch)
{
    struct lane_producer producer;
    struct lane_consumer consumer;
    EXPECT_EQUAL(lane_attach_producer(&producer, segment, 0, error), 0);
    EXPECT_EQUAL(lane_attach_consumer(&consumer, segment, 0, error), 0);
    uint64_t best_ns = UINT64_MAX;
    for (int run = 0; run < 20; run++) {
        uint64_t before_ns = clock_now_ns();
        for (uint32_t round = 0; round < ROUNDS / batch; round++) {
            for (uint32_t i = 0; i < batch; i++)
                submit(&producer, bytes);
            serve(&consumer, batch, 0);
            EXPECT_EQUAL(reap_all(&producer), batch);
        }
        best_ns = min_u64(best_ns, clock_now_ns() - before_ns);
    }
    printf("one thread, %4u bytes, batches of %3u: %4.0f ns a text\n", bytes, batch,
           (double)best_ns / (ROUNDS / batch * batch));
    lane_detach_producer(&producer);
    lane_detach_consumer(&consumer);
}

/* ---- 2 and 3 ---- */

static pid_t start_worker(uint64_t spin_ns, uint64_t busy_ns)
{
    fflush(NULL);
    pid_t child = fork();
    if (child != 0)
        return child;
    struct segment segment;
    struct lane_consumer consumer;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    EXPECT_EQUAL(segment_open_worker(&segment, path, &geometry, "bench", error), 0);
    EXPECT_EQUAL(lane_attach_consumer(&consumer, &segment, 0, error), 0);
    for (;;)
        if (serve(&consumer, SLOTS, busy_ns) == 0)
            lane_wait_work(&consumer, 1, spin_ns, NS_PER_S);
}

static void stop_worker(pid_t worker)
{
    kill(worker, SIGKILL);
    waitpid(worker, NULL, 0);
}

static uint64_t wakes_of(const struct segment *segment)
{
    static struct stats_view view;
    stats_merge(segment, &view);
    return view.counters[STATS_BELL_WAKES];
}

static void attach(struct segment *segment, struct lane_producer *producer)
{
    while (segment_open_frontend(segment, path, error) < 0 || segment_worker_epoch(segment) == 0)
        sched_yield();
    EXPECT_EQUAL(lane_attach_producer(producer, segment, 0, error), 0);
}

/* Both sides spin, or both sleep. */
static void round_trip(bool spins, uint64_t pause_ns)
{
    static uint64_t times_ns[ROUNDS];
    uint32_t n = pause_ns > 0 ? ROUNDS / 10 : ROUNDS;
    pid_t worker = start_worker(spins ? 100 * NS_PER_MS : 0, 0);
    struct segment segment;
    struct lane_producer producer;
    attach(&segment, &producer);
    uint64_t wakes = wakes_of(&segment);
    for (uint32_t i = 0; i < n; i++) {
        if (pause_ns > 0)
            nanosleep(&(struct timespec){.tv_nsec = (long)pause_ns}, NULL);
        uint64_t before_ns = clock_now_ns();
        submit(&producer, 64);
        while (reap_all(&producer) == 0)
            if (!spins)
                lane_wait_completion(&segment, 0, NS_PER_S);
        times_ns[i] = clock_now_ns() - before_ns;
    }
    wakes = wakes_of(&segment) - wakes;
    qsort(times_ns, n, sizeof(times_ns[0]), compare);
    printf("round trip, %s%s: p50 %6.2f us, p99 %6.2f us, %.2f wakes\n",
           spins ? "both spin" : "both sleep", pause_ns > 0 ? " after 200 us of idling" : "",
           (double)times_ns[n / 2] / NS_PER_US, (double)times_ns[n * 99 / 100] / NS_PER_US,
           (double)wakes / n);
    lane_detach_producer(&producer);
    segment_close(&segment);
    stop_worker(worker);
}

/* Keeps `in_flight` texts in the lane for a second; the worker computes for `busy_ns` a batch. */
static void load(uint32_t in_flight, uint64_t busy_ns)
{
    pid_t worker = start_worker(0, busy_ns);
    struct segment segment;
    struct lane_producer producer;
    attach(&segment, &producer);
    uint64_t wakes = wakes_of(&segment), n = 0, end_ns = clock_now_ns() + NS_PER_S;
    uint32_t waiting = 0;
    while (clock_now_ns() < end_ns || waiting > 0) {
        for (; waiting < in_flight && clock_now_ns() < end_ns; waiting++)
            submit(&producer, 64);
        uint32_t got = reap_all(&producer);
        waiting -= got;
        n += got;
        if (got == 0)
            lane_wait_completion(&segment, 0, NS_PER_S);
    }
    wakes = wakes_of(&segment) - wakes;
    printf("load, %3u in flight, %4.0f us a batch: %7" PRIu64 " texts/s, %.4f wakes a text\n",
           in_flight, (double)busy_ns / NS_PER_US, n, (double)wakes / (double)n);
    lane_detach_producer(&producer);
    segment_close(&segment);
    stop_worker(worker);
}

int main(void)
{
    struct segment segment;
    own_path(path);
    EXPECT_EQUAL(segment_open_worker(&segment, path, &geometry, "bench", error), 0);
    one_thread(&segment, 64, 1);
    one_thread(&segment, 64, 64);
    one_thread(&segment, PAYLOAD_BYTES, 64);
    segment_close(&segment);
    round_trip(true, 0);
    round_trip(false, 0);
    round_trip(false, 200 * NS_PER_US);
    load(64, 0);
    load(64, 500 * NS_PER_US);
    load(128, 2 * NS_PER_MS);
    return 0;
}
