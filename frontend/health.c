/* GET /health, /healthz, /ready and /live. The first three are one judgement of the whole server
 * (worker_watch_complaint), 200 or 503; /live says only that this process runs its loop. Their body
 * is the same and says why. */
#include "frontend/routes.h"
#include "frontend/text.h"

static void append_age(struct response_buffer *body, const char *name, uint64_t then_ns,
                       uint64_t now_ns)
{
    if (then_ns == 0)
        text_append_format(body, ",\"%s\":null", name);
    else
        text_append_format(body, ",\"%s\":%.3f", name,
                           now_ns > then_ns ? (double)(now_ns - then_ns) / 1e9 : 0.0);
}

static void append_worker(struct response_buffer *body, const struct worker_watch *worker,
                          uint64_t now_ns)
{
    const struct process_view *view = &worker->view;
    text_append_format(body, "\"worker\":{\"state\":\"%s\",\"alive\":%s,\"epoch\":%u,\"pid\":%u",
                       worker_watch_state_word(view->state), worker->alive ? "true" : "false",
                       worker->epoch, view->pid);
    append_age(body, "heartbeat_age_seconds", view->heartbeat_ns, now_ns);
    append_age(body, "last_batch_age_seconds", view->last_batch_ns, now_ns);
    text_append(body, ",\"description\":");
    text_append_json(body, view->description);
    text_append(body, ",\"last_words\":");
    text_append_json(body, view->last_words);
    text_append(body, "}");
}

static void send_health(struct exchange *exchange, bool only_this_process)
{
    struct server *server = exchange->server;
    uint64_t now_ns = clock_now_ns();
    worker_watch_update(&server->worker, &server->segment, now_ns);
    const char *complaint = worker_watch_complaint(&server->worker, server->draining, now_ns);
    struct response_buffer body = exchange_buffer(exchange);
    text_append_format(&body,
                       "{\"status\":\"%s\",\"reason\":", complaint == NULL ? "ok" : "unhealthy");
    if (complaint == NULL)
        text_append(&body, "null");
    else
        text_append_json(&body, complaint);
    text_append(&body, ",");
    append_worker(&body, &server->worker, now_ns);
    text_append(&body, ",\"model\":");
    text_append_json(&body, server->model_name);
    text_append_format(&body,
                       ",\"queue_depth\":%u,\"frontend\":{\"lane\":%u,\"connections\":%u,"
                       "\"in_flight\":%u,\"draining\":%s,\"uptime_seconds\":%.3f},"
                       "\"version\":\"" WEIR_VERSION "\"}",
                       server->worker.queue_depth, server->settings->lane, server->n_connections,
                       server->n_in_flight, server->draining ? "true" : "false",
                       (double)(now_ns - server->started_ns) / 1e9);
    bool well = complaint == NULL || only_this_process;
    exchange_add_header(exchange, "cache-control", "no-store");
    if (!well)
        exchange_add_header(exchange, "retry-after", "1");
    exchange_send(exchange, well ? HTTP_OK : HTTP_UNAVAILABLE, "application/json", body.bytes,
                  body.size);
}

void health_handle(struct exchange *exchange)
{
    send_health(exchange, false);
}

void health_handle_live(struct exchange *exchange)
{
    send_health(exchange, true);
}
