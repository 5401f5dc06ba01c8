/* Batches in flight: written, launched, waited for. On this path there is no driver call but the
 * two launches, once their graphs are made; completion is a word in mapped memory. */
#include "gpu_worker/cuda_engine.h"

#include <errno.h>
#include <string.h>

#include "gpu_worker/cuda_batch.h"
#include "gpu_worker/cuda_error.h"
#include "shm/log.h"

/* A batch takes a few milliseconds at most. One that takes longer than this is asked after, as
 * often. */
#define QUERY_AFTER_NS (20 * NS_PER_MS)

/* Who waits spins for as long as batches take; a card that hangs is not worth a core. */
#define SPIN_NS (20 * NS_PER_MS)

_Static_assert(BATCHES_IN_FLIGHT >= ENCODER_FLIGHTS_MAX, "each flight needs a descriptor");

static bool has_reached(const uint32_t *signal, uint32_t number)
{
    /* Acquire: pairs with publish_to_host(), so that the logits written before it are seen. */
    return (int32_t)(__atomic_load_n(signal, __ATOMIC_ACQUIRE) - number) >= 0;
}

/* Forgets what is not the card's own error, else this thread's next launch of a kernel would find
 * it: "not ready", too, though CUDA's guide says that it is not remembered. */
static cudaError_t ask_card(const struct encoder *e)
{
    const cudaError_t status = cudaStreamQuery(e->stream);
    cudaGetLastError();
    return status;
}

/* A launch was refused. An error of the card's sticks: every call reports it from now on. One that
 * does not is the graph's own, nothing of it was launched, and its bucket does without. */
static bool card_has_failed(const struct encoder *e)
{
    const cudaError_t status = ask_card(e);
    return status != cudaSuccess && status != cudaErrorNotReady;
}

/* Launches a half of a batch: its graph, or what the graph would hold where there is none. */
static int launch(struct encoder *e, const cudaGraphExec_t *graph, bool *is_given_up,
                  int (*enqueue)(struct encoder *, uint32_t, char *), uint32_t bucket)
{
    char error[ERROR_BYTES];
    int result = -EAGAIN;
    /* Acquire: pairs with the release of cuda_graphs.c, so that a graph seen is a graph made. */
    const cudaGraphExec_t exec = *is_given_up ? NULL : __atomic_load_n(graph, __ATOMIC_ACQUIRE);
    if (exec != NULL) {
        result = cuda_check(cudaGraphLaunch(exec, e->stream), "a graph's launch", error);
        *is_given_up = result != 0 && !card_has_failed(e);
        if (*is_given_up)
            log_warning("a bucket is launched kernel by kernel from now on: %s", error);
    }
    if (exec == NULL || *is_given_up)
        result = enqueue(e, bucket, error);
    if (result != 0)
        log_error("%s", error);
    return result;
}

int cuda_submit(struct encoder *e, const struct batch *batch)
{
    const uint32_t number = e->submitted + 1, slot = number % BATCHES_IN_FLIGHT;
    CHECK(e->submitted - e->completed < BATCHES_IN_FLIGHT);
    CHECK(batch->n_tokens > 0 && batch->n_tokens <= e->max_tokens);
    CHECK(batch->n_sequences > 0 && batch->n_sequences <= e->max_sequences);
    if (e->failed)
        return -EIO;
    const uint32_t body = cuda_bucket_find_ready(&e->tokens, batch->n_tokens);
    const uint32_t tail = cuda_bucket_find_ready(&e->sequences, batch->n_sequences);
    cuda_batch_pack(e->staging + (size_t)slot * e->batch.layout.n_words, &e->batch.layout, batch,
                    number, e->tokens.rows[body]);
    /* Release: the descriptor lies in memory before the launch makes the card read it. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    struct cuda_graphs *graphs = &e->graphs;
    int result =
        launch(e, &graphs->bodies[body], &graphs->body_is_given_up[body], cuda_forward_body, body);
    if (result == 0)
        result = launch(e, &graphs->tails[tail], &graphs->tail_is_given_up[tail], cuda_forward_tail,
                        tail);
    if (result != 0) {
        e->failed = true;
        return result;
    }
    e->submitted = number;
    e->recording.n_texts += batch->n_sequences;
    e->n_sequences[slot] = batch->n_sequences;
    e->submitted_ns[slot] = clock_now_ns();
    e->next_query_ns = e->submitted_ns[slot] + QUERY_AFTER_NS;
    return 0;
}

/* The card has not answered for long: has it failed, or does it hang? */
static int ask_after(struct encoder *e, uint64_t now_ns)
{
    const uint64_t waited_ns = now_ns - e->submitted_ns[(e->completed + 1) % BATCHES_IN_FLIGHT];
    const cudaError_t status = ask_card(e);
    e->next_query_ns = now_ns + QUERY_AFTER_NS;
    if (status != cudaSuccess && status != cudaErrorNotReady) {
        e->failed = true;
        return cuda_check_logged(status, "a batch");
    }
    if (waited_ns < e->watchdog_ns)
        return 0;
    log_error("CUDA: batch %u did not finish within %llu ms: the worker must be replaced",
              e->completed + 1, (unsigned long long)(e->watchdog_ns / NS_PER_MS));
    e->failed = true;
    return -EIO;
}

int cuda_collect(struct encoder *e, float *logits, uint64_t now_ns)
{
    const uint32_t number = e->completed + 1, slot = number % BATCHES_IN_FLIGHT;
    CHECK(e->submitted != e->completed);
    if (e->failed)
        return -EIO;
    if (!has_reached(&e->signal->done, number))
        return now_ns < e->next_query_ns ? 0 : ask_after(e, now_ns);
    memcpy(logits, e->logits + (size_t)slot * e->logits_stride,
           sizeof(float) * e->n_sequences[slot] * e->config.n_labels);
    e->completed = number;
    return 1;
}

bool cuda_almost_done(const struct encoder *e)
{
    return has_reached(&e->signal->almost_done, e->submitted);
}

static inline void cpu_relax(void)
{
#if defined __x86_64__
    __builtin_ia32_pause();
#endif
}

int cuda_run(struct encoder *e, const struct batch *batch, float *logits)
{
    const struct timespec nap = {.tv_nsec = 100 * (long)NS_PER_US};
    const int submitted = cuda_submit(e, batch);
    if (submitted != 0)
        return submitted;
    CHECK(e->submitted - e->completed == 1); /* else the oldest batch's logits would be taken */
    const uint64_t started_ns = clock_now_ns();
    for (;;) {
        const uint64_t now_ns = clock_now_ns();
        const int collected = cuda_collect(e, logits, now_ns);
        if (collected != 0)
            return collected > 0 ? 0 : collected;
        if (now_ns - started_ns > SPIN_NS)
            nanosleep(&nap, NULL);
        else
            cpu_relax();
    }
}
