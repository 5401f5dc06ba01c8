/* status, lanes, slots, stats, last-words: the commands that show and do not judge. */
#include "shm/inspect.h"
#include <stdio.h>
#include <string.h>

/* ---- status ---- */

static int status_json(const struct segment *segment, const struct inspect_process *worker,
                       const char *model_id, uint64_t now_ns)
{
    const struct segment_geometry *geometry = &segment->geometry;
    json_t *frontends = json_array();
    for (uint32_t lane = 0; lane < geometry->n_lanes; lane++) {
        struct inspect_process frontend;
        inspect_read_process(segment, lane, &frontend);
        json_array_append_new(frontends, inspect_json_process(&frontend, now_ns));
    }
    uint64_t created_ns = segment->header->identity.created_ns;
    json_t *json = json_object();
    inspect_json_add(json, "model_id", inspect_json_text(model_id));
    inspect_json_add_integer(json, "layout_version", LAYOUT_VERSION);
    inspect_json_add_integer(json, "total_bytes", segment->mapped_bytes);
    inspect_json_add_integer(json, "created_age_ns", inspect_age_ns(now_ns, created_ns));
    inspect_json_add_integer(json, "n_lanes", geometry->n_lanes);
    inspect_json_add_integer(json, "slots_per_lane", geometry->slots_per_lane);
    inspect_json_add_integer(json, "payload_bytes", geometry->payload_bytes);
    inspect_json_add_integer(json, "result_bytes", geometry->result_bytes);
    inspect_json_add_integer(json, "worker_epoch", segment_worker_epoch(segment));
    inspect_json_add_integer(json, "queue_depth", inspect_queue_depth(segment));
    inspect_json_add(json, "worker", inspect_json_process(worker, now_ns));
    inspect_json_add(json, "frontends", frontends);
    return inspect_json_print(json);
}

int inspect_status(const struct segment *segment, const struct inspect_options *options)
{
    const struct segment_geometry *geometry = &segment->geometry;
    uint64_t now_ns = clock_now_ns();
    char model_id[128], printable[128], age[INSPECT_DURATION_BYTES], role[32];
    struct inspect_process process;
    inspect_read_process(segment, PROCESS_WORKER, &process);
    segment_model_id(segment, model_id);
    if (options->as_json)
        return status_json(segment, &process, model_id, now_ns);
    inspect_printable(printable, sizeof(printable), model_id);
    printf("%-12s %s, layout %u, %.1f MiB, made %s ago\n", "segment", options->path, LAYOUT_VERSION,
           (double)segment->mapped_bytes / (1 << 20),
           inspect_duration(age, inspect_age_ns(now_ns, segment->header->identity.created_ns)));
    printf("%-12s %s\n", "model", printable);
    printf(
        "%-12s %u lanes x %u slots, payload %u and result %u bytes, %u texts queued or running\n",
        "geometry", geometry->n_lanes, geometry->slots_per_lane, geometry->payload_bytes,
        geometry->result_bytes, inspect_queue_depth(segment));
    printf("%-12s %u\n", "epoch", segment_worker_epoch(segment));
    inspect_print_process("worker", &process, now_ns);
    for (uint32_t lane = 0; lane < geometry->n_lanes; lane++) {
        inspect_read_process(segment, lane, &process);
        snprintf(role, sizeof(role), "frontend %u", lane);
        inspect_print_process(role, &process, now_ns);
    }
    return INSPECT_EXIT_OK;
}

/* ---- lanes ---- */

static json_t *ring_json(const struct inspect_ring *ring)
{
    json_t *json = json_object();
    inspect_json_add_integer(json, "head", ring->head);
    inspect_json_add_integer(json, "tail", ring->tail);
    return json;
}

static json_t *lane_json(const struct inspect_lane *lane, uint64_t now_ns)
{
    json_t *json = json_object();
    inspect_json_add(json, "frontend", inspect_json_process(&lane->frontend, now_ns));
    inspect_json_add(json, "submit", ring_json(&lane->submit));
    inspect_json_add(json, "complete", ring_json(&lane->complete));
    inspect_json_add(json, "sleeping", json_boolean(lane->sleeping != 0));
    inspect_json_add_integer(json, "rings", lane->rings);
    inspect_json_add_integer(json, "free", lane->n_slots[SLOT_STATE_FREE]);
    inspect_json_add_integer(json, "queued", lane->n_slots[SLOT_STATE_QUEUED]);
    inspect_json_add_integer(json, "running", lane->n_slots[SLOT_STATE_RUNNING]);
    inspect_json_add_integer(json, "done", lane->n_slots[SLOT_STATE_DONE]);
    inspect_json_add_integer(json, "damaged", lane->n_slots[SLOT_STATE_COUNT]);
    inspect_json_add(json, "oldest_queued_age_ns",
                     inspect_json_age(now_ns, lane->oldest_queued_ns));
    inspect_json_add_integer(json, "requests", lane->requests);
    inspect_json_add_integer(json, "responses", lane->responses);
    return json;
}

static void lane_print(uint32_t lane_index, const struct inspect_lane *lane, uint64_t now_ns)
{
    char age[INSPECT_DURATION_BYTES] = "-", process[32] = "-";
    if (lane->oldest_queued_ns > 0)
        inspect_duration(age, inspect_age_ns(now_ns, lane->oldest_queued_ns));
    if (lane->frontend.state != PROCESS_STATE_EMPTY)
        snprintf(process, sizeof(process), "%u %s", lane->frontend.view.pid,
                 lane->frontend.alive ? inspect_process_state(lane->frontend.state) : "DEAD");
    printf("%4u  %-18s %6u %6u %7u %6u %7u %9u %9u  %-10s %10llu %10llu\n", lane_index, process,
           lane->n_slots[SLOT_STATE_FREE], lane->n_slots[SLOT_STATE_QUEUED],
           lane->n_slots[SLOT_STATE_RUNNING], lane->n_slots[SLOT_STATE_DONE],
           lane->n_slots[SLOT_STATE_COUNT], lane->submit.tail - lane->submit.head,
           lane->complete.tail - lane->complete.head, age, (unsigned long long)lane->requests,
           (unsigned long long)lane->responses);
}

int inspect_lanes(const struct segment *segment, const struct inspect_options *options)
{
    json_t *lanes = options->as_json ? json_array() : NULL;
    if (!lanes)
        printf("lane  frontend             free queued running   done damaged submitted completed  "
               "oldest       requests  responses\n");
    for (uint32_t lane_index = 0; lane_index < segment->geometry.n_lanes; lane_index++) {
        struct inspect_lane lane;
        inspect_read_lane(segment, lane_index, &lane);
        if (lanes)
            json_array_append_new(lanes, lane_json(&lane, clock_now_ns()));
        else
            lane_print(lane_index, &lane, clock_now_ns());
    }
    return lanes ? inspect_json_print(json_pack("{s:o}", "lanes", lanes)) : INSPECT_EXIT_OK;
}

/* ---- slots ---- */

static json_t *slot_json(uint32_t lane_index, uint32_t slot_index, const struct inspect_slot *slot,
                         uint64_t now_ns)
{
    json_t *json = json_object();
    inspect_json_add_integer(json, "lane", lane_index);
    inspect_json_add_integer(json, "slot", slot_index);
    inspect_json_add(json, "state", json_string(inspect_slot_state(slot_word_state(slot->word))));
    inspect_json_add_integer(json, "generation", slot_word_generation(slot->word));
    inspect_json_add_integer(json, "epoch", slot_word_epoch(slot->word));
    inspect_json_add_integer(json, "tries", slot_word_tries(slot->word));
    inspect_json_add(json, "submitted_age_ns", inspect_json_age(now_ns, slot->submitted_ns));
    inspect_json_add_integer(json, "deadline_in_ns", inspect_age_ns(slot->deadline_ns, now_ns));
    inspect_json_add_integer(json, "weight", slot->weight);
    inspect_json_add_integer(json, "payload_used", slot->payload_used);
    inspect_json_add(json, "status", json_string(inspect_lane_status(slot->status)));
    inspect_json_add_integer(json, "batch_weight", slot->batch_weight);
    inspect_json_add(json, "taken_age_ns", inspect_json_age(now_ns, slot->taken_ns));
    inspect_json_add(json, "done_age_ns", inspect_json_age(now_ns, slot->done_ns));
    return json;
}

static void slot_print(uint32_t lane_index, uint32_t slot_index, const struct inspect_slot *slot,
                       uint64_t now_ns)
{
    char age[INSPECT_DURATION_BYTES], deadline[INSPECT_DURATION_BYTES];
    uint32_t state = slot_word_state(slot->word);
    printf("%4u %5u  %-8s %10u %6u %5u %7u  %-10s %-10s %s\n", lane_index, slot_index,
           inspect_slot_state(state), slot_word_generation(slot->word), slot_word_epoch(slot->word),
           slot_word_tries(slot->word), slot->weight,
           inspect_duration(age, inspect_age_ns(now_ns, slot->submitted_ns)),
           inspect_duration(deadline, inspect_age_ns(slot->deadline_ns, now_ns)),
           state == SLOT_STATE_DONE ? inspect_lane_status(slot->status) : "-");
}

static void show_slots_of(const struct segment *segment, const struct inspect_options *options,
                          uint32_t lane_index, json_t *slots)
{
    for (uint32_t i = 0; i < segment->geometry.slots_per_lane; i++) {
        struct inspect_slot slot;
        inspect_read_slot(segment, lane_index, i, &slot);
        if (slot_word_state(slot.word) == SLOT_STATE_FREE && !options->all)
            continue;
        if (slots)
            json_array_append_new(slots, slot_json(lane_index, i, &slot, clock_now_ns()));
        else
            slot_print(lane_index, i, &slot, clock_now_ns());
    }
}

int inspect_slots(const struct segment *segment, const struct inspect_options *options)
{
    json_t *slots = options->as_json ? json_array() : NULL;
    if (options->lane != UINT32_MAX && options->lane >= segment->geometry.n_lanes) {
        fprintf(stderr, "shm_inspect: there is no lane %u: %s has lanes 0 to %u\n", options->lane,
                options->path, segment->geometry.n_lanes - 1);
        json_decref(slots);
        return INSPECT_EXIT_USAGE;
    }
    if (!slots)
        printf("lane  slot  state    generation  epoch tries  weight  submitted  deadline   "
               "status\n");
    for (uint32_t lane = 0; lane < segment->geometry.n_lanes; lane++)
        if (options->lane == UINT32_MAX || options->lane == lane)
            show_slots_of(segment, options, lane, slots);
    return slots ? inspect_json_print(json_pack("{s:o}", "slots", slots)) : INSPECT_EXIT_OK;
}

/* ---- stats ---- */

#define COUNTER_ROW(identifier, family, labels, help) {#identifier, family, labels},
#define HISTOGRAM_ROW(identifier, family, unit, help) {#identifier, family, unit},
static const struct {
    const char *name, *family, *labels;
} counter_rows[] = {STATS_COUNTERS(COUNTER_ROW)};
static const struct {
    const char *name, *family, *unit;
} histogram_rows[] = {STATS_HISTOGRAMS(HISTOGRAM_ROW)};
static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};

static json_t *histogram_json(const struct stats_histogram_view *histogram)
{
    static const char *const names[] = {"p50", "p90", "p99", "p999"};
    _Static_assert(ARRAY_COUNT(names) == ARRAY_COUNT(quantiles), "a name for each quantile");
    json_t *json = json_object();
    inspect_json_add_integer(json, "count", histogram->count);
    inspect_json_add_integer(json, "sum", histogram->sum);
    for (size_t i = 0; i < ARRAY_COUNT(quantiles); i++)
        inspect_json_add_integer(json, names[i], stats_quantile(histogram, quantiles[i]));
    return json;
}

static json_t *start_json(const struct start_view *start)
{
    json_t *phases = json_object();
    for (uint32_t i = 0; i < START_PHASE_COUNT; i++)
        inspect_json_add_integer(phases, start_phase_word((enum start_phase)i), start->phase_ns[i]);
    return json_pack("{s:o, s:o}", "total_ns", inspect_json_integer(start->total_ns), "phases_ns",
                     phases);
}

static int stats_json(const struct stats_view *view, const struct start_view *start)
{
    json_t *counters = json_object(), *histograms = json_object();
    for (uint32_t i = 0; i < STATS_COUNTER_COUNT; i++)
        inspect_json_add_integer(counters, counter_rows[i].name, view->counters[i]);
    for (uint32_t i = 0; i < STATS_HISTOGRAM_COUNT; i++)
        inspect_json_add(histograms, histogram_rows[i].name, histogram_json(&view->histograms[i]));
    return inspect_json_print(json_pack("{s:o, s:o, s:o}", "counters", counters, "histograms",
                                        histograms, "start", start_json(start)));
}

static void histogram_print(uint32_t index, const struct stats_histogram_view *histogram)
{
    bool is_time = strcmp(histogram_rows[index].unit, "seconds") == 0;
    printf("%-28s %12llu", histogram_rows[index].family, (unsigned long long)histogram->count);
    uint64_t mean = histogram->count > 0 ? histogram->sum / histogram->count : 0;
    for (size_t i = 0; i <= ARRAY_COUNT(quantiles); i++) {
        uint64_t value = i == 0 ? mean : stats_quantile(histogram, quantiles[i - 1]);
        char text[INSPECT_DURATION_BYTES];
        if (is_time)
            printf(" %10s", inspect_duration(text, value));
        else
            printf(" %10llu", (unsigned long long)value);
    }
    printf("\n");
}

/* The phases that the worker's backend has, or has come to. */
static void start_print(const struct start_view *start)
{
    char text[INSPECT_DURATION_BYTES];
    printf("\n%-28s %12s\n", "start of the worker", "took");
    for (uint32_t i = 0; i < START_PHASE_COUNT; i++)
        if (start->phase_ns[i] > 0)
            printf("%-28s %12s\n", start_phase_word((enum start_phase)i),
                   inspect_duration(text, start->phase_ns[i]));
    printf("%-28s %12s\n", "until it was ready",
           start->total_ns > 0 ? inspect_duration(text, start->total_ns) : "-");
}

int inspect_stats(const struct segment *segment, const struct inspect_options *options)
{
    static struct stats_view view; /* 20 KiB */
    struct start_view start;
    start_read(segment, &start);
    stats_merge(segment, &view);
    if (options->as_json)
        return stats_json(&view, &start);
    for (uint32_t i = 0; i < STATS_COUNTER_COUNT; i++) {
        char series[96];
        snprintf(series, sizeof(series), counter_rows[i].labels[0] ? "%s{%s}" : "%s%s",
                 counter_rows[i].family, counter_rows[i].labels);
        printf("%-44s %16llu\n", series, (unsigned long long)view.counters[i]);
    }
    printf("\n%-28s %12s %10s %10s %10s %10s %10s\n", "histogram", "count", "mean", "p50", "p90",
           "p99", "p99.9");
    for (uint32_t i = 0; i < STATS_HISTOGRAM_COUNT; i++)
        histogram_print(i, &view.histograms[i]);
    start_print(&start);
    return INSPECT_EXIT_OK;
}

/* ---- last-words ---- */

/* `last-words worker` and `last-words frontend N` print the bare sentence, for a script. */
static int bare_words(const struct segment *segment, uint32_t index)
{
    struct process_view view;
    char text[PROCESS_LAST_WORDS_SIZE];
    if (index != PROCESS_WORKER && index >= segment->geometry.n_lanes)
        return INSPECT_EXIT_USAGE;
    process_read(segment, index, &view);
    inspect_printable(text, sizeof(text), view.last_words);
    if (text[0])
        printf("%s\n", text);
    return INSPECT_EXIT_OK;
}

static void words_row(const char *role, uint32_t pid, const char *words, json_t *rows)
{
    char text[PROCESS_LAST_WORDS_SIZE];
    inspect_printable(text, sizeof(text), words);
    if (!text[0])
        return;
    if (rows)
        json_array_append_new(
            rows, json_pack("{s:s, s:i, s:s}", "role", role, "pid", (int)pid, "last_words", text));
    else
        printf("%u\t%s\t%s\n", pid, role, text);
}

int inspect_last_words(const struct segment *segment, const struct inspect_options *options)
{
    if (options->role && !options->as_json)
        return bare_words(segment, strcmp(options->role, "worker") == 0 ? PROCESS_WORKER
                                                                        : options->role_lane);
    json_t *rows = options->as_json ? json_array() : NULL;
    struct process_view view;
    process_read(segment, PROCESS_WORKER, &view);
    words_row("worker", view.pid, view.last_words, rows);
    for (uint32_t lane = 0; lane < segment->geometry.n_lanes; lane++) {
        char role[32];
        snprintf(role, sizeof(role), "frontend %u", lane);
        process_read(segment, lane, &view);
        words_row(role, view.pid, view.last_words, rows);
    }
    return rows ? inspect_json_print(json_pack("{s:o}", "last_words", rows)) : INSPECT_EXIT_OK;
}
