/* watch: a live picture in the terminal, or one JSON object an interval.
 *
 * Plain ANSI: home, clear to the end of line, clear below; a terminal without (TERM unset or
 * "dumb", or stdout no terminal) gets the pictures one below the other. Ends on q, Ctrl-C, SIGTERM
 * or the end of input, after `--count` pictures, and always gives the terminal back as it was. */
#include "shm/inspect.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

/* `--interval-ms 0` must not become a busy loop beside a server. */
#define INTERVAL_MIN_MS 10

struct watch {
    const struct inspect_options *options;
    bool is_ansi;
    bool is_raw; /* `saved` must be restored */
    bool reads_keys;
    struct termios saved;
    int signals; /* signalfd */
    struct segment segment;
    struct stats_view before, now; /* 20 KiB each */
    uint64_t before_ns, now_ns;    /* before_ns 0: no earlier picture to compare with */
};

/* ---- the terminal ---- */

static void terminal_open(struct watch *watch)
{
    const char *term = getenv("TERM");
    watch->is_ansi = !watch->options->as_json && isatty(STDOUT_FILENO) && term && term[0] &&
                     strcmp(term, "dumb") != 0;
    watch->reads_keys = isatty(STDIN_FILENO);
    if (watch->reads_keys && tcgetattr(STDIN_FILENO, &watch->saved) == 0) {
        struct termios raw = watch->saved;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* Ctrl-C stays a signal */
        raw.c_cc[VMIN] = 0;
        raw.c_cc[VTIME] = 0;
        watch->is_raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    watch->signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (watch->is_ansi)
        printf("\033[?25l\033[2J"); /* no cursor, clear */
}

static void terminal_close(struct watch *watch)
{
    if (watch->is_ansi)
        printf("\033[?25h\n");
    fflush(stdout);
    if (watch->is_raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &watch->saved);
    if (watch->signals >= 0)
        close(watch->signals);
}

/* Waits out the interval. True: somebody wants us to stop. */
static bool wait_for_stop(struct watch *watch)
{
    uint64_t interval_ms = max_u64(watch->options->interval_ms, INTERVAL_MIN_MS);
    uint64_t end_ns = clock_now_ns() + interval_ms * NS_PER_MS;
    for (uint64_t now_ns = clock_now_ns(); now_ns < end_ns; now_ns = clock_now_ns()) {
        struct pollfd waits[2] = {
            {.fd = watch->signals, .events = POLLIN},
            {.fd = watch->reads_keys ? STDIN_FILENO : -1, .events = POLLIN},
        };
        int timeout_ms = (int)((end_ns - now_ns) / NS_PER_MS) + 1;
        if (poll(waits, 2, timeout_ms) < 0 && errno != EINTR)
            return true;
        if (waits[0].revents)
            return true;
        char key = 0;
        if (waits[1].revents && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q'))
            return true;
    }
    return false;
}

/* ---- one picture ---- */

static uint64_t counter_since(const struct watch *watch, enum stats_counter counter)
{
    /* A replaced segment starts again at 0. */
    return inspect_age_ns(watch->now.counters[counter], watch->before.counters[counter]);
}

static double rate(const struct watch *watch, enum stats_counter counter)
{
    uint64_t ns = watch->now_ns - watch->before_ns;
    return watch->before_ns == 0 || ns == 0
               ? 0
               : (double)counter_since(watch, counter) * NS_PER_S / (double)ns;
}

/* The histogram of the last interval alone. */
static void since(const struct watch *watch, enum stats_histogram histogram,
                  struct stats_histogram_view *view)
{
    const struct stats_histogram_view *before = &watch->before.histograms[histogram];
    const struct stats_histogram_view *now = &watch->now.histograms[histogram];
    view->sum = inspect_age_ns(now->sum, before->sum);
    view->count = 0;
    for (uint32_t i = 0; i < STATS_BUCKETS_COUNT; i++) {
        view->buckets[i] = inspect_age_ns(now->buckets[i], before->buckets[i]);
        view->count += view->buckets[i];
    }
}

static const char *end_of_line(const struct watch *watch)
{
    return watch->is_ansi ? "\033[K\n" : "\n";
}

static void latency_line(const struct watch *watch, const char *name,
                         enum stats_histogram histogram)
{
    struct stats_histogram_view view;
    char p50[INSPECT_DURATION_BYTES], p90[INSPECT_DURATION_BYTES], p99[INSPECT_DURATION_BYTES];
    since(watch, histogram, &view);
    printf("  %-10s p50 %10s   p90 %10s   p99 %10s%s", name,
           inspect_duration(p50, stats_quantile(&view, 0.5)),
           inspect_duration(p90, stats_quantile(&view, 0.9)),
           inspect_duration(p99, stats_quantile(&view, 0.99)), end_of_line(watch));
}

static double per(uint64_t sum, uint64_t count)
{
    return count == 0 ? 0 : (double)sum / (double)count;
}

static void lane_line(const struct watch *watch, uint32_t lane_index)
{
    struct inspect_lane lane;
    inspect_read_lane(&watch->segment, lane_index, &lane);
    if (lane.frontend.state == PROCESS_STATE_EMPTY)
        return;
    printf("  lane %-3u %-8s pid %-8u queued %5u  running %5u  done %5u  free %5u%s", lane_index,
           lane.frontend.alive ? inspect_process_state(lane.frontend.state) : "DEAD",
           lane.frontend.view.pid, lane.n_slots[SLOT_STATE_QUEUED],
           lane.n_slots[SLOT_STATE_RUNNING], lane.n_slots[SLOT_STATE_DONE],
           lane.n_slots[SLOT_STATE_FREE], end_of_line(watch));
}

static void picture_text(const struct watch *watch)
{
    struct inspect_process worker;
    char age[INSPECT_DURATION_BYTES];
    const char *end = end_of_line(watch);
    inspect_read_process(&watch->segment, PROCESS_WORKER, &worker);
    uint64_t age_ns = inspect_age_ns(watch->now_ns, worker.view.heartbeat_ns);
    uint64_t batches = counter_since(watch, STATS_BATCHES);
    printf("%sweir %s   worker %s pid %u epoch %u, heartbeat %s ago%s",
           watch->is_ansi ? "\033[H" : "", watch->options->path,
           worker.alive ? inspect_process_state(worker.state) : "DEAD", worker.view.pid,
           segment_worker_epoch(&watch->segment), inspect_duration(age, age_ns), end);
    printf("  %.0f requests/s   %.0f texts/s   %.0f tokens/s   %.1f batches/s%s",
           rate(watch, STATS_REQUESTS), rate(watch, STATS_BATCH_TEXTS),
           rate(watch, STATS_BATCH_TOKENS), rate(watch, STATS_BATCHES), end);
    printf("  a batch: %.1f texts, %.1f tokens   wakes a text: %.3f   429s: %.0f/s%s",
           per(counter_since(watch, STATS_BATCH_TEXTS), batches),
           per(counter_since(watch, STATS_BATCH_TOKENS), batches),
           per(counter_since(watch, STATS_BELL_WAKES), counter_since(watch, STATS_BATCH_TEXTS)),
           rate(watch, STATS_RESPONSES_OVERLOADED), end);
    latency_line(watch, "request", STATS_HISTOGRAM_TOTAL);
    latency_line(watch, "tokenize", STATS_HISTOGRAM_TOKENIZE);
    latency_line(watch, "queue", STATS_HISTOGRAM_QUEUE);
    latency_line(watch, "encode", STATS_HISTOGRAM_ENCODE);
    for (uint32_t lane = 0; lane < watch->segment.geometry.n_lanes; lane++)
        lane_line(watch, lane);
    printf("%s", watch->is_ansi ? "  q quits\033[K\033[J" : "\n");
}

static void picture_json(const struct watch *watch)
{
    struct inspect_process worker;
    struct stats_histogram_view total;
    inspect_read_process(&watch->segment, PROCESS_WORKER, &worker);
    since(watch, STATS_HISTOGRAM_TOTAL, &total);
    json_t *json = json_object();
    inspect_json_add(json, "worker", inspect_json_process(&worker, watch->now_ns));
    inspect_json_add_integer(json, "queue_depth", inspect_queue_depth(&watch->segment));
    inspect_json_add(json, "requests_per_s", json_real(rate(watch, STATS_REQUESTS)));
    inspect_json_add(json, "texts_per_s", json_real(rate(watch, STATS_BATCH_TEXTS)));
    inspect_json_add(json, "tokens_per_s", json_real(rate(watch, STATS_BATCH_TOKENS)));
    inspect_json_add(json, "batches_per_s", json_real(rate(watch, STATS_BATCHES)));
    inspect_json_add_integer(json, "request_p50_ns", stats_quantile(&total, 0.5));
    inspect_json_add_integer(json, "request_p99_ns", stats_quantile(&total, 0.99));
    inspect_json_print(json);
}

static void no_picture(const struct watch *watch, const char *error)
{
    if (watch->options->as_json)
        inspect_json_print(json_pack("{s:o}", "error", inspect_json_text(error)));
    else
        printf("%s%s%s%s", watch->is_ansi ? "\033[H" : "", error, end_of_line(watch),
               watch->is_ansi ? "\033[J" : "");
}

static int picture(struct watch *watch)
{
    char error[ERROR_BYTES];
    /* A server that was restarted with another shape has another file under the same name. */
    if (watch->segment.header && !segment_is_current(&watch->segment, watch->options->path))
        segment_close(&watch->segment);
    if (!watch->segment.header) {
        watch->before_ns = 0;
        if (segment_open_readonly(&watch->segment, watch->options->path, error) < 0) {
            no_picture(watch, error);
            return INSPECT_EXIT_UNREAD;
        }
    }
    watch->now_ns = clock_now_ns();
    stats_merge(&watch->segment, &watch->now);
    if (watch->before_ns == 0)
        watch->before = watch->now;
    if (watch->options->as_json)
        picture_json(watch);
    else
        picture_text(watch);
    watch->before = watch->now;
    watch->before_ns = watch->now_ns;
    return INSPECT_EXIT_OK;
}

int inspect_watch(const struct inspect_options *options)
{
    static struct watch watch; /* two views of 20 KiB */
    watch = (struct watch){.options = options};
    terminal_open(&watch);
    int status = picture(&watch);
    for (uint32_t n = 1; options->count == 0 || n < options->count; n++) {
        fflush(stdout);
        if (ferror(stdout) || wait_for_stop(&watch))
            break;
        status = picture(&watch);
    }
    terminal_close(&watch);
    segment_close(&watch.segment);
    return status;
}
