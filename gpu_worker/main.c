/* weir-worker: the one process that owns the model. It makes or adopts the shared-memory segment,
 * takes back what a dead predecessor left, and serves until SIGTERM.
 *
 * What is started later is ended earlier; each phase of the start is timed (shm/start.h). Exit
 * status: 0 after a drain, else as proto/settings.h has them. The parent-death signal is the
 * supervisor's to set (setpriv): set here it would follow a thread of whoever started us. */
#include "gpu_worker/activity.h"
#include "gpu_worker/backend.h"
#include "gpu_worker/start_watchdog.h"
#include "gpu_worker/worker.h"
#include "proto/settings.h"
#include "shm/log.h"
#include "shm/process.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* With a card the encoder's turn is so short that sleeping costs more than looking. On the CPU
 * every core is wanted by a frontend or by the pool. */
#define CUDA_SPIN_NS (20 * NS_PER_US)

struct program {
    const struct settings *settings;
    struct model model;
    struct segment segment;
    struct backend_choice choice;
    struct worker worker;
    struct job_shape shape;
    struct start_timer timer;
    struct start_watchdog watchdog;
    bool predecessor_crashed;
    uint64_t started_ns;                   /* the process, on clock_now_ns() */
    uint64_t before_ns[START_PHASE_COUNT]; /* what phases took before there was a segment */
    char error[ERROR_BYTES];
};

/* ---- signals --------------------------------------------------------------------------------- */

/* A handler has no argument of ours. */
static struct {
    _Atomic bool stop;
    struct segment *segment;
} signalled;

static void request_stop(int signal_number)
{
    int saved = errno;

    atomic_store_explicit(&signalled.stop, true, memory_order_relaxed);
    if (signalled.segment)
        lane_wake_worker(signalled.segment);
    errno = saved;
}

static void handle_signals(struct segment *segment)
{
    /* SA_ONSTACK: see last_words_install(). */
    struct sigaction stop = {.sa_handler = request_stop, .sa_flags = SA_RESTART | SA_ONSTACK};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    last_words_install(segment, PROCESS_WORKER, activity_describe);
    signalled.segment = segment;
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGHUP, &ignore, NULL); /* the supervisor's: it replaces us */
    sigaction(SIGPIPE, &ignore, NULL);
}

/* ---- the start, step by step ----------------------------------------------------------------- */

/* The watchdog's, on its thread. A driver that does not return cannot be asked to: the process ends
 * around it. */
static void start_hangs(void *context, enum start_phase phase)
{
    const struct program *program = context;
    char sentence[ERROR_BYTES];

    snprintf(
        sentence, sizeof(sentence),
        "the start hangs: its phase \"%s\" has taken more than %llu ms; if the machine is only "
        "slow, raise --start-timeout-ms, else replace it, or use --backend cpu",
        start_phase_word(phase), (unsigned long long)program->settings->start_timeout_ms);
    last_words_say(sentence);
    log_error("%s", sentence);
    _exit(SETTINGS_EXIT_RETRY);
}

/* From the first phase that may meet a card. */
static void watch_start(struct program *program)
{
    int status =
        start_watchdog_begin(&program->watchdog, program->settings->start_timeout_ms * NS_PER_MS,
                             START_PHASE_DEVICE, start_hangs, program);

    if (status)
        log_warning("nobody watches whether the start hangs: %s", strerror(-status));
}

/* The timer's. Also on an encoder's thread, once there is a segment: for what is done beside. */
static void phase_took(void *context, enum start_phase phase, uint64_t took_ns)
{
    struct program *program = context;

    if (program->segment.header)
        start_add(&program->segment, phase, took_ns);
    else
        program->before_ns[phase] += took_ns;
    if (phase < START_PHASE_CANARY)
        start_watchdog_move(&program->watchdog, phase + 1); /* they follow one another */
    log_debug("start: %-12s %8.1f ms", start_phase_word(phase), (double)took_ns / NS_PER_MS);
}

static void begin_timer(struct program *program)
{
    program->timer.context = program;
    program->timer.took = phase_took;
    program->timer.began_ns = program->started_ns = clock_now_ns() - process_own_age_ns();
    start_timer_end(&program->timer, START_PHASE_PROCESS);
}

static void begin_start_in_segment(struct program *program)
{
    start_begin(&program->segment);
    for (uint32_t i = 0; i < START_PHASE_COUNT; i++)
        if (program->before_ns[i])
            start_add(&program->segment, (enum start_phase)i, program->before_ns[i]);
}

static void log_start(const struct program *program)
{
    char text[START_PHASE_COUNT * 32];
    struct start_view start;
    size_t length = 0;

    text[0] = 0;
    start_read(&program->segment, &start);
    for (uint32_t i = 0; i < START_PHASE_COUNT; i++)
        if (start.phase_ns[i])
            length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s %.1f",
                                       length ? ", " : "", start_phase_word((enum start_phase)i),
                                       (double)start.phase_ns[i] / NS_PER_MS);
    log_info("ready in %.1f ms (%s): %s; batches of up to %u tokens, %u texts; worker epoch %u",
             (double)start.total_ns / NS_PER_MS, text,
             program->choice.backend->describe(program->choice.encoder),
             program->worker.config.max_batch_tokens, program->worker.config.max_batch_sequences,
             segment_worker_epoch(&program->segment));
}

static uint32_t power_of_two_above(uint32_t value)
{
    uint32_t power = 2;

    while (power < value)
        power *= 2;
    return power;
}

static int open_model(struct program *program)
{
    const struct settings *settings = program->settings;
    const struct model_config *config = &program->model.config;
    int status = model_open(&program->model, settings->model_id, program->error);

    if (status)
        return status;
    program->shape = (struct job_shape){
        .vocab_size = config->vocab_size,
        .max_tokens = config->n_positions,
        .n_labels = config->n_labels,
    };
    if (settings->max_input_length > 0)
        program->shape.max_tokens =
            (uint32_t)min_u64(settings->max_input_length, config->n_positions);
    start_timer_end(&program->timer, START_PHASE_MODEL);
    return 0;
}

static int open_segment(struct program *program)
{
    const struct settings *settings = program->settings;
    struct segment_geometry geometry = {
        .n_lanes = (uint32_t)max_u64(settings->frontends, 1),
        .slots_per_lane = power_of_two_above(settings->max_concurrent_requests),
        .payload_bytes = job_payload_bytes(&program->shape),
        .result_bytes = job_result_bytes(&program->shape),
    };
    int status = segment_open_worker(&program->segment, settings->segment, &geometry,
                                     program->model.fingerprint, program->error);

    if (status)
        return status;
    begin_start_in_segment(program);
    program->predecessor_crashed = worker_predecessor_crashed(&program->segment);
    process_claim(&program->segment, PROCESS_WORKER);
    handle_signals(&program->segment);
    start_timer_end(&program->timer, START_PHASE_SEGMENT);
    return 0;
}

static enum encoder_dtype dtype_of(const char *word)
{
    static const char *const words[] = {
#define DTYPE_WORD(identifier, text) text,
        ENCODER_DTYPES(DTYPE_WORD)
#undef DTYPE_WORD
    };
    size_t i = 0;

    while (strcmp(words[i], word) != 0) {
        i++;
        CHECK(i < ARRAY_COUNT(words)); /* the settings' table allows these words only */
    }
    return (enum encoder_dtype)i;
}

static int open_encoder(struct program *program)
{
    const struct settings *settings = program->settings;
    struct encoder_voice voice = {.log = log_told(), .last_words = last_words_say};
    struct encoder_options options = {
        .dtype = dtype_of(settings->dtype),
        .threads = settings->threads,
        .max_batch_tokens =
            (uint32_t)max_u64(settings->max_batch_tokens, program->shape.max_tokens),
        .max_batch_sequences =
            (uint32_t)min_u64(settings->max_batch_requests, settings->max_batch_tokens),
        .timer = &program->timer,
        .voice = &voice,
    };
    int status = backend_open(&program->choice, settings->backend, &program->model, &options,
                              program->error);

    if (status)
        return status;
    process_set_description(&program->segment, PROCESS_WORKER,
                            program->choice.backend->describe(program->choice.encoder));
    return 0;
}

static int open_worker(struct program *program)
{
    const struct settings *settings = program->settings;
    const struct backend_choice *choice = &program->choice;
    struct worker_config config = {
        .backend = choice->backend,
        .encoder = choice->encoder,
        .shape = program->shape,
        .max_batch_tokens = choice->max_batch_tokens,
        .max_batch_sequences =
            (uint32_t)min_u64(settings->max_batch_requests, choice->max_batch_tokens),
        .drain_timeout_ms = settings->drain_timeout_ms,
        .spin_ns = choice->backend == &encoder_cpu ? 0 : CUDA_SPIN_NS,
        .predecessor_crashed = program->predecessor_crashed,
    };
    int status = worker_open(&program->worker, &program->segment, &config, program->error);

    if (status)
        return status;
    start_timer_end(&program->timer, START_PHASE_LANES);
    status = worker_canary(&program->worker, program->error);
    if (status == 0)
        start_timer_end(&program->timer, START_PHASE_CANARY);
    return status;
}

static void announce_ready(struct program *program)
{
    int descriptor = (int)program->settings->ready_fd;

    start_end(&program->segment, program->timer.began_ns - program->started_ns);
    process_set_state(&program->segment, PROCESS_WORKER, PROCESS_STATE_READY);
    log_start(program);
    if (descriptor == 0)
        return;
    if (write(descriptor, "\n", 1) != 1)
        log_warning("--ready-fd %d cannot be written to: %s", descriptor, strerror(errno));
    close(descriptor);
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* What could not be opened the first time will not open the next time either. But a server that has
 * served stays up: a card, say, may need a moment to come back. */
static int exit_status_of_start(const struct program *program, int status)
{
    bool has_served = program->segment.header && segment_worker_epoch(&program->segment) > 1;

    return status == -EBUSY || has_served ? SETTINGS_EXIT_RETRY : SETTINGS_EXIT_CONFIG;
}

static int serve(struct program *program)
{
    int status = open_model(program);

    if (status == 0)
        status = open_segment(program);
    if (status == 0) {
        watch_start(program);
        status = open_encoder(program);
    }
    if (status == 0)
        status = open_worker(program);
    start_watchdog_end(&program->watchdog);
    if (status) {
        last_words_say(program->error);
        log_error("%s", program->error);
        return exit_status_of_start(program, status);
    }
    model_close(&program->model); /* the encoder has what it needs */
    announce_ready(program);
    status = worker_run(&program->worker, &signalled.stop, program->error);
    if (status == 0) {
        log_info("drained, goodbye");
        return EXIT_SUCCESS;
    }
    process_set_state(&program->segment, PROCESS_WORKER, PROCESS_STATE_FAILED);
    last_words_say(program->error);
    log_error("%s", program->error);
    return SETTINGS_EXIT_RETRY;
}

static void close_program(struct program *program)
{
    worker_close(&program->worker);
    backend_close(&program->choice);
    last_words_remove();
    signalled.segment = NULL;
    segment_close(&program->segment);
    model_close(&program->model);
}

int main(int argc, char **argv)
{
    static struct program program; /* zeroed: what was not opened may be closed */
    struct settings settings;
    int status;

    switch (settings_parse(&settings, argc, argv, getenv, program.error)) {
    case SETTINGS_HELP:
        settings_print_help(argv[0]);
        return EXIT_SUCCESS;
    case SETTINGS_BAD:
        log_init("worker", settings.json_output, LOG_SEVERITY_ERROR);
        log_error("%s", program.error);
        return SETTINGS_EXIT_USAGE;
    case SETTINGS_OK:
        break;
    }
    log_init("worker", settings.json_output, log_severity_of(settings.log_level));
    program.settings = &settings;
    begin_timer(&program);
    status = serve(&program);
    /* An encoder that failed cannot be taken down: freeing waits for a hung card for ever, and so
     * may the CUDA runtime's own work at exit. The kernel clears up, as after a kill -9. */
    if (status == SETTINGS_EXIT_RETRY && program.choice.encoder)
        _exit(status);
    close_program(&program);
    return status;
}
