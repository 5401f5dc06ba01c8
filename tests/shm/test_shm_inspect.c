/* shm_inspect as people and scripts use it: as a program, on live, stale and damaged segments.
 *
 *     test_shm_inspect SHM_INSPECT [SEED] */
#include "shm/layout.h"
#include "tests/shm/lane_pair.h"
#include "tests/shm/own_path.h"
#include "tests/shm/run_program.h"
#include "tests/test.h"
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *program;
static uint64_t random_state;
static char said[1 << 20];

static uint32_t random_below(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 16) % below);
}

static const char *const commands[] = {"status", "lanes",      "slots", "stats",
                                       "check",  "last-words", "health"};

/* Runs `shm_inspect ARGUMENTS --segment PATH`; arguments are separated by blanks. */
static int inspect(const char *path, const char *arguments)
{
    char words[256], *argv[24] = {program};
    int n = 1;
    snprintf(words, sizeof(words), "%s", arguments);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
        argv[n++] = word;
    if (path) {
        argv[n++] = "--segment";
        argv[n++] = (char *)path;
    }
    return run_program(argv, said, sizeof(said));
}

static void expect_said(const char *text)
{
    if (!strstr(said, text))
        fprintf(stderr, "said: %s", said);
    EXPECT(strstr(said, text));
}

static void expect_status(int actual, int expected)
{
    if (actual != expected)
        fprintf(stderr, "said: %s", said);
    EXPECT_EQUAL(actual, expected);
}

/* A server in the middle of things: one text running, one done, one queued, one expired. */
static void open_busy(struct lane_pair *pair)
{
    struct lane_ticket ticket;
    lane_pair_open(pair);
    process_claim(&pair->worker, PROCESS_WORKER);
    process_set_state(&pair->worker, PROCESS_WORKER, PROCESS_STATE_READY);
    process_set_description(&pair->worker, PROCESS_WORKER, "a backend\nof 2 threads");
    process_claim(&pair->frontend, 0);
    process_set_state(&pair->frontend, 0, PROCESS_STATE_READY);
    process_last_words(&pair->frontend, 0, "farewell");
    lane_pair_submit(pair, "runs", clock_now_ns());
    lane_pair_take(pair, "runs", clock_now_ns());
    lane_pair_submit(pair, "done", clock_now_ns());
    ticket = lane_pair_take(pair, "done", clock_now_ns());
    lane_pair_complete(pair, &ticket, "D");
    lane_pair_submit(pair, "expired", clock_now_ns());
    EXPECT(lane_peek(&pair->consumer, clock_now_ns(), &ticket));
    EXPECT(lane_expire(&pair->consumer, &ticket, clock_now_ns()));
    lane_pair_submit(pair, "queued", clock_now_ns());
    stats_add(stats_writer(&pair->frontend, 0), STATS_REQUESTS, 4);
    stats_record(stats_writer(&pair->frontend, 0), STATS_HISTOGRAM_TOTAL, 12345678);
    start_add(&pair->worker, START_PHASE_MODEL, 7654321);
    start_end(&pair->worker, 8765432);
}

static void every_command_answers_on_a_live_segment(void)
{
    struct lane_pair pair;
    open_busy(&pair);
    expect_status(inspect(pair.path, "status"), 0);
    expect_said("worker       READY, pid ");
    expect_said("a backend?of 2 threads"); /* a newline of another process breaks no line of ours */
    expect_said("last words: farewell");
    expect_said("2 lanes x 8 slots, payload 100 and result 20 bytes, 2 texts queued or running");
    expect_status(inspect(pair.path, "lanes"), 0);
    expect_said("     4      1       1      2       0");
    expect_status(inspect(pair.path, "slots"), 0);
    expect_said("QUEUED");
    expect_said("RUNNING");
    expect_said("EXPIRED");
    EXPECT(!strstr(said, "FREE"));
    expect_status(inspect(pair.path, "slots --all --lane 1"), 0);
    expect_said("FREE");
    EXPECT(!strstr(said, "QUEUED"));
    expect_status(inspect(pair.path, "stats"), 0);
    expect_said("weir_requests_total                                         4");
    expect_said("12.6 ms");
    expect_said(
        "model                              7.7 ms\nuntil it was ready                 8.8 ms\n");
    expect_status(inspect(pair.path, "check"), 0);
    expect_said("ok: 2 lanes of 8 slots hold all invariants");
    expect_status(inspect(pair.path, "last-words"), 0);
    expect_said("\tfrontend 0\tfarewell\n");
    expect_status(inspect(pair.path, "health"), 0);
    expect_said("healthy\n");
    lane_pair_close(&pair);
}

static void every_command_speaks_json(void)
{
    struct lane_pair pair;
    open_busy(&pair);
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        char arguments[64];
        snprintf(arguments, sizeof(arguments), "%s --json", commands[i]);
        expect_status(inspect(pair.path, arguments), 0);
        json_t *json = json_loads(said, JSON_REJECT_DUPLICATES, NULL);
        EXPECT(json_is_object(json));
        json_decref(json);
    }
    expect_status(inspect(pair.path, "slots --json"), 0);
    json_t *slots = json_loads(said, 0, NULL);
    EXPECT_EQUAL(json_array_size(json_object_get(slots, "slots")), 4);
    json_decref(slots);
    expect_status(inspect(pair.path, "stats --json"), 0);
    json_t *stats = json_loads(said, 0, NULL);
    json_t *start = json_object_get(stats, "start"), *phases = json_object_get(start, "phases_ns");
    EXPECT_EQUAL(json_integer_value(json_object_get(start, "total_ns")), 8765432);
    EXPECT_EQUAL(json_integer_value(json_object_get(phases, "model")), 7654321);
    EXPECT_EQUAL(json_object_size(phases), START_PHASE_COUNT);
    json_decref(stats);
    lane_pair_close(&pair);
}

static void scripts_get_bare_last_words(void)
{
    struct lane_pair pair;
    open_busy(&pair);
    expect_status(inspect(pair.path, "last-words frontend 0"), 0);
    EXPECT_STRING(said, "farewell\n");
    expect_status(inspect(pair.path, "last-words worker 0"), 0);
    EXPECT_STRING(said, "");
    expect_status(inspect(pair.path, "last-words frontend 7"), 64);
    lane_pair_close(&pair);
}

static void health_is_the_age_of_the_workers_heartbeat(void)
{
    struct lane_pair pair;
    open_busy(&pair);
    process_heartbeat(&pair.worker, PROCESS_WORKER, clock_now_ns() - 5 * NS_PER_S);
    expect_status(inspect(pair.path, "health --max-age-ms 60000"), 0);
    expect_status(inspect(pair.path, "health --max-age-ms 4000"), 1);
    expect_said("the worker's heartbeat is too old");
    process_heartbeat(&pair.worker, PROCESS_WORKER, clock_now_ns());
    process_set_state(&pair.worker, PROCESS_WORKER, PROCESS_STATE_FAILED);
    expect_status(inspect(pair.path, "health"), 1);
    expect_said("the worker says that it cannot serve");
    pair.worker.header->worker.start_ticks++; /* that pid is somebody else's now */
    expect_status(inspect(pair.path, "health --json"), 1);
    expect_said("\"fault\":\"the worker is dead\"");
    lane_pair_close(&pair);
}

static void wait_ready_waits_for_the_worker_and_the_living_frontends(void)
{
    struct lane_pair pair;
    open_busy(&pair);
    expect_status(inspect(pair.path, "wait-ready --timeout-ms 0"), 0);
    expect_status(inspect(pair.path, "wait-ready --timeout-ms 0 --frontends 2"), 1);
    expect_said("1 of 2 frontends are ready");
    process_claim(&pair.frontend, 1);
    expect_status(inspect(pair.path, "wait-ready --timeout-ms 0"), 1);
    expect_said("frontend 1 is STARTING");
    pair.lane->frontend.start_ticks++; /* the dead are not waited for */
    process_set_state(&pair.frontend, 1, PROCESS_STATE_READY);
    expect_status(inspect(pair.path, "wait-ready --timeout-ms 0 --frontends 1"), 0);
    process_set_state(&pair.worker, PROCESS_WORKER, PROCESS_STATE_STARTING);
    expect_status(inspect(pair.path, "wait-ready --timeout-ms 1"), 1);
    expect_said("the worker is STARTING");
    lane_pair_close(&pair);
    expect_status(inspect(pair.path, "wait-ready --timeout-ms 0"), 1);
    expect_said("No such file or directory");
}

static void wait_ready_sees_the_worker_become_ready(void)
{
    struct lane_pair pair;
    open_busy(&pair);
    process_set_state(&pair.worker, PROCESS_WORKER, PROCESS_STATE_STARTING);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(inspect(pair.path, "wait-ready --timeout-ms 60000"));
    process_set_state(&pair.worker, PROCESS_WORKER, PROCESS_STATE_READY);
    int status;
    EXPECT_EQUAL(waitpid(child, &status, 0), child);
    EXPECT_EQUAL(status, 0);
    lane_pair_close(&pair);
}

static void watch_draws_pictures_on_a_dumb_terminal(void)
{
    struct lane_pair pair;
    open_busy(&pair);
    expect_status(inspect(pair.path, "watch --count 2 --interval-ms 10"), 0);
    expect_said("worker READY pid ");
    expect_said("lane 0   READY");
    EXPECT(!strchr(said, '\033'));
    expect_status(inspect(pair.path, "watch --count 2 --interval-ms 10 --json"), 0);
    EXPECT(strchr(said, '\n') != strrchr(said, '\n'));
    lane_pair_close(&pair);
    expect_status(inspect(pair.path, "watch --count 1"), 2);
}

/* ---- check ---- */

static void expect_violation(struct lane_pair *pair, const char *sentence)
{
    expect_status(inspect(pair->path, "check"), 1);
    expect_said(sentence);
    expect_status(inspect(pair->path, "check --json"), 1);
    expect_said("\"ok\":false");
    lane_pair_close(pair);
}

static void check_finds_each_state_word_that_cannot_be(void)
{
    static const char *const tries = "running, but with tries out of bounds";
    const struct {
        uint64_t word;
        const char *fault;
    } cases[] = {
        {77, "a state that does not exist (word 000000000000004d)\n"},
        {slot_word(1, 0, 1, SLOT_STATE_FREE), "free, but with tries or epoch"},
        {slot_word(1, 3, 0, SLOT_STATE_QUEUED), "queued, but with an epoch"},
        {slot_word(1, 0, LANE_SILENT_TRIES_MAX, SLOT_STATE_QUEUED),
         "queued, but with all its tries spent"},
        {slot_word(1, 1, 0, SLOT_STATE_RUNNING), tries},
        {slot_word(1, 1, LANE_SILENT_TRIES_MAX + 1, SLOT_STATE_RUNNING), tries},
        {slot_word(1, 9, LANE_SILENT_TRIES_MAX, SLOT_STATE_RUNNING),
         "running under a dead worker although the living one is ready"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct lane_pair pair;
        char sentence[128];
        open_busy(&pair);
        atomic_store(&lane_pair_slot(&pair, 5)->state_word, cases[i].word);
        snprintf(sentence, sizeof(sentence), "violation: lane 0 slot 5: %s", cases[i].fault);
        expect_violation(&pair, sentence);
    }
}

static void check_finds_each_broken_invariant(void)
{
    struct lane_pair pair;
    open_busy(&pair);
    atomic_store(&lane_pair_slot(&pair, 1)->status, 5);
    expect_violation(&pair, "slot 1: done, but with a status that does not exist");
    open_busy(&pair);
    atomic_store(&lane_pair_slot(&pair, 3)->payload_used, 101);
    expect_violation(&pair, "slot 3: more payload used than there is");
    open_busy(&pair);
    atomic_store(&lane_pair_slot(&pair, 3)->submitted_ns, UINT64_MAX);
    expect_violation(&pair, "slot 3: submitted in the future");
    open_busy(&pair);
    atomic_store(&lane_pair_slot(&pair, 3)->submitted_ns, 1);
    atomic_store(&pair.worker.header->worker_bell.sleeping, 1);
    expect_violation(&pair, "slot 3: queued for long while the worker sleeps");
    open_busy(&pair);
    atomic_store(&pair.lane->submit_tail, atomic_load(&pair.lane->submit_head) - 1);
    expect_violation(&pair, "lane 0: the submission ring has head 3 and tail 2: one of them is ");
    open_busy(&pair);
    atomic_store(&pair.lane->complete_tail, 17);
    expect_violation(&pair, "lane 0: the completion ring has head 0 and tail 17: one of them is ");
    open_busy(&pair);
    layout_complete_ring(pair.lane, &pair.worker.geometry)[0] = 8;
    expect_violation(&pair, "lane 0: 1 entries of the completion ring name no slot");
    open_busy(&pair);
    atomic_store(&pair.lane->bell.sleeping, 2);
    expect_violation(&pair, "lane 0: its bell's flag is 2");
    open_busy(&pair);
    stats_add(stats_writer(&pair.frontend, 0), STATS_RESPONSES_OK, 5);
    expect_violation(&pair, "lane 0: 5 answers to 4 requests");
    open_busy(&pair);
    atomic_store(&pair.lane->frontend.state, 99);
    expect_violation(&pair, "frontend 0: state 99 does not exist");
    open_busy(&pair);
    process_heartbeat(&pair.worker, PROCESS_WORKER, UINT64_MAX);
    expect_violation(&pair, "worker: its heartbeat lies ");
    open_busy(&pair);
    atomic_store(&pair.worker.header->worker_epoch, 0);
    expect_violation(&pair, "no worker ever opened the segment");
}

static void check_takes_no_offence_at_what_deaths_leave(void)
{
    struct lane_pair pair;
    open_busy(&pair);
    atomic_store(&pair.lane->submit_tail, 1000); /* lapped while no worker ran */
    pair.worker.header->worker.start_ticks++;
    expect_status(inspect(pair.path, "check"), 0);
    lane_pair_close(&pair);
}

/* ---- what is left, and what is none ---- */

static void read_file(const char *path, char *bytes, size_t size)
{
    int descriptor = open(path, O_RDONLY);
    EXPECT_EQUAL(read(descriptor, bytes, size), (ssize_t)size);
    close(descriptor);
}

static void write_file(const char *path, const char *bytes, size_t size)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    EXPECT_EQUAL(write(descriptor, bytes, size), (ssize_t)size);
    close(descriptor);
}

/* A busy segment's bytes, for damage. */
static size_t busy_bytes(char **bytes)
{
    struct lane_pair pair;
    open_busy(&pair);
    size_t size = pair.worker.mapped_bytes;
    *bytes = malloc(size);
    read_file(pair.path, *bytes, size);
    lane_pair_close(&pair);
    return size;
}

/* Every command ends by itself with a sentence and a status that it may have. */
static void expect_survival(const char *path)
{
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        for (int as_json = 0; as_json <= 1; as_json++) {
            char arguments[64];
            snprintf(arguments, sizeof(arguments), "%s%s", commands[i], as_json ? " --json" : "");
            int status = inspect(path, arguments);
            expect_status(status <= 2 ? 0 : status, 0);
            bool is_silent = said[0] == 0;
            EXPECT(!is_silent || strcmp(commands[i], "last-words") == 0);
        }
}

static void expect_unreadable(const char *path, const char *sentence)
{
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        expect_status(inspect(path, commands[i]), 2);
        expect_said("shm_inspect: ");
        expect_said(sentence);
    }
}

static void a_stale_segment_is_shown_as_such(void)
{
    struct lane_pair pair;
    char path[64], *bytes;
    open_busy(&pair);
    size_t size = pair.worker.mapped_bytes;
    bytes = malloc(size);
    pair.worker.header->worker.start_ticks++;
    pair.lane->frontend.start_ticks++;
    read_file(pair.path, bytes, size);
    lane_pair_close(&pair);
    own_path(path);
    write_file(path, bytes, size);
    expect_status(inspect(path, "status"), 0);
    expect_said("DEAD");
    expect_status(inspect(path, "check"), 0); /* what the dead left is in order */
    expect_status(inspect(path, "health"), 1);
    expect_said("the worker is dead");
    expect_survival(path);
    unlink(path);
    free(bytes);
}

static void a_file_cut_short_is_refused_at_every_kind_of_length(void)
{
    char path[64], *bytes;
    size_t size = busy_bytes(&bytes);
    const size_t lengths[] = {1,
                              7,
                              8,
                              12,
                              63,
                              64,
                              191,
                              192,
                              sizeof(struct segment_header) - 1,
                              sizeof(struct segment_header),
                              4096,
                              size / 2,
                              size - 4096,
                              size - 1};
    own_path(path);
    write_file(path, "", 0);
    expect_unreadable(path, "is empty: its creator has not finished");
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        write_file(path, bytes, lengths[i]);
        expect_unreadable(path, lengths[i] < sizeof(struct segment_header) ? "fewer than its header"
                                                                           : "its geometry needs");
    }
    bytes = realloc(bytes, size + 1);
    bytes[size] = 0;
    write_file(path, bytes, size + 1); /* and one too long */
    expect_unreadable(path, "its geometry needs");
    unlink(path);
    free(bytes);
}

static void zeroes_garbage_and_other_versions_are_refused(void)
{
    char path[64], *bytes;
    size_t size = busy_bytes(&bytes);
    own_path(path);
    ((struct segment_identity *)bytes)->layout_version = LAYOUT_VERSION + 1;
    write_file(path, bytes, size);
    expect_unreadable(path, "has layout version ");
    ((struct segment_identity *)bytes)->layout_version = LAYOUT_VERSION;
    ((struct segment_identity *)bytes)->layout_hash ^= 1;
    write_file(path, bytes, size);
    expect_unreadable(path, "was made by another build of weir");
    memset(bytes, 0, size);
    write_file(path, bytes, size);
    expect_unreadable(path, "is not a segment yet");
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)random_below(256);
    write_file(path, bytes, size);
    expect_unreadable(path, "is not a weir segment");
    expect_unreadable("/dev/null", "is not a regular file");
    expect_unreadable("/", "is not a regular file");
    unlink(path);
    expect_unreadable(path, "No such file or directory");
    free(bytes);
}

/* The header's identity stays: a reader that got past it must survive all else. */
static void a_body_of_garbage_is_survived(void)
{
    char path[64], *bytes;
    size_t size = busy_bytes(&bytes);
    own_path(path);
    for (int fill = -1; fill < 256; fill += 128) {
        for (size_t i = sizeof(struct segment_identity); i < size; i++)
            bytes[i] = (char)(fill < 0 ? random_below(256) : (uint32_t)fill);
        write_file(path, bytes, size);
        expect_survival(path);
        expect_status(inspect(path, "watch --count 2 --interval-ms 10"), 0);
        expect_status(inspect(path, "wait-ready --timeout-ms 0"), 1);
    }
    expect_status(inspect(path, "check"), 1);
    unlink(path);
    free(bytes);
}

static void flipped_bits_are_survived(void)
{
    char path[64], *bytes;
    size_t size = busy_bytes(&bytes);
    own_path(path);
    for (int round = 0; round < 24; round++) {
        char *damaged = malloc(size);
        memcpy(damaged, bytes, size);
        /* Half of the rounds in the first lines of the header, where each bit counts most. */
        for (int i = 0; i < 1 << round % 8; i++)
            damaged[random_below(round % 2 ? 192 : (uint32_t)size)] ^= (char)(1 << random_below(8));
        write_file(path, damaged, size);
        expect_survival(path);
        free(damaged);
    }
    unlink(path);
    free(bytes);
}

/* ---- arguments ---- */

static void bad_usage_is_64_with_a_sentence(void)
{
    expect_status(inspect(NULL, ""), 64);
    expect_said("usage: shm_inspect COMMAND");
    expect_status(inspect("/x", "dance"), 64);
    expect_said("there is no command dance");
    expect_status(inspect(NULL, "status --colour"), 64);
    expect_said("there is no option --colour");
    expect_status(inspect(NULL, "status --segment"), 64);
    expect_said("--segment wants a value");
    expect_status(inspect(NULL, "health --max-age-ms soon"), 64);
    expect_said("--max-age-ms wants a number, not \"soon\"");
    expect_status(inspect(NULL, "health --max-age-ms 99999999999"), 64);
    expect_status(inspect(NULL, "status worker"), 64);
    expect_said("status does not take \"worker\"");
    expect_status(inspect(NULL, "--help"), 0);
    expect_said("wait-ready");
}

static void the_segments_name_comes_from_the_environment_too(void)
{
    struct lane_pair pair;
    open_busy(&pair);
    setenv("WEIR_SEGMENT", pair.path, 1);
    expect_status(inspect(NULL, "status"), 0);
    unsetenv("WEIR_SEGMENT");
    expect_status(inspect(pair.path, "slots --lane 2"), 64);
    expect_said("there is no lane 2");
    lane_pair_close(&pair);
}

static void nothing_is_ever_written_to_the_segment(void)
{
    char path[64], *bytes, *after;
    size_t size = busy_bytes(&bytes);
    own_path(path);
    write_file(path, bytes, size);
    EXPECT_EQUAL(chmod(path, 0400), 0);
    expect_survival(path);
    after = malloc(size);
    read_file(path, after, size);
    EXPECT_EQUAL(memcmp(bytes, after, size), 0);
    free(after);
    free(bytes);
}

int main(int argc, char **argv)
{
    EXPECT(argc > 1);
    program = argv[1];
    random_state = argc > 2 ? strtoull(argv[2], NULL, 10) : clock_now_ns();
    printf("seed %" PRIu64 "\n", random_state);
    random_state |= 1;
    RUN(every_command_answers_on_a_live_segment);
    RUN(every_command_speaks_json);
    RUN(scripts_get_bare_last_words);
    RUN(health_is_the_age_of_the_workers_heartbeat);
    RUN(wait_ready_waits_for_the_worker_and_the_living_frontends);
    RUN(wait_ready_sees_the_worker_become_ready);
    RUN(watch_draws_pictures_on_a_dumb_terminal);
    RUN(check_finds_each_state_word_that_cannot_be);
    RUN(check_finds_each_broken_invariant);
    RUN(check_takes_no_offence_at_what_deaths_leave);
    RUN(a_stale_segment_is_shown_as_such);
    RUN(a_file_cut_short_is_refused_at_every_kind_of_length);
    RUN(zeroes_garbage_and_other_versions_are_refused);
    RUN(a_body_of_garbage_is_survived);
    RUN(flipped_bits_are_survived);
    RUN(bad_usage_is_64_with_a_sentence);
    RUN(the_segments_name_comes_from_the_environment_too);
    RUN(nothing_is_ever_written_to_the_segment);
    return 0;
}
