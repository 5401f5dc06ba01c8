/* Opening, the loop's turn, idling and draining. */
#include "gpu_worker/worker.h"

#include "gpu_worker/activity.h"
#include "shm/doorbell.h"
#include "shm/log.h"
#include "shm/process.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* While draining, how often the lanes are looked at for the last slot. */
#define DRAIN_LOOK_NS (10 * NS_PER_MS)

/* While batches fly the loop spins, for as long as a batch takes on a card: a core of such a
 * machine is the worker's, and a wake-up would cost more than the gap between two batches may. A
 * batch that takes longer runs on something slow, the card of the tests perhaps, and naps cost it
 * little. */
#define FLIGHT_SPIN_NS (5 * NS_PER_MS)
#define FLIGHT_NAP_NS  (100 * NS_PER_US)

/* ---- opening --------------------------------------------------------------------------------- */

static bool has_tickets(const struct worker *worker)
{
    for (uint32_t i = 0; i < ENCODER_FLIGHTS_MAX; i++)
        if (!worker->flights[i].tickets)
            return false;
    return true;
}

static int take_memory(struct worker *worker, char error[ERROR_BYTES])
{
    const struct worker_config *config = &worker->config;
    const struct segment_geometry *geometry = &worker->segment->geometry;
    struct batcher_limits limits = {
        .n_lanes = geometry->n_lanes,
        .slots_per_lane = geometry->slots_per_lane,
        .max_tokens = config->max_batch_tokens,
        .max_sequences = config->max_batch_sequences,
    };
    size_t n_sequences = config->max_batch_sequences, n_labels = config->shape.n_labels;

    worker->consumers = calloc(geometry->n_lanes, sizeof(*worker->consumers));
    worker->touched = calloc(geometry->n_lanes, sizeof(*worker->touched));
    for (uint32_t i = 0; i < ENCODER_FLIGHTS_MAX; i++)
        worker->flights[i].tickets = calloc(n_sequences, sizeof(*worker->flights[i].tickets));
    worker->input_ids = calloc((size_t)config->max_batch_tokens + config->shape.max_tokens,
                               sizeof(*worker->input_ids));
    worker->cu_seqlens = calloc(n_sequences + 1, sizeof(*worker->cu_seqlens));
    worker->type_starts = calloc(n_sequences, sizeof(*worker->type_starts));
    worker->logits = calloc(n_sequences * n_labels, sizeof(*worker->logits));
    worker->canary_logits = calloc(n_labels, sizeof(*worker->canary_logits));
    worker->payload = malloc(geometry->payload_bytes);
    if (!worker->consumers || !worker->touched || !has_tickets(worker) || !worker->input_ids ||
        !worker->cu_seqlens || !worker->type_starts || !worker->logits || !worker->canary_logits ||
        !worker->payload) {
        snprintf(error, ERROR_BYTES, "no memory for batches of %u texts, %u tokens",
                 config->max_batch_sequences, config->max_batch_tokens);
        return -ENOMEM;
    }
    worker->batcher = batcher_create(&limits, error);
    return worker->batcher ? 0 : -ENOMEM;
}

bool worker_predecessor_crashed(const struct segment *segment)
{
    struct process_view predecessor;

    process_read(segment, PROCESS_WORKER, &predecessor);
    return predecessor.state >= PROCESS_STATE_READY && predecessor.last_words[0] != 0;
}

static void log_poisoned(void *context, const void *payload)
{
    struct worker *worker = context;

    stats_add(worker->stats, STATS_TEXTS_POISONED, 1);
    log_error("a text killed %u workers and is given up; hash of its tokens: %016llx",
              worker->tries_max, (unsigned long long)job_hash(payload, &worker->config.shape));
}

static int take_over_lanes(struct worker *worker, char error[ERROR_BYTES])
{
    uint32_t n_queued_again = 0;

    for (uint32_t lane = 0; lane < worker->segment->geometry.n_lanes; lane++) {
        int status = lane_attach_consumer(&worker->consumers[lane], worker->segment, lane, error);
        if (status)
            return status;
        n_queued_again +=
            lane_recover(&worker->consumers[lane], worker->tries_max, log_poisoned, worker);
    }
    if (n_queued_again > 0)
        log_warning("%u texts were running when the last worker died; each runs again, alone",
                    n_queued_again);
    return 0;
}

int worker_open(struct worker *worker, struct segment *segment, const struct worker_config *config,
                char error[ERROR_BYTES])
{
    int status;

    CHECK(config->max_batch_tokens >= config->shape.max_tokens);
    CHECK(config->shape.max_tokens >= 1 && config->max_batch_sequences >= 1);
    CHECK(!config->backend->submit == !config->backend->almost_done);
    CHECK(!config->backend->submit == !config->backend->collect);
    CHECK(segment->geometry.payload_bytes >= job_payload_bytes(&config->shape));
    CHECK(segment->geometry.result_bytes >= job_result_bytes(&config->shape));
    memset(worker, 0, sizeof(*worker));
    worker->config = *config;
    worker->segment = segment;
    worker->stats = stats_writer(segment, PROCESS_WORKER);
    worker->tries_max = config->predecessor_crashed ? LANE_TRIES_MAX : LANE_SILENT_TRIES_MAX;
    test_hooks_init(&worker->hooks);
    status = take_memory(worker, error);
    return status ? status : take_over_lanes(worker, error);
}

void worker_close(struct worker *worker)
{
    uint32_t n_lanes = worker->consumers ? worker->segment->geometry.n_lanes : 0;

    for (uint32_t lane = 0; lane < n_lanes; lane++)
        lane_detach_consumer(&worker->consumers[lane]);
    batcher_destroy(worker->batcher);
    free(worker->consumers);
    free(worker->touched);
    for (uint32_t i = 0; i < ENCODER_FLIGHTS_MAX; i++)
        free(worker->flights[i].tickets);
    free(worker->input_ids);
    free(worker->cu_seqlens);
    free(worker->type_starts);
    free(worker->logits);
    free(worker->canary_logits);
    free(worker->payload);
    memset(worker, 0, sizeof(*worker));
}

/* ---- the canary ------------------------------------------------------------------------------ */

static int judge_canary(struct worker *worker, char error[ERROR_BYTES])
{
    size_t bytes = worker->config.shape.n_labels * sizeof(float);

    for (uint32_t i = 0; i < worker->config.shape.n_labels; i++)
        if (!isfinite(worker->logits[i])) {
            snprintf(error, ERROR_BYTES,
                     "the canary's logit %u is not a number: the weights or the encoder are broken",
                     i);
            return -EIO;
        }
    if (!worker->canary_known)
        memcpy(worker->canary_logits, worker->logits, bytes);
    else if (memcmp(worker->canary_logits, worker->logits, bytes) != 0) {
        snprintf(error, ERROR_BYTES,
                 "the canary's logits changed since the start: the encoder's memory is damaged");
        return -EIO;
    }
    worker->canary_known = true;
    return 0;
}

int worker_canary(struct worker *worker, char error[ERROR_BYTES])
{
    const struct job_shape *shape = &worker->config.shape;
    uint32_t n_tokens = (uint32_t)min_u64(WORKER_CANARY_TOKENS, shape->max_tokens);
    struct batch batch = {.input_ids = worker->input_ids,
                          .cu_seqlens = worker->cu_seqlens,
                          .type_starts = worker->type_starts,
                          .n_sequences = 1,
                          .n_tokens = n_tokens};
    int status;

    for (uint32_t i = 0; i < n_tokens; i++)
        worker->input_ids[i] = i % shape->vocab_size;
    worker->cu_seqlens[0] = 0;
    worker->cu_seqlens[1] = n_tokens;
    worker->type_starts[0] = n_tokens;
    activity_running(1, 1, n_tokens);
    status = worker->config.backend->forward(worker->config.encoder, &batch, worker->logits);
    activity_running(0, 0, 0);
    if (status) {
        snprintf(error, ERROR_BYTES, "the %s encoder failed on the canary: %s",
                 worker->config.backend->name, strerror(-status));
        return status;
    }
    status = judge_canary(worker, error);
    if (status)
        return status;
    worker->last_batch_ns = clock_now_ns();
    process_batch_done(worker->segment, PROCESS_WORKER, worker->last_batch_ns);
    stats_add(worker->stats, STATS_CANARIES, 1);
    return 0;
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* At most as many as a lane has slots: a frontend gone wild cannot keep us here. */
static void peek_lanes(struct worker *worker)
{
    for (uint32_t lane = 0; lane < worker->segment->geometry.n_lanes; lane++) {
        struct lane_ticket ticket;

        for (uint32_t i = 0; i < worker->segment->geometry.slots_per_lane; i++) {
            if (!lane_peek(&worker->consumers[lane], worker->now_ns, &ticket))
                break;
            batcher_add(worker->batcher, &ticket);
        }
    }
}

static void expire_text(void *context, const struct lane_ticket *ticket)
{
    struct worker *worker = context;

    if (!lane_expire(&worker->consumers[ticket->lane_index], ticket, worker->now_ns))
        return; /* cancelled meanwhile */
    worker->touched[ticket->lane_index] = true;
    stats_add(worker->stats, STATS_TEXTS_EXPIRED, 1);
}

static void ring_touched_lanes(struct worker *worker)
{
    for (uint32_t lane = 0; lane < worker->segment->geometry.n_lanes; lane++) {
        if (worker->touched[lane])
            lane_ring_frontend(&worker->consumers[lane]);
        worker->touched[lane] = false;
    }
}

static bool lanes_are_empty(const struct worker *worker)
{
    for (uint32_t lane = 0; lane < worker->segment->geometry.n_lanes; lane++)
        if (lane_depth(worker->segment, lane) > 0)
            return false;
    return true;
}

/* One that still runs may have read a request and not yet submitted it. The supervisor ends the
 * frontends first; where a signal comes to all of us at once (systemd, Ctrl-C) we keep that order.
 */
static bool frontends_are_gone(const struct worker *worker)
{
    struct process_view frontend;

    for (uint32_t lane = 0; lane < worker->segment->geometry.n_lanes; lane++) {
        process_read(worker->segment, lane, &frontend);
        if (process_is_alive(&frontend))
            return false;
    }
    return true;
}

static bool is_drained(struct worker *worker)
{
    if (worker->drain_end_ns == 0) {
        worker->drain_end_ns = worker->now_ns + worker->config.drain_timeout_ms * NS_PER_MS;
        process_set_state(worker->segment, PROCESS_WORKER, PROCESS_STATE_DRAINING);
        log_info("draining: %u texts wait, at most %u ms", batcher_waiting(worker->batcher),
                 worker->config.drain_timeout_ms);
    }
    if (worker_n_flights(worker) > 0)
        return false;
    if (lanes_are_empty(worker) && frontends_are_gone(worker))
        return true;
    if (worker->now_ns < worker->drain_end_ns)
        return false;
    log_warning("the drain's %u ms are over; %u texts are left for a successor",
                worker->config.drain_timeout_ms, batcher_waiting(worker->batcher));
    return true;
}

static int idle(struct worker *worker, char error[ERROR_BYTES])
{
    uint64_t canary_due_ns = worker->last_batch_ns + WORKER_CANARY_PERIOD_NS;
    uint64_t timeout_ns = worker->drain_end_ns ? DRAIN_LOOK_NS : WORKER_CANARY_PERIOD_NS;

    if (worker->now_ns >= canary_due_ns)
        return worker_canary(worker, error);
    lane_wait_work(worker->consumers, worker->segment->geometry.n_lanes, worker->config.spin_ns,
                   min_u64(timeout_ns, canary_due_ns - worker->now_ns));
    return 0;
}

/* Nothing was due: a short wait while batches fly, a sleep while none does. */
static int wait(struct worker *worker, char error[ERROR_BYTES])
{
    static const struct timespec nap = {.tv_nsec = FLIGHT_NAP_NS};

    if (worker_n_flights(worker) == 0)
        return idle(worker, error);
    if (worker->now_ns - worker->moved_ns < FLIGHT_SPIN_NS)
        doorbell_relax();
    else
        nanosleep(&nap, NULL);
    return 0;
}

/* The next batch before the results of the last: the card first. 1 when a batch moved, 0 or
 * -errno. */
static int move_batches(struct worker *worker, char error[ERROR_BYTES])
{
    int submitted = worker_submit_batch(worker, error), collected;

    if (submitted < 0)
        return submitted;
    collected = worker_collect_batch(worker, error);
    return collected == 0 ? submitted : collected;
}

int worker_run(struct worker *worker, const _Atomic bool *stop, char error[ERROR_BYTES])
{
    int status = 0;

    while (status >= 0) {
        worker->now_ns = clock_now_ns();
        if (status > 0 || worker_n_flights(worker) == 0) {
            worker->moved_ns = worker->now_ns;
            process_heartbeat(worker->segment, PROCESS_WORKER, worker->now_ns);
        }
        if (atomic_load_explicit(stop, memory_order_relaxed) && is_drained(worker))
            return 0;
        peek_lanes(worker);
        batcher_expire(worker->batcher, worker->now_ns, expire_text, worker);
        status = move_batches(worker, error);
        ring_touched_lanes(worker);
        if (status == 0)
            status = wait(worker, error);
    }
    return status;
}
