/* GET /info: what is served and within which limits, in Text Embeddings Inference's fields and
 * ours; and GET /openapi.json, the description of all routes. */
#include <string.h>

#include "frontend/routes.h"
#include "frontend/text.h"
#include "proto/openapi.h"

static void append_labels(struct response_buffer *body, const struct response_labels *labels)
{
    text_append(body, "\"model_type\":{\"classifier\":{\"id2label\":{");
    for (uint32_t i = 0; i < labels->n_labels; i++) {
        text_append_format(body, "%s\"%u\":", i == 0 ? "" : ",", i);
        text_append_json(body, labels->names[i]);
    }
    text_append(body, "},\"label2id\":{");
    for (uint32_t i = 0; i < labels->n_labels; i++) {
        text_append(body, i == 0 ? "" : ",");
        text_append_json(body, labels->names[i]);
        text_append_format(body, ":%u", i);
    }
    text_append(body, "}}},");
}

static void append_limits(struct response_buffer *body, const struct server *server)
{
    const struct settings *settings = server->settings;
    text_append_format(
        body,
        "\"max_concurrent_requests\":%u,\"max_input_length\":%u,"
        "\"max_batch_tokens\":%u,\"max_batch_requests\":%u,"
        "\"max_client_batch_size\":%u,\"payload_limit\":%u,"
        "\"request_timeout_ms\":%u,\"auto_truncate\":%s,\"tokenization_workers\":%u,",
        server->segment.geometry.slots_per_lane, server->job_shape.max_tokens,
        settings->max_batch_tokens, settings->max_batch_requests, settings->max_client_batch_size,
        settings->payload_limit, settings->request_timeout_ms,
        settings->auto_truncate ? "true" : "false", server->segment.geometry.n_lanes);
}

/* The dtype that --dtype auto became: the worker's description of its encoder has the word. */
static const char *dtype_of(const struct server *server)
{
    static const char *const words[] = {"bfloat16", "float16", "float32", "fp8", "int8"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (strstr(server->worker.view.description, words[i]) != NULL)
            return words[i];
    return server->settings->dtype;
}

void info_handle(struct exchange *exchange)
{
    struct server *server = exchange->server;
    char model_id[128];
    segment_model_id(&server->segment, model_id);
    struct response_buffer body = exchange_buffer(exchange);
    text_append(&body, "{\"model_id\":");
    text_append_json(&body, server->settings->model_id);
    text_append(&body, ",\"model_sha\":");
    text_append_json(&body, model_id);
    text_append(&body, ",\"model_dtype\":");
    text_append_json(&body, dtype_of(server));
    text_append(&body, ",\"served_model_name\":");
    text_append_json(&body, server->model_name);
    text_append(&body, ",\"architecture\":");
    text_append_json(&body, server->model.config.model_type);
    text_append(&body, ",");
    append_labels(&body, &server->labels);
    append_limits(&body, server);
    text_append(&body, "\"backend\":");
    text_append_json(&body, server->worker.view.description);
    text_append(&body, ",\"version\":\"" WEIR_VERSION "\",\"sha\":null,\"docker_label\":null}");
    exchange_send(exchange, HTTP_OK, "application/json", body.bytes, body.size);
}

void info_handle_openapi(struct exchange *exchange)
{
    exchange_send(exchange, HTTP_OK, "application/json", openapi_json, openapi_json_size);
}
