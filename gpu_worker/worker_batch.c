/* A batch's flight: take the slots, check the copies, hand to the encoder; collect, hand back. */
#include "gpu_worker/worker.h"

#include "gpu_worker/activity.h"
#include "shm/process.h"

#include <stdio.h>
#include <string.h>

static void complete(struct worker *worker, const struct lane_ticket *ticket,
                     enum lane_status status, const float *logits, uint32_t batch_tokens)
{
    uint32_t bytes = logits ? job_result_bytes(&worker->config.shape) : 0;

    lane_complete(&worker->consumers[ticket->lane_index], ticket, status, logits, bytes,
                  batch_tokens, worker->now_ns);
    worker->touched[ticket->lane_index] = true;
}

/* Takes a slot and appends its text to the batch. False when there is nothing to compute: it was
 * cancelled meanwhile, or its contents make no sense. A text of more tokens than its weight makes
 * none: the batch was cut by weights. */
static bool append_text(struct worker *worker, struct batch *batch, struct lane_ticket *ticket)
{
    uint32_t n_tokens, type_start;

    if (!lane_take(&worker->consumers[ticket->lane_index], ticket, worker->payload, worker->now_ns))
        return false;
    if (job_read(worker->payload, &worker->config.shape, worker->input_ids + batch->n_tokens,
                 &n_tokens, &type_start) ||
        n_tokens > ticket->weight) {
        stats_add(worker->stats, STATS_TEXTS_BAD, 1);
        complete(worker, ticket, LANE_STATUS_INVALID, NULL, 0);
        return false;
    }
    if (ticket->tries > 0)
        stats_add(worker->stats, STATS_TEXTS_REPLAYED, 1);
    worker->type_starts[batch->n_sequences] = type_start;
    batch->n_tokens += n_tokens;
    worker->cu_seqlens[++batch->n_sequences] = batch->n_tokens;
    return true;
}

/* The tickets that are in the batch move to the front of the flight's. */
static struct batch take_batch(struct worker *worker, struct worker_flight *flight, uint32_t n)
{
    struct batch batch = {.input_ids = worker->input_ids,
                          .cu_seqlens = worker->cu_seqlens,
                          .type_starts = worker->type_starts};

    flight->taken_ns = worker->now_ns;
    flight->alone = flight->tickets[0].tries > 0;
    worker->cu_seqlens[0] = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct lane_ticket ticket = flight->tickets[i];
        uint32_t at = batch.n_sequences;

        if (append_text(worker, &batch, &ticket))
            flight->tickets[at] = ticket;
    }
    CHECK(batch.n_tokens <= worker->config.max_batch_tokens);
    flight->n_sequences = batch.n_sequences;
    flight->n_tokens = batch.n_tokens;
    return batch;
}

/* A frontend's clock word may be anything; a wait is never negative. */
static uint64_t time_between(uint64_t from_ns, uint64_t to_ns)
{
    return from_ns < to_ns ? to_ns - from_ns : 0;
}

/* A text waits until its batch runs, also when it was taken while the batch before still ran: so no
 * two batches' times overlap. It is submitted before it runs, also when our clock is of before. */
static void count_batch(struct worker *worker, const struct worker_flight *flight,
                        uint64_t previous_end_ns)
{
    uint64_t start_ns = max_u64(flight->taken_ns, previous_end_ns);

    stats_add(worker->stats, STATS_BATCHES, 1);
    stats_add(worker->stats, STATS_BATCH_TEXTS, flight->n_sequences);
    stats_add(worker->stats, STATS_BATCH_TOKENS, flight->n_tokens);
    stats_record(worker->stats, STATS_HISTOGRAM_BATCH_SIZE_TEXTS, flight->n_sequences);
    stats_record(worker->stats, STATS_HISTOGRAM_BATCH_SIZE_TOKENS, flight->n_tokens);
    for (uint32_t i = 0; i < flight->n_sequences; i++) {
        uint64_t submitted_ns = flight->tickets[i].submitted_ns;
        uint64_t runs_ns = max_u64(start_ns, submitted_ns);

        stats_record(worker->stats, STATS_HISTOGRAM_QUEUE, time_between(submitted_ns, runs_ns));
        stats_record(worker->stats, STATS_HISTOGRAM_ENCODE, time_between(runs_ns, worker->now_ns));
    }
}

/* ---- the flights ----------------------------------------------------------------------------- */

uint32_t worker_n_flights(const struct worker *worker)
{
    return worker->flights_begun - worker->flights_ended;
}

static struct worker_flight *flight_of(struct worker *worker, uint32_t number)
{
    return &worker->flights[number % ENCODER_FLIGHTS_MAX];
}

static void say_what_flies(struct worker *worker)
{
    uint32_t n_sequences = 0, n_tokens = 0;

    for (uint32_t i = worker->flights_ended; i != worker->flights_begun; i++) {
        n_sequences += flight_of(worker, i)->n_sequences;
        n_tokens += flight_of(worker, i)->n_tokens;
    }
    activity_running(worker_n_flights(worker), n_sequences, n_tokens);
}

/* The flight stays begun: what failed was RUNNING. */
static int fail(struct worker *worker, const struct worker_flight *flight, int status,
                char error[ERROR_BYTES])
{
    snprintf(error, ERROR_BYTES, "the %s encoder failed on a batch of %u texts, %u tokens%s: %s",
             worker->config.backend->name, flight->n_sequences, flight->n_tokens,
             worker_n_flights(worker) > 1 ? ", one of two in flight" : "", strerror(-status));
    return status;
}

/* Whether the next batch may be closed. Nothing flies: yes, work is never held back. Else when the
 * newest is almost done; but no batch flies with a text that runs again. And what a drain's end
 * finds waiting is left. */
static bool may_close(struct worker *worker)
{
    const struct encoder_backend *backend = worker->config.backend;

    if (worker_n_flights(worker) == 0)
        return true;
    if (worker_n_flights(worker) == ENCODER_FLIGHTS_MAX || batcher_waiting(worker->batcher) == 0)
        return false;
    if (worker->drain_end_ns != 0 && worker->now_ns >= worker->drain_end_ns)
        return false;
    return !flight_of(worker, worker->flights_begun - 1)->alone &&
           !batcher_next_is_alone(worker->batcher) && backend->almost_done(worker->config.encoder);
}

int worker_submit_batch(struct worker *worker, char error[ERROR_BYTES])
{
    const struct encoder_backend *backend = worker->config.backend;
    struct worker_flight *flight = flight_of(worker, worker->flights_begun);
    struct batch batch;
    uint32_t n;
    int status;

    if (!may_close(worker))
        return 0;
    n = batcher_next(worker->batcher, flight->tickets);
    if (n == 0)
        return 0;
    batch = take_batch(worker, flight, n);
    if (batch.n_sequences == 0)
        return 1;
    worker->flights_begun++;
    say_what_flies(worker);
    test_hooks_batch(&worker->hooks, batch.input_ids, batch.n_tokens);
    status = backend->submit ? backend->submit(worker->config.encoder, &batch)
                             : backend->forward(worker->config.encoder, &batch, worker->logits);
    return status ? fail(worker, flight, status, error) : 1;
}

int worker_collect_batch(struct worker *worker, char error[ERROR_BYTES])
{
    const struct encoder_backend *backend = worker->config.backend;
    struct worker_flight *flight = flight_of(worker, worker->flights_ended);
    uint64_t previous_end_ns = worker->last_batch_ns;
    uint32_t n_labels = worker->config.shape.n_labels;
    int status = 1; /* forward() was all */

    if (worker_n_flights(worker) == 0)
        return 0;
    if (backend->collect)
        status = backend->collect(worker->config.encoder, worker->logits, worker->now_ns);
    if (status < 0)
        return fail(worker, flight, status, error);
    if (status == 0)
        return 0;
    worker->flights_ended++;
    say_what_flies(worker);
    worker->now_ns = clock_now_ns();
    worker->last_batch_ns = worker->now_ns;
    process_batch_done(worker->segment, PROCESS_WORKER, worker->now_ns);
    /* First, so that who has an answer finds it counted. */
    count_batch(worker, flight, previous_end_ns);
    for (uint32_t i = 0; i < flight->n_sequences; i++)
        complete(worker, &flight->tickets[i], LANE_STATUS_OK,
                 worker->logits + (uint64_t)i * n_labels, flight->n_tokens);
    return 1;
}
