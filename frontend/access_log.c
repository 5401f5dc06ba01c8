/* Formatting of access_log.h. */
#include "frontend/access_log.h"

#include <netdb.h>
#include <stdio.h>
#include <unistd.h>

#include "frontend/text.h"
#include "shm/log.h"

static void append_client(struct response_buffer *line, const struct access_entry *entry)
{
    char host[NI_MAXHOST] = "-";
    if (entry->client_size != 0 &&
        getnameinfo((const struct sockaddr *)&entry->client, entry->client_size, host, sizeof(host),
                    NULL, 0, NI_NUMERICHOST) != 0)
        snprintf(host, sizeof(host), "-");
    text_append(line, host);
}

static void append_value(struct response_buffer *line, struct header_value value)
{
    if (value.bytes != NULL)
        response_append(line, value.bytes, value.size);
    else
        text_append(line, "-");
}

static void append_json_field(struct response_buffer *line, const char *name,
                              struct header_value value)
{
    text_append_format(line, "\"%s\":", name);
    text_append_json_bytes(line, value.bytes, value.size);
}

/* As every line of this process begins (shm/log.h). */
static void append_head(struct response_buffer *line, const struct access_entry *entry)
{
    char head[LOG_HEAD_BYTES];
    size_t size = log_head(entry->status >= 500 ? LOG_SEVERITY_ERROR : LOG_SEVERITY_INFO, head);
    response_append(line, head, size);
}

static void append_json(struct response_buffer *line, const struct access_entry *entry)
{
    text_append(line, "\"request\",\"httpRequest\":{");
    append_json_field(line, "requestMethod", entry->method);
    text_append(line, ",");
    append_json_field(line, "requestUrl", entry->url);
    text_append_format(line, ",\"status\":%d,\"requestSize\":\"%zu\",\"responseSize\":\"%zu\",",
                       entry->status, entry->request_bytes, entry->sent_bytes);
    append_json_field(line, "userAgent", entry->user_agent);
    text_append(line, ",\"remoteIp\":\"");
    append_client(line, entry);
    text_append_format(line, "\",\"latency\":\"%.6fs\"},", (double)entry->took_ns / NS_PER_S);
    append_json_field(line, "request_id", entry->request_id);
    if (entry->traceparent.bytes != NULL)
        text_append_format(line,
                           ",\"logging.googleapis.com/trace\":\"%.32s\""
                           ",\"logging.googleapis.com/spanId\":\"%.16s\"",
                           entry->traceparent.bytes + 3, entry->traceparent.bytes + 36);
    text_append(line, "}\n");
}

static void append_text(struct response_buffer *line, const struct access_entry *entry)
{
    append_client(line, entry);
    text_append(line, " ");
    append_value(line, entry->method);
    text_append(line, " ");
    append_value(line, entry->url);
    text_append_format(line, " %d %zu %.6fs ", entry->status, entry->sent_bytes,
                       (double)entry->took_ns / NS_PER_S);
    append_value(line, entry->request_id);
    text_append(line, "\n");
}

void access_log_write(const struct access_entry *entry, bool as_json, struct response_buffer *line)
{
    append_head(line, entry);
    if (as_json)
        append_json(line, entry);
    else
        append_text(line, entry);
    (void)!write(STDERR_FILENO, line->bytes, line->size);
}
