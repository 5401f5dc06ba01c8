/* A stand-in for the CUDA runtime and cuBLASLt: the entry points that the encoder calls, over the
 * emulated GPU, with a thread that works off streams as a card does. It is stricter than the real
 * libraries: any misuse (a dead or misaligned pointer, a wrong leading dimension, a descriptor that
 * was destroyed, an epilogue that does not exist, overlapping operands, a call that a capture
 * forbids) ends the process with a sentence, also where a real card would go on and compute
 * nonsense.
 *
 * These functions are the tests' side of it. Where the card is in another process, the environment
 * is: WEIR_STANDIN_FAULTS names a folder. A card with work to do that finds the file "hang" there
 * takes it away and works nothing off any more; the file "break" makes it fail, and stay failed;
 * "hang-device" keeps who looks for cards. */
#ifndef WEIR_TESTS_CUDA_STANDIN_STANDIN_H
#define WEIR_TESTS_CUDA_STANDIN_STANDIN_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct standin_counts {
    uint64_t api_calls; /* of the runtime and of cuBLASLt */
    uint64_t graph_launches;
    uint64_t allocations;  /* ever made */
    uint64_t live_objects; /* allocations, streams, graphs, descriptors, handles */
    uint64_t matmuls;
    uint64_t queries; /* of streams: what a poll costs a driver's call */
};

struct standin_counts standin_counters(void);

/* The n-th call from now on fails, counted over all calls that can fail; 0: none. The failure is of
 * the kind that call can report. */
void standin_fail_call(uint64_t n);

/* The same, counted over the calls of this name, which must live until standin_reset(). */
void standin_fail_call_of(const char *call, uint64_t n);

/* The card the stand-in plays. */
void standin_set_device(int n_devices, int major, int minor, int n_multiprocessors);
void standin_set_driver_version(int version);
void standin_set_name(const char *name); /* must live until standin_reset() */

/* Whether a cublasLtMatmulAlgo_t is the one that, with the bits of the favourite for many rows, is
 * faster than that up to 33 rows and slower above. */
bool standin_algorithm_is_narrow(const void *algorithm);

/* The order in which it adds: two that give the same bits have the same. -1: not the same in every
 * row. */
int standin_algorithm_order(const void *algorithm);

/* Makes of it one of the two orders, 0 or 1. */
void standin_set_algorithm_order(void *algorithm, int order);

/* While set, that algorithm runs, but not in a capture. */
void standin_forbid_capture_of_narrow(bool forbid);

/* While set, for few rows no algorithm has the bits that any has for many. */
void standin_change_bits_of_few_rows(bool change);

/* The workspace that every algorithm wants when it is asked for, not offered. */
void standin_want_workspace(uint64_t bytes);

/* n graphs more are instantiated, the next one waits; UINT64_MAX: as many as wanted. */
void standin_allow_graphs(uint64_t n);

/* The n-th graph from now on cannot be instantiated; 0: none. */
void standin_fail_graph(uint64_t n);

/* The n-th graph launch from now on is refused, by an error that does not stick; 0: none. */
void standin_fail_graph_launch(uint64_t n);

/* Kernels whose name holds `word` take the card that long, by its own clock; NULL: none does. */
void standin_set_kernel_time(const char *word, uint64_t ns);

/* While set, the card works nothing off. */
void standin_hang(bool hang);

/* The next kernel that runs ends in an illegal-address error, which sticks as on a card. */
void standin_break_next_kernel(void);

/* Back to one healthy card; only when no object is alive. */
void standin_reset(void);

#ifdef __cplusplus
}
#endif

#endif
