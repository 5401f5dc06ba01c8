/* The child never returns: it ends in _exit(), so nothing of the test runs twice. */
#include "tests/gpu_worker/worker_process.h"

#include "gpu_worker/activity.h"
#include "shm/log.h"
#include "tests/gpu_worker/count_malloc.h"
#include "tests/test.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define REAP_TIMEOUT_NS (20 * NS_PER_S)

const struct job_shape kit_shape = {
    .vocab_size = KIT_VOCAB, .max_tokens = KIT_TOKENS, .n_labels = KIT_LABELS};

void kit_logits(const uint32_t *input_ids, uint32_t n_tokens, uint32_t type_start, float *logits)
{
    for (uint32_t label = 0; label < KIT_LABELS; label++) {
        uint32_t hash = 2166136261u + label;

        for (uint32_t i = 0; i < n_tokens; i++)
            hash = (hash ^ input_ids[i] ^ (i >= type_start ? 77 : 0)) * 16777619u;
        logits[label] = (float)(hash >> 8) / 65536.0f;
    }
}

static int kit_forward(struct encoder *encoder, const struct batch *batch, float *logits)
{
    for (uint32_t i = 0; i < batch->n_sequences; i++) {
        const uint32_t *input_ids = batch->input_ids + batch->cu_seqlens[i];
        uint32_t n_tokens = batch->cu_seqlens[i + 1] - batch->cu_seqlens[i];

        for (uint32_t t = 0; t < n_tokens; t++)
            if (input_ids[t] == KIT_FAIL_TOKEN)
                return -EIO;
        kit_logits(input_ids, n_tokens, batch->type_starts[i], logits + i * KIT_LABELS);
    }
    return 0;
}

static const char *kit_describe(const struct encoder *encoder)
{
    return "made up";
}

const struct encoder_backend kit_backend = {
    .name = "kit", .forward = kit_forward, .describe = kit_describe};

/* ---- the child ------------------------------------------------------------------------------- */

static _Atomic bool stop;
static struct segment *own_segment;

static void request_stop(int signal_number)
{
    atomic_store(&stop, true);
    lane_wake_worker(own_segment);
}

static void expect_started(int status, const char *error)
{
    if (status)
        fprintf(stderr, "the worker does not start: %s\n", error);
    EXPECT_EQUAL(status, 0);
}

static int run_counted(struct worker *worker, char error[ERROR_BYTES])
{
    struct malloc_counts counts;
    int status;

    count_malloc_start();
    status = worker_run(worker, &stop, error);
    counts = count_malloc_stop();
    if (status) {
        last_words_say(error);
        return KIT_EXIT_FAILED;
    }
    return counts.by_us || counts.kept ? KIT_EXIT_ALLOCATED : 0;
}

static void be_a_worker(const char *path, int ready)
{
    struct segment_geometry geometry = {.n_lanes = KIT_LANES,
                                        .slots_per_lane = KIT_SLOTS,
                                        .payload_bytes = job_payload_bytes(&kit_shape),
                                        .result_bytes = job_result_bytes(&kit_shape)};
    struct worker_config config = {.backend = &kit_backend,
                                   .shape = kit_shape,
                                   .max_batch_tokens = 200,
                                   .max_batch_sequences = 16,
                                   .drain_timeout_ms = 10000};
    static struct segment segment;
    static struct worker worker;
    char error[ERROR_BYTES] = "";
    int status;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_init("worker of a test", false, LOG_SEVERITY_ERROR);
    expect_started(segment_open_worker(&segment, path, &geometry, "kit", error), error);
    own_segment = &segment;
    config.predecessor_crashed = worker_predecessor_crashed(&segment);
    process_claim(&segment, PROCESS_WORKER);
    last_words_install(&segment, PROCESS_WORKER, activity_describe);
    signal(SIGTERM, request_stop);
    expect_started(worker_open(&worker, &segment, &config, error), error);
    expect_started(worker_canary(&worker, error), error);
    process_set_state(&segment, PROCESS_WORKER, PROCESS_STATE_READY);
    EXPECT(write(ready, "\n", 1) == 1);
    close(ready);
    status = run_counted(&worker, error);
    worker_close(&worker);
    last_words_remove();
    segment_close(&segment);
    _exit(status);
}

/* ---- the parent ------------------------------------------------------------------------------ */

pid_t kit_start_worker(const char *path)
{
    int ends[2];
    char byte;
    pid_t pid;

    fflush(stdout);
    EXPECT_EQUAL(pipe(ends), 0);
    pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        be_a_worker(path, ends[1]);
    }
    close(ends[1]);
    EXPECT(read(ends[0], &byte, 1) == 1);
    close(ends[0]);
    return pid;
}

int kit_await_end(pid_t pid)
{
    int status;

    EXPECT(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int kit_stop_worker(pid_t pid)
{
    EXPECT_EQUAL(kill(pid, SIGTERM), 0);
    return kit_await_end(pid);
}

struct kit_text kit_text(uint32_t number)
{
    struct kit_text text;
    uint32_t state = number * 2654435761u + 1;

    text.n_tokens = 1 + state % KIT_TOKENS;
    text.type_start = state / KIT_TOKENS % (text.n_tokens + 1);
    for (uint32_t i = 0; i < text.n_tokens; i++) {
        state = state * 1664525 + 1013904223;
        text.input_ids[i] = (state >> 8) % 900;
    }
    return text;
}

uint32_t kit_submit(struct lane_producer *producer, const struct kit_text *text)
{
    uint64_t now_ns = clock_now_ns();
    uint32_t slot;

    EXPECT(lane_reserve(producer, &slot));
    job_write(lane_payload(producer, slot), &kit_shape, text->input_ids, text->n_tokens,
              text->type_start);
    lane_submit(producer, slot, text->n_tokens, now_ns, now_ns + 1000 * NS_PER_S);
    return slot;
}

struct lane_completion kit_reap(struct lane_producer *producer)
{
    uint64_t end_ns = clock_now_ns() + REAP_TIMEOUT_NS;
    struct lane_completion completion;

    while (!lane_reap(producer, clock_now_ns(), &completion)) {
        EXPECT(clock_now_ns() < end_ns);
        lane_wait_completion(producer->segment, producer->lane_index, NS_PER_S);
    }
    return completion;
}
