/* The program itself: how it starts, what it says when it cannot, and how it ends.
 *
 *     test_weir_worker PATH_OF_WEIR_WORKER PATH_OF_TINY_SST2 */
#include "gpu_worker/worker.h"
#include "proto/settings.h"
#include "shm/process.h"
#include "shm/start.h"
#include "tests/models/tiny_folder.h"
#include "tests/shm/own_path.h"
#include "tests/test.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX      16
#define COMPLETION_WAIT_NS (20 * NS_PER_S)
#define STORMS             5

static const char *program, *tiny_sst2;
static char folder[TINY_PATH_BYTES], segment_path[64];

struct started {
    pid_t pid;
    int output; /* its stdout and stderr */
    int ready;  /* what it says on --ready-fd */
};

/* Descriptor 9 is its --ready-fd. The first NULL ends the arguments. */
static struct started start(const char *const arguments[])
{
    char *argv[ARGUMENTS_MAX + 8] = {(char *)(uintptr_t)program};
    int output[2], ready[2], n = 1;
    struct started started;

    EXPECT(pipe2(output, O_CLOEXEC) == 0 && pipe2(ready, O_CLOEXEC) == 0);
    for (int i = 0; arguments[i]; i++)
        argv[n++] = (char *)(uintptr_t)arguments[i];
    argv[n++] = "--segment";
    argv[n++] = segment_path;
    argv[n++] = "--ready-fd=9";
    fflush(stdout);
    started = (struct started){.pid = fork(), .output = output[0], .ready = ready[0]};
    if (started.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        EXPECT(dup2(output[1], 1) == 1 && dup2(output[1], 2) == 2 && dup2(ready[1], 9) == 9);
        execv(program, argv);
        _exit(127);
    }
    EXPECT(started.pid > 0);
    close(output[1]);
    close(ready[1]);
    return started;
}

static void await_ready(const struct started *started)
{
    char byte;

    EXPECT(read(started->ready, &byte, 1) == 1);
    EXPECT_EQUAL(byte, '\n');
    EXPECT(read(started->ready, &byte, 1) == 0); /* closed */
}

/* Exit status or -signal; all of its output. */
static int await_end(struct started *started, char *said, size_t said_bytes)
{
    size_t length = 0;
    ssize_t got;
    int status;

    while ((got = read(started->output, said + length, said_bytes - 1 - length)) > 0)
        length += (size_t)got;
    said[length] = 0;
    EXPECT(waitpid(started->pid, &status, 0) == started->pid);
    close(started->output);
    close(started->ready);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* It must end by itself with `status` and say `sentence`. */
static void expect_end(const char *const arguments[], int status, const char *sentence)
{
    struct started started = start(arguments);
    char said[8192];
    int got = await_end(&started, said, sizeof(said));

    if (got != status || !strstr(said, sentence)) {
        fprintf(stderr, "status %d, expected %d and \"%s\"; it said: %s\n", got, status, sentence,
                said);
        exit(1);
    }
}

#define WITH(...) ((const char *const[]){__VA_ARGS__, NULL})

static void what_cannot_work_ends_with_a_sentence_and_its_status(void)
{
    expect_end(WITH("--no-such-flag"), SETTINGS_EXIT_USAGE, "no-such-flag");
    expect_end(WITH("--model-id", "/nowhere", "--backend", "cpu"), SETTINGS_EXIT_CONFIG,
               "/nowhere");
    expect_end(WITH("--model-id", folder, "--backend", "cpu", "--dtype", "int8"),
               SETTINGS_EXIT_CONFIG, "float32");
    expect_end(WITH("--model-id", folder, "--help"), 0, "--model-id");
}

static void without_a_module_or_a_card_cuda_is_refused(void)
{
    struct started started;
    char said[4096];

    if (access("/dev/nvidia0", F_OK) == 0) {
        printf("skipped: this machine has a card\n");
        return;
    }
    expect_end(WITH("--model-id", folder, "--backend", "cuda"), SETTINGS_EXIT_CONFIG, "cuda");
    unlink(segment_path);
    /* "auto" says why it takes the cpu. */
    started = start(WITH("--model-id", folder));
    await_ready(&started);
    kill(started.pid, SIGTERM);
    EXPECT_EQUAL(await_end(&started, said, sizeof(said)), 0);
    EXPECT(strstr(said, "takes the cpu") != NULL);
}

static void a_second_worker_on_a_segment_goes_away_and_may_come_back(void)
{
    struct started first = start(WITH("--model-id", folder, "--backend", "cpu"));
    char said[4096];

    await_ready(&first);
    expect_end(WITH("--model-id", folder, "--backend", "cpu"), SETTINGS_EXIT_RETRY, segment_path);
    kill(first.pid, SIGTERM);
    EXPECT_EQUAL(await_end(&first, said, sizeof(said)), 0);
}

static struct lane_completion serve_one(struct lane_producer *producer,
                                        const struct job_shape *shape)
{
    static const uint32_t ids[] = {1, 5, 3, 2};
    uint64_t now_ns = clock_now_ns(), end_ns = now_ns + COMPLETION_WAIT_NS;
    struct lane_completion completion;
    uint32_t slot;

    EXPECT(lane_reserve(producer, &slot));
    job_write(lane_payload(producer, slot), shape, ids, 4, 4);
    lane_submit(producer, slot, 4, now_ns, UINT64_MAX);
    while (!lane_reap(producer, clock_now_ns(), &completion)) {
        EXPECT(clock_now_ns() < end_ns);
        lane_wait_completion(producer->segment, producer->lane_index, NS_PER_S);
    }
    return completion;
}

/* The phases of this backend, one after another: their sum is the whole. */
static void expect_told_start(const struct segment *segment)
{
    struct start_view start;
    uint64_t sum_ns = 0;

    start_read(segment, &start);
    for (uint32_t i = 0; i < START_PHASE_COUNT; i++) {
        bool of_a_card = i == START_PHASE_GRAPHS || i == START_PHASE_FIRST_PASS;

        EXPECT_EQUAL(start.phase_ns[i] == 0, of_a_card);
        sum_ns += start.phase_ns[i];
    }
    EXPECT_EQUAL(sum_ns, start.total_ns);
}

static void it_serves_beats_sings_and_drains(void)
{
    struct started started =
        start(WITH("--model-id", folder, "--backend", "cpu", "--threads", "2"));
    struct job_shape shape = {TINY_VOCAB, TINY_POSITIONS, TINY_LABELS};
    struct lane_completion completion;
    struct lane_producer producer;
    struct process_view ready, later;
    struct segment segment;
    char error[ERROR_BYTES], said[4096];
    float logits[TINY_LABELS];

    await_ready(&started);
    EXPECT_EQUAL(segment_open_frontend(&segment, segment_path, error), 0);
    process_read(&segment, PROCESS_WORKER, &ready);
    EXPECT_EQUAL(ready.state, PROCESS_STATE_READY);
    EXPECT_EQUAL(ready.pid, started.pid);
    EXPECT(strstr(ready.description, "float32") != NULL);
    expect_told_start(&segment);
    EXPECT_EQUAL(lane_attach_producer(&producer, &segment, 0, error), 0);
    completion = serve_one(&producer, &shape);
    EXPECT_EQUAL(completion.status, LANE_STATUS_OK);
    memcpy(logits, completion.result, sizeof(logits));
    for (int i = 0; i < TINY_LABELS; i++)
        EXPECT(isfinite(logits[i]));
    lane_release(&producer, completion.slot_index);

    /* Idle, it proves its health by itself. */
    process_read(&segment, PROCESS_WORKER, &ready);
    do {
        EXPECT(!lane_wait_completion(&segment, 0, NS_PER_S));
        process_read(&segment, PROCESS_WORKER, &later);
        EXPECT(clock_now_ns() < ready.last_batch_ns + COMPLETION_WAIT_NS);
    } while (later.last_batch_ns == ready.last_batch_ns);
    EXPECT(later.heartbeat_ns > ready.heartbeat_ns);
    EXPECT(later.last_batch_ns - ready.last_batch_ns >= WORKER_CANARY_PERIOD_NS);

    kill(started.pid, SIGTERM);
    EXPECT_EQUAL(await_end(&started, said, sizeof(said)), 0);
    EXPECT(strstr(said, "ready in") && strstr(said, "goodbye"));
    lane_detach_producer(&producer);
    segment_close(&segment);
}

static bool has_ended(const struct started *started)
{
    siginfo_t info = {.si_pid = 0};

    EXPECT_EQUAL(waitid(P_PID, (id_t)started->pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid != 0;
}

/* Its handlers are set once the phase of the segment is over. */
static void await_handlers(void)
{
    uint64_t end_ns = clock_now_ns() + COMPLETION_WAIT_NS;
    struct start_view start = {.phase_ns = {0}};
    struct segment segment;
    char error[ERROR_BYTES];

    while (start.phase_ns[START_PHASE_SEGMENT] == 0) {
        EXPECT(clock_now_ns() < end_ns);
        if (segment_open_frontend(&segment, segment_path, error) == 0) {
            start_read(&segment, &start);
            segment_close(&segment);
        }
    }
}

/* The start tries every kind of product, so most signals come in the middle of one. */
static void signals_during_matrix_products_harm_nothing(void)
{
    for (int round = 0; round < STORMS; round++) {
        char said[8192];
        unlink(segment_path);
        struct started started = start(WITH("--model-id", tiny_sst2, "--backend", "cpu"));
        await_handlers();
        while (!has_ended(&started))
            kill(started.pid, SIGTERM);
        EXPECT_EQUAL(await_end(&started, said, sizeof(said)), 0);
        EXPECT(strstr(said, "goodbye") != NULL);
    }
}

int main(int argc, char **argv)
{
    EXPECT_EQUAL(argc, 3);
    program = argv[1];
    tiny_sst2 = argv[2];
    own_path(segment_path);
    tiny_folder_create_model(folder, MODEL_DISTILBERT, MODEL_FLOAT32);
    RUN(what_cannot_work_ends_with_a_sentence_and_its_status);
    unlink(segment_path);
    RUN(without_a_module_or_a_card_cuda_is_refused);
    unlink(segment_path);
    RUN(a_second_worker_on_a_segment_goes_away_and_may_come_back);
    RUN(it_serves_beats_sings_and_drains);
    RUN(signals_during_matrix_products_harm_nothing);
    tiny_folder_remove(folder);
    return 0;
}
