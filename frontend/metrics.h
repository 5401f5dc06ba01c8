/* The text of GET /metrics. Apart from the route, so that a test can read it without a server. */
#ifndef WEIR_FRONTEND_METRICS_H
#define WEIR_FRONTEND_METRICS_H

#include "proto/response.h"
#include "shm/stats.h"

/* X(identifier, family, its labels' names, help): what is measured at the moment of the scrape,
 * beside the tables of shm/stats.h. docs/metrics.md is made of both. */
#define METRICS_GAUGES(X)                                                                         \
    X(build_info, "weir_build_info", "version, model, worker",                                    \
      "Always 1; the labels say what runs.")                                                      \
    X(healthy, "weir_healthy", "", "1 when GET /health answers 200.")                             \
    X(up, "weir_process_up", "process",                                                           \
      "1 when the process of this row of the process table runs.")                                \
    X(uptime, "weir_process_uptime_seconds", "process",                                           \
      "Since the process took its row; 0 when it is down.")                                       \
    X(epoch, "weir_worker_epoch", "", "Number of workers that have opened this segment.")         \
    X(batch_age, "weir_last_batch_age_seconds", "", "Since a batch or canary last went through.") \
    X(depth, "weir_lane_depth", "lane", "Texts queued or running in the lane.")                   \
    X(slots, "weir_lane_slots", "", "Texts a lane can hold.")                                     \
    X(connections, "weir_connections", "lane", "Open client connections of the frontend.")        \
    X(start, "weir_start_seconds", "",                                                            \
      "From the worker's process start to its readiness; 0 until then.")                          \
    X(start_phase, "weir_start_phase_seconds", "phase",                                           \
      "A phase of the worker's start; 0 where it has not ended, or the backend has none.")

/* Appends all counters and histograms of the view. */
void metrics_append_stats(struct response_buffer *body, const struct stats_view *view);

#endif
