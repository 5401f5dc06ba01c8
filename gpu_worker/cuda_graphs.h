/* What is made beside the first answers, by a thread of its own: the choice of algorithms for each
 * bucket (cuda_choice.h), some 350 trials, and the graphs of a batch's halves (cuda_engine.h), some
 * seventy. Both take longer than the rest of a warm start.
 *
 *     begin         the thread starts: each bucket in turn (cuda_buckets_order()), its algorithms,
 *                   then its graph
 *     bodies[i]     NULL until graph i is on the card; then it stays the same until the end
 *     end           stops the thread, behind the graph at which it is, and takes all back
 *
 * A bucket without a graph is launched kernel by kernel: the same kernels with the same numbers of
 * rows and the same algorithms as its graph would hold, so the same bits; a larger bucket's graph
 * might hold other algorithms. A graph that cannot be made, or not be launched, is a line in the
 * log, and its bucket does without. A bucket whose algorithms cannot be chosen is one, too, and its
 * batches run in a larger bucket.
 *
 * The thread has a stream and a cuBLASLt handle of its own, and a trial memory of its own, so
 * nothing of what it tries or captures can mix with a batch's launches, and captures in
 * thread-local mode: calls of other threads are not its concern. */
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
    /* By bucket: it could not be launched. Of the thread that launches. */
    bool body_is_given_up[CUDA_BUCKETS_MAX], tail_is_given_up[CUDA_BUCKETS_MAX];

    bool begun;         /* there is a thread to join */
    bool stop;          /* atomic, relaxed: a wish */
    uint32_t n_ready;   /* atomic, relaxed: for tests and logs */
    bool is_over;       /* atomic, release: the thread is through with all that it can make */
    uint32_t n_failed;  /* graphs; this and what follows is the thread's */
    uint32_t n_unready; /* buckets without algorithms */
    struct start_timer timer;
    struct encoder *owner; /* whose graphs these are: buckets, and where their algorithms go */
    struct encoder *twin;  /* the same, but for stream and handle */
    pthread_t thread;
};

/* Begins to make what an encoder that can answer still lacks. Fails never: without a thread all
 * stays as it is, and a line says so. The timer, or NULL, is told how long it took:
 * called on the thread. */
void cuda_graphs_begin(struct encoder *encoder, const struct start_timer *timer);

/* Whether all is made that can be made. */
bool cuda_graphs_are_made(const struct cuda_graphs *graphs);

/* Waits for that; for programs that measure. */
void cuda_graphs_wait(const struct cuda_graphs *graphs);

/* Ends what was begun, at any moment; nothing where nothing was. The card is idle. */
void cuda_graphs_end(struct cuda_graphs *graphs);

#endif
