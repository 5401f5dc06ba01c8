/* One request and its answer, whatever the route: who asks, since when, which headers every answer
 * carries, and the counters that must add up.
 *
 * It hangs on libh2o's request as a prefilter (the one place where 2.2.5 keeps something of ours
 * with a request) and dies with the request's pool. Handlers see this and not libh2o's internals,
 * so that the HTTP library can be changed here.
 *
 * Counting: REQUESTS when it begins, one RESPONSES_* when an answer is handed over, or
 * RESPONSES_CLIENT_GONE when it ends without. */
#ifndef WEIR_FRONTEND_EXCHANGE_H
#define WEIR_FRONTEND_EXCHANGE_H

#include "frontend/negotiate.h"
#include "frontend/server.h"
#include "frontend/status.h"

struct connection;
struct route;

struct exchange {
    h2o_req_prefilter_t prefilter; /* first: libh2o's handle on this struct */
    struct server *server;
    h2o_req_t *request;
    struct connection *connection;
    const struct route *route; /* NULL when none was found */
    uint64_t began_ns;
    struct header_value id, traceparent; /* traceparent.bytes NULL: none */
    enum request_encoding answer_encoding;
    bool answered;
    /* For Server-Timing, where `timed`. */
    bool timed;
    uint64_t parse_ns, tokenize_ns, queue_ns, encode_ns;
};

struct exchange *exchange_begin(struct server *server, h2o_req_t *request);
/* NULL for a request that libh2o refused by itself. */
struct exchange *exchange_of(h2o_req_t *request);

/* A request's header by its lower-case name; bytes NULL when absent. */
struct header_value exchange_header(const struct exchange *exchange, const char *name);

/* Adds a header to the answer; name and value live as long as the request (literals, or its pool).
 */
void exchange_add_header(struct exchange *exchange, const char *name, const char *value);
void exchange_add_header_format(struct exchange *exchange, const char *name, const char *format,
                                ...) __attribute__((format(printf, 3, 4)));

/* Sends the answer. `body` lives as long as the request. Nothing of the exchange may be touched
 * afterwards. */
void exchange_send(struct exchange *exchange, enum http_status status, const char *content_type,
                   const void *body, size_t body_bytes);
/* The same out of a buffer that exchange_buffer() made, as JSON or MessagePack. */
void exchange_send_buffer(struct exchange *exchange, enum http_status status,
                          const struct response_buffer *buffer, enum request_encoding encoding);
/* The native error body with a sentence, in answer_encoding. */
void exchange_send_error(struct exchange *exchange, enum http_status status, const char *format,
                         ...) __attribute__((format(printf, 3, 4)));

/* The same with another error_type than the status' own. */
void exchange_send_error_typed(struct exchange *exchange, enum http_status status, const char *type,
                               const char *sentence);

/* An empty buffer over the request's pool. */
struct response_buffer exchange_buffer(struct exchange *exchange);

/* Registers the filter, the logger and `on_request` on every path of the configuration. */
void exchange_register(struct server *server, h2o_pathconf_t *path,
                       int (*on_request)(h2o_handler_t *handler, h2o_req_t *request));
/* The server behind a handler registered by exchange_register(). */
struct server *exchange_server(h2o_handler_t *handler);

/* Counts an answer that went out without libh2o (connection.c's refusals), request and all. */
void exchange_count_refusal(struct server *server, enum http_status status);

/* 32 hex digits, unique to this process' life. */
#define REQUEST_ID_MADE_BYTES 32
void exchange_make_id(struct server *server, char id[REQUEST_ID_MADE_BYTES]);

#endif
