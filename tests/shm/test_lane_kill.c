/* Real processes and kill -9: from outside at random moments, from inside at crash points between
 * shared stores, and by poisonous texts that kill whoever runs them.
 *
 *     lane_kill SHM_INSPECT [SEED]      WEIR_KILL_SECONDS: how long (default 5)
 *
 * The parent is the supervisor: it waits for the dead before it replaces them. All the while it
 * runs `shm_inspect check`, which must find every invariant held: they hold at any moment,
 * half-done operations of the dead included. */
#include "shm/doorbell.h"
#include "shm/lane.h"
#include "shm/layout.h"
#include "shm/process.h"
#include "shm/step.h"
#include "tests/shm/own_path.h"
#include "tests/shm/run_program.h"
#include "tests/test.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_FRONTENDS 2
#define WORKER      N_FRONTENDS
#define N_PROCESSES (N_FRONTENDS + 1)
#define BATCH_MAX   8
#define DRAIN_NS    (40 * NS_PER_S)
#define LATENCY_MAX (30 * NS_PER_S) /* what is lost is never found; a busy machine is just slow */

static const struct segment_geometry geometry = {
    .n_lanes = N_FRONTENDS, .slots_per_lane = 16, .payload_bytes = 64, .result_bytes = 8};

/* What all of them share beside the segment; outlives each. */
static struct board {
    _Atomic bool stopping;
    _Atomic uint32_t step_chance; /* one in so many steps kills; 0: none */
    _Atomic uint64_t next_id, answered, poisoned, expired, cancelled, deaths_at_steps, latency_ns;
} * board;
static char path[64];

/* ---- chance ---- */

static uint64_t random_state;

static uint64_t random_below(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 16) % below;
}

void shm_step(const char *file, int line)
{
    (void)file;
    (void)line;
    uint32_t chance = atomic_load_explicit(&board->step_chance, memory_order_relaxed);
    if (chance == 0 || random_below(chance) != 0)
        return;
    atomic_fetch_add(&board->deaths_at_steps, 1);
    raise(SIGKILL);
}

void shm_step_sleep(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
    struct timespec timeout = {.tv_nsec = (long)min_u64(timeout_ns, NS_PER_S - 1)};
    syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, NULL, 0);
}

void shm_step_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* ---- what a text is ---- */

static bool is_poison(uint64_t id)
{
    return id % 997 == 5;
}

static uint64_t result_of(uint64_t id)
{
    return id * UINT64_C(0x9e3779b97f4a7c15) ^ 7;
}

/* ---- the worker ---- */

static uint32_t take_batch(struct lane_consumer *consumers, struct lane_ticket *batch,
                           uint64_t *ids)
{
    uint32_t n = 0;
    for (uint32_t lane = 0; lane < N_FRONTENDS; lane++) {
        struct lane_ticket ticket;
        /* One with tries alone; it is shown again to nobody, so it is run now. */
        while (n < BATCH_MAX && (n == 0 || batch[n - 1].tries == 0) &&
               lane_peek(&consumers[lane], clock_now_ns(), &ticket)) {
            uint64_t payload[8];
            if (clock_now_ns() > ticket.deadline_ns)
                lane_expire(&consumers[lane], &ticket, clock_now_ns());
            else if (lane_take(&consumers[lane], &ticket, payload, clock_now_ns())) {
                EXPECT_EQUAL(payload[1], ~payload[0]);
                ids[n] = payload[0];
                batch[n++] = ticket;
            }
        }
    }
    return n;
}

static void run_batch(struct lane_consumer *consumers, const struct lane_ticket *batch,
                      const uint64_t *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (is_poison(ids[i]))
            raise(SIGKILL);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t result = result_of(ids[i]);
        lane_complete(&consumers[batch[i].lane_index], &batch[i], LANE_STATUS_OK, &result,
                      sizeof(result), n, clock_now_ns());
    }
    for (uint32_t lane = 0; lane < N_FRONTENDS; lane++)
        lane_ring_frontend(&consumers[lane]);
}

static void worker_main(void)
{
    struct segment segment;
    struct lane_consumer consumers[N_FRONTENDS];
    char error[ERROR_BYTES];
    int result = segment_open_worker(&segment, path, &geometry, "model", error);
    if (result < 0)
        fprintf(stderr, "%s\n", error);
    EXPECT_EQUAL(result, 0);
    process_claim(&segment, PROCESS_WORKER);
    for (uint32_t lane = 0; lane < N_FRONTENDS; lane++) {
        EXPECT_EQUAL(lane_attach_consumer(&consumers[lane], &segment, lane, error), 0);
        lane_recover(&consumers[lane], LANE_TRIES_MAX, NULL, NULL);
    }
    process_set_state(&segment, PROCESS_WORKER, PROCESS_STATE_READY);
    for (;;) { /* until killed */
        struct lane_ticket batch[BATCH_MAX];
        uint64_t ids[BATCH_MAX];
        uint32_t n = take_batch(consumers, batch, ids);
        run_batch(consumers, batch, ids, n);
        if (n == 0)
            lane_wait_work(consumers, N_FRONTENDS, 0, LANE_SCAN_PERIOD_NS);
    }
}

/* ---- a frontend ---- */

struct frontend {
    struct segment segment;
    struct lane_producer producer;
    uint64_t ids[16]; /* by slot; 0: nobody waits */
};

static void submit(struct frontend *frontend)
{
    uint32_t slot_index;
    if (!lane_reserve(&frontend->producer, &slot_index))
        return;
    uint64_t id = atomic_fetch_add(&board->next_id, 1) + 1;
    uint64_t *payload = lane_payload(&frontend->producer, slot_index);
    payload[0] = id;
    payload[1] = ~id;
    frontend->ids[slot_index] = id;
    uint64_t now_ns = clock_now_ns();
    lane_submit(&frontend->producer, slot_index, 1, now_ns,
                id % 50 == 0 ? now_ns : now_ns + LATENCY_MAX);
}

static void cancel(struct frontend *frontend)
{
    uint32_t slot_index = (uint32_t)random_below(ARRAY_COUNT(frontend->ids));
    if (frontend->ids[slot_index] == 0 || !lane_cancel(&frontend->producer, slot_index))
        return;
    frontend->ids[slot_index] = 0;
    lane_release(&frontend->producer, slot_index);
    atomic_fetch_add(&board->cancelled, 1);
}

static void judge(uint64_t id, const struct lane_completion *completion)
{
    uint64_t result, latency_ns = clock_now_ns() - completion->submitted_ns;
    memcpy(&result, completion->result, sizeof(result));
    EXPECT(completion->status <= LANE_STATUS_POISONED);
    if (completion->status == LANE_STATUS_OK)
        EXPECT(result == result_of(id) && !is_poison(id));
    if (completion->status == LANE_STATUS_EXPIRED)
        EXPECT_EQUAL(id % 50, 0);
    atomic_fetch_add(completion->status == LANE_STATUS_OK         ? &board->answered
                     : completion->status == LANE_STATUS_POISONED ? &board->poisoned
                                                                  : &board->expired,
                     1);
    if (latency_ns > atomic_load(&board->latency_ns)) /* racy, and good enough for a maximum */
        atomic_store(&board->latency_ns, latency_ns);
}

static void reap(struct frontend *frontend)
{
    struct lane_completion completion;
    while (lane_reap(&frontend->producer, clock_now_ns(), &completion)) {
        uint64_t id = frontend->ids[completion.slot_index];
        if (id > 0)
            judge(id, &completion);
        frontend->ids[completion.slot_index] = 0;
        lane_release(&frontend->producer, completion.slot_index);
    }
}

static void frontend_main(uint32_t lane)
{
    struct frontend frontend = {0};
    char error[ERROR_BYTES];
    while (segment_open_frontend(&frontend.segment, path, error) < 0)
        sched_yield();
    process_claim(&frontend.segment, lane);
    EXPECT_EQUAL(lane_attach_producer(&frontend.producer, &frontend.segment, lane, error), 0);
    process_set_state(&frontend.segment, lane, PROCESS_STATE_READY);
    while (!atomic_load(&board->stopping)) {
        for (uint64_t n = random_below(6); n > 0; n--)
            submit(&frontend);
        if (random_below(8) == 0)
            cancel(&frontend);
        reap(&frontend);
        if (frontend.producer.n_free == 0 || random_below(4) == 0)
            lane_wait_completion(&frontend.segment, lane, LANE_SCAN_PERIOD_NS);
    }
    uint64_t end_ns = clock_now_ns() + DRAIN_NS;
    while (frontend.producer.n_free < geometry.slots_per_lane && clock_now_ns() < end_ns) {
        lane_wait_completion(&frontend.segment, lane, LANE_SCAN_PERIOD_NS);
        reap(&frontend);
    }
    EXPECT_EQUAL(frontend.producer.n_free, geometry.slots_per_lane);
    _exit(0);
}

/* ---- the supervisor ---- */

static pid_t pids[N_PROCESSES];
static uint32_t n_restarts, n_checks;

static void spawn(uint32_t process)
{
    uint64_t seed = random_below(UINT64_MAX) | 1;
    fflush(NULL);
    pids[process] = fork();
    if (pids[process] != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    random_state = seed;
    if (process == WORKER)
        worker_main();
    else
        frontend_main(process);
}

/* Replaces who was killed; who ended otherwise failed an EXPECT, or is a frontend that has drained.
 */
static uint32_t replace_the_dead(void)
{
    uint32_t n_ended = 0;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (uint32_t process = 0; process < N_PROCESSES; process++) {
            if (pids[process] != pid)
                continue;
            if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
                n_restarts++;
                spawn(process);
                continue;
            }
            EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            pids[process] = 0;
            n_ended++;
        }
    return n_ended;
}

/* A violation fails the test. 2 is "no segment yet". */
static void check_invariants(char *shm_inspect)
{
    char *argv[] = {shm_inspect, "check", "--segment", path, NULL};
    char said[4096];
    int status = run_program(argv, said, sizeof(said));
    if (status != 0)
        printf("%s", said);
    EXPECT(status == 0 || status == 2);
    n_checks += status == 0;
}

static void pause_for(uint64_t ns)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
}

static void kill_for(uint64_t duration_ns, char *shm_inspect)
{
    uint64_t end_ns = clock_now_ns() + duration_ns;
    for (uint32_t turn = 0; clock_now_ns() < end_ns; turn++) {
        pause_for(random_below(8 * NS_PER_MS));
        replace_the_dead();
        if (random_below(3) == 0)
            kill(pids[random_below(N_PROCESSES)], SIGKILL);
        if (turn % 32 == 0)
            check_invariants(shm_inspect);
    }
}

static void drain(void)
{
    atomic_store(&board->step_chance, 0);
    atomic_store(&board->stopping, true);
    uint32_t n_left = N_FRONTENDS;
    uint64_t end_ns = clock_now_ns() + DRAIN_NS + NS_PER_S;
    while (n_left > 0 && clock_now_ns() < end_ns) {
        n_left -= replace_the_dead();
        pause_for(NS_PER_MS);
    }
    EXPECT_EQUAL(n_left, 0);
    kill(pids[WORKER], SIGKILL);
    waitpid(pids[WORKER], NULL, 0);
}

static void expect_all_in_order(void)
{
    static struct stats_view stats;
    struct segment segment;
    char error[ERROR_BYTES];
    EXPECT_EQUAL(segment_open_readonly(&segment, path, error), 0);
    for (uint32_t lane = 0; lane < N_FRONTENDS; lane++)
        EXPECT_EQUAL(lane_depth(&segment, lane), 0);
    stats_merge(&segment, &stats);
    printf("%u restarts, %" PRIu64 " of them at crash points; %u checks; %" PRIu64
           " answered, %" PRIu64 " poisoned, %" PRIu64 " expired, %" PRIu64 " cancelled, %" PRIu64
           " found by scans; slowest %" PRIu64 " ms\n",
           n_restarts, atomic_load(&board->deaths_at_steps), n_checks,
           atomic_load(&board->answered), atomic_load(&board->poisoned),
           atomic_load(&board->expired), atomic_load(&board->cancelled),
           stats.counters[STATS_LANE_RESCUES], atomic_load(&board->latency_ns) / NS_PER_MS);
    EXPECT_EQUAL(stats.counters[STATS_LANE_LATE_RESULTS], 0);
    EXPECT_EQUAL(stats.counters[STATS_LANE_BAD_ENTRIES], 0);
    EXPECT(atomic_load(&board->latency_ns) < LATENCY_MAX);
    segment_close(&segment);
}

int main(int argc, char **argv)
{
    EXPECT(argc > 1);
    const char *more = getenv("WEIR_KILL_SECONDS");
    uint64_t seconds = more ? strtoull(more, NULL, 10) : 5;
    random_state = argc > 2 ? strtoull(argv[2], NULL, 10) : clock_now_ns();
    printf("seed %" PRIu64 ", %" PRIu64 " s\n", random_state, seconds);
    random_state |= 1;
    own_path(path);
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(board != MAP_FAILED);
    atomic_store(&board->step_chance, 2000);
    for (uint32_t process = 0; process < N_PROCESSES; process++)
        spawn(process);
    kill_for(seconds * NS_PER_S, argv[1]);
    drain();
    expect_all_in_order();
    check_invariants(argv[1]);
    EXPECT(n_checks > 0 && n_restarts > 0 && atomic_load(&board->answered) > 0);
    printf("ok lanes_survive_kill_nine_at_any_moment\n");
    return 0;
}
