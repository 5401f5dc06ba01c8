/* A lane carries slots from one frontend to the worker and back.
 *
 *     FREE -reserve/submit-> QUEUED -take-> RUNNING -complete-> DONE -release-> FREE
 *                               \--cancel--> FREE
 *     RUNNING of a dead worker --recover--> QUEUED again, or DONE with LANE_STATUS_POISONED
 *
 * Truth is the slot's state word (generation, epoch, tries, state; changed by compare-and-swap).
 * The two rings are ordered hints: an entry may be lost, repeated or stale without harm, because
 * whoever follows it looks at the state word. They are twice as large as the number of slots, so
 * the entries of a dead process and of its successor fit together. Nobody ever finds a ring full:
 * should one be lapped all the same (cancel and submit again, thousands of times within one batch),
 * its reader sees that by the distance of the ends, skips to the tail and scans the slots. The same
 * check makes ends that a wild process spoilt harmless; they are counted, never CHECKed.
 *
 * Both sides scan their slots every LANE_SCAN_PERIOD_NS for what the rings do not show, so whatever
 * a death loses is late by at most that. No lock, every sleep has a time-out, survivors repair. One
 * producer (the frontend's loop thread), one consumer (the worker's main thread). What payload and
 * result mean is proto/job.h's business. */
#ifndef WEIR_SHM_LANE_H
#define WEIR_SHM_LANE_H

#include "shm/segment.h"

/* Why a slot came back. */
enum lane_status {
    LANE_STATUS_OK,       /* `result` holds the worker's bytes */
    LANE_STATUS_EXPIRED,  /* its deadline passed in the queue: never computed */
    LANE_STATUS_POISONED, /* it was running when too many workers died */
    LANE_STATUS_INVALID,  /* the worker refused the payload (cannot come from a sane frontend) */
    LANE_STATUS_FAILED,   /* the encoder returned an error */
};

/* How many workers may die with a text running, the last of them with last words (shm/last_words.h:
 * a crash, a hang, an encoder's error) or without. Who runs again runs alone, so a second crash is
 * the text's own doing. A death without a word came from outside: somebody's kill -9, the kernel
 * short of memory. The text is hardly to blame, but should it be, the supervisor's patience with
 * crashes in a row (20, scripts/backoff.sh) must last longer than the text does. */
#define LANE_TRIES_MAX        2
#define LANE_SILENT_TRIES_MAX 12

#define LANE_SCAN_PERIOD_NS (50 * NS_PER_MS)
/* A damaged ring asks for a scan at once, but no sooner than this after the last one: else a wild
 * frontend could keep the worker scanning. */
#define LANE_SCAN_GAP_NS NS_PER_MS

struct stats_block; /* shm/layout.h */

/* ---- the frontend's side ---- */

/* Fields are lane_producer.c's own business; `n_free` may be read. */
struct lane_producer {
    struct segment *segment;
    uint32_t lane_index;
    uint32_t *free_slots; /* stack, owned */
    uint32_t n_free;
    uint8_t *holdings;        /* what this side knows of each slot, owned */
    uint32_t submit_position; /* both are the authority; the shared ends are copies of them */
    uint32_t reap_position;
    uint32_t worker_epoch_seen;
    uint64_t next_scan_ns, last_scan_ns;
    uint32_t scan_position; /* slots_per_lane: no scan under way */
    struct stats_block *stats;
};

struct lane_completion {
    uint32_t slot_index;
    enum lane_status status;
    const void *result; /* geometry.result_bytes, valid until lane_release() */
    uint64_t submitted_ns, taken_ns, done_ns;
    uint32_t batch_weight; /* sum of the weights of the batch it ran in */
};

/* Adopts lane `lane_index` after its former frontend died (the supervisor waited for it): queued
 * slots are cancelled, done ones freed. Running ones (zombies) are not in the free stack until the
 * worker is done with them: they come back through lane_reap() as completions nobody waits for, to
 * be released like any other. 0 or -errno. */
int lane_attach_producer(struct lane_producer *producer, struct segment *segment,
                         uint32_t lane_index, char error[ERROR_BYTES]);
void lane_detach_producer(struct lane_producer *producer);

/* Takes a slot out of the free stack: the only place where "full" exists. False when none is left.
 */
bool lane_reserve(struct lane_producer *producer, uint32_t *slot_index);

/* geometry.payload_bytes to write while the slot is reserved and before it is submitted. */
void *lane_payload(struct lane_producer *producer, uint32_t slot_index);

/* Optional, before lane_submit(): only the first `bytes` of the payload were written, so the worker
 * need not copy more (it sees zeroes behind them). A short text's slot then costs a few cache lines
 * instead of the whole payload. Without this call all of it is copied. */
void lane_payload_used(struct lane_producer *producer, uint32_t slot_index, uint32_t bytes);

/* Queues a reserved slot and rings the worker's bell. `weight` is what the batcher budgets
 * (tokens). `deadline_ns` on clock_now_ns(); after it the worker may drop the slot. */
void lane_submit(struct lane_producer *producer, uint32_t slot_index, uint32_t weight,
                 uint64_t now_ns, uint64_t deadline_ns);

/* Withdraws a queued slot. True: the caller has it again as if reserved, and must release it.
 * False: the worker has it; it comes back through lane_reap(). */
bool lane_cancel(struct lane_producer *producer, uint32_t slot_index);

/* The next completed slot, or false. Call until false at every turn of the loop; a scan of the
 * slots, due every 50 ms and after a change of the worker, finds what a crash lost from the ring.
 */
bool lane_reap(struct lane_producer *producer, uint64_t now_ns, struct lane_completion *completion);

/* Gives a reserved, cancelled or reaped slot back to the free stack. */
void lane_release(struct lane_producer *producer, uint32_t slot_index);

/* Sleeps on the lane's bell until a completion is there or `timeout_ns` is over. Made for a second
 * thread of the frontend, one a lane. True when a completion is there that neither an earlier call
 * announced nor lane_reap() has taken: so a thread that passes each true on as a wake-up of the
 * loop passes on each completion once and does not spin while the loop is busy. Sleeps no longer
 * than LANE_SCAN_PERIOD_NS. */
bool lane_wait_completion(struct segment *segment, uint32_t lane_index, uint64_t timeout_ns);

/* ---- the worker's side ---- */

/* Fields are lane_consumer.c's own business. */
struct lane_consumer {
    struct segment *segment;
    uint32_t lane_index;
    uint32_t peek_position; /* next ring entry to look at; everything before it was shown once */
    uint32_t complete_position; /* both are the authority; the shared ends are copies of them */
    uint32_t worker_epoch;
    uint32_t rings_seen;      /* of the worker's bell, kept by the first consumer */
    uint64_t *shown;          /* by slot: state word it was last shown with, owned */
    uint32_t *found, n_found; /* heap of what a scan found, oldest first, owned */
    uint64_t next_scan_ns, last_scan_ns;
    struct stats_block *stats; /* the worker's */
};

/* A queued slot as the worker saw it. Says nothing about now: lane_take() decides. */
struct lane_ticket {
    uint32_t lane_index, slot_index;
    uint64_t state_word;
    uint32_t weight;
    uint32_t tries; /* workers that died with this slot running; > 0 means: run it alone */
    uint64_t submitted_ns, deadline_ns;
};

/* After segment_open_worker(). 0 or -errno. */
int lane_attach_consumer(struct lane_consumer *consumer, struct segment *segment,
                         uint32_t lane_index, char error[ERROR_BYTES]);
void lane_detach_consumer(struct lane_consumer *consumer);

/* What a dead worker left: slots running under an older epoch become queued again with their tries
 * kept, or DONE with LANE_STATUS_POISONED at `tries_max`, which is LANE_TRIES_MAX or
 * LANE_SILENT_TRIES_MAX by the dead worker's last words (then `poisoned` is called, if given, with
 * the payload for a log line). Call once for each lane before the first peek. Returns the number of
 * slots queued again; they are shown by lane_peek like all others. */
uint32_t lane_recover(struct lane_consumer *consumer, uint32_t tries_max,
                      void (*poisoned)(void *context, const void *payload), void *context);

/* Shows the next queued slot not shown before, oldest first; false when there is none. A periodic
 * scan shows slots whose ring entry was lost. A ticket is shown once: the caller keeps it until
 * lane_take() or lane_expire() (this side remembers the state word it was shown with; a cancelled
 * and resubmitted slot has another word and is shown anew). A worker that dies with tickets in its
 * hands loses nothing: their slots are still queued and its successor is shown all of them. */
bool lane_peek(struct lane_consumer *consumer, uint64_t now_ns, struct lane_ticket *ticket);

/* QUEUED -> RUNNING under the current epoch; copies the payload out once into `payload`
 * (geometry.payload_bytes): check the copy, never the slot. False: cancelled meanwhile.
 * The caller then owns the ticket and must complete it. Updates ticket->state_word. */
bool lane_take(struct lane_consumer *consumer, struct lane_ticket *ticket, void *payload,
               uint64_t now_ns);

/* Drops a queued ticket whose deadline passed: QUEUED -> DONE with LANE_STATUS_EXPIRED.
 * False: cancelled meanwhile. */
bool lane_expire(struct lane_consumer *consumer, const struct lane_ticket *ticket, uint64_t now_ns);

/* RUNNING -> DONE; `result` (result_bytes <= geometry.result_bytes, may be NULL with 0) is copied
 * into the slot. Does not ring: ring once per lane and batch with lane_ring_frontend(). */
void lane_complete(struct lane_consumer *consumer, const struct lane_ticket *ticket,
                   enum lane_status status, const void *result, uint32_t result_bytes,
                   uint32_t batch_weight, uint64_t now_ns);
void lane_ring_frontend(struct lane_consumer *consumer);

/* Sleeps on the worker's bell until any lane has an entry not yet peeked or `timeout_ns` is over,
 * after spinning for at most `spin_ns`. True when there is work. Also returns, false, after
 * lane_wake_worker(), even if that came before the call: since the last one returned; and after
 * LANE_SCAN_PERIOD_NS, so that the next lane_peek() can scan. Always call it with the same array.
 */
bool lane_wait_work(struct lane_consumer *consumers, uint32_t n_consumers, uint64_t spin_ns,
                    uint64_t timeout_ns);

/* Wakes the worker from another thread or a signal handler (async-signal-safe). */
void lane_wake_worker(struct segment *segment);

/* Number of slots of the lane that are queued or running now. Any process; a snapshot. Walks all
 * slots of the lane (about 10 ns each): for a scrape or a tick, not for every request. */
uint32_t lane_depth(const struct segment *segment, uint32_t lane_index);

#endif
