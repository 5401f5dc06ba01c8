/* How long the worker's start took, phase by phase: kept in the segment for /metrics and
 * shm_inspect. It tells of the worker that opened the segment last; who opens it begins anew.
 *
 * One writer, the worker. A phase that the backend does not have, or has not ended yet, is 0. */
#ifndef WEIR_SHM_START_H
#define WEIR_SHM_START_H

#include "shm/base.h"

struct segment;

/* X(identifier, value of the label `phase`, what the time goes into). In the order of a start; the
 * only list: enum, /metrics, shm_inspect and docs/metrics.md come from it. */
#define START_PHASES(X)                                                                          \
    X(PROCESS, "process", "From the process' start to main(), known to 10 ms.")                  \
    X(MODEL, "model", "Opening the model's folder and checking what it holds.")                  \
    X(SEGMENT, "segment", "Making or adopting the segment.")                                     \
    X(DEVICE, "device", "cuda: the card and its context. cpu: threads and memory.")              \
    X(WEIGHTS, "weights", "Weights into their place. cuda: cuBLASLt is loaded beside it.")       \
    X(ALGORITHMS, "algorithms", "cuda: the first GEMM algorithms. cpu: checking block sizes.")   \
    X(FIRST_PASS, "first_pass", "cuda: a first text, which loads what the driver loads lazily.") \
    X(LANES, "lanes", "Memory for batches, and taking back what a dead worker left.")            \
    X(CANARY, "canary", "The first correct answer.")                                             \
    X(GRAPHS, "graphs", "cuda: the other algorithms, and graphs, beside the first answers.")

#define START_ENUM_PHASE(identifier, word, help) START_PHASE_##identifier,
enum start_phase { START_PHASES(START_ENUM_PHASE) START_PHASE_COUNT };

struct start_view {
    uint64_t phase_ns[START_PHASE_COUNT];
    uint64_t total_ns; /* from the process' start to its readiness; 0 until then */
};

/* All to 0: the worker's, when it has opened the segment. */
void start_begin(struct segment *segment);
/* Adds to a phase's time. Two threads of the worker may do so for different phases. */
void start_add(struct segment *segment, enum start_phase phase, uint64_t took_ns);
void start_end(struct segment *segment, uint64_t total_ns);

void start_read(const struct segment *segment, struct start_view *view);
/* The phase's word in START_PHASES. */
const char *start_phase_word(enum start_phase phase);

#endif
