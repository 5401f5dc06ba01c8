/* The timeline of a start in the segment: who adds, who reads, and that a successor begins anew. */
#include "shm/start.h"
#include "tests/shm/lane_pair.h"
#include "tests/test.h"
#include <string.h>

static void a_start_that_nobody_told_of_is_all_zeroes(void)
{
    struct lane_pair pair;
    struct start_view view;
    lane_pair_open(&pair);
    memset(&view, 0xff, sizeof(view));
    start_read(&pair.frontend, &view);
    for (uint32_t i = 0; i < START_PHASE_COUNT; i++)
        EXPECT_EQUAL(view.phase_ns[i], 0);
    EXPECT_EQUAL(view.total_ns, 0);
    lane_pair_close(&pair);
}

static void a_reader_sees_each_phase_and_the_whole(void)
{
    struct lane_pair pair;
    struct start_view view;
    lane_pair_open(&pair);
    start_begin(&pair.worker);
    for (uint32_t i = 0; i < START_PHASE_COUNT; i++)
        start_add(&pair.worker, (enum start_phase)i, 100 + i);
    start_add(&pair.worker, START_PHASE_DEVICE, 1000); /* a second backend that was tried */
    start_end(&pair.worker, 5000);
    start_read(&pair.frontend, &view);
    for (uint32_t i = 0; i < START_PHASE_COUNT; i++)
        EXPECT_EQUAL(view.phase_ns[i], 100 + i + (i == START_PHASE_DEVICE ? 1000 : 0));
    EXPECT_EQUAL(view.total_ns, 5000);
    lane_pair_close(&pair);
}

static void a_successor_begins_anew(void)
{
    struct lane_pair pair;
    struct start_view view;
    lane_pair_open(&pair);
    start_add(&pair.worker, START_PHASE_CANARY, 7);
    start_end(&pair.worker, 8);
    lane_pair_new_worker(&pair);
    start_begin(&pair.worker);
    start_add(&pair.worker, START_PHASE_MODEL, 9);
    start_read(&pair.frontend, &view);
    EXPECT_EQUAL(view.phase_ns[START_PHASE_CANARY], 0);
    EXPECT_EQUAL(view.phase_ns[START_PHASE_MODEL], 9);
    EXPECT_EQUAL(view.total_ns, 0);
    lane_pair_close(&pair);
}

static void every_phase_has_a_word_of_its_own(void)
{
    for (uint32_t i = 0; i < START_PHASE_COUNT; i++) {
        const char *word = start_phase_word((enum start_phase)i);
        EXPECT(strspn(word, "abcdefghijklmnopqrstuvwxyz_") == strlen(word) && word[0] != 0);
        for (uint32_t other = 0; other < i; other++)
            EXPECT(strcmp(word, start_phase_word((enum start_phase)other)) != 0);
    }
}

int main(void)
{
    RUN(a_start_that_nobody_told_of_is_all_zeroes);
    RUN(a_reader_sees_each_phase_and_the_whole);
    RUN(a_successor_begins_anew);
    RUN(every_phase_has_a_word_of_its_own);
    return 0;
}
