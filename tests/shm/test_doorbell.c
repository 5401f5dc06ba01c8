/* A bell by itself, with real futexes. */
#include "shm/doorbell.h"
#include "shm/layout.h"
#include "tests/test.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void ringing_an_awake_owner_makes_no_system_call(void)
{
    struct doorbell bell = {0};
    EXPECT(!doorbell_ring(&bell));
    EXPECT_EQUAL(doorbell_rings(&bell), 0);
}

static void an_announced_sleep_is_taken_by_one_ringer(void)
{
    struct doorbell bell = {0};
    doorbell_announce(&bell);
    EXPECT(doorbell_ring(&bell));
    EXPECT(!doorbell_ring(&bell));
    EXPECT_EQUAL(doorbell_rings(&bell), 1);
}

static void a_withdrawn_sleep_is_not_rung_for(void)
{
    struct doorbell bell = {0};
    doorbell_announce(&bell);
    doorbell_withdraw(&bell);
    EXPECT(!doorbell_ring(&bell));
}

static void a_ring_between_reading_the_count_and_sleeping_ends_the_sleep(void)
{
    struct doorbell bell = {0};
    uint32_t seen = doorbell_rings(&bell);
    doorbell_announce(&bell);
    EXPECT(doorbell_ring(&bell));
    doorbell_sleep(&bell, seen, 3600 * NS_PER_S); /* returns at once, or the test times out */
    doorbell_ring_always(&bell);
    doorbell_sleep(&bell, seen, 3600 * NS_PER_S);
}

static void a_sleep_without_a_ring_ends_by_its_timeout(void)
{
    struct doorbell bell = {0};
    uint64_t before_ns = clock_now_ns();
    doorbell_sleep(&bell, 0, 3 * NS_PER_MS);
    EXPECT(clock_now_ns() - before_ns >= 3 * NS_PER_MS);
    doorbell_sleep(&bell, 0, 0);
}

static void a_sleeper_in_another_process_is_woken(void)
{
    struct doorbell *bell =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        uint32_t seen = doorbell_rings(bell);
        doorbell_announce(bell);
        doorbell_sleep(bell, seen, 60 * NS_PER_S);
        _exit(doorbell_rings(bell) == seen + 1 ? 0 : 1);
    }
    while (!doorbell_ring(bell))
        doorbell_relax();
    int status;
    EXPECT_EQUAL(waitpid(child, &status, 0), child);
    EXPECT_EQUAL(status, 0);
    munmap(bell, 4096);
}

/* ---- two threads, no time-out short enough to hide a lost wake-up ---- */

#define ROUNDS 100000

static struct doorbell ping, pong;
static _Atomic uint32_t ping_work, pong_work;

static void wait_for(struct doorbell *bell, _Atomic uint32_t *work, uint32_t round)
{
    while (atomic_load(work) != round) {
        uint32_t seen = doorbell_rings(bell);
        doorbell_announce(bell);
        if (atomic_load(work) != round)
            doorbell_sleep(bell, seen, 3600 * NS_PER_S);
        doorbell_withdraw(bell);
    }
}

static void *answer(void *argument)
{
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        wait_for(&ping, &ping_work, round);
        atomic_store(&pong_work, round);
        doorbell_ring(&pong);
    }
    return argument;
}

static void no_wakeup_is_lost_in_a_hundred_thousand_rounds(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, answer, NULL);
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        atomic_store(&ping_work, round);
        doorbell_ring(&ping);
        wait_for(&pong, &pong_work, round);
    }
    pthread_join(thread, NULL);
}

int main(void)
{
    RUN(ringing_an_awake_owner_makes_no_system_call);
    RUN(an_announced_sleep_is_taken_by_one_ringer);
    RUN(a_withdrawn_sleep_is_not_rung_for);
    RUN(a_ring_between_reading_the_count_and_sleeping_ends_the_sleep);
    RUN(a_sleep_without_a_ring_ends_by_its_timeout);
    RUN(a_sleeper_in_another_process_is_woken);
    RUN(no_wakeup_is_lost_in_a_hundred_thousand_rounds);
    return 0;
}
