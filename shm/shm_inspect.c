/* shm_inspect: looks at a server's shared memory from outside, and never touches it.
 *
 * The map is read-only. Every file that can stand under the name is survived with a sentence: live,
 * left by the dead, cut short, zeroed, garbage, another version's. Even one that is truncated while
 * we look: the SIGBUS is answered with a sentence too. */
#include "shm/inspect.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_PATH        "/dev/shm/weir"
#define DEFAULT_TIMEOUT_MS  30000
#define DEFAULT_MAX_AGE_MS  30000
#define DEFAULT_INTERVAL_MS 500

/* X(word, function, help): commands that take an open segment. */
#define COMMANDS(X)                                                                            \
    X("status", inspect_status, "who runs, since when, on what; the segment's shape")          \
    X("lanes", inspect_lanes, "ring ends, slots by state, oldest text of each lane")           \
    X("slots", inspect_slots, "slots in use (--all: free ones too; --lane N)")                 \
    X("stats", inspect_stats, "all counters and histograms, summed over processes; the start") \
    X("check", inspect_check, "the invariants; exit 1 and a line for each that is broken")     \
    X("last-words", inspect_last_words, "what dead processes said (worker, frontend N: bare)") \
    X("health", inspect_health, "exit 1 if the worker is dead, failed or older than --max-age-ms")

/* The same for commands that open it themselves. */
#define WAITING_COMMANDS(X)                                                                \
    X("watch", inspect_watch, "a live view; q or Ctrl-C ends it (--interval-ms, --count)") \
    X("wait-ready", inspect_wait_ready, "until worker and frontends are READY (--timeout-ms)")

#define COMMAND_HELP(word, function, help) "  " word "\t" help "\n"
#define COMMAND_ROW(word, function, help)  {word, function},

static const struct {
    const char *word;
    int (*run)(const struct segment *segment, const struct inspect_options *options);
} commands[] = {COMMANDS(COMMAND_ROW)};

static const struct {
    const char *word;
    int (*run)(const struct inspect_options *options);
} waiting_commands[] = {WAITING_COMMANDS(COMMAND_ROW)};

static const char help[] =
    "usage: shm_inspect COMMAND [--segment PATH] [--json] [options]\n"
    "\n" COMMANDS(COMMAND_HELP) WAITING_COMMANDS(
        COMMAND_HELP) "\n"
                      "  --segment PATH    default: $WEIR_SEGMENT, else " DEFAULT_PATH "\n"
                      "  --json            one JSON object instead of text\n"
                      "  --lane N          slots: of this lane only\n"
                      "  --all             slots: free ones too\n"
                      "  --timeout-ms N    wait-ready: give up after so long (30000)\n"
                      "  --frontends N     wait-ready: at least so many must be ready (0)\n"
                      "  --max-age-ms N    health: oldest heartbeat that is healthy (30000)\n"
                      "  --interval-ms N   watch: between two pictures (500)\n"
                      "  --count N         watch: stop after so many pictures (0: never)\n"
                      "\n"
                      "exit status: 0 ok; 1 an invariant is broken, unhealthy or not ready; 2 no "
                      "readable segment; "
                      "64 bad usage\n";

/* ---- arguments ---- */

static bool parse_number(const char *text, uint32_t *number)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || *end != 0 || value >= UINT32_MAX)
        return false;
    *number = (uint32_t)value;
    return true;
}

/* Finds the number that a flag sets, or NULL. */
static uint32_t *number_of(struct inspect_options *options, const char *flag)
{
    const struct {
        const char *flag;
        uint32_t *number;
    } rows[] = {
        {"--lane", &options->lane},
        {"--timeout-ms", &options->timeout_ms},
        {"--frontends", &options->frontends},
        {"--max-age-ms", &options->max_age_ms},
        {"--interval-ms", &options->interval_ms},
        {"--count", &options->count},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (strcmp(flag, rows[i].flag) == 0)
            return rows[i].number;
    return NULL;
}

/* Takes the argument at `at` and its value. Returns the index behind them, or 0 with a complaint.
 */
static int parse_flag(struct inspect_options *options, int argc, char **argv, int at)
{
    const char *flag = argv[at];
    uint32_t *number = number_of(options, flag);
    if (strcmp(flag, "--json") == 0) {
        options->as_json = true;
        return at + 1;
    }
    if (strcmp(flag, "--all") == 0) {
        options->all = true;
        return at + 1;
    }
    if (!number && strcmp(flag, "--segment") != 0) {
        fprintf(stderr, "shm_inspect: there is no option %s; see --help\n", flag);
        return 0;
    }
    if (at + 1 == argc) {
        fprintf(stderr, "shm_inspect: %s wants a value\n", flag);
        return 0;
    }
    if (!number) {
        options->path = argv[at + 1];
    } else if (!parse_number(argv[at + 1], number)) {
        fprintf(stderr, "shm_inspect: %s wants a number, not \"%s\"\n", flag, argv[at + 1]);
        return 0;
    }
    return at + 2;
}

/* What `last-words` takes beside flags: worker [N], frontend N. */
static bool parse_role(struct inspect_options *options, const char *command, const char *word)
{
    if (strcmp(command, "last-words") != 0)
        return false;
    if (!options->role && (strcmp(word, "worker") == 0 || strcmp(word, "frontend") == 0)) {
        options->role = word;
        return true;
    }
    return options->role && parse_number(word, &options->role_lane);
}

static bool parse_arguments(struct inspect_options *options, int argc, char **argv)
{
    for (int at = 2; at < argc;) {
        if (argv[at][0] == '-') {
            at = parse_flag(options, argc, argv, at);
            if (at == 0)
                return false;
        } else if (parse_role(options, argv[1], argv[at])) {
            at++;
        } else {
            fprintf(stderr, "shm_inspect: %s does not take \"%s\"; see --help\n", argv[1],
                    argv[at]);
            return false;
        }
    }
    return true;
}

/* ---- running ---- */

static void on_bus_error(int signal)
{
    static const char sentence[] =
        "shm_inspect: the segment's file was cut short while it was read\n";
    ssize_t ignored = write(STDERR_FILENO, sentence, sizeof(sentence) - 1);
    (void)ignored;
    (void)signal;
    _exit(INSPECT_EXIT_UNREAD);
}

static int run_on_segment(const struct inspect_options *options,
                          int (*run)(const struct segment *, const struct inspect_options *))
{
    struct segment segment;
    char error[ERROR_BYTES];
    if (segment_open_readonly(&segment, options->path, error) < 0) {
        fprintf(stderr, "shm_inspect: %s\n", error);
        return INSPECT_EXIT_UNREAD;
    }
    int status = run(&segment, options);
    segment_close(&segment);
    return status;
}

static int run_command(const char *word, const struct inspect_options *options)
{
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        if (strcmp(word, commands[i].word) == 0)
            return run_on_segment(options, commands[i].run);
    for (size_t i = 0; i < ARRAY_COUNT(waiting_commands); i++)
        if (strcmp(word, waiting_commands[i].word) == 0)
            return waiting_commands[i].run(options);
    fprintf(stderr, "shm_inspect: there is no command %s; see --help\n", word);
    return INSPECT_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    const char *from_environment = getenv("WEIR_SEGMENT");
    struct inspect_options options = {
        .path = from_environment && from_environment[0] ? from_environment : DEFAULT_PATH,
        .lane = UINT32_MAX,
        .timeout_ms = DEFAULT_TIMEOUT_MS,
        .max_age_ms = DEFAULT_MAX_AGE_MS,
        .interval_ms = DEFAULT_INTERVAL_MS,
    };
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        fputs(help, argc < 2 ? stderr : stdout);
        return argc < 2 ? INSPECT_EXIT_USAGE : INSPECT_EXIT_OK;
    }
    if (!parse_arguments(&options, argc, argv))
        return INSPECT_EXIT_USAGE;
    signal(SIGBUS, on_bus_error);
    int status = run_command(argv[1], &options);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "shm_inspect: cannot write to stdout: %s\n", strerror(errno));
        return INSPECT_EXIT_UNREAD;
    }
    return status;
}
