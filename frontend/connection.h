/* What libh2o does not keep about an HTTP/1 connection: in which phase it is and since when, and
 * our own look at every byte of a head (frontend/head.h) and of a chunked body (frontend/chunks.h)
 * before libh2o acts on it.
 *
 *     IDLE ─first byte─► HEAD ─head complete─► BODY ─body complete─► BUSY ─answered─► SENDING
 *      ▲                                                                                   │
 *      └───────────────────────────────────── sent ────────────────────────────────────────┘
 *
 * libh2o has one silent timer for idle, head and body together, closes without an answer, and has
 * none for writing; with the phase, a sweep answers 408 to slow senders and cuts off idle and slow
 * readers.
 *
 * How it gets its look: libh2o stores the callback for input in the socket (`_cb.read`); ours is
 * put in its place while a connection waits for a request, looks, and calls the original.
 * Debian's 2.2.5 is frozen, so this stays true. A pipelined request is in libh2o's buffer already
 * and parsed as soon as the one before it is disposed of: it is looked at in that moment, and if it
 * must be refused, taken out of the buffer. */
#ifndef WEIR_FRONTEND_CONNECTION_H
#define WEIR_FRONTEND_CONNECTION_H

#include "frontend/chunks.h"
#include "frontend/head.h"
#include "frontend/server.h"
#include "frontend/status.h"

enum connection_phase {
    CONNECTION_IDLE,
    CONNECTION_HEAD,
    CONNECTION_BODY,
    CONNECTION_BUSY,
    CONNECTION_SENDING,
    CONNECTION_HTTP2, /* libh2o's business from here on */
};

struct connection {
    h2o_linklist_t link;      /* server's open or free list */
    h2o_linklist_t unwatched; /* waits for our callback to be put back */
    struct server *server;
    h2o_socket_t *socket; /* NULL while closed */
    enum connection_phase phase;
    uint64_t phase_since_ns;
    struct head_scan head;
    struct chunks_scan chunks; /* where the head says that the body is chunked */
    bool head_checked;
    size_t n_looked_at;       /* bytes of libh2o's buffer that are no news, once head_checked */
    bool goodbye;             /* we ended its input: a request cut off by that is not its fault */
    bool was_asked;           /* pending.c: it stopped sending, and was asked whether it is there */
    const char *problem;      /* NULL, or the sentence with which it must be refused */
    enum http_status refusal; /* and the status */
    int linger_fd;            /* -1, or a duplicate to linger on once libh2o has closed */
};

/* 0 or -ENOMEM. */
int connections_open(struct server *server);
void connections_close(struct server *server);

/* Takes an accepted socket. The caller checked that a place is free. */
void connection_open(struct server *server, h2o_socket_t *socket);

/* The record of a request's connection. */
struct connection *connection_of(h2o_req_t *request);

/* A request reached the router. */
void connection_request_begins(struct connection *connection, h2o_req_t *request);
/* An answer was handed to libh2o. */
void connection_answer_begins(struct connection *connection, h2o_req_t *request);
/* libh2o disposes of the request; what is in its buffer behind it becomes the next one. */
void connection_request_ends(struct connection *connection);

/* After each turn of the loop: put our callback back where libh2o replaced it, and refuse what was
 * taken out of its buffer. */
void connections_watch(struct server *server);

/* Each tick: 408 to slow senders, goodbye to idle ones and slow readers. */
void connections_sweep(struct server *server);
/* Draining: idle connections are told to go. */
void connections_close_idle(struct server *server);

/* Ends an HTTP/1 connection now, whatever it is doing; its request is disposed of. */
void connection_abort(struct connection *connection);

#endif
