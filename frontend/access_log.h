/* One line for each request, with --access-log: text for people, or with --json-output a JSON
 * object as Cloud Logging reads it (httpRequest, logging.googleapis.com/trace). It begins like
 * every other line of the process and is written with one write(2) to stderr; blocking, which is
 * why it is off by default. */
#ifndef WEIR_FRONTEND_ACCESS_LOG_H
#define WEIR_FRONTEND_ACCESS_LOG_H

#include <sys/socket.h>

#include "frontend/negotiate.h"
#include "proto/response.h"

/* What a line tells of a request. Bytes NULL: none came, or it is not known. */
struct access_entry {
    struct header_value method, url, user_agent, request_id, traceparent;
    struct sockaddr_storage client;
    socklen_t client_size; /* 0: not known */
    int status;
    size_t request_bytes, sent_bytes; /* of the two bodies */
    uint64_t took_ns;
};

/* `line` is an empty buffer to put it together in. */
void access_log_write(const struct access_entry *entry, bool as_json, struct response_buffer *line);

#endif
