/* gpu_check through shared memory: the worker's own loop on its thread, this one as the frontend.
 * One text at a time gives the time from submit to result; a lane kept full gives the rate. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "gpu_worker/worker.h"
#include "shm/log.h"
#include "shm/process.h"
#include "tests/cuda/gpu_check.h"
#include "tests/shm/own_path.h"

#define SLOTS       4096
#define TEXT_TOKENS 32
#define TEXTS       200000
#define TEXTS_DRY   200
#define SINGLES     1000
#define SINGLES_DRY 20
#define SPIN_NS     (20 * NS_PER_MS)
#define WAIT_MAX_NS (20 * NS_PER_S)

struct house {
    char path[64], error[ERROR_BYTES];
    struct segment theirs, ours;
    struct lane_producer lane;
    struct worker worker;
    _Atomic bool stop;
    int result;
    struct job_shape shape;
    uint32_t ids[TEXT_TOKENS];
};

static void *serve(void *argument)
{
    struct house *house = argument;
    house->result = worker_run(&house->worker, &house->stop, house->error);
    return NULL;
}

static void open_house(struct house *house, const struct check *check, struct encoder *encoder)
{
    const struct model_config *config = &check->random.model.config;
    uint64_t seed = 3;
    house->shape = (struct job_shape){config->vocab_size, config->n_positions, CHECK_LABELS};
    const struct segment_geometry geometry = {.n_lanes = 2,
                                              .slots_per_lane = SLOTS,
                                              .payload_bytes = job_payload_bytes(&house->shape),
                                              .result_bytes = job_result_bytes(&house->shape)};
    const struct worker_config worker = {.backend = &encoder_cuda,
                                         .encoder = encoder,
                                         .shape = house->shape,
                                         .max_batch_tokens = check->max_tokens,
                                         .max_batch_sequences = CHECK_SEQUENCES_MAX,
                                         .drain_timeout_ms = 10000,
                                         .spin_ns = SPIN_NS};
    for (uint32_t i = 0; i < TEXT_TOKENS; i++)
        house->ids[i] = random_between(&seed, 0, config->vocab_size - 1);
    EXPECT_EQUAL(
        segment_open_worker(&house->theirs, house->path, &geometry, "gpu_check", house->error), 0);
    process_claim(&house->theirs, PROCESS_WORKER);
    EXPECT_EQUAL(worker_open(&house->worker, &house->theirs, &worker, house->error), 0);
    EXPECT_EQUAL(segment_open_frontend(&house->ours, house->path, house->error), 0);
    EXPECT_EQUAL(lane_attach_producer(&house->lane, &house->ours, 0, house->error), 0);
}

static bool submit(struct house *house)
{
    const uint64_t now_ns = clock_now_ns();
    uint32_t slot;
    if (!lane_reserve(&house->lane, &slot))
        return false;
    job_write(lane_payload(&house->lane, slot), &house->shape, house->ids, TEXT_TOKENS,
              TEXT_TOKENS);
    lane_submit(&house->lane, slot, TEXT_TOKENS, now_ns, now_ns + 1000 * NS_PER_S);
    return true;
}

/* One result, spun for: its bits must be those of the first. */
static void reap(struct house *house)
{
    static float first[CHECK_LABELS];
    static bool is_known;
    struct lane_completion completion;
    const uint64_t end_ns = clock_now_ns() + WAIT_MAX_NS;
    while (!lane_reap(&house->lane, clock_now_ns(), &completion))
        EXPECT(clock_now_ns() < end_ns);
    EXPECT_EQUAL(completion.status, LANE_STATUS_OK);
    if (!is_known)
        memcpy(first, completion.result, sizeof first);
    is_known = true;
    EXPECT(memcmp(first, completion.result, sizeof first) == 0);
    lane_release(&house->lane, completion.slot_index);
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void measure_singles(struct check *check, struct house *house)
{
    static uint64_t ns[SINGLES];
    const uint32_t n = check->dry ? SINGLES_DRY : SINGLES;
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t started_ns = clock_now_ns();
        EXPECT(submit(house));
        reap(house);
        ns[i] = clock_now_ns() - started_ns;
    }
    qsort(ns, n, sizeof ns[0], compare_u64);
    check_entry(check, "1x32", "{\"median_us\": %.1f, \"p99_us\": %.1f}", (double)ns[n / 2] / 1e3,
                (double)ns[n - 1 - n / 100] / 1e3);
}

static void measure_flood(struct check *check, struct house *house)
{
    const uint32_t n = check->dry ? TEXTS_DRY : TEXTS;
    uint32_t submitted = 0, reaped = 0;
    const uint64_t started_ns = clock_now_ns();
    while (reaped < n) {
        while (submitted < n && submitted - reaped < SLOTS && submit(house))
            submitted++;
        reap(house);
        reaped++;
    }
    const double seconds = (double)(clock_now_ns() - started_ns) / 1e9;
    check_entry(check, "flood", "{\"texts\": %u, \"mtok_s\": %.3f, \"texts_s\": %.0f}", n,
                (double)n * TEXT_TOKENS / seconds / 1e6, n / seconds);
}

void check_ring(struct check *check)
{
    static struct house house;
    pthread_t thread;
    if (check->max_tokens < check->random.model.config.n_positions)
        check->max_tokens = check->random.model.config.n_positions;
    own_path(house.path); /* forks: before there are threads and a card */
    struct encoder *encoder = check_encoder_open(check);
    open_house(&house, check, encoder);
    EXPECT_EQUAL(pthread_create(&thread, NULL, serve, &house), 0);
    measure_singles(check, &house);
    measure_flood(check, &house);
    atomic_store(&house.stop, true);
    lane_wake_worker(&house.theirs);
    pthread_join(thread, NULL);
    if (house.result != 0)
        fprintf(stderr, "%s\n", house.error);
    EXPECT_EQUAL(house.result, 0);
    lane_detach_producer(&house.lane);
    worker_close(&house.worker);
    segment_close(&house.ours);
    segment_close(&house.theirs);
    unlink(house.path);
    encoder_cuda.destroy(encoder);
}
