/* Batches in flight, and the ways in which they do not come back: what a batch costs the driver, a
 * card that hangs, breaks or refuses a launch, and numbers that begin anew. */
#include <errno.h>
#include <unistd.h>

#include "gpu_worker/cuda_engine.h"
#include "tests/cuda/standin/standin.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/test.h"

/* An encoder, a batch for it, and the answer to that. */
struct flight {
    struct random_model random;
    struct random_texts texts;
    struct encoder *encoder;
    float logits[4], expected[4];
};

static void flight_open(struct flight *flight)
{
    const uint32_t lengths[] = {7, 21};
    const struct encoder_options options = {
        .dtype = ENCODER_DTYPE_FLOAT16, .max_batch_tokens = 48, .max_batch_sequences = 4};
    char error[ERROR_BYTES] = "";
    random_model_make(&flight->random, &RANDOM_MODEL_DISTILBERT, 5);
    random_texts_make(&flight->texts, &flight->random.model.config, lengths, 2, 1);
    flight->encoder = encoder_cuda.create(&flight->random.model, &options, error);
    if (flight->encoder == NULL)
        fprintf(stderr, "%s\n", error);
    EXPECT(flight->encoder != NULL);
    EXPECT_EQUAL(encoder_cuda.forward(flight->encoder, &flight->texts.batch, flight->expected), 0);
}

static void flight_close(struct flight *flight)
{
    encoder_cuda.destroy(flight->encoder);
    random_model_free(&flight->random);
    EXPECT_EQUAL(standin_counters().live_objects, 0);
    standin_reset();
}

static int submit(struct flight *flight)
{
    return cuda_submit(flight->encoder, &flight->texts.batch);
}

static int collect_at(struct flight *flight, uint64_t now_ns)
{
    return cuda_collect(flight->encoder, flight->logits, now_ns);
}

/* Waits for the oldest batch, and looks at its answer. */
static int collect(struct flight *flight)
{
    int result = 0;
    while (result == 0) {
        result = collect_at(flight, clock_now_ns());
        usleep(100);
    }
    if (result == 1)
        EXPECT(memcmp(flight->logits, flight->expected, sizeof flight->expected) == 0);
    return result;
}

static int forward(struct flight *flight)
{
    return encoder_cuda.forward(flight->encoder, &flight->texts.batch, flight->logits);
}

static uint64_t *submitted_ns(struct flight *flight)
{
    return &flight->encoder->submitted_ns[flight->encoder->submitted % BATCHES_IN_FLIGHT];
}

static void a_batch_costs_two_launches_and_no_other_call(void)
{
    struct flight flight;
    flight_open(&flight);
    cuda_graphs_wait(&flight.encoder->graphs);
    const struct standin_counts before = standin_counters();
    EXPECT_EQUAL(submit(&flight), 0);
    const struct standin_counts after = standin_counters();
    EXPECT_EQUAL(after.graph_launches - before.graph_launches, 2);
    EXPECT_EQUAL(after.api_calls - before.api_calls, 2);
    EXPECT_EQUAL(after.allocations, before.allocations);
    EXPECT_EQUAL(collect(&flight), 1);
    flight_close(&flight);
}

/* By a clock of the test's own: after 20 ms, then every 20 ms, and never between. */
static void a_batch_that_is_late_is_asked_after_now_and_then(void)
{
    struct flight flight;
    flight_open(&flight);
    standin_hang(true);
    EXPECT_EQUAL(submit(&flight), 0);
    const uint64_t before = standin_counters().queries;
    for (uint64_t ms = 0; ms <= 100; ms++) {
        EXPECT_EQUAL(collect_at(&flight, *submitted_ns(&flight) + ms * NS_PER_MS), 0);
        EXPECT_EQUAL(standin_counters().queries - before, ms / 20);
    }
    standin_hang(false);
    EXPECT_EQUAL(collect(&flight), 1);
    flight_close(&flight);
}

/* Five days at 10,000 batches a second. */
static void batch_numbers_go_on_behind_the_largest(void)
{
    struct flight flight;
    flight_open(&flight);
    struct encoder *encoder = flight.encoder;
    encoder->submitted = encoder->completed = UINT32_MAX - 2;
    *encoder->batch.batches_done = UINT32_MAX - 2;
    encoder->signal->done = encoder->signal->almost_done = UINT32_MAX - 2;
    for (int round = 0; round < 3; round++) {
        standin_hang(true);
        EXPECT_EQUAL(submit(&flight), 0);
        EXPECT_EQUAL(submit(&flight), 0);
        EXPECT_EQUAL(collect_at(&flight, clock_now_ns()), 0);
        EXPECT(!cuda_almost_done(encoder));
        standin_hang(false);
        EXPECT_EQUAL(collect(&flight), 1);
        EXPECT_EQUAL(collect(&flight), 1);
        EXPECT(cuda_almost_done(encoder));
    }
    EXPECT_EQUAL(encoder->completed, 3);
    flight_close(&flight);
}

static void a_hanging_card_is_an_error_when_the_watchdog_barks(void)
{
    struct flight flight;
    setenv("WEIR_CUDA_WATCHDOG_MS", "2000", 1); /* flight_open()'s batch is in time */
    flight_open(&flight);
    unsetenv("WEIR_CUDA_WATCHDOG_MS");
    EXPECT_EQUAL(flight.encoder->watchdog_ns, 2000 * NS_PER_MS);
    standin_hang(true);
    EXPECT_EQUAL(forward(&flight), -EIO);
    EXPECT_EQUAL(forward(&flight), -EIO);
    standin_hang(false);
    flight_close(&flight);
}

/* The oldest of those in flight decides, to the nanosecond. */
static void the_watchdog_watches_the_oldest_batch(void)
{
    const uint64_t watchdog_ns = 10 * NS_PER_S; /* the default */
    struct flight flight;
    flight_open(&flight);
    standin_hang(true);
    EXPECT_EQUAL(submit(&flight), 0);
    const uint64_t oldest_ns = *submitted_ns(&flight);
    EXPECT_EQUAL(submit(&flight), 0);
    *submitted_ns(&flight) += 5 * NS_PER_S;
    EXPECT_EQUAL(collect_at(&flight, oldest_ns + watchdog_ns - 1), 0);
    flight.encoder->next_query_ns = 0;
    EXPECT_EQUAL(collect_at(&flight, oldest_ns + watchdog_ns), -EIO);
    standin_hang(false);
    flight_close(&flight);
}

/* A graph that is refused is given up (test_cuda_graphs.c); a kernel in its place is not. */
static void a_launch_that_fails_is_an_error_and_stays_one(void)
{
    for (int half = 0; half < 2; half++) {
        struct flight flight;
        flight_open(&flight);
        struct cuda_graphs *graphs = &flight.encoder->graphs;
        cuda_graphs_wait(graphs);
        memset(half == 0 ? graphs->body_is_given_up : graphs->tail_is_given_up, true,
               sizeof graphs->body_is_given_up);
        standin_fail_call(half == 0 ? 1 : 2); /* the first kernel, or what follows the body */
        EXPECT_EQUAL(submit(&flight), -EIO);
        EXPECT_EQUAL(submit(&flight), -EIO);
        EXPECT_EQUAL(forward(&flight), -EIO);
        flight_close(&flight);
    }
}

static void a_broken_kernel_is_an_error_and_stays_one(void)
{
    struct flight flight;
    flight_open(&flight);
    standin_hang(true); /* so that it breaks after the launches, and only a query can tell */
    EXPECT_EQUAL(submit(&flight), 0);
    standin_break_next_kernel();
    standin_hang(false);
    const uint64_t started_ns = clock_now_ns();
    EXPECT_EQUAL(collect(&flight), -EIO);
    EXPECT(clock_now_ns() - started_ns < 5 * NS_PER_S); /* by its error, not by the watchdog */
    EXPECT_EQUAL(forward(&flight), -EIO);
    flight_close(&flight);
}

int main(void)
{
    RUN(a_batch_costs_two_launches_and_no_other_call);
    RUN(a_batch_that_is_late_is_asked_after_now_and_then);
    RUN(batch_numbers_go_on_behind_the_largest);
    RUN(a_hanging_card_is_an_error_when_the_watchdog_barks);
    RUN(the_watchdog_watches_the_oldest_batch);
    RUN(a_launch_that_fails_is_an_error_and_stays_one);
    RUN(a_broken_kernel_is_an_error_and_stays_one);
    return 0;
}
