/* The worker's loop in its own process, the test as its frontends: every text gets its own answer,
 * also after deaths, and nobody waits for ever. */
#include "shm/layout.h"
#include "tests/gpu_worker/worker_process.h"
#include "tests/shm/own_path.h"
#include "tests/test.h"

#include <signal.h>
#include <unistd.h>

#define POISON_TOKEN 991
#define KILL_TOKEN   993
#define HANG_TOKEN   992

/* A segment, a worker and a frontend on each lane but the spare one. */
struct house {
    char path[64];
    pid_t worker;
    struct segment segment;
    struct lane_producer lanes[2];
};

static void open_house(struct house *house)
{
    char error[ERROR_BYTES];

    own_path(house->path);
    house->worker = kit_start_worker(house->path);
    EXPECT_EQUAL(segment_open_frontend(&house->segment, house->path, error), 0);
    for (uint32_t lane = 0; lane < 2; lane++)
        EXPECT_EQUAL(lane_attach_producer(&house->lanes[lane], &house->segment, lane, error), 0);
}

static void close_house(struct house *house)
{
    if (house->worker)
        EXPECT_EQUAL(kit_stop_worker(house->worker), 0);
    for (uint32_t lane = 0; lane < 2; lane++)
        lane_detach_producer(&house->lanes[lane]);
    segment_close(&house->segment);
    unlink(house->path);
}

static struct house house;

static void expect_logits(const struct lane_completion *completion, const struct kit_text *text)
{
    float expected[KIT_LABELS], logits[KIT_LABELS];

    EXPECT_EQUAL(completion->status, LANE_STATUS_OK);
    kit_logits(text->input_ids, text->n_tokens, text->type_start, expected);
    memcpy(logits, completion->result, sizeof(logits));
    EXPECT(memcmp(expected, logits, sizeof(logits)) == 0);
}

static struct stats_view stats(void)
{
    static struct stats_view view;
    stats_merge(&house.segment, &view);
    return view;
}

static struct kit_text text_with(uint32_t token)
{
    struct kit_text text = kit_text(5);
    text.input_ids[text.n_tokens / 2] = token;
    return text;
}

/* ---- the plain way --------------------------------------------------------------------------- */

#define ROUNDS 20
#define BURST  100

static void every_text_gets_its_own_logits(void)
{
    uint64_t n_tokens = 0;
    struct stats_view view;

    open_house(&house);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t number_of[2][KIT_SLOTS] = {{0}};

        for (uint32_t i = 0; i < 2 * BURST; i++) {
            struct kit_text text = kit_text(round * 1000 + i);
            number_of[i % 2][kit_submit(&house.lanes[i % 2], &text)] = round * 1000 + i;
            n_tokens += text.n_tokens;
        }
        for (uint32_t i = 0; i < 2 * BURST; i++) {
            struct lane_completion completion = kit_reap(&house.lanes[i % 2]);
            struct kit_text text = kit_text(number_of[i % 2][completion.slot_index]);

            expect_logits(&completion, &text);
            EXPECT(completion.batch_weight >= text.n_tokens && completion.batch_weight <= 200);
            lane_release(&house.lanes[i % 2], completion.slot_index);
        }
    }
    view = stats();
    EXPECT_EQUAL(view.counters[STATS_BATCH_TEXTS], ROUNDS * 2 * BURST);
    EXPECT_EQUAL(view.counters[STATS_BATCH_TOKENS], n_tokens);
    EXPECT_EQUAL(view.histograms[STATS_HISTOGRAM_BATCH_SIZE_TEXTS].count,
                 view.counters[STATS_BATCHES]);
    EXPECT_EQUAL(view.histograms[STATS_HISTOGRAM_BATCH_SIZE_TOKENS].sum, n_tokens);
    EXPECT_EQUAL(view.histograms[STATS_HISTOGRAM_QUEUE].count, ROUNDS * 2 * BURST);
    EXPECT_EQUAL(view.histograms[STATS_HISTOGRAM_ENCODE].count, ROUNDS * 2 * BURST);
    /* The worker's exit status also says that its loop took no memory. */
    close_house(&house);
}

/* ---- what other processes may send ----------------------------------------------------------- */

static uint32_t submit_raw(const void *payload, uint32_t payload_bytes, uint32_t weight,
                           uint64_t deadline_ns)
{
    uint64_t now_ns = clock_now_ns();
    uint32_t slot;

    EXPECT(lane_reserve(&house.lanes[0], &slot));
    memcpy(lane_payload(&house.lanes[0], slot), payload, payload_bytes);
    lane_submit(&house.lanes[0], slot, weight, now_ns, deadline_ns);
    return slot;
}

static void expect_status(uint32_t slot, enum lane_status status)
{
    struct lane_completion completion = kit_reap(&house.lanes[0]);

    EXPECT_EQUAL(completion.slot_index, slot);
    EXPECT_EQUAL(completion.status, status);
    lane_release(&house.lanes[0], slot);
}

static void a_slot_that_makes_no_sense_is_refused_and_the_rest_served(void)
{
    static const uint32_t too_long[] = {KIT_TOKENS + 1, 0}, empty[] = {0, 0};
    struct kit_text good = kit_text(9);
    uint8_t lie[256];

    open_house(&house);
    expect_status(submit_raw(too_long, sizeof(too_long), 5, UINT64_MAX), LANE_STATUS_INVALID);
    expect_status(submit_raw(empty, sizeof(empty), 1, UINT64_MAX), LANE_STATUS_INVALID);
    /* More tokens than it was weighed with: the budget would be broken. */
    EXPECT(good.n_tokens > 1);
    job_write(lie, &kit_shape, good.input_ids, good.n_tokens, 0);
    expect_status(submit_raw(lie, job_payload_bytes(&kit_shape), good.n_tokens - 1, UINT64_MAX),
                  LANE_STATUS_INVALID);
    expect_status(submit_raw(lie, job_payload_bytes(&kit_shape), UINT32_MAX, UINT64_MAX),
                  LANE_STATUS_OK);
    EXPECT_EQUAL(stats().counters[STATS_TEXTS_BAD], 3);
    close_house(&house);
}

static void a_text_past_its_deadline_is_not_computed(void)
{
    struct kit_text text = kit_text(9);
    uint8_t payload[256];

    open_house(&house);
    job_write(payload, &kit_shape, text.input_ids, text.n_tokens, 0);
    expect_status(submit_raw(payload, job_payload_bytes(&kit_shape), text.n_tokens, 1),
                  LANE_STATUS_EXPIRED);
    EXPECT_EQUAL(stats().counters[STATS_TEXTS_EXPIRED], 1);
    EXPECT_EQUAL(stats().counters[STATS_BATCHES], 0);
    close_house(&house);
}

/* ---- deaths ---------------------------------------------------------------------------------- */

/* Texts that wait together while no worker lives, the bad one in their midst; then one worker after
 * the other, until the bad text is given up after `n_deaths`. Each must look as `death` says. */
static void expect_only_the_bad_text_to_fail(uint32_t bad_token, int n_deaths, int death)
{
    struct kit_text bad = text_with(bad_token);
    uint32_t bad_slot = 0, n_served = 0, number_of[KIT_SLOTS] = {0};
    bool given_up = false;

    EXPECT_EQUAL(kit_stop_worker(house.worker), 0);
    for (uint32_t i = 0; i < 10; i++) {
        struct kit_text text = kit_text(i);
        number_of[kit_submit(&house.lanes[0], &text)] = i;
        if (i == 4)
            bad_slot = kit_submit(&house.lanes[0], &bad);
    }
    for (int deaths = 0; deaths < n_deaths; deaths++)
        EXPECT_EQUAL(kit_await_end(kit_start_worker(house.path)), death);
    house.worker = kit_start_worker(house.path);
    while (n_served < 10 || !given_up) {
        struct lane_completion completion = kit_reap(&house.lanes[0]);
        struct kit_text text = kit_text(number_of[completion.slot_index]);

        if (completion.slot_index == bad_slot) {
            EXPECT_EQUAL(completion.status, LANE_STATUS_POISONED);
            given_up = true;
        } else {
            expect_logits(&completion, &text);
            n_served++;
        }
        lane_release(&house.lanes[0], completion.slot_index);
    }
    EXPECT_EQUAL(stats().counters[STATS_TEXTS_POISONED], 1);
}

static void a_text_that_kills_takes_no_other_with_it(void)
{
    open_house(&house);
    setenv("WEIR_TEST_POISON_TOKEN", "991", 1);
    expect_only_the_bad_text_to_fail(POISON_TOKEN, LANE_TRIES_MAX, -SIGSEGV);
    unsetenv("WEIR_TEST_POISON_TOKEN");
    /* Those that were in its batch ran again, each alone. */
    EXPECT(stats().counters[STATS_TEXTS_REPLAYED] >= 4);
    close_house(&house);
}

static void a_death_without_a_word_is_held_against_no_text_for_long(void)
{
    open_house(&house);
    setenv("WEIR_TEST_KILL_TOKEN", "993", 1);
    expect_only_the_bad_text_to_fail(KILL_TOKEN, LANE_SILENT_TRIES_MAX, -SIGKILL);
    unsetenv("WEIR_TEST_KILL_TOKEN");
    close_house(&house);
}

/* Words of a start that failed say nothing about the texts that ran under the worker before. */
static void only_the_words_of_a_worker_that_served_count(void)
{
    open_house(&house);
    EXPECT_EQUAL(kit_stop_worker(house.worker), 0);
    EXPECT(!worker_predecessor_crashed(&house.segment));
    process_claim(&house.segment, PROCESS_WORKER);
    process_last_words(&house.segment, PROCESS_WORKER, "no card");
    EXPECT(!worker_predecessor_crashed(&house.segment));
    process_set_state(&house.segment, PROCESS_WORKER, PROCESS_STATE_READY);
    EXPECT(worker_predecessor_crashed(&house.segment));
    process_set_state(&house.segment, PROCESS_WORKER, PROCESS_STATE_FAILED);
    EXPECT(worker_predecessor_crashed(&house.segment));
    process_claim(&house.segment, PROCESS_WORKER);
    EXPECT(!worker_predecessor_crashed(&house.segment));
    house.worker = 0;
    close_house(&house);
}

static void a_failing_encoder_ends_the_worker_with_a_sentence(void)
{
    struct process_view view;

    open_house(&house);
    expect_only_the_bad_text_to_fail(KIT_FAIL_TOKEN, LANE_TRIES_MAX, KIT_EXIT_FAILED);
    EXPECT_EQUAL(kit_stop_worker(house.worker), 0);
    struct kit_text bad = text_with(KIT_FAIL_TOKEN);
    kit_submit(&house.lanes[1], &bad);
    EXPECT_EQUAL(kit_await_end(kit_start_worker(house.path)), KIT_EXIT_FAILED);
    process_read(&house.segment, PROCESS_WORKER, &view);
    EXPECT(strstr(view.last_words, "failed on a batch of 1 texts") != NULL);
    house.worker = 0;
    close_house(&house);
}

static bool is_running(uint32_t lane, uint32_t slot)
{
    struct lane_header *header = layout_lane(&house.segment, lane);
    uint64_t word = atomic_load(&layout_slot(header, &house.segment.geometry, slot)->state_word);

    return slot_word_state(word) == SLOT_STATE_RUNNING;
}

static void wait_without_completion(uint32_t lane, uint64_t duration_ns)
{
    uint64_t end_ns = clock_now_ns() + duration_ns;

    while (clock_now_ns() < end_ns)
        EXPECT(!lane_wait_completion(&house.segment, lane, end_ns - clock_now_ns()));
}

static void a_hung_batch_shows_as_a_heartbeat_that_grows_old(void)
{
    struct kit_text bad = text_with(HANG_TOKEN), good = kit_text(3);
    struct process_view before, after;
    struct lane_completion completion;
    uint32_t slot;

    open_house(&house);
    EXPECT_EQUAL(kit_stop_worker(house.worker), 0);
    setenv("WEIR_TEST_HANG_TOKEN", "992", 1);
    slot = kit_submit(&house.lanes[0], &bad);
    house.worker = kit_start_worker(house.path);
    unsetenv("WEIR_TEST_HANG_TOKEN");
    while (!is_running(0, slot))
        lane_wait_completion(&house.segment, 1, NS_PER_MS);
    kit_submit(&house.lanes[1], &good);
    do {
        process_read(&house.segment, PROCESS_WORKER, &before);
        wait_without_completion(1, 6 * LANE_SCAN_PERIOD_NS); /* it beats at least once in each */
        process_read(&house.segment, PROCESS_WORKER, &after);
    } while (before.heartbeat_ns != after.heartbeat_ns);
    /* What a supervisor does then. The last words say what it was at. */
    kill(house.worker, SIGABRT);
    EXPECT_EQUAL(kit_await_end(house.worker), -SIGABRT);
    process_read(&house.segment, PROCESS_WORKER, &after);
    EXPECT(strstr(after.last_words, "SIGABRT, in a batch of 1 texts") != NULL);
    house.worker = kit_start_worker(house.path);
    completion = kit_reap(&house.lanes[1]);
    expect_logits(&completion, &good);
    close_house(&house);
}

static void a_fault_leaves_last_words(void)
{
    struct process_view view;

    open_house(&house);
    EXPECT_EQUAL(kill(house.worker, SIGSEGV), 0);
    EXPECT_EQUAL(kit_await_end(house.worker), -SIGSEGV);
    process_read(&house.segment, PROCESS_WORKER, &view);
    EXPECT(strstr(view.last_words, "killed by SIGSEGV at address 0x") != NULL);
    house.worker = 0;
    close_house(&house);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void a_drain_serves_what_waits(void)
{
    uint32_t number_of[KIT_SLOTS] = {0};

    open_house(&house);
    EXPECT_EQUAL(kill(house.worker, SIGSTOP), 0);
    for (uint32_t i = 0; i < 100; i++) {
        struct kit_text text = kit_text(i);
        number_of[kit_submit(&house.lanes[0], &text)] = i;
    }
    EXPECT_EQUAL(kill(house.worker, SIGTERM), 0);
    EXPECT_EQUAL(kill(house.worker, SIGCONT), 0);
    EXPECT_EQUAL(kit_await_end(house.worker), 0);
    for (uint32_t i = 0; i < 100; i++) {
        struct lane_completion completion = kit_reap(&house.lanes[0]);
        struct kit_text text = kit_text(number_of[completion.slot_index]);

        expect_logits(&completion, &text);
        lane_release(&house.lanes[0], completion.slot_index);
    }
    house.worker = 0;
    close_house(&house);
}

/* ---- the canary ------------------------------------------------------------------------------ */

static float canary_shift;

static int shifted_forward(struct encoder *encoder, const struct batch *batch, float *logits)
{
    int status = kit_backend.forward(encoder, batch, logits);
    logits[1] += canary_shift;
    return status;
}

static void a_canary_that_changes_its_tune_is_an_error(void)
{
    struct segment_geometry geometry = {.n_lanes = 1,
                                        .slots_per_lane = 2,
                                        .payload_bytes = job_payload_bytes(&kit_shape),
                                        .result_bytes = job_result_bytes(&kit_shape)};
    struct encoder_backend backend = kit_backend;
    struct worker_config config = {.backend = &backend,
                                   .shape = kit_shape,
                                   .max_batch_tokens = 200,
                                   .max_batch_sequences = 16,
                                   .drain_timeout_ms = 100};
    struct segment segment = {0};
    struct worker worker = {0};
    char path[64], error[ERROR_BYTES] = "";

    backend.forward = shifted_forward;
    own_path(path);
    EXPECT_EQUAL(segment_open_worker(&segment, path, &geometry, "kit", error), 0);
    EXPECT_EQUAL(worker_open(&worker, &segment, &config, error), 0);
    EXPECT_EQUAL(worker_canary(&worker, error), 0);
    EXPECT_EQUAL(worker_canary(&worker, error), 0);
    canary_shift = 0.25f;
    EXPECT(worker_canary(&worker, error) < 0);
    EXPECT(strstr(error, "changed since the start") != NULL);
    canary_shift = (float)(1e300 * 1e300);
    EXPECT(worker_canary(&worker, error) < 0);
    EXPECT(strstr(error, "not a number") != NULL);
    worker_close(&worker);
    segment_close(&segment);
}

int main(void)
{
    RUN(every_text_gets_its_own_logits);
    RUN(a_slot_that_makes_no_sense_is_refused_and_the_rest_served);
    RUN(a_text_past_its_deadline_is_not_computed);
    RUN(a_text_that_kills_takes_no_other_with_it);
    RUN(a_death_without_a_word_is_held_against_no_text_for_long);
    RUN(only_the_words_of_a_worker_that_served_count);
    RUN(a_failing_encoder_ends_the_worker_with_a_sentence);
    RUN(a_hung_batch_shows_as_a_heartbeat_that_grows_old);
    RUN(a_fault_leaves_last_words);
    RUN(a_drain_serves_what_waits);
    RUN(a_canary_that_changes_its_tune_is_an_error);
    return 0;
}
