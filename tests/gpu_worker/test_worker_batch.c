/* Batches in flight, with a made-up card in the worker's own thread: it moves one tick with each
 * collect(), and the test plays the frontends from within those calls. So every interleaving is
 * exact, and nothing sleeps.
 *
 * A batch runs DONE_TICKS ticks and is almost done after ALMOST_TICKS. What went in and out is
 * written down as "tick+texts" and "tick-texts". */
#include "shm/layout.h"
#include "shm/log.h"
#include "tests/gpu_worker/count_malloc.h"
#include "tests/gpu_worker/worker_process.h"
#include "tests/shm/own_path.h"
#include "tests/test.h"

#include <errno.h>
#include <unistd.h>

#define ALMOST_TICKS 3
#define DONE_TICKS   5
#define TEXTS_MAX    64

struct flying {
    uint32_t input_ids[200], cu_seqlens[17], type_starts[16], n_sequences;
    uint32_t age;
};

/* The card, the worker on it, and two frontends. */
static struct {
    struct flying air[ENCODER_FLIGHTS_MAX];
    uint32_t submitted, collected, ticks, age_of_failure;
    void (*at_tick)(uint32_t tick);
    char trace[1024];

    char path[64];
    struct segment segment, frontends;
    struct lane_producer lanes[2];
    struct worker worker;
    _Atomic bool stop;
    uint32_t number_of[2][KIT_SLOTS], n_submitted;
} house;

static void note(char what, uint32_t n_sequences)
{
    size_t length = strlen(house.trace);

    snprintf(house.trace + length, sizeof(house.trace) - length, "%s%u%c%u", length ? " " : "",
             house.ticks, what, n_sequences);
}

static int card_submit(struct encoder *encoder, const struct batch *batch)
{
    struct flying *flying = &house.air[house.submitted % ENCODER_FLIGHTS_MAX];

    EXPECT(house.submitted - house.collected < ENCODER_FLIGHTS_MAX);
    EXPECT(batch->n_tokens <= 200 && batch->n_sequences <= 16);
    memcpy(flying->input_ids, batch->input_ids, batch->n_tokens * sizeof(uint32_t));
    memcpy(flying->cu_seqlens, batch->cu_seqlens, (batch->n_sequences + 1) * sizeof(uint32_t));
    memcpy(flying->type_starts, batch->type_starts, batch->n_sequences * sizeof(uint32_t));
    flying->n_sequences = batch->n_sequences;
    flying->age = 0;
    house.submitted++;
    note('+', batch->n_sequences);
    return 0;
}

static bool card_almost_done(const struct encoder *encoder)
{
    EXPECT(house.submitted != house.collected);
    return house.air[(house.submitted - 1) % ENCODER_FLIGHTS_MAX].age >= ALMOST_TICKS;
}

static int card_collect(struct encoder *encoder, float *logits, uint64_t now_ns)
{
    struct flying *flying = &house.air[house.collected % ENCODER_FLIGHTS_MAX];

    EXPECT(house.submitted != house.collected);
    house.ticks++;
    flying->age++;
    if (house.at_tick)
        house.at_tick(house.ticks);
    if (house.age_of_failure > 0 && flying->age == house.age_of_failure)
        return -EIO;
    if (flying->age < DONE_TICKS)
        return 0;
    for (uint32_t i = 0; i < flying->n_sequences; i++)
        kit_logits(flying->input_ids + flying->cu_seqlens[i],
                   flying->cu_seqlens[i + 1] - flying->cu_seqlens[i], flying->type_starts[i],
                   logits + i * KIT_LABELS);
    house.collected++;
    note('-', flying->n_sequences);
    return 1;
}

/* The canary only. */
static int card_forward(struct encoder *encoder, const struct batch *batch, float *logits)
{
    return kit_backend.forward(encoder, batch, logits);
}

static const struct encoder_backend card = {.name = "card",
                                            .forward = card_forward,
                                            .submit = card_submit,
                                            .almost_done = card_almost_done,
                                            .collect = card_collect,
                                            .describe = NULL};

/* ---- the house ------------------------------------------------------------------------------- */

static void open_worker(uint32_t drain_timeout_ms)
{
    struct segment_geometry geometry = {.n_lanes = KIT_LANES,
                                        .slots_per_lane = KIT_SLOTS,
                                        .payload_bytes = job_payload_bytes(&kit_shape),
                                        .result_bytes = job_result_bytes(&kit_shape)};
    struct worker_config config = {.backend = &card,
                                   .shape = kit_shape,
                                   .max_batch_tokens = 200,
                                   .max_batch_sequences = 16,
                                   .drain_timeout_ms = drain_timeout_ms};
    char error[ERROR_BYTES] = "";

    EXPECT_EQUAL(segment_open_worker(&house.segment, house.path, &geometry, "kit", error), 0);
    EXPECT_EQUAL(worker_open(&house.worker, &house.segment, &config, error), 0);
    EXPECT_EQUAL(worker_canary(&house.worker, error), 0);
}

static void close_worker(void)
{
    worker_close(&house.worker);
    segment_close(&house.segment);
    house.submitted = house.collected = house.ticks = house.age_of_failure = 0;
    house.trace[0] = 0;
    house.at_tick = NULL;
    house.stop = false;
}

static void open_house(uint32_t drain_timeout_ms)
{
    char error[ERROR_BYTES];

    memset(&house, 0, sizeof(house));
    own_path(house.path);
    open_worker(drain_timeout_ms);
    EXPECT_EQUAL(segment_open_frontend(&house.frontends, house.path, error), 0);
    for (uint32_t i = 0; i < 2; i++)
        EXPECT_EQUAL(lane_attach_producer(&house.lanes[i], &house.frontends, i, error), 0);
}

static void close_house(void)
{
    close_worker();
    for (uint32_t i = 0; i < 2; i++)
        lane_detach_producer(&house.lanes[i]);
    segment_close(&house.frontends);
    unlink(house.path);
}

static void submit_texts(uint32_t lane, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct kit_text text = kit_text(house.n_submitted);
        house.number_of[lane][kit_submit(&house.lanes[lane], &text)] = house.n_submitted++;
    }
}

/* Everything in the lane that is done has the logits of its own text. */
static uint32_t reap_texts(uint32_t lane)
{
    struct lane_completion completion;
    uint32_t n = 0;

    for (; lane_reap(&house.lanes[lane], clock_now_ns(), &completion); n++) {
        struct kit_text text = kit_text(house.number_of[lane][completion.slot_index]);
        float expected[KIT_LABELS];

        EXPECT_EQUAL(completion.status, LANE_STATUS_OK);
        kit_logits(text.input_ids, text.n_tokens, text.type_start, expected);
        EXPECT(memcmp(expected, completion.result, sizeof(expected)) == 0);
        lane_release(&house.lanes[lane], completion.slot_index);
    }
    return n;
}

static void stop_when_empty(void)
{
    house.stop = true; /* a drain ends when the lanes are empty */
}

static int run_worker(char error[ERROR_BYTES])
{
    struct malloc_counts counts;
    int status;

    count_malloc_start();
    status = worker_run(&house.worker, &house.stop, error);
    counts = count_malloc_stop();
    EXPECT_EQUAL(counts.by_us, 0);
    return status;
}

static void expect_run(const char *trace)
{
    char error[ERROR_BYTES] = "";

    EXPECT_EQUAL(run_worker(error), 0);
    EXPECT_STRING(house.trace, trace);
}

static uint32_t n_in_state(enum slot_state state)
{
    uint32_t n = 0;

    for (uint32_t lane = 0; lane < 2; lane++)
        for (uint32_t slot = 0; slot < KIT_SLOTS; slot++) {
            struct lane_header *header = layout_lane(&house.frontends, lane);
            uint64_t word =
                atomic_load(&layout_slot(header, &house.frontends.geometry, slot)->state_word);
            n += slot_word_state(word) == state;
        }
    return n;
}

/* ---- just in time ---------------------------------------------------------------------------- */

static void texts_up_to_almost_done(uint32_t tick)
{
    if (tick == 1)
        submit_texts(0, 1);
    if (tick == ALMOST_TICKS - 1 ||
        tick == ALMOST_TICKS) /* the last tick before the word is seen */
        submit_texts(1, 2);
    if (tick == ALMOST_TICKS + 1) /* the next batch was closed at the word: too late */
        submit_texts(0, 3);
    stop_when_empty();
}

static void the_next_batch_closes_when_the_running_one_is_almost_done(void)
{
    open_house(1000);
    submit_texts(0, 1);
    house.at_tick = texts_up_to_almost_done;
    expect_run("0+1 3+5 5-1 8+3 10-5 15-3");
    EXPECT_EQUAL(reap_texts(0), 5);
    EXPECT_EQUAL(reap_texts(1), 4);
    close_house();
}

static void texts_after_almost_done(uint32_t tick)
{
    if (tick == ALMOST_TICKS + 1)
        submit_texts(0, 2);
    stop_when_empty();
}

static void a_text_that_comes_in_the_last_steps_flies_at_once(void)
{
    open_house(1000);
    submit_texts(0, 1);
    house.at_tick = texts_after_almost_done;
    expect_run("0+1 4+2 5-1 10-2");
    EXPECT_EQUAL(reap_texts(0), 3);
    close_house();
}

static void batches_are_bounded_and_follow_each_other_without_a_gap(void)
{
    open_house(1000);
    submit_texts(0, 20);
    submit_texts(1, 20);
    house.stop = true;
    EXPECT_EQUAL(run_worker((char[ERROR_BYTES]){0}), 0);
    EXPECT(house.submitted >= 3 && house.submitted == house.collected);
    EXPECT_EQUAL(house.ticks, DONE_TICKS * house.submitted); /* no tick without a running batch */
    EXPECT_EQUAL(reap_texts(0), 20);
    EXPECT_EQUAL(reap_texts(1), 20);
    close_house();
}

/* ---- clocks and counts ----------------------------------------------------------------------- */

static uint64_t first_beat_ns;

static void beats_and_a_slow_card(uint32_t tick)
{
    struct process_view view;
    uint64_t end_ns = clock_now_ns() + 100 * NS_PER_US;

    process_read(&house.frontends, PROCESS_WORKER, &view);
    if (tick == 2) /* the turn after the submission has beaten for it */
        first_beat_ns = view.heartbeat_ns;
    if (tick >= 2 && tick <= ALMOST_TICKS) /* until then no batch moves */
        EXPECT_EQUAL(view.heartbeat_ns, first_beat_ns);
    if (tick == DONE_TICKS)
        EXPECT(view.heartbeat_ns > first_beat_ns);
    while (clock_now_ns() < end_ns)
        ;
}

static void the_heartbeat_tells_of_batches_that_move_and_times_do_not_overlap(void)
{
    static struct stats_view view;
    uint64_t began_ns, took_ns;

    open_house(1000);
    submit_texts(0, 1);
    house.at_tick = beats_and_a_slow_card;
    house.stop = true;
    /* Batches of one text: each too long for company. */
    for (uint32_t i = 0; i < 8; i++) {
        struct kit_text text = {.n_tokens = KIT_TOKENS, .type_start = KIT_TOKENS};
        uint32_t slot;
        EXPECT(lane_reserve(&house.lanes[1], &slot));
        job_write(lane_payload(&house.lanes[1], slot), &kit_shape, text.input_ids, text.n_tokens,
                  text.type_start);
        lane_submit(&house.lanes[1], slot, 200, clock_now_ns(), UINT64_MAX);
    }
    began_ns = clock_now_ns();
    EXPECT_EQUAL(run_worker((char[ERROR_BYTES]){0}), 0);
    took_ns = clock_now_ns() - began_ns;
    stats_merge(&house.frontends, &view);
    EXPECT_EQUAL(view.counters[STATS_BATCHES], 9);
    EXPECT_EQUAL(view.histograms[STATS_HISTOGRAM_ENCODE].count, 9);
    EXPECT(view.histograms[STATS_HISTOGRAM_ENCODE].sum <= took_ns);
    EXPECT(view.histograms[STATS_HISTOGRAM_ENCODE].sum >= 9 * DONE_TICKS * 90 * NS_PER_US);
    close_house();
}

static uint64_t slow_until_ns;

/* Holds the card back for 60 ms: longer than the loop spins. */
static void a_card_that_is_slow(uint32_t tick)
{
    if (tick == 1)
        slow_until_ns = clock_now_ns() + 60 * NS_PER_MS;
    if (clock_now_ns() < slow_until_ns)
        house.air[0].age = 0;
}

static uint32_t ticks_after_spinning;

static void count_naps(uint32_t tick)
{
    a_card_that_is_slow(tick);
    if (clock_now_ns() + 50 * NS_PER_MS > slow_until_ns)
        ticks_after_spinning++;
}

static void a_batch_that_takes_long_is_not_spun_for(void)
{
    open_house(1000);
    submit_texts(0, 1);
    house.at_tick = count_naps;
    house.stop = true;
    EXPECT_EQUAL(run_worker((char[ERROR_BYTES]){0}), 0);
    EXPECT(ticks_after_spinning <= 500 + 2 * DONE_TICKS); /* 50 ms of naps of 100 us */
    EXPECT_EQUAL(reap_texts(0), 1);
    close_house();
}

/* ---- deaths ---------------------------------------------------------------------------------- */

static void more_to_come(uint32_t tick)
{
    if (tick == 1)
        submit_texts(1, 2);
    if (tick == ALMOST_TICKS + 1)
        submit_texts(0, 2);
}

static void an_error_in_the_first_of_two_leaves_both_to_the_successor(void)
{
    char error[ERROR_BYTES] = "";

    open_house(1000);
    submit_texts(0, 1);
    house.at_tick = more_to_come;
    house.age_of_failure = DONE_TICKS;
    EXPECT_EQUAL(run_worker(error), -EIO);
    EXPECT(strstr(error, "failed on a batch of 1 texts") != NULL);
    EXPECT(strstr(error, "one of two in flight") != NULL);
    EXPECT_STRING(house.trace, "0+1 3+2");
    EXPECT_EQUAL(n_in_state(SLOT_STATE_RUNNING), 3);
    EXPECT_EQUAL(n_in_state(SLOT_STATE_QUEUED), 2);
    close_worker();
    open_worker(1000);
    house.stop = true;
    EXPECT_EQUAL(run_worker(error), 0);
    /* Those that ran fly alone, with nothing before or behind them; the other two together. */
    EXPECT_EQUAL(house.submitted, 4);
    EXPECT_EQUAL(house.ticks, 4 * DONE_TICKS);
    for (const char *at = house.trace; (at = strchr(at, '+')) != NULL; at++) {
        const char *next = strpbrk(at + 1, "+-");
        EXPECT(next != NULL && *next == '-');
    }
    EXPECT_EQUAL(reap_texts(0), 3);
    EXPECT_EQUAL(reap_texts(1), 2);
    close_house();
}

/* ---- the end --------------------------------------------------------------------------------- */

static void stop_with_two_in_flight(uint32_t tick)
{
    more_to_come(tick);
    if (tick == ALMOST_TICKS + 1)
        house.stop = true;
}

static void a_drain_serves_what_flies_and_what_waits(void)
{
    open_house(10000);
    submit_texts(0, 1);
    house.at_tick = stop_with_two_in_flight;
    expect_run("0+1 3+2 5-1 8+2 10-2 15-2");
    EXPECT_EQUAL(reap_texts(0) + reap_texts(1), 5);
    close_house();
}

static void a_drain_whose_time_is_over_still_waits_for_what_flies(void)
{
    open_house(0);
    submit_texts(0, 1);
    house.at_tick = stop_with_two_in_flight;
    expect_run("0+1 3+2 5-1 10-2");
    EXPECT_EQUAL(n_in_state(SLOT_STATE_QUEUED), 2);
    EXPECT_EQUAL(n_in_state(SLOT_STATE_RUNNING), 0);
    EXPECT_EQUAL(reap_texts(0) + reap_texts(1), 3);
    close_house();
}

int main(void)
{
    log_init("worker of a test", false, LOG_SEVERITY_ERROR);
    RUN(the_next_batch_closes_when_the_running_one_is_almost_done);
    RUN(a_text_that_comes_in_the_last_steps_flies_at_once);
    RUN(batches_are_bounded_and_follow_each_other_without_a_gap);
    RUN(the_heartbeat_tells_of_batches_that_move_and_times_do_not_overlap);
    RUN(a_batch_that_takes_long_is_not_spun_for);
    RUN(an_error_in_the_first_of_two_leaves_both_to_the_successor);
    RUN(a_drain_serves_what_flies_and_what_waits);
    RUN(a_drain_whose_time_is_over_still_waits_for_what_flies);
    return 0;
}
