/* The life of an exchange: see exchange.h. */
#include "frontend/exchange.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "frontend/access_log.h"
#include "frontend/connection.h"

#define CONTENT_TYPE_JSON    "application/json"
#define CONTENT_TYPE_MSGPACK "application/msgpack"

/* ---- ids ------------------------------------------------------------------------------------ */

/* Steele, Lea and Flood's splitmix64: a bijection, so that different counts give different ids. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void exchange_make_id(struct server *server, char id[REQUEST_ID_MADE_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t count = server->request_id_count++;
    for (int word = 0; word < 2; word++) {
        uint64_t bits = mix(server->request_id_seed[word] + count);
        for (int i = 0; i < 16; i++, bits <<= 4)
            id[word * 16 + i] = digits[bits >> 60];
    }
}

/* ---- begin ---------------------------------------------------------------------------------- */

static void on_prefilter(h2o_req_prefilter_t *self, h2o_req_t *request, h2o_ostream_t **slot)
{
    h2o_setup_next_prefilter(self, request, slot);
}

struct exchange *exchange_of(h2o_req_t *request)
{
    for (h2o_req_prefilter_t *p = request->prefilters; p != NULL; p = p->next)
        if (p->on_setup_ostream == on_prefilter)
            return H2O_STRUCT_FROM_MEMBER(struct exchange, prefilter, p);
    return NULL;
}

struct header_value exchange_header(const struct exchange *exchange, const char *name)
{
    const h2o_headers_t *headers = &exchange->request->headers;
    size_t size = strlen(name);
    for (size_t i = 0; i < headers->size; i++) {
        const h2o_header_t *header = &headers->entries[i];
        if (header->name->len == size && memcmp(header->name->base, name, size) == 0)
            return (struct header_value){header->value.base, header->value.len};
    }
    return (struct header_value){NULL, 0};
}

static void take_ids(struct exchange *exchange)
{
    exchange->id = exchange_header(exchange, "x-request-id");
    if (!negotiate_request_id_is_sane(exchange->id)) {
        char *made = h2o_mem_alloc_pool(&exchange->request->pool, REQUEST_ID_MADE_BYTES);
        exchange_make_id(exchange->server, made);
        exchange->id = (struct header_value){made, REQUEST_ID_MADE_BYTES};
    }
    exchange->traceparent = exchange_header(exchange, "traceparent");
    if (!negotiate_traceparent_is_valid(exchange->traceparent))
        exchange->traceparent = (struct header_value){NULL, 0};
}

struct exchange *exchange_begin(struct server *server, h2o_req_t *request)
{
    h2o_req_prefilter_t *prefilter = h2o_add_prefilter(request, sizeof(struct exchange));
    h2o_req_prefilter_t *next = prefilter->next;
    struct exchange *exchange = H2O_STRUCT_FROM_MEMBER(struct exchange, prefilter, prefilter);
    *exchange = (struct exchange){
        .prefilter = {.next = next, .on_setup_ostream = on_prefilter},
        .server = server,
        .request = request,
        .connection = connection_of(request),
        .began_ns = clock_now_ns(),
        .answer_encoding = REQUEST_JSON,
    };
    take_ids(exchange);
    stats_add(server->stats, STATS_REQUESTS, 1);
    return exchange;
}

/* ---- answer --------------------------------------------------------------------------------- */

static void add_header(struct exchange *exchange, const char *name, const char *value, size_t size)
{
    h2o_req_t *request = exchange->request;
    h2o_add_header_by_str(&request->pool, &request->res.headers, name, strlen(name), 0, NULL, value,
                          size);
}

void exchange_add_header(struct exchange *exchange, const char *name, const char *value)
{
    add_header(exchange, name, value, strlen(value));
}

void exchange_add_header_format(struct exchange *exchange, const char *name, const char *format,
                                ...)
{
    char value[256];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(value, sizeof(value), format, arguments);
    va_end(arguments);
    CHECK(size >= 0 && (size_t)size < sizeof(value));
    h2o_iovec_t copy = h2o_strdup(&exchange->request->pool, value, (size_t)size);
    add_header(exchange, name, copy.base, copy.len);
}

static void *allocate_from_pool(void *context, size_t size)
{
    return h2o_mem_alloc_pool(context, size);
}

struct response_buffer exchange_buffer(struct exchange *exchange)
{
    return (struct response_buffer){.allocate = allocate_from_pool,
                                    .context = &exchange->request->pool};
}

void exchange_send(struct exchange *exchange, enum http_status status, const char *content_type,
                   const void *body, size_t body_bytes)
{
    static h2o_generator_t whole_answer = {NULL, NULL};
    h2o_req_t *request = exchange->request;
    request->res.status = status;
    request->res.reason = http_status_words(status)->reason;
    request->res.content_length = body_bytes;
    h2o_add_header(&request->pool, &request->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL,
                   content_type, strlen(content_type));
    h2o_iovec_t bytes = h2o_iovec_init(body, body_bytes);
    bool no_body = h2o_memis(request->method.base, request->method.len, H2O_STRLIT("HEAD"));
    exchange->server->sent_outside_loop = true; /* harmless when it was inside */
    h2o_start_response(request, &whole_answer);
    h2o_send(request, &bytes, no_body ? 0 : 1, H2O_SEND_STATE_FINAL);
}

void exchange_send_buffer(struct exchange *exchange, enum http_status status,
                          const struct response_buffer *buffer, enum request_encoding encoding)
{
    exchange_send(exchange, status,
                  encoding == REQUEST_JSON ? CONTENT_TYPE_JSON : CONTENT_TYPE_MSGPACK,
                  buffer->bytes, buffer->size);
}

void exchange_send_error_typed(struct exchange *exchange, enum http_status status, const char *type,
                               const char *sentence)
{
    struct response_buffer buffer = exchange_buffer(exchange);
    response_format_error(&buffer, exchange->answer_encoding, type, sentence);
    exchange_send_buffer(exchange, status, &buffer, exchange->answer_encoding);
}

void exchange_send_error(struct exchange *exchange, enum http_status status, const char *format,
                         ...)
{
    char sentence[2 * ERROR_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    exchange_send_error_typed(exchange, status, http_status_words(status)->error_type, sentence);
}

/* ---- what libh2o calls ----------------------------------------------------------------------- */

struct our_filter {
    h2o_filter_t super;
    struct server *server;
};

struct our_logger {
    h2o_logger_t super;
    struct server *server;
};

struct our_handler {
    h2o_handler_t super;
    struct server *server;
};

/* Replaces the body of an error that libh2o made by itself. */
struct error_body {
    h2o_ostream_t super;
    h2o_iovec_t body;
    bool sent;
};

static void send_error_body(h2o_ostream_t *self, h2o_req_t *request, h2o_iovec_t *bytes,
                            size_t n_bytes, h2o_send_state_t state)
{
    (void)bytes, (void)n_bytes;
    struct error_body *error = H2O_STRUCT_FROM_MEMBER(struct error_body, super, self);
    bool no_body = error->sent || h2o_memis(request->input.method.base, request->input.method.len,
                                            H2O_STRLIT("HEAD"));
    error->sent = true;
    h2o_ostream_send_next(self, request, &error->body, no_body ? 0 : 1, state);
}

static const char *sentence_of_library_error(int status)
{
    switch (status) {
    case HTTP_TOO_LARGE:
        return "the body is larger than --payload-limit; send fewer texts a request";
    case HTTP_EXPECTATION:
        return "the only expectation understood is 100-continue";
    case HTTP_BAD_REQUEST:
        return "the body's framing is broken: a bad chunk or Content-Length";
    default:
        return "the HTTP library refused this request";
    }
}

static void replace_library_error(struct exchange *exchange, h2o_ostream_t **slot)
{
    h2o_req_t *request = exchange->request;
    struct response_buffer buffer = exchange_buffer(exchange);
    response_format_error(&buffer, REQUEST_JSON, http_status_words(request->res.status)->error_type,
                          sentence_of_library_error(request->res.status));
    h2o_ostream_t *ostream = h2o_add_ostream(request, sizeof(struct error_body), slot);
    struct error_body *error = H2O_STRUCT_FROM_MEMBER(struct error_body, super, ostream);
    error->super.do_send = send_error_body;
    error->body = h2o_iovec_init(buffer.bytes, buffer.size);
    error->sent = false;
    request->res.reason = http_status_words(request->res.status)->reason;
    request->res.content_length = buffer.size;
    h2o_set_header(&request->pool, &request->res.headers, H2O_TOKEN_CONTENT_TYPE,
                   H2O_STRLIT(CONTENT_TYPE_JSON), 1);
}

static void add_common_headers(struct exchange *exchange)
{
    add_header(exchange, "x-request-id", exchange->id.bytes, exchange->id.size);
    if (exchange->traceparent.bytes != NULL)
        add_header(exchange, "traceparent", exchange->traceparent.bytes,
                   exchange->traceparent.size);
    if (exchange->timed)
        exchange_add_header_format(
            exchange, "server-timing",
            "parse;dur=%.3f, tokenize;dur=%.3f, queue;dur=%.3f, encode;dur=%.3f",
            (double)exchange->parse_ns / 1e6, (double)exchange->tokenize_ns / 1e6,
            (double)exchange->queue_ns / 1e6, (double)exchange->encode_ns / 1e6);
}

/* Every answer passes here exactly once, before its first byte. */
static void on_answer(h2o_filter_t *self, h2o_req_t *request, h2o_ostream_t **slot)
{
    struct server *server = H2O_STRUCT_FROM_MEMBER(struct our_filter, super, self)->server;
    struct exchange *exchange = exchange_of(request);
    if (exchange == NULL) {
        exchange = exchange_begin(server, request);
        replace_library_error(exchange, slot);
        slot = &(*slot)->next;
    }
    if (server->draining)
        request->http1_is_persistent = 0;
    add_common_headers(exchange);
    exchange->answered = true;
    stats_add(server->stats, http_status_words(request->res.status)->counter, 1);
    stats_record(server->stats, STATS_HISTOGRAM_TOTAL, clock_now_ns() - exchange->began_ns);
    connection_answer_begins(exchange->connection, request);
    h2o_setup_next_ostream(request, slot);
}

static struct header_value value_of(h2o_iovec_t bytes)
{
    return (struct header_value){bytes.base, bytes.len};
}

static void log_access(struct exchange *exchange)
{
    h2o_req_t *request = exchange->request;
    struct response_buffer line = exchange_buffer(exchange);
    struct access_entry entry = {
        .method = value_of(request->input.method),
        .url = value_of(request->input.path),
        .user_agent = exchange_header(exchange, "user-agent"),
        .request_id = exchange->id,
        .traceparent = exchange->traceparent,
        .status = request->res.status,
        .request_bytes = request->entity.len,
        .sent_bytes = request->bytes_sent,
        .took_ns = clock_now_ns() - exchange->began_ns,
    };
    entry.client_size =
        request->conn->callbacks->get_peername(request->conn, (struct sockaddr *)&entry.client);
    access_log_write(&entry, exchange->server->settings->json_output, &line);
}

/* libh2o is done with the request: answered, or given up. */
static void on_end(h2o_logger_t *self, h2o_req_t *request)
{
    struct server *server = H2O_STRUCT_FROM_MEMBER(struct our_logger, super, self)->server;
    struct exchange *exchange = exchange_of(request);
    if (exchange == NULL)
        return;
    if (!exchange->answered) {
        request->res.status = HTTP_CLIENT_GONE;
        stats_add(server->stats, STATS_RESPONSES_CLIENT_GONE, 1);
    }
    if (server->settings->access_log)
        log_access(exchange);
    connection_request_ends(exchange->connection);
}

void exchange_register(struct server *server, h2o_pathconf_t *path,
                       int (*on_request)(h2o_handler_t *handler, h2o_req_t *request))
{
    h2o_handler_t *handler = h2o_create_handler(path, sizeof(struct our_handler));
    handler->on_req = on_request;
    H2O_STRUCT_FROM_MEMBER(struct our_handler, super, handler)->server = server;
    h2o_filter_t *filter = h2o_create_filter(path, sizeof(struct our_filter));
    filter->on_setup_ostream = on_answer;
    H2O_STRUCT_FROM_MEMBER(struct our_filter, super, filter)->server = server;
    h2o_logger_t *logger = h2o_create_logger(path, sizeof(struct our_logger));
    logger->log_access = on_end;
    H2O_STRUCT_FROM_MEMBER(struct our_logger, super, logger)->server = server;
}

struct server *exchange_server(h2o_handler_t *handler)
{
    return H2O_STRUCT_FROM_MEMBER(struct our_handler, super, handler)->server;
}

void exchange_count_refusal(struct server *server, enum http_status status)
{
    stats_add(server->stats, STATS_REQUESTS, 1);
    stats_add(server->stats, http_status_words(status)->counter, 1);
}
