/* See drain.h. */
#include "frontend/drain.h"

#include <sys/socket.h>

#include "frontend/connection.h"

/* Connections that the kernel has accepted belong to us: closing the port would reset them. With a
 * backlog of 0 fewer come in behind the last look; their SYN is sent again, to somebody else's
 * port. */
static void close_listener(struct server *server)
{
    h2o_socket_t *listener = server->listener;
    if (listener == NULL)
        return;
    server->listener = NULL;
    listen(h2o_socket_get_fd(listener), 0);
    h2o_socket_t *socket;
    while (!h2o_linklist_is_empty(&server->free_connections) &&
           (socket = h2o_evloop_socket_accept(listener)) != NULL)
        connection_open(server, socket);
    h2o_socket_read_stop(listener);
    h2o_socket_close(listener);
}

void drain_begin(struct server *server)
{
    if (server->draining)
        return;
    server->draining = true;
    server->drain_began_ns = clock_now_ns();
    process_set_state(&server->segment, server->settings->lane, PROCESS_STATE_DRAINING);
    close_listener(server);
    h2o_context_request_shutdown(&server->context);
    log_info("draining: %u connections, %u texts in flight", server->n_connections,
             server->n_in_flight);
}

void drain_step(struct server *server)
{
    if (server->now_ns >= server->drain_began_ns + DRAIN_IDLE_GRACE_NS)
        connections_close_idle(server);
}

bool drain_is_over(const struct server *server)
{
    if (!server->draining)
        return false;
    uint64_t limit_ns = server->settings->drain_timeout_ms * NS_PER_MS;
    return (server->n_connections == 0 && server->linger.n == 0) ||
           server->now_ns >= server->drain_began_ns + limit_ns;
}
