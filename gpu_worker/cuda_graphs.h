/* The graphs of a batch's halves (cuda_engine.h), made by a thread of their own beside the first
 * answers: capturing and instantiating some seventy of them takes longer than the rest of a warm
 * start.
 *
 *     begin         the thread starts, small buckets first: there launches weigh most
 *     bodies[i]     NULL until graph i is on the card; then it stays the same until the end
 *     end           stops the thread, behind the graph at which it is, and takes all back
 *
 * A bucket without a graph is launched kernel by kernel: the same kernels with the same numbers of
 * rows and the same algorithms as its graph would hold, so the same bits; a larger bucket's graph
 * might hold other algorithms. A graph that cannot be made is a line in the log, and its bucket
 * stays without.
 *
 * The thread has a stream and a cuBLASLt handle of its own, so nothing of what it captures can mix
 * with a batch's launches, and captures in thread-local mode: calls of other threads are not its
 * concern. */
#ifndef WEIR_GPU_WORKER_CUDA_GRAPHS_H
#define WEIR_GPU_WORKER_CUDA_GRAPHS_H

#include <pthread.h>
#include <stdbool.h>

#include <cuda_runtime_api.h>

#include "gpu_worker/cuda_bucket.h"
#include "gpu_worker/start_timer.h"

struct encoder;

struct cuda_graphs {
    /* By bucket. Written once, by the thread, with release; read with acquire. */
    cudaGraphExec_t bodies[CUDA_BUCKETS_MAX], tails[CUDA_BUCKETS_MAX];

    bool begun;        /* there is a thread to join */
    bool stop;         /* atomic, relaxed: a wish */
    uint32_t n_ready;  /* atomic, relaxed: for tests and logs */
    bool is_over;      /* atomic, release: the thread is through with all that it can make */
    uint32_t n_failed; /* and what follows: the thread's */
    struct start_timer timer;
    struct encoder *twin; /* the encoder, but for stream and handle */
    pthread_t thread;
};

/* Begins to make the graphs of an encoder that can answer. Fails never: without a thread all
 * buckets stay without graphs, and a line says so. The timer, or NULL, is told how long it took:
 * called on the thread. */
void cuda_graphs_begin(struct encoder *encoder, const struct start_timer *timer);

/* Whether all graphs are made that can be made. */
bool cuda_graphs_are_made(const struct cuda_graphs *graphs);

/* Waits for that; for programs that measure. */
void cuda_graphs_wait(const struct cuda_graphs *graphs);

/* Ends what was begun, at any moment; nothing where nothing was. The card is idle. */
void cuda_graphs_end(struct cuda_graphs *graphs);

#endif
