/* Admission over a clock that the test turns by hand. */
#include "frontend/admission.h"
#include "tests/test.h"

#define FREE  100
#define EPOCH 1

/* A lane that has drained `tokens_per_ms` for `duration_ms`, and then holds `backlog` tokens. */
static uint64_t drain_steadily(struct admission *admission, uint32_t tokens_per_ms,
                               uint32_t duration_ms, uint32_t backlog)
{
    uint64_t now_ns = NS_PER_S;
    admission_submitted(admission, tokens_per_ms, now_ns);
    for (uint32_t ms = 0; ms < duration_ms; ms++) {
        now_ns += NS_PER_MS;
        admission_submitted(admission, tokens_per_ms, now_ns);
        admission_completed(admission, tokens_per_ms, EPOCH, now_ns);
    }
    admission_completed(admission, tokens_per_ms, EPOCH, now_ns);
    admission_submitted(admission, backlog, now_ns);
    return now_ns;
}

static void an_unknown_rate_admits(void)
{
    struct admission admission = {0};
    admission_submitted(&admission, 1000000, 5);
    EXPECT_EQUAL(admission_wait_ns(&admission, 10), 0);
    EXPECT_EQUAL(admission_decide(&admission, FREE, 1, 10, 11), ADMISSION_YES);
    EXPECT_EQUAL(admission_retry_after_s(&admission, 10), 1);
}

static void slots_are_counted_exactly(void)
{
    struct admission admission = {0};
    EXPECT_EQUAL(admission_decide(&admission, 3, 2, 1, 2), ADMISSION_YES);
    EXPECT_EQUAL(admission_decide(&admission, 3, 3, 1, 2), ADMISSION_YES);
    EXPECT_EQUAL(admission_decide(&admission, 3, 4, 1, 2), ADMISSION_NO_SLOTS);
    EXPECT_EQUAL(admission_decide(&admission, 0, 1, 1, 2), ADMISSION_NO_SLOTS);
}

static void the_wait_is_the_backlog_over_the_rate(void)
{
    struct admission admission = {0};
    /* 10 tokens a millisecond, 30000 waiting: 3 seconds, up to what the start's unknown adds. */
    uint64_t now_ns = drain_steadily(&admission, 10, 20000, 30000);
    uint64_t wait_ms = admission_wait_ns(&admission, now_ns) / NS_PER_MS;
    EXPECT(wait_ms >= 2850 && wait_ms <= 3150);
    EXPECT_EQUAL(admission_retry_after_s(&admission, now_ns), wait_ms / 1000 + 1);
    EXPECT_EQUAL(admission_decide(&admission, FREE, 1, now_ns, now_ns + 4 * NS_PER_S),
                 ADMISSION_YES);
    EXPECT_EQUAL(admission_decide(&admission, FREE, 1, now_ns, now_ns + 2 * NS_PER_S),
                 ADMISSION_TOO_LATE);
}

static void an_empty_lane_never_refuses(void)
{
    struct admission admission = {0};
    uint64_t now_ns = drain_steadily(&admission, 1, 5000, 0);
    EXPECT_EQUAL(admission_decide(&admission, FREE, 1, now_ns, now_ns + 1), ADMISSION_YES);
}

static void idle_time_does_not_change_the_rate(void)
{
    struct admission admission = {0};
    uint64_t now_ns = drain_steadily(&admission, 10, 10000, 0) + 3600 * NS_PER_S;
    admission_submitted(&admission, 10000, now_ns);
    uint64_t wait_ms = admission_wait_ns(&admission, now_ns) / NS_PER_MS;
    EXPECT(wait_ms >= 900 && wait_ms <= 1100);
}

static void a_stalled_worker_lengthens_the_wait(void)
{
    struct admission admission = {0};
    uint64_t now_ns = drain_steadily(&admission, 10, 10000, 1000);
    uint64_t before_ns = admission_wait_ns(&admission, now_ns);
    uint64_t after_ns = admission_wait_ns(&admission, now_ns + ADMISSION_MEMORY_NS);
    EXPECT(after_ns > 2 * before_ns);
    uint64_t hour_ns = now_ns + 3600 * NS_PER_S;
    EXPECT_EQUAL(admission_decide(&admission, FREE, 1, hour_ns, hour_ns + 30 * NS_PER_S),
                 ADMISSION_TOO_LATE);
    EXPECT_EQUAL(admission_retry_after_s(&admission, hour_ns), ADMISSION_RETRY_AFTER_MAX_S);
    /* The stalled texts expire: the next request is let in, to try. */
    admission_withdrawn(&admission, 1000, hour_ns);
    EXPECT_EQUAL(admission_decide(&admission, FREE, 1, hour_ns, hour_ns + 1), ADMISSION_YES);
}

static void a_new_worker_starts_with_an_unknown_rate(void)
{
    struct admission admission = {0};
    uint64_t now_ns = drain_steadily(&admission, 10, 3, 1600) + 3 * NS_PER_S;
    EXPECT(admission_wait_ns(&admission, now_ns) > 30 * NS_PER_S);
    admission_completed(&admission, 10, EPOCH + 1, now_ns);
    EXPECT_EQUAL(admission_decide(&admission, FREE, 1, now_ns, now_ns + 1), ADMISSION_YES);
    now_ns += NS_PER_MS;
    admission_completed(&admission, 10, EPOCH + 1, now_ns);
    EXPECT(admission_wait_ns(&admission, now_ns) < NS_PER_S);
}

static void a_clock_that_stands_still_or_steps_back_harms_nothing(void)
{
    struct admission admission = {0};
    uint64_t now_ns = drain_steadily(&admission, 10, 10000, 1000);
    uint64_t wait_ns = admission_wait_ns(&admission, now_ns);
    EXPECT_EQUAL(admission_wait_ns(&admission, now_ns - NS_PER_S), wait_ns);
}

int main(void)
{
    RUN(an_unknown_rate_admits);
    RUN(slots_are_counted_exactly);
    RUN(the_wait_is_the_backlog_over_the_rate);
    RUN(an_empty_lane_never_refuses);
    RUN(idle_time_does_not_change_the_rate);
    RUN(a_stalled_worker_lengthens_the_wait);
    RUN(a_new_worker_starts_with_an_unknown_rate);
    RUN(a_clock_that_stands_still_or_steps_back_harms_nothing);
    return 0;
}
