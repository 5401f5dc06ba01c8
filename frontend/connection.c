/* The watch over connections: see connection.h. */
#include "frontend/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frontend/access_log.h"
#include "frontend/exchange.h"

/* Descriptors that are not a client's: the loop, the log, lingering ones, /proc. */
#define DESCRIPTORS_KEPT (LINGER_MAX + 64)

static void on_read(h2o_socket_t *socket, const char *error);

/* ---- open and close -------------------------------------------------------------------------- */

/* Every connection takes a descriptor, and a loop that has none left spins on accept(): so no more
 * connections than the process may have, short of what else it opens. */
static uint32_t affordable_connections(uint32_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return wanted;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    uint64_t rest = limit.rlim_max > DESCRIPTORS_KEPT ? limit.rlim_max - DESCRIPTORS_KEPT : 1;
    if (rest >= wanted)
        return wanted;
    log_warning("at most %llu connections instead of %u (--max-connections): this process may open "
                "%llu files; raise the hard limit (ulimit -Hn)",
                (unsigned long long)rest, wanted, (unsigned long long)limit.rlim_max);
    return (uint32_t)rest;
}

int connections_open(struct server *server)
{
    uint32_t n = affordable_connections(server->settings->max_connections);
    server->connections = calloc(n, sizeof(*server->connections));
    if (server->connections == NULL)
        return -ENOMEM;
    h2o_linklist_init_anchor(&server->open_connections);
    h2o_linklist_init_anchor(&server->free_connections);
    h2o_linklist_init_anchor(&server->unwatched_connections);
    for (uint32_t i = 0; i < n; i++) {
        server->connections[i].server = server;
        h2o_linklist_insert(&server->free_connections, &server->connections[i].link);
    }
    return 0;
}

void connections_close(struct server *server)
{
    free(server->connections);
    server->connections = NULL;
}

static void set_phase(struct connection *connection, enum connection_phase phase)
{
    connection->phase = phase;
    connection->phase_since_ns = clock_now_ns();
}

static void on_close(void *data)
{
    struct connection *connection = data;
    struct server *server = connection->server;
    if (connection->linger_fd >= 0)
        linger_add(&server->linger, connection->linger_fd, clock_now_ns());
    if (h2o_linklist_is_linked(&connection->unwatched))
        h2o_linklist_unlink(&connection->unwatched);
    connection->socket = NULL;
    h2o_linklist_unlink(&connection->link);
    h2o_linklist_insert(&server->free_connections, &connection->link);
    server->n_connections--;
    server_may_accept(server);
}

void connection_open(struct server *server, h2o_socket_t *socket)
{
    CHECK(!h2o_linklist_is_empty(&server->free_connections));
    struct connection *connection =
        H2O_STRUCT_FROM_MEMBER(struct connection, link, server->free_connections.next);
    h2o_linklist_unlink(&connection->link);
    *connection = (struct connection){.server = server, .socket = socket, .linger_fd = -1};
    h2o_linklist_insert(&server->open_connections, &connection->link);
    server->n_connections++;
    set_phase(connection, CONNECTION_IDLE);
    socket->on_close.cb = on_close;
    socket->on_close.data = connection;
    h2o_accept(&server->accept, socket);
    server->http1_on_read = socket->_cb.read;
    socket->_cb.read = on_read;
}

struct connection *connection_of(h2o_req_t *request)
{
    return request->conn->callbacks->get_socket(request->conn)->on_close.data;
}

static int is_on_socket(h2o_req_t *request, void *socket)
{
    return request->conn->callbacks->get_socket(request->conn) == socket;
}

void connection_abort(struct connection *connection)
{
    struct server *server = connection->server;
    /* With --h2c an Upgrade may have made it HTTP/2 behind our back: then it is not ours to end. */
    if (server->settings->h2c && server->config.http1.callbacks.foreach_request(
                                     &server->context, is_on_socket, connection->socket) == 0)
        return;
    /* libh2o's own callback closes the connection when it is told of an error. */
    server->http1_on_read(connection->socket, "closed by the server");
}

/* ---- refusals that libh2o does not see ------------------------------------------------------- */

/* What the log tells of a method, a target or a user agent: a longer one is cut. */
#define REFUSED_VALUE_BYTES_MAX 1024

/* Room for one short body or one line of the log, on the stack. In a line JSON doubles three such
 * values at most, which with all else stays below 16 KiB; growing by doubling takes twice that, and
 * a value that is not UTF-8 a copy. */
struct arena {
    size_t used;
    char bytes[48 * REFUSED_VALUE_BYTES_MAX];
};

static void *allocate_from_arena(void *context, size_t size)
{
    struct arena *arena = context;
    CHECK(arena->used + size <= sizeof(arena->bytes));
    arena->used += size;
    return arena->bytes + arena->used - size;
}

static struct header_value value_in_buffer(const struct connection *connection,
                                           struct head_value place)
{
    if (place.end == 0)
        return (struct header_value){NULL, 0};
    return (struct header_value){connection->socket->input->bytes + place.start,
                                 place.end - place.start};
}

static struct header_value cut_value_in_buffer(const struct connection *connection,
                                               struct head_value place)
{
    struct header_value value = value_in_buffer(connection, place);
    value.size = min_u64(value.size, REFUSED_VALUE_BYTES_MAX);
    return value;
}

/* As far as the request's head was read. */
static struct access_entry entry_of_refusal(struct connection *connection, enum http_status status,
                                            char made_id[REQUEST_ID_MADE_BYTES])
{
    const struct head_scan *head = &connection->head;
    struct access_entry entry = {
        .method = cut_value_in_buffer(connection, head->method),
        .url = cut_value_in_buffer(connection, head->target),
        .user_agent = cut_value_in_buffer(connection, head->user_agent),
        .request_id = value_in_buffer(connection, head->request_id),
        .traceparent = value_in_buffer(connection, head->traceparent),
        .status = status,
        .took_ns = clock_now_ns() - connection->phase_since_ns,
    };
    entry.client_size =
        h2o_socket_getpeername(connection->socket, (struct sockaddr *)&entry.client);
    if (!negotiate_request_id_is_sane(entry.request_id)) {
        exchange_make_id(connection->server, made_id);
        entry.request_id = (struct header_value){made_id, REQUEST_ID_MADE_BYTES};
    }
    if (!negotiate_traceparent_is_valid(entry.traceparent))
        entry.traceparent = (struct header_value){NULL, 0};
    return entry;
}

/* As libh2o and exchange.c would write it. */
static int format_head(struct server *server, const struct access_entry *entry, size_t body_bytes,
                       char *head, size_t head_bytes)
{
    const struct http_status_words *words = http_status_words(entry->status);
    const struct header_value id = entry->request_id, parent = entry->traceparent;
    bool has_parent = parent.bytes != NULL;
    h2o_get_timestamp(&server->context, NULL, NULL); /* brings the cache up to date */
    return snprintf(head, head_bytes,
                    "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\nContent-Length: %zu\r\n"
                    "content-type: application/json\r\nx-request-id: %.*s\r\n%s%.*s%s\r\n",
                    words->code, words->reason, server->context._timestamp_cache.value->rfc1123,
                    body_bytes, (int)id.size, id.bytes, has_parent ? "traceparent: " : "",
                    has_parent ? (int)parent.size : 0, has_parent ? parent.bytes : "",
                    has_parent ? "\r\n" : "");
}

/* Answers on the bare socket and closes. Best effort: an empty send buffer takes so few bytes
 * whole, and a client with a full one does not read anyway. */
static void refuse(struct connection *connection, enum http_status status, const char *sentence)
{
    struct arena arena;
    arena.used = 0;
    struct response_buffer body = {.allocate = allocate_from_arena, .context = &arena};
    response_format_error(&body, REQUEST_JSON, http_status_words(status)->error_type, sentence);
    char head[1024], made_id[REQUEST_ID_MADE_BYTES];
    struct access_entry entry = entry_of_refusal(connection, status, made_id);
    int head_bytes = format_head(connection->server, &entry, body.size, head, sizeof(head));
    CHECK(head_bytes > 0 && (size_t)head_bytes < sizeof(head));
    int fd = h2o_socket_get_fd(connection->socket);
    struct iovec parts[] = {{head, (size_t)head_bytes}, {body.bytes, body.size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = ARRAY_COUNT(parts)};
    (void)!sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    exchange_count_refusal(connection->server, status);
    if (connection->server->settings->access_log) {
        struct response_buffer line = {.allocate = allocate_from_arena, .context = &arena};
        entry.sent_bytes = body.size;
        arena.used = 0; /* the body is sent */
        access_log_write(&entry, connection->server->settings->json_output, &line);
    }
    connection->linger_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    connection_abort(connection);
}

/* ---- the look at what arrives ---------------------------------------------------------------- */

static bool must_refuse(struct connection *connection, enum http_status status, const char *problem)
{
    connection->refusal = status;
    connection->problem = problem;
    return false;
}

static bool is_too_large(struct connection *connection)
{
    return must_refuse(connection, HTTP_TOO_LARGE,
                       "the body is larger than --payload-limit; send fewer texts a request");
}

/* `bytes` begin with a request's first. False: it must be refused. */
static bool look_at_head(struct connection *connection, char *bytes, size_t size)
{
    const struct settings *settings = connection->server->settings;
    if (connection->phase == CONNECTION_IDLE)
        set_phase(connection, CONNECTION_HEAD);
    enum head_verdict verdict = head_scan(&connection->head, bytes, size);
    if (verdict == HEAD_BAD && head_is_http2_preface(bytes, size)) {
        if (!settings->h2c)
            return must_refuse(connection, HTTP_BAD_REQUEST,
                               "HTTP/2 is off; speak HTTP/1.1 or start the server with --h2c");
        set_phase(connection, CONNECTION_HTTP2);
        return true;
    }
    if (verdict == HEAD_BAD)
        return must_refuse(connection, HTTP_BAD_REQUEST, connection->head.problem);
    if (verdict == HEAD_OK) {
        connection->head_checked = true;
        connection->phase = CONNECTION_BODY; /* since the first byte of the head */
        connection->n_looked_at = connection->head.position;
        if (connection->head.content_length > settings->payload_limit)
            return is_too_large(connection);
    }
    return true;
}

static bool look_at_chunks(struct connection *connection, const char *bytes, size_t size)
{
    uint32_t payload_limit = connection->server->settings->payload_limit;
    switch (chunks_scan(&connection->chunks, bytes, size, payload_limit)) {
    case CHUNKS_BAD:
        return must_refuse(connection, HTTP_BAD_REQUEST, connection->chunks.problem);
    case CHUNKS_TOO_LARGE:
        return is_too_large(connection);
    default:
        return true;
    }
}

/* False: the request must be refused, and libh2o must not see these bytes. */
static bool look(struct connection *connection, char *bytes, size_t size)
{
    if (size > 0 && !connection->head_checked && !look_at_head(connection, bytes, size))
        return false;
    return !connection->head_checked || !connection->head.has_chunked ||
           look_at_chunks(connection, bytes + connection->n_looked_at,
                          size - connection->n_looked_at);
}

/* Puts our callback in the place of libh2o's while more of a request is to come. Chunks that are
 * decoded by now have shrunk in the buffer. */
static bool watch(struct connection *connection)
{
    h2o_socket_t *socket = connection->socket;
    if (connection->phase > CONNECTION_BODY ||
        socket->_cb.read != connection->server->http1_on_read)
        return false;
    socket->_cb.read = on_read;
    if (connection->head_checked)
        connection->n_looked_at = socket->input->size;
    return true;
}

static void watch_later(struct connection *connection)
{
    if (!h2o_linklist_is_linked(&connection->unwatched))
        h2o_linklist_insert(&connection->server->unwatched_connections, &connection->unwatched);
}

/* The socket itself is read by libh2o before it calls; a shutdown of ours, too, comes as its end.
 */
static bool ended_in_its_middle(const struct connection *connection, const char *error)
{
    return error == h2o_socket_error_closed && connection->phase != CONNECTION_IDLE &&
           !connection->goodbye;
}

static void on_read(h2o_socket_t *socket, const char *error)
{
    struct connection *connection = socket->on_close.data;
    struct server *server = connection->server;
    socket->_cb.read = server->http1_on_read;
    if (ended_in_its_middle(connection, error))
        must_refuse(connection, HTTP_BAD_REQUEST, "the request ended in the middle");
    else if (error == NULL)
        look(connection, socket->input->bytes, socket->input->size);
    if (connection->problem != NULL) {
        refuse(connection, connection->refusal, connection->problem);
        return;
    }
    server->http1_on_read(socket, error);
    /* Closed by now; or read on; or not until 100 Continue is sent or a request is answered. */
    if (connection->socket == socket && !watch(connection) && connection->phase <= CONNECTION_BODY)
        watch_later(connection);
}

void connection_request_begins(struct connection *connection, h2o_req_t *request)
{
    if (request->version >= 0x200)
        connection->phase = CONNECTION_HTTP2;
    if (connection->phase == CONNECTION_HTTP2)
        return;
    CHECK(connection->head_checked); /* nothing reached libh2o unseen */
    set_phase(connection, CONNECTION_BUSY);
}

/* ---- phases after the head ------------------------------------------------------------------- */

void connection_answer_begins(struct connection *connection, h2o_req_t *request)
{
    if (connection->phase == CONNECTION_HTTP2)
        return;
    set_phase(connection, CONNECTION_SENDING);
    if (request->res.status >= 400 && !request->http1_is_persistent && connection->linger_fd < 0)
        connection->linger_fd = fcntl(h2o_socket_get_fd(connection->socket), F_DUPFD_CLOEXEC, 0);
}

/* Where a request that was looked at ends in libh2o's buffer, its chunks decoded. */
static size_t size_in_buffer(const struct connection *connection)
{
    return connection->head.position + (size_t)(connection->head.has_chunked
                                                    ? connection->chunks.body_bytes
                                                    : connection->head.content_length);
}

void connection_request_ends(struct connection *connection)
{
    if (connection->phase == CONNECTION_HTTP2)
        return;
    h2o_buffer_t *input = connection->socket->input;
    size_t end = size_in_buffer(connection);
    set_phase(connection, CONNECTION_IDLE);
    connection->head_checked = false;
    connection->head = (struct head_scan){0};
    connection->chunks = (struct chunks_scan){0};
    if (end < input->size && !look(connection, input->bytes + end, input->size - end)) {
        input->size = end;
        connection->head = (struct head_scan){0}; /* it has no place in the buffer any more */
    }
    watch_later(connection);
}

void connections_watch(struct server *server)
{
    h2o_linklist_t *node = server->unwatched_connections.next;
    while (node != &server->unwatched_connections) {
        struct connection *connection = H2O_STRUCT_FROM_MEMBER(struct connection, unwatched, node);
        node = node->next;
        if (connection->problem != NULL) {
            refuse(connection, connection->refusal, connection->problem);
        } else if (watch(connection) || connection->phase > CONNECTION_BODY) {
            h2o_linklist_unlink(&connection->unwatched);
        }
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

/* shutdown() lets libh2o read an end of file; what is already in the receive queue is still served.
 */
static void say_goodbye(struct connection *connection)
{
    connection->goodbye = true;
    shutdown(h2o_socket_get_fd(connection->socket), SHUT_RD);
}

static void sweep_one(struct connection *connection, uint64_t now_ns)
{
    uint64_t limit_ns = connection->server->settings->client_timeout_ms * NS_PER_MS;
    if (now_ns < connection->phase_since_ns + limit_ns)
        return;
    switch (connection->phase) {
    case CONNECTION_IDLE:
        say_goodbye(connection);
        break;
    case CONNECTION_HEAD:
    case CONNECTION_BODY:
        if (!h2o_socket_is_writing(connection->socket)) /* 100 Continue on its way: next sweep */
            refuse(connection, HTTP_REQUEST_TIMEOUT,
                   "the request did not arrive within --client-timeout-ms");
        break;
    case CONNECTION_SENDING:
        connection_abort(connection);
        break;
    case CONNECTION_BUSY:
    case CONNECTION_HTTP2:
        break;
    }
}

void connections_sweep(struct server *server)
{
    h2o_linklist_t *node = server->open_connections.next;
    while (node != &server->open_connections) {
        struct connection *connection = H2O_STRUCT_FROM_MEMBER(struct connection, link, node);
        node = node->next; /* the sweep may close this one */
        sweep_one(connection, server->now_ns);
    }
}

void connections_close_idle(struct server *server)
{
    h2o_linklist_t *node = server->open_connections.next;
    for (; node != &server->open_connections; node = node->next) {
        struct connection *connection = H2O_STRUCT_FROM_MEMBER(struct connection, link, node);
        if (connection->phase == CONNECTION_IDLE)
            say_goodbye(connection);
    }
}
