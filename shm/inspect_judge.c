/* check, health, wait-ready: the commands that judge and say it by their exit status.
 *
 * `check` knows what holds at any moment, on a live segment too: what may be half done is read
 * until it stands still, or left alone. A dead process is no violation: its successor repairs what
 * it left. */
#include "shm/inspect.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A queued text that a sleeping worker has not looked at for so long was lost: the scan that should
 * have found it comes every 50 ms. */
#define FORGOTTEN_NS (20 * LANE_SCAN_PERIOD_NS)
/* Clocks of one machine do not differ; a time that lies further ahead was never one. */
#define FUTURE_NS NS_PER_S

#define WAIT_READY_POLL_NS (20 * NS_PER_MS)

/* ---- check ---- */

/* Where violations go: lines on stdout, or an array. */
struct verdict {
    uint64_t now_ns;
    uint32_t n_violations;
    json_t *lines;
};

__attribute__((format(printf, 2, 3))) static void violation(struct verdict *verdict,
                                                            const char *format, ...)
{
    char line[ERROR_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    verdict->n_violations++;
    if (verdict->lines)
        json_array_append_new(verdict->lines, json_string(line));
    else
        printf("violation: %s\n", line);
}

static void check_process(struct verdict *verdict, const char *role,
                          const struct inspect_process *process)
{
    if (process->state > PROCESS_STATE_FAILED)
        violation(verdict, "%s: state %u does not exist", role, process->state);
    if (process->view.heartbeat_ns > verdict->now_ns + FUTURE_NS)
        violation(verdict, "%s: its heartbeat lies %.1f s in the future", role,
                  (double)(process->view.heartbeat_ns - verdict->now_ns) / NS_PER_S);
}

static void check_ring(struct verdict *verdict, uint32_t lane_index, const char *name,
                       const struct inspect_ring *ring, uint32_t distance_max)
{
    if (ring->is_settled && ring->tail - ring->head > distance_max)
        violation(verdict, "lane %u: the %s ring has head %u and tail %u: one of them is damaged",
                  lane_index, name, ring->head, ring->tail);
    if (ring->n_bad_entries > 0)
        violation(verdict, "lane %u: %u entries of the %s ring name no slot", lane_index,
                  ring->n_bad_entries, name);
}

/* The submission ring may be lapped: by texts cancelled within one batch, or by a frontend that is
 * restarted again and again while no worker runs. Its scan finds the slots. But the tail is never
 * behind the head. The completion ring is not lapped: a slot is done once until it is reaped, and a
 * new frontend starts at the tail. */
static void check_rings(struct verdict *verdict, const struct segment *segment, uint32_t lane_index,
                        const struct inspect_lane *lane)
{
    check_ring(verdict, lane_index, "submission", &lane->submit, INT32_MAX);
    check_ring(verdict, lane_index, "completion", &lane->complete,
               layout_ring_entries(&segment->geometry));
}

static const char *slot_fault(const struct inspect_slot *slot, const struct segment *segment,
                              const struct verdict *verdict)
{
    uint32_t state = slot_word_state(slot->word), tries = slot_word_tries(slot->word);
    if (state >= SLOT_STATE_COUNT)
        return "a state that does not exist";
    if (state == SLOT_STATE_FREE)
        return tries != 0 || slot_word_epoch(slot->word) != 0 ? "free, but with tries or epoch"
                                                              : NULL;
    if (state == SLOT_STATE_QUEUED && slot_word_epoch(slot->word) != 0)
        return "queued, but with an epoch";
    if (state == SLOT_STATE_QUEUED && tries >= LANE_SILENT_TRIES_MAX)
        return "queued, but with all its tries spent";
    if (state == SLOT_STATE_RUNNING && (tries < 1 || tries > LANE_SILENT_TRIES_MAX))
        return "running, but with tries out of bounds";
    if (state == SLOT_STATE_DONE && slot->status > LANE_STATUS_FAILED)
        return "done, but with a status that does not exist";
    if (slot->payload_used > segment->geometry.payload_bytes)
        return "more payload used than there is";
    if (slot->submitted_ns > verdict->now_ns + FUTURE_NS)
        return "submitted in the future";
    return NULL;
}

/* Running under another worker than the living, READY one: recovery forgot it. */
static bool is_orphan(const struct segment *segment, const struct inspect_slot *slot,
                      const struct inspect_process *worker)
{
    return slot_word_state(slot->word) == SLOT_STATE_RUNNING && worker->alive &&
           worker->state == PROCESS_STATE_READY &&
           slot_word_epoch(slot->word) != (segment_worker_epoch(segment) & 0xffff);
}

static bool is_forgotten(const struct segment *segment, const struct inspect_slot *slot,
                         const struct inspect_process *worker, uint64_t now_ns)
{
    return slot_word_state(slot->word) == SLOT_STATE_QUEUED && worker->alive &&
           worker->state == PROCESS_STATE_READY &&
           inspect_age_ns(now_ns, slot->submitted_ns) > FORGOTTEN_NS &&
           atomic_load_explicit(&segment->header->worker_bell.sleeping, memory_order_relaxed) == 1;
}

static void check_slot(struct verdict *verdict, const struct segment *segment, uint32_t lane_index,
                       uint32_t slot_index, const struct inspect_process *worker)
{
    struct inspect_slot slot;
    inspect_read_slot(segment, lane_index, slot_index, &slot);
    if (!slot.is_settled)
        return;
    const char *fault = slot_fault(&slot, segment, verdict);
    if (!fault && is_orphan(segment, &slot, worker))
        fault = "running under a dead worker although the living one is ready";
    if (!fault && is_forgotten(segment, &slot, worker, verdict->now_ns))
        fault = "queued for long while the worker sleeps";
    if (fault)
        violation(verdict, "lane %u slot %u: %s (word %016llx)", lane_index, slot_index, fault,
                  (unsigned long long)slot.word);
}

static void check_lane(struct verdict *verdict, const struct segment *segment, uint32_t lane_index,
                       const struct inspect_process *worker)
{
    struct inspect_lane lane;
    char role[32];
    snprintf(role, sizeof(role), "frontend %u", lane_index);
    inspect_read_lane(segment, lane_index, &lane);
    check_process(verdict, role, &lane.frontend);
    check_rings(verdict, segment, lane_index, &lane);
    if (lane.sleeping > 1)
        violation(verdict, "lane %u: its bell's flag is %u", lane_index, lane.sleeping);
    if (lane.responses > lane.requests)
        violation(verdict, "lane %u: %llu answers to %llu requests", lane_index,
                  (unsigned long long)lane.responses, (unsigned long long)lane.requests);
    for (uint32_t i = 0; i < segment->geometry.slots_per_lane; i++)
        check_slot(verdict, segment, lane_index, i, worker);
}

int inspect_check(const struct segment *segment, const struct inspect_options *options)
{
    struct verdict verdict = {.now_ns = clock_now_ns(),
                              .lines = options->as_json ? json_array() : NULL};
    struct inspect_process worker;
    inspect_read_process(segment, PROCESS_WORKER, &worker);
    check_process(&verdict, "worker", &worker);
    if (segment_worker_epoch(segment) == 0)
        violation(&verdict, "no worker ever opened the segment, but it is complete");
    if (atomic_load_explicit(&segment->header->worker_bell.sleeping, memory_order_relaxed) > 1)
        violation(&verdict, "the worker's bell has a flag that is neither 0 nor 1");
    for (uint32_t lane = 0; lane < segment->geometry.n_lanes; lane++)
        check_lane(&verdict, segment, lane, &worker);
    if (verdict.lines)
        inspect_json_print(
            json_pack("{s:b, s:o}", "ok", verdict.n_violations == 0, "violations", verdict.lines));
    else if (verdict.n_violations == 0)
        printf("ok: %u lanes of %u slots hold all invariants\n", segment->geometry.n_lanes,
               segment->geometry.slots_per_lane);
    return verdict.n_violations == 0 ? INSPECT_EXIT_OK : INSPECT_EXIT_BAD;
}

/* ---- health ---- */

const char *inspect_health_fault(const struct inspect_process *worker, uint64_t now_ns,
                                 uint64_t max_age_ns)
{
    if (worker->state == PROCESS_STATE_EMPTY)
        return "no worker has started";
    if (!worker->alive)
        return "the worker is dead";
    if (worker->state == PROCESS_STATE_FAILED)
        return "the worker says that it cannot serve";
    if (inspect_age_ns(now_ns, worker->view.heartbeat_ns) > max_age_ns)
        return "the worker's heartbeat is too old";
    return NULL;
}

int inspect_health(const struct segment *segment, const struct inspect_options *options)
{
    struct inspect_process worker;
    uint64_t now_ns = clock_now_ns();
    inspect_read_process(segment, PROCESS_WORKER, &worker);
    const char *fault = inspect_health_fault(&worker, now_ns, options->max_age_ms * NS_PER_MS);
    if (options->as_json) {
        inspect_json_print(json_pack("{s:b, s:s?, s:o}", "healthy", fault == NULL, "fault", fault,
                                     "worker", inspect_json_process(&worker, now_ns)));
    } else {
        printf("%s\n", fault ? fault : "healthy");
        inspect_print_process("worker", &worker, now_ns);
    }
    return fault ? INSPECT_EXIT_BAD : INSPECT_EXIT_OK;
}

/* ---- wait-ready ---- */

/* Dead frontends are not waited for: their entries outlive a server that had more of them. */
static bool is_ready(const struct segment *segment, uint32_t frontends_wanted,
                     char why[ERROR_BYTES])
{
    struct inspect_process process;
    inspect_read_process(segment, PROCESS_WORKER, &process);
    if (!process.alive || process.state != PROCESS_STATE_READY) {
        snprintf(why, ERROR_BYTES, "the worker is %s",
                 process.alive ? inspect_process_state(process.state) : "not running");
        return false;
    }
    uint32_t n_ready = 0;
    for (uint32_t lane = 0; lane < segment->geometry.n_lanes; lane++) {
        inspect_read_process(segment, lane, &process);
        if (!process.alive)
            continue;
        if (process.state != PROCESS_STATE_READY) {
            snprintf(why, ERROR_BYTES, "frontend %u is %s", lane,
                     inspect_process_state(process.state));
            return false;
        }
        n_ready++;
    }
    snprintf(why, ERROR_BYTES, "%u of %u frontends are ready", n_ready, frontends_wanted);
    return n_ready >= frontends_wanted;
}

static bool look_once(const struct inspect_options *options, char why[ERROR_BYTES])
{
    struct segment segment;
    if (segment_open_readonly(&segment, options->path, why) < 0)
        return false;
    bool ready = is_ready(&segment, options->frontends, why);
    segment_close(&segment);
    return ready;
}

int inspect_wait_ready(const struct inspect_options *options)
{
    uint64_t end_ns = clock_now_ns() + options->timeout_ms * NS_PER_MS;
    char why[ERROR_BYTES];
    bool ready = look_once(options, why);
    while (!ready && clock_now_ns() < end_ns) {
        nanosleep(&(struct timespec){.tv_nsec = WAIT_READY_POLL_NS}, NULL);
        ready = look_once(options, why);
    }
    if (options->as_json)
        inspect_json_print(json_pack("{s:b, s:o}", "ready", ready, "why",
                                     ready ? json_null() : inspect_json_text(why)));
    else if (!ready)
        printf("not ready after %u ms: %s\n", options->timeout_ms, why);
    return ready ? INSPECT_EXIT_OK : INSPECT_EXIT_BAD;
}
