/* Chooses algorithms and makes graphs in the background; see cuda_graphs.h. */
#include "gpu_worker/cuda_graphs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "gpu_worker/cuda_engine.h"
#include "gpu_worker/cuda_error.h"
#include "shm/log.h"

#define WAIT_NAP_NS (1 * (long)NS_PER_MS)

typedef int enqueue_half(struct encoder *, uint32_t bucket, char error[ERROR_BYTES]);

/* Both ends of a capture in any case: a stream that is left capturing serves nobody. */
static int capture(struct encoder *twin, enqueue_half *enqueue, uint32_t bucket, cudaGraph_t *graph,
                   char error[ERROR_BYTES])
{
    char unused[ERROR_BYTES];
    int result = cuda_check(cudaStreamBeginCapture(twin->stream, cudaStreamCaptureModeThreadLocal),
                            "the beginning of a capture", error);
    if (result != 0)
        return result;
    result = enqueue(twin, bucket, error);
    const cudaError_t ended = cudaStreamEndCapture(twin->stream, graph);
    const int end_result = cuda_check(ended, "a capture", result == 0 ? error : unused);
    return result != 0 ? result : end_result;
}

/* On the card, when it returns 0: a launch on another stream is not ordered behind the upload. */
static int instantiate(const struct encoder *twin, cudaGraph_t graph, cudaGraphExec_t *exec,
                       char error[ERROR_BYTES])
{
    int result = cuda_check(cudaGraphInstantiate(exec, graph, 0), "a graph's making", error);
    if (result != 0)
        return result;
    result = cuda_check(cudaGraphUpload(*exec, twin->stream), "a graph's upload", error);
    if (result == 0)
        result = cuda_check(cudaStreamSynchronize(twin->stream), "a graph's upload", error);
    if (result != 0)
        cuda_check_logged(cudaGraphExecDestroy(*exec), "a graph's end");
    return result;
}

static void make(struct cuda_graphs *graphs, enqueue_half *enqueue, const char *half,
                 uint32_t bucket, uint32_t n_rows, cudaGraphExec_t *place)
{
    char error[ERROR_BYTES];
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    int result = capture(graphs->twin, enqueue, bucket, &graph, error);
    if (result == 0)
        result = instantiate(graphs->twin, graph, &exec, error);
    if (graph != NULL)
        cuda_check_logged(cudaGraphDestroy(graph), "a capture's end");
    if (result == 0) {
        /* Release: pairs with the acquire of who launches it. */
        __atomic_store_n(place, exec, __ATOMIC_RELEASE);
        __atomic_fetch_add(&graphs->n_ready, 1, __ATOMIC_RELAXED);
        return;
    }
    cudaGetLastError(); /* else the thread's next launch would find this error */
    if (graphs->n_failed++ == 0)
        log_warning("no graph for the %s of %u rows, it is launched kernel by kernel: %s", half,
                    n_rows, error);
}

static bool shall_stop(const struct cuda_graphs *graphs)
{
    return __atomic_load_n(&graphs->stop, __ATOMIC_RELAXED);
}

/* The bucket's algorithms, where it has none yet. */
static bool settle(struct cuda_graphs *graphs, struct cuda_buckets *buckets, uint32_t bucket)
{
    char error[ERROR_BYTES];
    if (cuda_bucket_is_ready(buckets, bucket) ||
        cuda_choice_settle(graphs->twin, graphs->owner, buckets, bucket, error) == 0)
        return true;
    if (graphs->n_unready++ == 0)
        log_warning("no batch runs in the bucket of %u rows, but in a larger one: %s",
                    buckets->rows[bucket], error);
    return false;
}

static void make_body(struct cuda_graphs *graphs, uint32_t bucket)
{
    struct cuda_buckets *tokens = &graphs->owner->tokens;
    if (!shall_stop(graphs) && settle(graphs, tokens, bucket) && !shall_stop(graphs))
        make(graphs, cuda_forward_body, "body", bucket, tokens->rows[bucket],
             &graphs->bodies[bucket]);
}

static void make_tail(struct cuda_graphs *graphs, uint32_t bucket)
{
    struct cuda_buckets *sequences = &graphs->owner->sequences;
    if (!shall_stop(graphs) && settle(graphs, sequences, bucket) && !shall_stop(graphs))
        make(graphs, cuda_forward_tail, "tail", bucket, sequences->rows[bucket],
             &graphs->tails[bucket]);
}

/* A body and a tail in turn: a small batch needs a small one of each. */
static void make_all(struct cuda_graphs *graphs)
{
    const struct cuda_buckets *tokens = &graphs->owner->tokens;
    const struct cuda_buckets *sequences = &graphs->owner->sequences;
    uint32_t bodies[CUDA_BUCKETS_MAX], tails[CUDA_BUCKETS_MAX];
    cuda_buckets_order(tokens, bodies);
    cuda_buckets_order(sequences, tails);
    for (uint32_t i = 0; i < tokens->count || i < sequences->count; i++) {
        if (i < tokens->count)
            make_body(graphs, bodies[i]);
        if (i < sequences->count)
            make_tail(graphs, tails[i]);
    }
    if (!shall_stop(graphs) && graphs->twin->gemm_context.own == NULL)
        cuda_choice_end(graphs->twin);
}

static int open_thread(struct encoder *twin, char error[ERROR_BYTES])
{
    int result = cuda_check(cudaSetDevice(0), "the opening of GPU 0", error);
    if (result == 0)
        result = cuda_check(cudaStreamCreateWithFlags(&twin->stream, cudaStreamNonBlocking),
                            "the creation of a stream", error);
    if (result == 0 && twin->gemm_context.own == NULL)
        result = cuda_blas_create_handle(&twin->gemm_context.blas, error);
    twin->gemm_context.stream = twin->stream;
    return result;
}

static void *work(void *argument)
{
    struct cuda_graphs *graphs = argument;
    struct encoder *twin = graphs->twin;
    char error[ERROR_BYTES];
    if (open_thread(twin, error) == 0)
        make_all(graphs);
    else
        log_warning("no graphs, all is launched kernel by kernel, and in the buckets that are "
                    "ready: %s",
                    error);
    if (!shall_stop(graphs)) {
        if (graphs->timer.took != NULL)
            start_timer_end(&graphs->timer, START_PHASE_GRAPHS);
        log_info("%u of %u graphs are ready, %u buckets stay without algorithms",
                 __atomic_load_n(&graphs->n_ready, __ATOMIC_RELAXED),
                 twin->tokens.count + twin->sequences.count, graphs->n_unready);
    }
    /* Release: pairs with cuda_graphs_are_made(). */
    __atomic_store_n(&graphs->is_over, true, __ATOMIC_RELEASE);
    return NULL;
}

void cuda_graphs_begin(struct encoder *encoder, const struct start_timer *timer)
{
    struct cuda_graphs *graphs = &encoder->graphs;
    CHECK(!graphs->begun);
    if (timer != NULL)
        graphs->timer = *timer;
    graphs->twin = malloc(sizeof *graphs->twin);
    if (graphs->twin != NULL) {
        *graphs->twin = *encoder;
        graphs->owner = encoder;
        graphs->twin->stream = NULL;
        graphs->twin->gemm_context.blas.handle = NULL;
        graphs->begun = pthread_create(&graphs->thread, NULL, work, graphs) == 0;
    }
    if (!graphs->begun) {
        log_warning(
            "no thread can be started to make graphs: all is launched kernel by kernel, and "
            "in the buckets that are ready");
        graphs->is_over = true;
    }
}

bool cuda_graphs_are_made(const struct cuda_graphs *graphs)
{
    /* Acquire: pairs with the thread's last store. */
    return __atomic_load_n(&graphs->is_over, __ATOMIC_ACQUIRE);
}

void cuda_graphs_wait(const struct cuda_graphs *graphs)
{
    const struct timespec nap = {.tv_nsec = WAIT_NAP_NS};
    while (!cuda_graphs_are_made(graphs))
        nanosleep(&nap, NULL);
}

/* The handle last: what cuBLASLt put into a graph may use what is the handle's. */
static void close_twin(const struct encoder *twin)
{
    const struct cuda_blas *blas = &twin->gemm_context.blas;
    if (blas->handle != NULL)
        blas->destroy(blas->handle);
    if (twin->stream != NULL)
        cuda_check_logged(cudaStreamDestroy(twin->stream), "a stream's end");
}

/* A broken card takes none back, and says of each of some seventy the same: one line will do. */
static void destroy_all(struct cuda_graphs *graphs)
{
    cudaGraphExec_t *const halves[] = {graphs->bodies, graphs->tails};
    uint32_t n_made = 0, n_left = 0;
    char error[ERROR_BYTES] = "";
    for (size_t half = 0; half < ARRAY_COUNT(halves); half++)
        for (uint32_t i = 0; i < CUDA_BUCKETS_MAX; i++) {
            if (halves[half][i] == NULL)
                continue;
            n_made++;
            n_left +=
                cuda_check(cudaGraphExecDestroy(halves[half][i]), "a graph's end", error) != 0;
        }
    if (n_left > 0)
        log_error("%u of %u graphs cannot be taken back: %s", n_left, n_made, error);
}

void cuda_graphs_end(struct cuda_graphs *graphs)
{
    __atomic_store_n(&graphs->stop, true, __ATOMIC_RELAXED);
    if (graphs->begun)
        pthread_join(graphs->thread, NULL);
    destroy_all(graphs);
    if (graphs->begun)
        close_twin(graphs->twin);
    free(graphs->twin);
    *graphs = (struct cuda_graphs){0};
}
