/* What the inspector's parts share: options, a snapshot of a segment, and one function a command.
 *
 * Nothing in a segment is believed. The snapshot copies every number once; whoever prints one that
 * indexes something bounds the copy first. The map is read-only, so no command can harm a server.
 */
#ifndef WEIR_SHM_INSPECT_H
#define WEIR_SHM_INSPECT_H

#include "shm/lane.h"
#include "shm/layout.h"
#include "shm/process.h"
#include "shm/stats.h"
#include <jansson.h>

#define INSPECT_EXIT_OK     0
#define INSPECT_EXIT_BAD    1 /* an invariant is broken, unhealthy, not ready in time */
#define INSPECT_EXIT_UNREAD 2 /* there is no segment, or it is none */
#define INSPECT_EXIT_USAGE  64

struct inspect_options {
    const char *path;
    bool as_json;
    bool all;             /* slots: free ones too */
    uint32_t lane;        /* slots: this lane only; UINT32_MAX: all */
    uint32_t timeout_ms;  /* wait-ready */
    uint32_t frontends;   /* wait-ready: this many must be ready */
    uint32_t max_age_ms;  /* health */
    uint32_t interval_ms; /* watch */
    uint32_t count;       /* watch: this many pictures; 0: until q */
    const char *role;     /* last-words: "worker", "frontend" or NULL for all */
    uint32_t role_lane;
};

/* Each takes an open segment, prints to stdout and returns the exit status. */
int inspect_status(const struct segment *segment, const struct inspect_options *options);
int inspect_lanes(const struct segment *segment, const struct inspect_options *options);
int inspect_slots(const struct segment *segment, const struct inspect_options *options);
int inspect_stats(const struct segment *segment, const struct inspect_options *options);
int inspect_check(const struct segment *segment, const struct inspect_options *options);
int inspect_last_words(const struct segment *segment, const struct inspect_options *options);
int inspect_health(const struct segment *segment, const struct inspect_options *options);

/* These two open it themselves, again and again. */
int inspect_wait_ready(const struct inspect_options *options);
int inspect_watch(const struct inspect_options *options);

/* ---- snapshots ---- */

struct inspect_process {
    struct process_view view;
    uint32_t state; /* as it stands there, unbounded */
    bool alive;
};

/* A ring's ends. `is_settled`: both are of one moment. */
struct inspect_ring {
    uint32_t head, tail;
    bool is_settled;
    uint32_t n_bad_entries; /* between the ends, naming no slot */
};

struct inspect_lane {
    struct inspect_process frontend;
    struct inspect_ring submit, complete;
    uint32_t rings, sleeping;               /* of the lane's bell */
    uint32_t n_slots[SLOT_STATE_COUNT + 1]; /* by state; the last counts states that do not exist */
    uint64_t oldest_queued_ns;              /* submitted_ns, or 0 */
    uint64_t requests, responses;
};

struct inspect_slot {
    uint64_t word;
    bool is_settled; /* the word was the same before and after the rest was read */
    uint64_t submitted_ns, deadline_ns, taken_ns, done_ns;
    uint32_t weight, payload_used, status, batch_weight;
};

/* Each fills its copy from the segment as it is now. Indices are CHECKed: they are the caller's,
 * not the segment's. `index`: a lane, or PROCESS_WORKER. */
void inspect_read_process(const struct segment *segment, uint32_t index,
                          struct inspect_process *process);
void inspect_read_lane(const struct segment *segment, uint32_t lane_index,
                       struct inspect_lane *lane);
void inspect_read_slot(const struct segment *segment, uint32_t lane_index, uint32_t slot_index,
                       struct inspect_slot *slot);

/* Texts queued or running, over all lanes. */
uint32_t inspect_queue_depth(const struct segment *segment);

/* Words for numbers; "?" for one out of bounds. */
const char *inspect_process_state(uint32_t state);
const char *inspect_slot_state(uint32_t state);
const char *inspect_lane_status(uint32_t status);

/* Nanoseconds as a person reads them: "12.3 ms", in `text`. */
#define INSPECT_DURATION_BYTES 24
const char *inspect_duration(char text[INSPECT_DURATION_BYTES], uint64_t ns);
/* now - then, 0 if `then` lies ahead. */
uint64_t inspect_age_ns(uint64_t now_ns, uint64_t then_ns);
/* "READY, pid 12, alive", with text other processes wrote made printable. */
void inspect_print_process(const char *role, const struct inspect_process *process,
                           uint64_t now_ns);
/* Copies at most size - 1 bytes; what is not printable ASCII becomes '?'. */
void inspect_printable(char *to, size_t size, const char *from);

/* ---- JSON ---- */

/* Adds a field behind those that `object` has; it owns `value` from then on. */
void inspect_json_add(json_t *object, const char *key, json_t *value);
void inspect_json_add_integer(json_t *object, const char *key, uint64_t value);

json_t *inspect_json_integer(uint64_t value);
/* Of a moment that was never: null. */
json_t *inspect_json_age(uint64_t now_ns, uint64_t then_ns);
json_t *inspect_json_text(const char *text);
json_t *inspect_json_process(const struct inspect_process *process, uint64_t now_ns);
/* Prints on one line and frees. Returns INSPECT_EXIT_OK. */
int inspect_json_print(json_t *json);

/* ---- judgements, without I/O ---- */

/* NULL, or why the worker is not healthy. */
const char *inspect_health_fault(const struct inspect_process *worker, uint64_t now_ns,
                                 uint64_t max_age_ns);

#endif
