/* Formatting of access_log.h, out of the request's own pool. */
#include "frontend/access_log.h"

#include <netdb.h>
#include <stdio.h>
#include <unistd.h>

#include "frontend/exchange.h"
#include "frontend/text.h"
#include "shm/log.h"

static void append_client(struct response_buffer *line, struct exchange *exchange)
{
    struct sockaddr_storage address;
    char host[NI_MAXHOST] = "-";
    h2o_conn_t *conn = exchange->request->conn;
    socklen_t size = conn->callbacks->get_peername(conn, (struct sockaddr *)&address);
    if (size != 0 && getnameinfo((struct sockaddr *)&address, size, host, sizeof(host), NULL, 0,
                                 NI_NUMERICHOST) != 0)
        snprintf(host, sizeof(host), "-");
    text_append(line, host);
}

static void append_json_field(struct response_buffer *line, const char *name, const char *bytes,
                              size_t size)
{
    text_append_format(line, "\"%s\":", name);
    text_append_json_bytes(line, bytes, size);
}

/* As every line of this process begins (shm/log.h). */
static void append_head(struct response_buffer *line, struct exchange *exchange)
{
    bool failed = exchange->request->res.status >= 500;
    char head[LOG_HEAD_BYTES];
    size_t size = log_head(failed ? LOG_SEVERITY_ERROR : LOG_SEVERITY_INFO, head);
    response_append(line, head, size);
}

static void append_json(struct response_buffer *line, struct exchange *exchange, double seconds)
{
    h2o_req_t *request = exchange->request;
    text_append(line, "\"request\",\"httpRequest\":{");
    append_json_field(line, "requestMethod", request->input.method.base, request->input.method.len);
    text_append(line, ",");
    append_json_field(line, "requestUrl", request->input.path.base, request->input.path.len);
    text_append_format(line, ",\"status\":%d,\"requestSize\":\"%zu\",\"responseSize\":\"%zu\",",
                       request->res.status, request->entity.len, request->bytes_sent);
    struct header_value agent = exchange_header(exchange, "user-agent");
    append_json_field(line, "userAgent", agent.bytes, agent.size);
    text_append(line, ",\"remoteIp\":\"");
    append_client(line, exchange);
    text_append_format(line, "\",\"latency\":\"%.6fs\"},", seconds);
    append_json_field(line, "request_id", exchange->id.bytes, exchange->id.size);
    if (exchange->traceparent.bytes != NULL)
        text_append_format(line,
                           ",\"logging.googleapis.com/trace\":\"%.32s\""
                           ",\"logging.googleapis.com/spanId\":\"%.16s\"",
                           exchange->traceparent.bytes + 3, exchange->traceparent.bytes + 36);
    text_append(line, "}\n");
}

static void append_text(struct response_buffer *line, struct exchange *exchange, double seconds)
{
    h2o_req_t *request = exchange->request;
    append_client(line, exchange);
    text_append(line, " ");
    response_append(line, request->input.method.base, request->input.method.len);
    text_append(line, " ");
    response_append(line, request->input.path.base, request->input.path.len);
    text_append_format(line, " %d %zu %.6fs %.*s\n", request->res.status, request->bytes_sent,
                       seconds, (int)exchange->id.size, exchange->id.bytes);
}

void access_log_write(struct exchange *exchange)
{
    struct response_buffer line = exchange_buffer(exchange);
    double seconds = (double)(clock_now_ns() - exchange->began_ns) / (double)NS_PER_S;
    append_head(&line, exchange);
    if (exchange->server->settings->json_output)
        append_json(&line, exchange, seconds);
    else
        append_text(&line, exchange, seconds);
    (void)!write(STDERR_FILENO, line.bytes, line.size);
}
