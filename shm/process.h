/* The process table: who is alive, in which state, since when, and the last words of the dead.
 *
 * One entry for the worker, one for each lane's frontend. An entry has one writer: its process.
 * Liveness for others is (pid, start time in clock ticks as in /proc/PID/stat field 22): a pid
 * alone may be somebody else's by now. */
#ifndef WEIR_SHM_PROCESS_H
#define WEIR_SHM_PROCESS_H

#include "shm/segment.h"

enum process_state {
    PROCESS_STATE_EMPTY,
    PROCESS_STATE_STARTING,
    PROCESS_STATE_READY,
    PROCESS_STATE_DRAINING,
    PROCESS_STATE_FAILED, /* alive but not able to serve; last words say why */
};

#define PROCESS_WORKER          UINT32_MAX /* index of the worker's entry; frontends: lane index */
#define PROCESS_LAST_WORDS_SIZE 192

struct process_view {
    uint32_t pid;
    uint64_t start_ticks;
    enum process_state state;
    uint64_t started_ns, heartbeat_ns; /* clock_now_ns() of the writer */
    uint64_t last_batch_ns;            /* worker: last time a batch or canary succeeded; else 0 */
    char description[64];              /* worker: "oneDNN float32 2 threads"; free text */
    char last_words[PROCESS_LAST_WORDS_SIZE];
};

/* Claims the entry for the calling process: state STARTING, last words cleared. */
void process_claim(struct segment *segment, uint32_t index);
void process_set_state(struct segment *segment, uint32_t index, enum process_state state);
void process_set_description(struct segment *segment, uint32_t index, const char *description);
void process_heartbeat(struct segment *segment, uint32_t index, uint64_t now_ns);
void process_batch_done(struct segment *segment, uint32_t index, uint64_t now_ns);
/* Async-signal-safe; cut at PROCESS_LAST_WORDS_SIZE - 1. */
void process_last_words(struct segment *segment, uint32_t index, const char *sentence);

/* Since the calling process was started, before exec; in steps of the kernel's clock tick (10 ms).
 * 0 where the kernel does not say. */
uint64_t process_own_age_ns(void);

/* A bounded, terminated copy. Any process; fields may be of slightly different moments. */
void process_read(const struct segment *segment, uint32_t index, struct process_view *view);
/* True when the process named by (pid, start_ticks) still runs. */
bool process_is_alive(const struct process_view *view);

#endif
