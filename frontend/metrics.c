/* Prometheus' text format 0.0.4 over the tables of shm/stats.h.
 *
 * A histogram's `le` set is fixed: one bound for each octave of the log-linear buckets, 2^k - 1 in
 * the recorded unit, so that every bound is exact and no bucket is split. */
#include "frontend/metrics.h"

#include <stdio.h>
#include <string.h>

#include "frontend/routes.h"
#include "frontend/text.h"
#include "shm/start.h"

/* Octaves shown: nanoseconds from 2^10 - 1 (1 us) to 2^36 - 1 (69 s), other units from 1 to 2^20
 * - 1. */
#define OCTAVE_TIME_FIRST  10
#define OCTAVE_TIME_LAST   36
#define OCTAVE_COUNT_FIRST 1
#define OCTAVE_COUNT_LAST  20

/* ---- counters and histograms ----------------------------------------------------------------- */

struct counter_row {
    const char *family, *labels, *help;
};

struct histogram_row {
    const char *family, *unit, *help;
};

#define COUNTER_ROW(identifier, family, labels, help) {family, labels, help},
#define HISTOGRAM_ROW(identifier, family, unit, help) {family, unit, help},

static const struct counter_row counter_rows[] = {STATS_COUNTERS(COUNTER_ROW)};
static const struct histogram_row histogram_rows[] = {STATS_HISTOGRAMS(HISTOGRAM_ROW)};

static void append_family(struct response_buffer *body, const char *family, const char *type,
                          const char *help)
{
    text_append_format(body, "# HELP %s %s\n# TYPE %s %s\n", family, help, family, type);
}

static void append_counters(struct response_buffer *body, const struct stats_view *view)
{
    const char *family = "";
    for (size_t i = 0; i < ARRAY_COUNT(counter_rows); i++) {
        const struct counter_row *row = &counter_rows[i];
        if (strcmp(family, row->family) != 0)
            append_family(body, row->family, "counter", row->help);
        family = row->family;
        bool labelled = row->labels[0] != '\0';
        text_append_format(body, "%s%s%s%s %llu\n", row->family, labelled ? "{" : "", row->labels,
                           labelled ? "}" : "", (unsigned long long)view->counters[i]);
    }
}

/* A recorded value in base units: nanoseconds become seconds, exactly. */
static void append_value(struct response_buffer *body, uint64_t value, bool is_time)
{
    if (is_time)
        text_append_format(body, "%llu.%09llu", (unsigned long long)(value / NS_PER_S),
                           (unsigned long long)(value % NS_PER_S));
    else
        text_append_format(body, "%llu", (unsigned long long)value);
}

static void append_histogram(struct response_buffer *body, const struct histogram_row *row,
                             const struct stats_histogram_view *histogram)
{
    bool is_time = strcmp(row->unit, "seconds") == 0;
    int first = is_time ? OCTAVE_TIME_FIRST : OCTAVE_COUNT_FIRST;
    int last = is_time ? OCTAVE_TIME_LAST : OCTAVE_COUNT_LAST;
    uint64_t cumulative = 0;
    uint32_t bucket = 0;
    append_family(body, row->family, "histogram", row->help);
    for (int octave = first; octave <= last; octave++) {
        uint64_t bound = (UINT64_C(1) << octave) - 1;
        for (; bucket < STATS_BUCKETS_COUNT && stats_bucket_upper(bucket) <= bound; bucket++)
            cumulative += histogram->buckets[bucket];
        text_append_format(body, "%s_bucket{le=\"", row->family);
        append_value(body, bound, is_time);
        text_append_format(body, "\"} %llu\n", (unsigned long long)cumulative);
    }
    text_append_format(body, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum ", row->family,
                       (unsigned long long)histogram->count, row->family);
    append_value(body, histogram->sum, is_time);
    text_append_format(body, "\n%s_count %llu\n", row->family,
                       (unsigned long long)histogram->count);
}

void metrics_append_stats(struct response_buffer *body, const struct stats_view *view)
{
    append_counters(body, view);
    for (size_t i = 0; i < ARRAY_COUNT(histogram_rows); i++)
        append_histogram(body, &histogram_rows[i], &view->histograms[i]);
}

/* ---- gauges: what is true at the moment of the scrape ---------------------------------------- */

/* `scratch` holds the process table as it was read once for this scrape. */
struct scrape {
    struct server *server;
    uint64_t now_ns;
    uint32_t n_lanes;
    struct process_view frontends[SEGMENT_LANES_MAX];
    bool alive[SEGMENT_LANES_MAX];
    struct start_view start;
};

static void read_processes(struct scrape *scrape)
{
    for (uint32_t lane = 0; lane < scrape->n_lanes; lane++) {
        process_read(&scrape->server->segment, lane, &scrape->frontends[lane]);
        scrape->alive[lane] = process_is_alive(&scrape->frontends[lane]);
    }
}

/* Bytes of a label's value, escaped as the format wants it. */
static void append_label(struct response_buffer *body, const char *name, const char *value)
{
    text_append_format(body, "%s=\"", name);
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"')
            response_append(body, "\\", 1);
        if (*value == '\n')
            text_append(body, "\\n");
        else
            response_append(body, value, 1);
    }
    text_append(body, "\"");
}

static void append_build_info(struct response_buffer *body, const struct scrape *scrape)
{
    text_append(body, "weir_build_info{version=\"" WEIR_VERSION "\",");
    append_label(body, "model", scrape->server->model_name);
    text_append(body, ",");
    append_label(body, "worker", scrape->server->worker.view.description);
    text_append(body, "} 1\n");
}

static void append_healthy(struct response_buffer *body, const struct scrape *scrape)
{
    text_append_format(body, "weir_healthy %d\n",
                       worker_watch_complaint(&scrape->server->worker, scrape->server->draining,
                                              scrape->now_ns) == NULL);
}

static void append_up(struct response_buffer *body, const struct scrape *scrape)
{
    text_append_format(body, "weir_process_up{process=\"worker\"} %d\n",
                       scrape->server->worker.alive);
    for (uint32_t lane = 0; lane < scrape->n_lanes; lane++)
        text_append_format(body, "weir_process_up{process=\"frontend %u\"} %d\n", lane,
                           scrape->alive[lane]);
}

static double uptime_s(const struct process_view *view, bool alive, uint64_t now_ns)
{
    return alive && now_ns > view->started_ns ? (double)(now_ns - view->started_ns) / 1e9 : 0;
}

static void append_uptime(struct response_buffer *body, const struct scrape *scrape)
{
    const struct worker_watch *worker = &scrape->server->worker;
    text_append_format(body, "weir_process_uptime_seconds{process=\"worker\"} %.3f\n",
                       uptime_s(&worker->view, worker->alive, scrape->now_ns));
    for (uint32_t lane = 0; lane < scrape->n_lanes; lane++)
        text_append_format(body, "weir_process_uptime_seconds{process=\"frontend %u\"} %.3f\n",
                           lane,
                           uptime_s(&scrape->frontends[lane], scrape->alive[lane], scrape->now_ns));
}

static void append_epoch(struct response_buffer *body, const struct scrape *scrape)
{
    text_append_format(body, "weir_worker_epoch %u\n", scrape->server->worker.epoch);
}

static void append_batch_age(struct response_buffer *body, const struct scrape *scrape)
{
    uint64_t then_ns = scrape->server->worker.view.last_batch_ns;
    if (then_ns == 0)
        text_append(body, "weir_last_batch_age_seconds NaN\n");
    else
        text_append_format(body, "weir_last_batch_age_seconds %.3f\n",
                           scrape->now_ns > then_ns ? (double)(scrape->now_ns - then_ns) / 1e9
                                                    : 0.0);
}

static void append_depth(struct response_buffer *body, const struct scrape *scrape)
{
    for (uint32_t lane = 0; lane < scrape->n_lanes; lane++)
        text_append_format(body, "weir_lane_depth{lane=\"%u\"} %u\n", lane,
                           lane_depth(&scrape->server->segment, lane));
}

static void append_slots(struct response_buffer *body, const struct scrape *scrape)
{
    text_append_format(body, "weir_lane_slots %u\n",
                       scrape->server->segment.geometry.slots_per_lane);
}

/* A frontend writes its number of connections into its row's description (server.c), because any of
 * them may be asked for all. */
static void append_connections(struct response_buffer *body, const struct scrape *scrape)
{
    for (uint32_t lane = 0; lane < scrape->n_lanes; lane++) {
        unsigned connections = 0;
        if (scrape->alive[lane])
            (void)sscanf(scrape->frontends[lane].description, SERVER_DESCRIPTION_SCAN,
                         &connections);
        text_append_format(body, "weir_connections{lane=\"%u\"} %u\n", lane, connections);
    }
}

static void append_start(struct response_buffer *body, const struct scrape *scrape)
{
    text_append(body, "weir_start_seconds ");
    append_value(body, scrape->start.total_ns, true);
    text_append(body, "\n");
}

static void append_start_phase(struct response_buffer *body, const struct scrape *scrape)
{
    for (uint32_t i = 0; i < START_PHASE_COUNT; i++) {
        text_append_format(body, "weir_start_phase_seconds{phase=\"%s\"} ",
                           start_phase_word((enum start_phase)i));
        append_value(body, scrape->start.phase_ns[i], true);
        text_append(body, "\n");
    }
}

static void append_gauges(struct response_buffer *body, const struct scrape *scrape)
{
#define APPEND_GAUGE(identifier, family, labels, help) \
    append_family(body, family, "gauge", help);        \
    append_##identifier(body, scrape);
    METRICS_GAUGES(APPEND_GAUGE)
}

void metrics_handle(struct exchange *exchange)
{
    struct server *server = exchange->server;
    struct stats_view *view = h2o_mem_alloc_pool(&exchange->request->pool, sizeof(*view));
    struct scrape *scrape = h2o_mem_alloc_pool(&exchange->request->pool, sizeof(*scrape));
    *scrape = (struct scrape){
        .server = server, .now_ns = clock_now_ns(), .n_lanes = server->segment.geometry.n_lanes};
    worker_watch_update(&server->worker, &server->segment, scrape->now_ns);
    server_describe(server);
    read_processes(scrape);
    start_read(&server->segment, &scrape->start);
    stats_merge(&server->segment, view);
    struct response_buffer body = exchange_buffer(exchange);
    metrics_append_stats(&body, view);
    append_gauges(&body, scrape);
    exchange_send(exchange, HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", body.bytes,
                  body.size);
}
