/* Lanes under a scheduler that interleaves and kills at every shared store.
 *
 * Two frontends submit, cancel, hold, release; a worker peeks, expires, takes, completes. An oracle
 * that no death touches knows each request and says: answered at most once, with its own result;
 * never computed after a cancel that succeeded; poisoned only after it was running at two deaths;
 * expired only after its deadline; and every request of a frontend that lives is answered. */
#include "shm/lane.h"
#include "shm/layout.h"
#include "shm/process.h"
#include "tests/shm/own_path.h"
#include "tests/shm/simulation.h"
#include "tests/test.h"
#include <unistd.h>

#define N_FRONTENDS       2
#define SLOTS             4
#define REQUESTS_PER_LIFE 24
#define REQUESTS_MAX      16384
#define BATCH_MAX         3
#define WAITING_MAX       6
#define DEADLINE_NS       (40 * NS_PER_MS)
#define TICK_NS           (10 * NS_PER_MS)
#define LIMIT_NS          (20 * NS_PER_S)

static const struct segment_geometry geometry = {
    .n_lanes = N_FRONTENDS, .slots_per_lane = SLOTS, .payload_bytes = 64, .result_bytes = 8};
static char path[64];

/* ---- the oracle ---- */

enum fate { FATE_UNKNOWN, FATE_OPEN, FATE_ANSWERED, FATE_CANCELLED, FATE_FORGOTTEN };

static struct request {
    enum fate fate;
    bool is_running, is_poison;
    uint32_t deaths_running;
    uint64_t submitted_ns, deadline_ns;
} requests[REQUESTS_MAX];
static uint32_t n_requests;
static uint64_t slowest_ns;
static uint32_t n_answered, n_poisoned, n_expired, n_cancelled;

static uint64_t result_of(uint32_t id)
{
    return id * UINT64_C(0x9e3779b97f4a7c15) ^ 7;
}

static void answered(uint32_t id, const struct lane_completion *completion)
{
    struct request *request = &requests[id];
    EXPECT_EQUAL(request->fate, FATE_OPEN);
    request->fate = FATE_ANSWERED;
    slowest_ns = max_u64(slowest_ns, simulation_now_ns() - request->submitted_ns);
    uint64_t result;
    memcpy(&result, completion->result, sizeof(result));
    if (completion->status == LANE_STATUS_OK)
        EXPECT(result == result_of(id));
    else if (completion->status == LANE_STATUS_POISONED)
        EXPECT_EQUAL(request->deaths_running, LANE_TRIES_MAX);
    else
        EXPECT(completion->status == LANE_STATUS_EXPIRED &&
               simulation_now_ns() > request->deadline_ns);
    n_answered += completion->status == LANE_STATUS_OK;
    n_poisoned += completion->status == LANE_STATUS_POISONED;
    n_expired += completion->status == LANE_STATUS_EXPIRED;
}

/* ---- the worker ---- */

struct worker {
    struct segment segment;
    struct lane_consumer consumers[N_FRONTENDS];
    struct lane_ticket waiting[WAITING_MAX];
    uint32_t n_waiting;
    uint32_t epoch; /* 0 until it is open */
    int first_descriptor;
};

/* What was running at this death is asked of the slots: a death may fall between the swap and the
 * worker's knowing of it. */
static void count_running(const struct segment *segment, uint32_t epoch)
{
    for (uint32_t lane = 0; lane < N_FRONTENDS; lane++)
        for (uint32_t i = 0; i < SLOTS; i++) {
            struct slot_header *slot = layout_slot(layout_lane(segment, lane), &geometry, i);
            const uint32_t *payload = layout_payload(slot);
            uint64_t word = atomic_load(&slot->state_word);
            if (slot_word_state(word) == SLOT_STATE_RUNNING && slot_word_epoch(word) == epoch)
                requests[payload[0]].deaths_running++;
        }
}

static void worker_died(void *state)
{
    struct worker *worker = state;
    for (uint32_t id = 0; id < n_requests; id++)
        requests[id].is_running = false;
    if (worker->epoch > 0)
        count_running(&worker->segment, worker->epoch);
    worker->epoch = 0;
    for (uint32_t i = 0; i < N_FRONTENDS; i++)
        lane_detach_consumer(&worker->consumers[i]);
    segment_close(&worker->segment);
    close_range((unsigned)worker->first_descriptor, ~0u, 0);
    worker->n_waiting = 0;
}

static void forget_waiting(struct worker *worker, uint32_t at)
{
    for (uint32_t i = at + 1; i < worker->n_waiting; i++)
        worker->waiting[i - 1] = worker->waiting[i];
    worker->n_waiting--;
}

/* A ticket is shown once. */
static void expect_new(const struct worker *worker, const struct lane_ticket *ticket)
{
    for (uint32_t i = 0; i < worker->n_waiting; i++)
        EXPECT(worker->waiting[i].lane_index != ticket->lane_index ||
               worker->waiting[i].slot_index != ticket->slot_index ||
               worker->waiting[i].state_word != ticket->state_word);
}

static void worker_peek(struct worker *worker)
{
    for (uint32_t i = 0; i < N_FRONTENDS; i++)
        while (worker->n_waiting < WAITING_MAX &&
               lane_peek(&worker->consumers[i], simulation_now_ns(),
                         &worker->waiting[worker->n_waiting])) {
            expect_new(worker, &worker->waiting[worker->n_waiting]);
            worker->n_waiting++;
        }
}

static void worker_expire(struct worker *worker)
{
    for (uint32_t at = 0; at < worker->n_waiting;) {
        struct lane_ticket ticket = worker->waiting[at];
        if (simulation_now_ns() <= ticket.deadline_ns) {
            at++;
            continue;
        }
        lane_expire(&worker->consumers[ticket.lane_index], &ticket, simulation_now_ns());
        lane_ring_frontend(&worker->consumers[ticket.lane_index]);
        forget_waiting(worker, at);
    }
}

struct taken {
    struct lane_ticket ticket;
    uint32_t id;
};

/* In any order, which is harder on the lanes than the batcher is; one with tries alone. */
static uint32_t worker_take(struct worker *worker, struct taken batch[BATCH_MAX])
{
    uint32_t n = 0;
    while (n < BATCH_MAX && worker->n_waiting > 0) {
        uint32_t at = simulation_random(worker->n_waiting);
        struct lane_ticket ticket = worker->waiting[at];
        uint32_t payload[16];
        if (ticket.tries > 0 && n > 0)
            break;
        forget_waiting(worker, at);
        if (!lane_take(&worker->consumers[ticket.lane_index], &ticket, payload,
                       simulation_now_ns()))
            continue;
        EXPECT(payload[0] < n_requests);
        EXPECT_EQUAL(payload[1], ~payload[0]);
        EXPECT_EQUAL(payload[15], 0);
        struct request *request = &requests[payload[0]];
        EXPECT(request->fate == FATE_OPEN || request->fate == FATE_FORGOTTEN);
        EXPECT_EQUAL(ticket.tries, request->deaths_running);
        request->is_running = true;
        batch[n++] = (struct taken){.ticket = ticket, .id = payload[0]};
        if (ticket.tries > 0)
            break;
    }
    return n;
}

static void worker_run(struct worker *worker, struct taken *batch, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        simulation_yield();
        if (requests[batch[i].id].is_poison)
            simulation_die();
    }
    for (uint32_t i = 0; i < n; i++) {
        struct lane_consumer *consumer = &worker->consumers[batch[i].ticket.lane_index];
        uint64_t result = result_of(batch[i].id);
        lane_complete(consumer, &batch[i].ticket, LANE_STATUS_OK, &result, sizeof(result), n,
                      simulation_now_ns());
        requests[batch[i].id].is_running = false;
    }
    for (uint32_t i = 0; i < N_FRONTENDS; i++)
        lane_ring_frontend(&worker->consumers[i]);
}

static bool worker_has_work(void *state, uint32_t actor)
{
    struct worker *worker = state;
    (void)actor;
    for (uint32_t i = 0; i < N_FRONTENDS; i++)
        if (worker->consumers[i].peek_position !=
            atomic_load(&layout_lane(&worker->segment, i)->submit_tail))
            return true;
    return false;
}

static void worker_main(void *state)
{
    struct worker *worker = state;
    char error[ERROR_BYTES];
    EXPECT_EQUAL(segment_open_worker(&worker->segment, path, &geometry, "model", error), 0);
    worker->epoch = segment_worker_epoch(&worker->segment);
    process_claim(&worker->segment, PROCESS_WORKER);
    for (uint32_t i = 0; i < N_FRONTENDS; i++)
        EXPECT_EQUAL(lane_attach_consumer(&worker->consumers[i], &worker->segment, i, error), 0);
    for (uint32_t i = 0; i < N_FRONTENDS; i++)
        lane_recover(&worker->consumers[i], LANE_TRIES_MAX, NULL, NULL);
    process_set_state(&worker->segment, PROCESS_WORKER, PROCESS_STATE_READY);
    while (!simulation_ending()) {
        struct taken batch[BATCH_MAX];
        worker_peek(worker);
        worker_expire(worker);
        uint32_t n = worker_take(worker, batch);
        worker_run(worker, batch, n);
        if (n > 0 || worker->n_waiting > 0)
            continue;
        lane_wait_work(worker->consumers, N_FRONTENDS, 0, TICK_NS);
        simulation_yield();
    }
    for (uint32_t i = 0; i < N_FRONTENDS; i++)
        lane_detach_consumer(&worker->consumers[i]);
    segment_close(&worker->segment);
}

/* ---- a frontend: a loop and a completion thread ---- */

struct frontend {
    uint32_t lane_index;
    struct segment segment;
    struct lane_producer producer;
    bool attached, ended, woken;
    uint32_t ids[SLOTS]; /* by slot; UINT32_MAX: nobody waits */
    uint32_t held[SLOTS], n_held;
    uint32_t n_submitted;
};

static void frontend_reset(struct frontend *frontend)
{
    lane_detach_producer(&frontend->producer);
    segment_close(&frontend->segment);
    frontend->attached = frontend->ended = frontend->woken = false;
    frontend->n_held = 0;
    for (uint32_t i = 0; i < SLOTS; i++)
        frontend->ids[i] = UINT32_MAX;
}

static void frontend_died(void *state)
{
    struct frontend *frontend = state;
    for (uint32_t id = 0; id < n_requests; id++)
        if (id % N_FRONTENDS == frontend->lane_index && requests[id].fate == FATE_OPEN)
            requests[id].fate = FATE_FORGOTTEN;
    frontend_reset(frontend);
}

/* Ids of one frontend are those that leave its lane as remainder. */
static uint32_t new_request(const struct frontend *frontend)
{
    while (n_requests % N_FRONTENDS != frontend->lane_index)
        requests[n_requests++] = (struct request){.fate = FATE_UNKNOWN};
    EXPECT(n_requests < REQUESTS_MAX - N_FRONTENDS);
    uint64_t patience_ns = simulation_random(8) == 0 ? 100 * NS_PER_US : LIMIT_NS;
    requests[n_requests] = (struct request){.fate = FATE_OPEN,
                                            .is_poison = simulation_random(40) == 0,
                                            .submitted_ns = simulation_now_ns(),
                                            .deadline_ns = simulation_now_ns() + patience_ns};
    return n_requests++;
}

static void frontend_submit(struct frontend *frontend)
{
    uint32_t slot_index;
    if (!lane_reserve(&frontend->producer, &slot_index))
        return;
    uint32_t id = new_request(frontend);
    uint32_t *payload = lane_payload(&frontend->producer, slot_index);
    payload[0] = id;
    payload[1] = ~id;
    payload[15] = 12345; /* not used: the worker must see a zero */
    lane_payload_used(&frontend->producer, slot_index, 8);
    frontend->ids[slot_index] = id;
    frontend->n_submitted++;
    lane_submit(&frontend->producer, slot_index, 1, simulation_now_ns(), requests[id].deadline_ns);
}

static void frontend_cancel(struct frontend *frontend)
{
    uint32_t slot_index = simulation_random(SLOTS), id = frontend->ids[slot_index];
    if (id == UINT32_MAX || requests[id].fate != FATE_OPEN)
        return;
    if (!lane_cancel(&frontend->producer, slot_index))
        return;
    EXPECT(!requests[id].is_running);
    requests[id].fate = FATE_CANCELLED;
    n_cancelled++;
    frontend->ids[slot_index] = UINT32_MAX;
    lane_release(&frontend->producer, slot_index);
}

static void frontend_reap(struct frontend *frontend)
{
    struct lane_completion completion;
    while (lane_reap(&frontend->producer, simulation_now_ns(), &completion)) {
        uint32_t id = frontend->ids[completion.slot_index];
        if (id != UINT32_MAX) /* else a predecessor's */
            answered(id, &completion);
        frontend->ids[completion.slot_index] = UINT32_MAX;
        frontend->held[frontend->n_held++] = completion.slot_index;
    }
    /* Sometimes a result is kept over many turns, as a request of several texts does. */
    while (frontend->n_held > 0 && simulation_random(3) > 0)
        lane_release(&frontend->producer, frontend->held[--frontend->n_held]);
}

static void frontend_sleep(struct frontend *frontend)
{
    uint64_t end_ns = simulation_now_ns() + TICK_NS;
    while (!frontend->woken && simulation_now_ns() < end_ns)
        simulation_sleep(100 * NS_PER_US);
    frontend->woken = false;
}

static void loop_main(void *state)
{
    struct frontend *frontend = state;
    char error[ERROR_BYTES];
    while (segment_open_frontend(&frontend->segment, path, error) < 0)
        simulation_sleep(NS_PER_MS);
    process_claim(&frontend->segment, frontend->lane_index);
    EXPECT_EQUAL(
        lane_attach_producer(&frontend->producer, &frontend->segment, frontend->lane_index, error),
        0);
    frontend->attached = true;
    while (frontend->n_submitted < REQUESTS_PER_LIFE) {
        for (uint32_t n = simulation_random(4); n > 0; n--)
            frontend_submit(frontend);
        if (simulation_random(4) == 0)
            frontend_cancel(frontend);
        frontend_reap(frontend);
        if (simulation_random(4) == 0 || frontend->producer.n_free == 0)
            frontend_sleep(frontend);
        simulation_yield();
    }
    simulation_stop_deaths(); /* from here on everything must come to an end by itself */
    while (frontend->producer.n_free < SLOTS) {
        frontend_sleep(frontend);
        frontend_reap(frontend);
    }
    frontend->ended = true;
    lane_detach_producer(&frontend->producer);
}

static void completion_main(void *state)
{
    struct frontend *frontend = state;
    while (!frontend->ended) {
        if (!frontend->attached) {
            simulation_sleep(100 * NS_PER_US);
            continue;
        }
        if (lane_wait_completion(&frontend->segment, frontend->lane_index, TICK_NS))
            frontend->woken = true;
        simulation_yield();
    }
}

static bool frontend_has_work(void *state, uint32_t actor)
{
    struct frontend *frontend = state;
    (void)actor; /* only the completion thread sleeps on a futex */
    struct lane_header *lane = layout_lane(&frontend->segment, frontend->lane_index);
    uint32_t tail = atomic_load(&lane->complete_tail);
    return tail != atomic_load(&lane->complete_announced) &&
           tail != atomic_load(&lane->complete_head);
}

/* ---- one world, many seeds ---- */

static struct worker worker;
static struct frontend frontends[N_FRONTENDS];

static void expect_all_in_order(void)
{
    struct segment segment;
    char error[ERROR_BYTES];
    EXPECT_EQUAL(segment_open_readonly(&segment, path, error), 0);
    for (uint32_t lane = 0; lane < N_FRONTENDS; lane++)
        for (uint32_t i = 0; i < SLOTS; i++) {
            struct slot_header *slot = layout_slot(layout_lane(&segment, lane), &geometry, i);
            EXPECT_EQUAL(slot_word_state(atomic_load(&slot->state_word)), SLOT_STATE_FREE);
        }
    static struct stats_view stats;
    stats_merge(&segment, &stats);
    /* All were sane: nobody found a slot of his in other hands, or a ring with wild ends. */
    EXPECT_EQUAL(stats.counters[STATS_LANE_LATE_RESULTS], 0);
    EXPECT_EQUAL(stats.counters[STATS_LANE_BAD_ENTRIES], 0);
    segment_close(&segment);
}

static struct simulation_result live(const struct simulation_options *options)
{
    struct simulation_process processes[1 + N_FRONTENDS] = {
        {"worker", &worker, {worker_main}, worker_died, &worker.segment, worker_has_work}};
    n_requests = 0;
    unlink(path);
    for (uint32_t i = 0; i < N_FRONTENDS; i++) {
        frontends[i] = (struct frontend){.lane_index = i};
        frontend_reset(&frontends[i]);
        processes[1 + i] = (struct simulation_process){
            "frontend",    &frontends[i],         {loop_main, completion_main},
            frontend_died, &frontends[i].segment, frontend_has_work};
    }
    worker.first_descriptor = dup(0);
    close(worker.first_descriptor);
    struct simulation_result result;
    bool ended = simulation_run(processes, 1 + N_FRONTENDS, 1, LIMIT_NS, options, &result);
    if (!ended)
        fprintf(stderr, "seed %" PRIu64 " kill %u at %u: did not come to an end\n", options->seed,
                options->kill_process, options->kill_step);
    EXPECT(ended);
    for (uint32_t id = 0; id < n_requests; id++)
        EXPECT(requests[id].fate != FATE_OPEN);
    for (uint32_t i = 0; i < N_FRONTENDS; i++)
        segment_close(&frontends[i].segment);
    expect_all_in_order();
    unlink(path);
    return result;
}

static uint32_t rounds = 300;
static uint64_t first_seed;

static void without_deaths_nobody_sleeps_while_there_is_work(void)
{
    uint32_t sleeps = 0, lost_wakeups = 0;
    slowest_ns = 0;
    for (uint32_t i = 0; i < rounds; i++) {
        struct simulation_options options = {.seed = first_seed + i};
        struct simulation_result result = live(&options);
        sleeps += result.sleeps;
        lost_wakeups += result.lost_wakeups;
    }
    EXPECT(sleeps > rounds); /* the test does sleep */
    EXPECT_EQUAL(lost_wakeups, 0);
    printf("%u sleeps; slowest answer after %" PRIu64 " us\n", sleeps, slowest_ns / NS_PER_US);
    EXPECT(slowest_ns < LANE_SCAN_PERIOD_NS / 2); /* no answer needed a scan to be found */
}

static void with_deaths_at_any_step_every_request_of_the_living_is_answered(void)
{
    static const uint32_t chances[] = {400, 100, 30};
    uint32_t deaths = 0;
    n_answered = n_poisoned = n_expired = n_cancelled = 0;
    for (uint32_t i = 0; i < rounds; i++) {
        struct simulation_options options = {.seed = first_seed + i,
                                             .death_one_in = chances[i % ARRAY_COUNT(chances)],
                                             .deaths_max = 60};
        deaths += live(&options).deaths;
    }
    printf("%u deaths; %u answered, %u poisoned, %u expired, %u cancelled\n", deaths, n_answered,
           n_poisoned, n_expired, n_cancelled);
    EXPECT(deaths > rounds && n_poisoned > 0 && n_expired > 0 && n_cancelled > 0);
}

/* Each step of a whole run once: the death comes at the first, the second, ... until it comes no
 * more. */
static void each_single_step_may_be_the_last(void)
{
    for (uint32_t process = 0; process <= N_FRONTENDS; process++) {
        uint32_t step = 1;
        for (;; step++) {
            struct simulation_options options = {
                .seed = first_seed, .kill_process = process, .kill_step = step};
            if (live(&options).steps[process] < step)
                break;
        }
        printf("process %u died at each of %u steps\n", process, step - 1);
        EXPECT(step > 100);
    }
}

int main(int argc, char **argv)
{
    const char *more = getenv("WEIR_SIMULATION_ROUNDS");
    if (more)
        rounds = (uint32_t)strtoul(more, NULL, 10);
    first_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    printf("seeds %" PRIu64 " to %" PRIu64 "\n", first_seed, first_seed + rounds - 1);
    own_path(path);
    RUN(without_deaths_nobody_sleeps_while_there_is_work);
    RUN(with_deaths_at_any_step_every_request_of_the_living_is_answered);
    RUN(each_single_step_may_be_the_last);
    return 0;
}
