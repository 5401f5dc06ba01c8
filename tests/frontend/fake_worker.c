/* A worker without a model: serves the lanes like weir-worker, with logits that a test can compute,
 * and misbehaves on purpose. Takes weir-worker's command line; the misbehaviour comes from the
 * environment:
 *
 *     FAKE_BATCH_MS=n     sleeps n ms for each batch
 *     FAKE_STATUS=word    completes with poisoned, invalid or failed instead of ok;
 *                         nan: logits that are not numbers
 *     FAKE_HOLD=1         takes nothing until SIGUSR1
 *     FAKE_SILENT=1       no heartbeat after the first
 *     FAKE_STATE=word     starting or failed instead of ready
 *
 * logits[k] = ((sum of the ids * (k + 1)) mod 997) / 128 - 4, exact in float32. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/model.h"
#include "proto/job.h"
#include "proto/settings.h"
#include "shm/lane.h"
#include "shm/process.h"
#include "shm/stats.h"

#define BATCH_TEXTS_MAX 64
#define WAIT_NS         (20 * NS_PER_MS)

static volatile sig_atomic_t stop, released;

static void on_signal(int signal_number)
{
    if (signal_number == SIGUSR1)
        released = 1;
    else
        stop = 1;
}

struct fake {
    struct segment segment;
    struct job_shape shape;
    struct lane_consumer consumers[SEGMENT_LANES_MAX];
    struct stats_block *stats;
    void *payload;
    uint32_t *input_ids;
    float *logits;
    uint32_t batch_ms;
    const char *status;
    bool silent;
};

static const char *option(const char *name)
{
    const char *value = getenv(name);
    return value == NULL ? "" : value;
}

static uint32_t power_of_two_above(uint32_t value)
{
    uint32_t power = 2;
    while (power < value)
        power *= 2;
    return power;
}

static int open_fake(struct fake *fake, const struct settings *settings, char error[ERROR_BYTES])
{
    struct model model;
    int rc = model_open_config(&model, settings->model_id, error);
    if (rc != 0)
        return rc;
    fake->shape = (struct job_shape){.vocab_size = model.config.vocab_size,
                                     .max_tokens = model.config.n_positions,
                                     .n_labels = model.config.n_labels};
    char model_id[sizeof(model.fingerprint)];
    memcpy(model_id, model.fingerprint, sizeof(model_id));
    model_close(&model);
    struct segment_geometry geometry = {.n_lanes = (uint32_t)max_u64(settings->frontends, 1) + 1,
                                        .slots_per_lane =
                                            power_of_two_above(settings->max_concurrent_requests),
                                        .payload_bytes = job_payload_bytes(&fake->shape),
                                        .result_bytes = job_result_bytes(&fake->shape)};
    rc = segment_open_worker(&fake->segment, settings->segment, &geometry, model_id, error);
    if (rc != 0)
        return rc;
    process_claim(&fake->segment, PROCESS_WORKER);
    process_set_description(&fake->segment, PROCESS_WORKER, "fake");
    fake->stats = stats_writer(&fake->segment, PROCESS_WORKER);
    fake->payload = malloc(geometry.payload_bytes);
    fake->input_ids = calloc(fake->shape.max_tokens, sizeof(*fake->input_ids));
    fake->logits = calloc(fake->shape.n_labels, sizeof(*fake->logits));
    for (uint32_t lane = 0; rc == 0 && lane < geometry.n_lanes; lane++) {
        rc = lane_attach_consumer(&fake->consumers[lane], &fake->segment, lane, error);
        if (rc == 0)
            lane_recover(&fake->consumers[lane], LANE_TRIES_MAX, NULL, NULL);
    }
    return rc;
}

static void compute(struct fake *fake, uint32_t n_tokens)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n_tokens; i++)
        sum += fake->input_ids[i];
    for (uint32_t k = 0; k < fake->shape.n_labels; k++)
        fake->logits[k] =
            strcmp(fake->status, "nan") == 0 ? NAN : (float)((sum * (k + 1)) % 997) / 128.0f - 4.0f;
}

static enum lane_status status_of(const char *word)
{
    if (strcmp(word, "poisoned") == 0)
        return LANE_STATUS_POISONED;
    if (strcmp(word, "failed") == 0)
        return LANE_STATUS_FAILED;
    return strcmp(word, "invalid") == 0 ? LANE_STATUS_INVALID : LANE_STATUS_OK;
}

static void run(struct fake *fake, struct lane_ticket *ticket)
{
    struct lane_consumer *consumer = &fake->consumers[ticket->lane_index];
    uint32_t n_tokens, type_start;
    uint64_t now_ns = clock_now_ns();
    if (now_ns >= ticket->deadline_ns) {
        lane_expire(consumer, ticket, now_ns);
        return;
    }
    if (!lane_take(consumer, ticket, fake->payload, now_ns))
        return;
    enum lane_status status = status_of(fake->status);
    if (job_read(fake->payload, &fake->shape, fake->input_ids, &n_tokens, &type_start) != 0)
        status = LANE_STATUS_INVALID;
    else
        compute(fake, n_tokens);
    if (fake->batch_ms > 0)
        usleep(fake->batch_ms * 1000);
    lane_complete(consumer, ticket, status, fake->logits,
                  fake->shape.n_labels * (uint32_t)sizeof(float), ticket->weight, clock_now_ns());
}

/* One batch of each lane: what is queued, up to BATCH_TEXTS_MAX. */
static void serve_lane(struct fake *fake, uint32_t lane)
{
    struct lane_consumer *consumer = &fake->consumers[lane];
    struct lane_ticket ticket;
    uint32_t n = 0;
    while (n < BATCH_TEXTS_MAX && lane_peek(consumer, clock_now_ns(), &ticket)) {
        run(fake, &ticket);
        n++;
    }
    if (n == 0)
        return;
    lane_ring_frontend(consumer);
    stats_add(fake->stats, STATS_BATCHES, 1);
    stats_add(fake->stats, STATS_BATCH_TEXTS, n);
    process_batch_done(&fake->segment, PROCESS_WORKER, clock_now_ns());
}

static void serve(struct fake *fake)
{
    uint32_t n_lanes = fake->segment.geometry.n_lanes;
    bool hold = option("FAKE_HOLD")[0] != '\0';
    while (!stop) {
        if (!fake->silent)
            process_heartbeat(&fake->segment, PROCESS_WORKER, clock_now_ns());
        if (hold && !released) {
            usleep(WAIT_NS / NS_PER_US);
            continue;
        }
        for (uint32_t lane = 0; lane < n_lanes; lane++)
            serve_lane(fake, lane);
        lane_wait_work(fake->consumers, n_lanes, 0, WAIT_NS);
    }
}

int main(int argc, char **argv)
{
    static struct fake fake;
    struct settings settings;
    char error[ERROR_BYTES];
    if (settings_parse(&settings, argc, argv, getenv, error) != SETTINGS_OK ||
        open_fake(&fake, &settings, error) != 0) {
        fprintf(stderr, "fake_worker: %s\n", error);
        return SETTINGS_EXIT_CONFIG;
    }
    signal(SIGTERM, on_signal);
    signal(SIGUSR1, on_signal);
    fake.batch_ms = (uint32_t)strtoul(option("FAKE_BATCH_MS"), NULL, 10);
    fake.status = option("FAKE_STATUS");
    fake.silent = option("FAKE_SILENT")[0] != '\0';
    const char *state = option("FAKE_STATE");
    process_heartbeat(&fake.segment, PROCESS_WORKER, clock_now_ns());
    process_set_state(&fake.segment, PROCESS_WORKER,
                      strcmp(state, "starting") == 0 ? PROCESS_STATE_STARTING
                      : strcmp(state, "failed") == 0 ? PROCESS_STATE_FAILED
                                                     : PROCESS_STATE_READY);
    if (settings.ready_fd != 0)
        (void)!write((int)settings.ready_fd, "\n", 1);
    serve(&fake);
    process_set_state(&fake.segment, PROCESS_WORKER, PROCESS_STATE_DRAINING);
    return 0;
}
