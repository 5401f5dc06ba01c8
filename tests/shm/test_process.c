/* The process table: what an entry says, and who lives. */
#include "shm/process.h"
#include "tests/shm/lane_pair.h"
#include "tests/test.h"
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void an_entry_nobody_claimed_is_empty_and_dead(void)
{
    struct lane_pair pair;
    struct process_view view;
    lane_pair_open(&pair);
    process_read(&pair.worker, PROCESS_WORKER, &view);
    EXPECT_EQUAL(view.state, PROCESS_STATE_EMPTY);
    EXPECT_EQUAL(view.pid, 0);
    EXPECT(!process_is_alive(&view));
    lane_pair_close(&pair);
}

static void a_claimed_entry_tells_of_the_living(void)
{
    struct lane_pair pair;
    struct process_view view;
    lane_pair_open(&pair);
    process_claim(&pair.frontend, 1);
    process_read(&pair.worker, 1, &view);
    EXPECT_EQUAL(view.state, PROCESS_STATE_STARTING);
    EXPECT_EQUAL(view.pid, getpid());
    EXPECT(view.start_ticks > 0 && view.started_ns > 0 && view.heartbeat_ns == view.started_ns);
    EXPECT(process_is_alive(&view));
    process_set_state(&pair.frontend, 1, PROCESS_STATE_READY);
    process_heartbeat(&pair.frontend, 1, 11);
    process_batch_done(&pair.frontend, 1, 12);
    process_set_description(&pair.frontend, 1, "what it is");
    process_last_words(&pair.frontend, 1, "farewell");
    process_read(&pair.worker, 1, &view);
    EXPECT_EQUAL(view.state, PROCESS_STATE_READY);
    EXPECT_EQUAL(view.heartbeat_ns, 11);
    EXPECT_EQUAL(view.last_batch_ns, 12);
    EXPECT_STRING(view.description, "what it is");
    EXPECT_STRING(view.last_words, "farewell");
    lane_pair_close(&pair);
}

static void a_process_knows_its_own_age(void)
{
    uint64_t age_ns = process_own_age_ns(), then_ns = clock_now_ns();
    EXPECT(age_ns > 0 && age_ns < 60 * NS_PER_S);
    while (clock_now_ns() < then_ns + 20 * NS_PER_MS)
        continue;
    uint64_t grown_ns = process_own_age_ns() - age_ns;
    EXPECT(grown_ns >= 20 * NS_PER_MS && grown_ns < 60 * NS_PER_S);
}

static void claiming_anew_clears_the_predecessors_words(void)
{
    struct lane_pair pair;
    struct process_view view;
    lane_pair_open(&pair);
    process_claim(&pair.worker, PROCESS_WORKER);
    process_last_words(&pair.worker, PROCESS_WORKER, "old");
    process_batch_done(&pair.worker, PROCESS_WORKER, 5);
    process_claim(&pair.worker, PROCESS_WORKER);
    process_read(&pair.worker, PROCESS_WORKER, &view);
    EXPECT_STRING(view.last_words, "");
    EXPECT_EQUAL(view.last_batch_ns, 0);
    lane_pair_close(&pair);
}

static void long_words_are_cut(void)
{
    struct lane_pair pair;
    struct process_view view;
    char words[400];
    memset(words, 'w', sizeof(words) - 1);
    words[sizeof(words) - 1] = 0;
    lane_pair_open(&pair);
    process_last_words(&pair.worker, PROCESS_WORKER, words);
    process_read(&pair.worker, PROCESS_WORKER, &view);
    EXPECT_EQUAL(strlen(view.last_words), PROCESS_LAST_WORDS_SIZE - 1);
    lane_pair_close(&pair);
}

static void a_state_that_does_not_exist_reads_as_empty(void)
{
    struct lane_pair pair;
    struct process_view view;
    lane_pair_open(&pair);
    atomic_store(&pair.lane->frontend.state, 77);
    process_read(&pair.worker, 0, &view);
    EXPECT_EQUAL(view.state, PROCESS_STATE_EMPTY);
    lane_pair_close(&pair);
}

/* A child that claims lane 0 under a name with brackets and spaces, and waits. */
static pid_t claiming_child(struct lane_pair *pair)
{
    int ends[2];
    char byte;
    EXPECT_EQUAL(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "a) Z 1 (b");
        process_claim(&pair->frontend, 0);
        if (write(ends[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    EXPECT_EQUAL(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    close(ends[1]);
    return child;
}

static void the_dead_are_told_from_the_living_and_from_others_with_their_pid(void)
{
    struct lane_pair pair;
    struct process_view view;
    siginfo_t information;
    lane_pair_open(&pair);
    pid_t child = claiming_child(&pair);
    process_read(&pair.worker, 0, &view);
    EXPECT_EQUAL(view.pid, child);
    EXPECT(process_is_alive(&view));
    view.start_ticks++; /* somebody else, who got the pid later */
    EXPECT(!process_is_alive(&view));
    view.start_ticks--;
    kill(child, SIGKILL);
    EXPECT_EQUAL(waitid(P_PID, (id_t)child, &information, WEXITED | WNOWAIT), 0);
    EXPECT(!process_is_alive(&view)); /* a zombie */
    EXPECT_EQUAL(waitpid(child, NULL, 0), child);
    EXPECT(!process_is_alive(&view));
    lane_pair_close(&pair);
}

static void claim_a_lane_that_is_not_there(void *argument)
{
    process_claim(argument, 2);
}

static void misuse_breaks_a_check(void)
{
    struct lane_pair pair;
    lane_pair_open(&pair);
    expect_check(claim_a_lane_that_is_not_there, &pair.frontend);
    lane_pair_close(&pair);
}

int main(void)
{
    RUN(an_entry_nobody_claimed_is_empty_and_dead);
    RUN(a_claimed_entry_tells_of_the_living);
    RUN(a_process_knows_its_own_age);
    RUN(claiming_anew_clears_the_predecessors_words);
    RUN(long_words_are_cut);
    RUN(a_state_that_does_not_exist_reads_as_empty);
    RUN(the_dead_are_told_from_the_living_and_from_others_with_their_pid);
    RUN(misuse_breaks_a_check);
    return 0;
}
