/* One frontend process: everything its single loop thread owns.
 *
 * Built once by server_open(), before the port is opened; after that nothing here allocates, and
 * what a request needs comes out of libh2o's pool for that request. The completion thread touches
 * only `completion`. The parts know each other through this struct; each has a header of its own
 * that says what may be done with it. */
#ifndef WEIR_FRONTEND_SERVER_H
#define WEIR_FRONTEND_SERVER_H

#include <h2o.h>

#include "frontend/admission.h"
#include "frontend/completion.h"
#include "frontend/deadlines.h"
#include "frontend/linger.h"
#include "frontend/tokenizer.h"
#include "frontend/worker_watch.h"
#include "models/model.h"
#include "proto/job.h"
#include "proto/request.h"
#include "proto/response.h"
#include "proto/settings.h"
#include "shm/lane.h"
#include "shm/log.h"
#include "shm/process.h"
#include "shm/stats.h"

#define SERVER_TICK_NS              (100 * NS_PER_MS) /* sweeps, heartbeat, worker watch */
#define SERVER_ACCEPTS_PER_CALLBACK 16
#define SERVER_BACKLOG              1024
/* [CLS] a [SEP] [SEP]: the shortest room in which a pair can be cut. */
#define SERVER_TEXT_TOKENS_MIN 4
/* libh2o holds h2c streams of one connection back beyond this many. */
#define SERVER_HTTP2_STREAMS_MAX 32
/* Sending: a reader that takes nothing for so long is cut off by the kernel. */
#define SERVER_USER_TIMEOUT_MS 10000

struct connection;
struct pending;

/* Who waits for a slot's completion. pending == NULL: nobody any more, only release it. */
struct slot_owner {
    struct pending *pending;
    uint32_t text_index;
    uint32_t n_tokens;
};

struct server {
    const struct settings *settings;
    const char *model_name; /* --served-model-name, or the folder's */

    /* What is served. */
    struct model model; /* config.json only */
    struct response_labels labels;
    struct tokenizer *tokenizer;
    bool truncate_left; /* the model's truncation_side */
    bool refuses_pairs; /* a BERT with one token type, whose tokenizer would give a second one */
    struct tokenizer_scratch *scratch;
    struct job_shape job_shape;
    uint32_t *input_ids; /* (job_shape.max_tokens) */
    struct request_parser *parser;

    /* The lane. */
    struct segment segment;
    struct lane_producer lane;
    struct stats_block *stats;
    struct slot_owner *slot_owners; /* (slots_per_lane) */
    uint32_t n_in_flight;           /* slots submitted and not yet back, orphans included */
    struct completion completion;
    struct worker_watch worker;

    /* Requests. */
    struct admission admission;
    struct deadlines deadlines;
    h2o_linklist_t pendings; /* struct pending.link */
    uint64_t request_id_seed[2], request_id_count;

    /* HTTP. */
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    h2o_socket_t *listener; /* NULL while closed */
    uint16_t port;          /* the real one, when --port is 0 */
    h2o_socket_cb http1_on_read;
    struct connection *connections; /* --max-connections of them, or as many as there may be */
    h2o_linklist_t open_connections, free_connections, unwatched_connections;
    uint32_t n_connections;
    struct linger_list linger;

    /* Time. */
    uint64_t now_ns; /* read once a turn */
    uint64_t next_tick_ns;
    bool sent_outside_loop; /* see server.c */
    bool draining;
    uint64_t drain_began_ns;
    uint64_t started_ns;
};

/* Reads the model and the tokenizer, makes the parser: what needs no worker. 0 or -errno with a
 * sentence in `error`; the caller treats any failure as bad configuration. `settings` is borrowed.
 */
int server_open_model(struct server *server, const struct settings *settings,
                      char error[ERROR_BYTES]);

/* Takes the lane in the segment (which server->segment already maps), sets up libh2o, starts the
 * completion thread. 0 or -errno with a sentence. */
int server_open_lane(struct server *server, char error[ERROR_BYTES]);
int server_open_http(struct server *server, char error[ERROR_BYTES]);

/* Opens the port: from here on clients come. 0 or -errno with a sentence. */
int server_listen(struct server *server, char error[ERROR_BYTES]);

/* Undoes all of the above. A zeroed server may be closed. */
void server_close(struct server *server);

/* One turn of the loop: waits for sockets and timers, reaps completions, expires deadlines, and
 * every SERVER_TICK_NS does the housekeeping. 0, or -errno when the loop itself is broken. */
int server_turn(struct server *server);

/* What a frontend writes into its row of the process table, and how /metrics reads it back. */
#define SERVER_DESCRIPTION_FORMAT "%u connections, %u texts in flight"
#define SERVER_DESCRIPTION_SCAN   "%u connections"
void server_describe(struct server *server);

/* "cpu" or "gpu+optimized", as Text Embeddings Inference's x-compute-type says it. */
const char *server_compute_type(const struct server *server);

/* A connection was freed: takes new ones again if the limit had stopped that. */
void server_may_accept(struct server *server);

#endif
