/* The start's watchdog: silent while phases move, however long the whole takes; it names the phase
 * that hangs, once. */
#include <unistd.h>

#include "gpu_worker/start_watchdog.h"
#include "tests/test.h"

#define BOUND_NS   (200 * NS_PER_MS)
#define FOREVER_NS (3600 * NS_PER_S)

struct seen {
    _Atomic uint32_t times;
    _Atomic int phase;
    _Atomic uint64_t at_ns;
};

static void hangs(void *context, enum start_phase phase)
{
    struct seen *seen = context;

    seen->phase = phase;
    seen->at_ns = clock_now_ns();
    seen->times++;
}

static void wait_for(const struct seen *seen)
{
    while (seen->times == 0)
        usleep(1000);
}

static void a_phase_that_hangs_is_named_when_its_time_is_over(void)
{
    struct start_watchdog watchdog = {0};
    struct seen seen = {0};
    uint64_t moved_ns;

    EXPECT_EQUAL(start_watchdog_begin(&watchdog, BOUND_NS, START_PHASE_DEVICE, hangs, &seen), 0);
    moved_ns = clock_now_ns();
    start_watchdog_move(&watchdog, START_PHASE_WEIGHTS);
    wait_for(&seen);
    EXPECT_EQUAL(seen.phase, START_PHASE_WEIGHTS);
    EXPECT(seen.at_ns - moved_ns >= BOUND_NS);
    start_watchdog_end(&watchdog);
    EXPECT_EQUAL(seen.times, 1);
}

static void the_first_phase_may_hang_too(void)
{
    struct start_watchdog watchdog = {0};
    struct seen seen = {0};

    EXPECT_EQUAL(start_watchdog_begin(&watchdog, NS_PER_MS, START_PHASE_DEVICE, hangs, &seen), 0);
    wait_for(&seen);
    EXPECT_EQUAL(seen.phase, START_PHASE_DEVICE);
    start_watchdog_end(&watchdog);
}

/* Moves for longer than one phase may take; the longest time between two moves. */
static uint64_t move_beyond_the_bound(struct start_watchdog *watchdog, uint64_t bound_ns)
{
    uint64_t began_ns = clock_now_ns(), moved_ns = began_ns, longest_ns = 0;

    while (moved_ns - began_ns < bound_ns + bound_ns / 5) {
        usleep(10000);
        start_watchdog_move(watchdog, START_PHASE_WEIGHTS);
        uint64_t now_ns = clock_now_ns();
        longest_ns = max_u64(longest_ns, now_ns - moved_ns);
        moved_ns = now_ns;
    }
    return longest_ns;
}

/* Each phase has the whole time: together these take longer than one may. A machine so busy that we
 * do not move in time shows nothing; then once more. */
static void a_start_that_moves_is_left_alone(void)
{
    const uint64_t bound_ns = 5 * BOUND_NS;
    struct start_watchdog watchdog = {0};
    struct seen seen;
    uint64_t longest_ns;

    do {
        seen = (struct seen){0};
        EXPECT_EQUAL(start_watchdog_begin(&watchdog, bound_ns, START_PHASE_DEVICE, hangs, &seen),
                     0);
        longest_ns = move_beyond_the_bound(&watchdog, bound_ns);
        start_watchdog_end(&watchdog);
    } while (longest_ns > bound_ns / 2);
    EXPECT_EQUAL(seen.times, 0);
}

static void it_sleeps_while_it_looks(void)
{
    struct start_watchdog watchdog = {0};
    struct seen seen = {0};
    clock_t before = clock();

    EXPECT_EQUAL(start_watchdog_begin(&watchdog, FOREVER_NS, START_PHASE_DEVICE, hangs, &seen), 0);
    usleep(200 * 1000);
    start_watchdog_end(&watchdog);
    EXPECT(clock() - before < CLOCKS_PER_SEC / 20);
}

static void an_end_does_not_wait_for_the_bound(void)
{
    struct start_watchdog watchdog = {0};
    struct seen seen = {0};

    start_watchdog_move(&watchdog, START_PHASE_DEVICE); /* nothing was begun */
    start_watchdog_end(&watchdog);
    for (int i = 0; i < 2; i++) {
        EXPECT_EQUAL(start_watchdog_begin(&watchdog, FOREVER_NS, START_PHASE_DEVICE, hangs, &seen),
                     0);
        start_watchdog_end(&watchdog);
    }
    EXPECT_EQUAL(seen.times, 0);
}

int main(void)
{
    RUN(a_phase_that_hangs_is_named_when_its_time_is_over);
    RUN(the_first_phase_may_hang_too);
    RUN(a_start_that_moves_is_left_alone);
    RUN(it_sleeps_while_it_looks);
    RUN(an_end_does_not_wait_for_the_bound);
    return 0;
}
