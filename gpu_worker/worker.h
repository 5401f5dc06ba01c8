/* The worker's loop: from waiting slots to batches to results.
 *
 *     peek all lanes -> batcher -> take -> check the copy
 *                    -> encoder -> complete -> ring each lane once
 *
 * One thread, one turn after the other; it sleeps on the worker's bell when nothing waits and
 * nothing runs. With an encoder that takes batches in flight (encoder.h) the next batch is closed
 * and submitted when the newest is almost done, and the oldest collected when it is done; a turn in
 * which neither was due looks at the lanes, so that texts join the next batch up to its closing.
 *
 * What a death costs: all texts in flight, of up to two batches, were RUNNING and run again. A text
 * that runs again flies alone: no batch is before or behind it in the encoder, or a text that kills
 * would cost a neighbour's second life.
 *
 * The heartbeat is written by this loop and by nothing else, and not while batches fly without
 * moving, so an encoder that hangs is a heartbeat that grows old, whether it blocks or not. After
 * worker_open() nothing is allocated. */
#ifndef WEIR_GPU_WORKER_WORKER_H
#define WEIR_GPU_WORKER_WORKER_H

#include "gpu_worker/batcher.h"
#include "gpu_worker/encoder.h"
#include "gpu_worker/test_hooks.h"
#include "proto/job.h"
#include "shm/stats.h"

/* An idle worker runs the canary this often: health means that a batch went through lately. */
#define WORKER_CANARY_PERIOD_NS NS_PER_S
#define WORKER_CANARY_TOKENS    8

struct worker_config {
    const struct encoder_backend *backend;
    struct encoder *encoder; /* borrowed */
    struct job_shape shape;
    uint32_t max_batch_tokens; /* >= shape.max_tokens */
    uint32_t max_batch_sequences;
    uint32_t drain_timeout_ms;
    uint64_t spin_ns;         /* looks for work this long before it sleeps */
    bool predecessor_crashed; /* worker_predecessor_crashed() */
};

/* A batch from the taking of its slots until they are completed. */
struct worker_flight {
    struct lane_ticket *tickets; /* (max_batch_sequences) */
    uint32_t n_sequences, n_tokens;
    uint64_t taken_ns;
    bool alone; /* a text that runs again */
};

struct worker {
    struct worker_config config;
    struct segment *segment;
    struct stats_block *stats;
    uint32_t tries_max; /* workers that may have died with a text running */
    struct batcher *batcher;
    struct lane_consumer *consumers; /* (n_lanes) */
    bool *touched;                   /* (n_lanes): has completions that nobody was rung for */
    struct test_hooks hooks;

    /* Flights are numbered; they end in order. Flight f is flights[f % ENCODER_FLIGHTS_MAX]. */
    struct worker_flight flights[ENCODER_FLIGHTS_MAX];
    uint32_t flights_begun, flights_ended;

    /* The batch at the seam: on its way in, or its logits on their way out. */
    uint32_t *input_ids;   /* (max_batch_tokens + shape.max_tokens) */
    uint32_t *cu_seqlens;  /* (max_batch_sequences + 1) */
    uint32_t *type_starts; /* (max_batch_sequences) */
    float *logits;         /* (max_batch_sequences, n_labels) */
    void *payload;         /* one slot's copy */

    uint64_t now_ns;   /* of this turn */
    uint64_t moved_ns; /* when a batch was last begun or ended, or nothing flew */
    uint64_t last_batch_ns;
    uint64_t drain_end_ns; /* 0: not draining */
    float *canary_logits;  /* (n_labels): what the first canary gave */
    bool canary_known;
};

/* Whether the worker before this one died of its work: it served and left last words. The opposite
 * is a death from outside, or in the start, which no text has to answer for. Call between
 * segment_open_worker() and process_claim(), which clears those words. */
bool worker_predecessor_crashed(const struct segment *segment);

/* Attaches to every lane, takes all memory, and takes back what a dead worker left (logged). A
 * zeroed worker may be closed. 0 or -errno with a sentence. */
int worker_open(struct worker *worker, struct segment *segment, const struct worker_config *config,
                char error[ERROR_BYTES]);
void worker_close(struct worker *worker);

/* Runs the fixed text. The first time its logits are kept; later ones must have the same bits. 0,
 * or -errno with a sentence: the encoder is not to be trusted any more. */
int worker_canary(struct worker *worker, char error[ERROR_BYTES]);

/* Serves until `stop` is raised, then until the lanes are empty or the drain's time is over, when
 * what is in flight is still waited for: 0. Or -errno with a sentence when the encoder failed; what
 * is in flight stays RUNNING, for a successor. */
int worker_run(struct worker *worker, const _Atomic bool *stop, char error[ERROR_BYTES]);

/* ---- worker_batch.c ---- */

uint32_t worker_n_flights(const struct worker *worker);

/* Closes the next batch and gives it to the encoder, if one waits and now is its time. 1 when
 * tickets were used up, 0 when not, or -errno with a sentence. */
int worker_submit_batch(struct worker *worker, char error[ERROR_BYTES]);

/* Hands back the oldest batch in flight, if it is done. 1, 0, or -errno with a sentence. */
int worker_collect_batch(struct worker *worker, char error[ERROR_BYTES]);

#endif
