/* Assembly, loop and end of a frontend: see server.h.
 *
 * The loop, and the trap in it: an answer that is handed to libh2o outside of h2o_evloop_run() has
 * its "sent" callback run by the next h2o_evloop_run(), after that has slept. So after such an
 * answer the next turn does not sleep (wait_ms). And a socket that waits for that callback must not
 * be closed, or the library's list of waiting sockets keeps a freed one: so within a turn the
 * sweeps, which close, come before anything that answers. */
#include "frontend/server.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "frontend/connection.h"
#include "frontend/drain.h"
#include "frontend/pending.h"
#include "frontend/routes.h"

/* ---- what is served -------------------------------------------------------------------------- */

static const char *folder_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

static enum response_problem problem_of(enum model_problem problem)
{
    switch (problem) {
    case MODEL_MULTI_LABEL:
        return RESPONSE_MULTI_LABEL;
    case MODEL_REGRESSION:
        return RESPONSE_REGRESSION;
    default:
        return RESPONSE_SINGLE_LABEL;
    }
}

/* The longest text: what the model's positions, the tokenizer and the settings all allow. */
static uint32_t max_tokens_of(const struct server *server, const struct tokenizer_files *files)
{
    uint64_t limit = min_u64(server->model.config.n_positions, files->model_max_length);
    if (server->settings->max_input_length != 0)
        limit = min_u64(limit, server->settings->max_input_length);
    return (uint32_t)limit;
}

/* What would otherwise end the process at some client's text: an id without an embedding, or no
 * room for a token beside the special ones. */
static int check_tokenizer(const struct server *server, const struct tokenizer_files *files,
                           char error[ERROR_BYTES])
{
    uint32_t vocab_size = server->model.config.vocab_size;
    uint32_t max_tokens = max_tokens_of(server, files);
    if (files->ids_end > vocab_size) {
        snprintf(
            error, ERROR_BYTES,
            "the tokenizer gives ids up to %u and config.json has a vocab_size of %u: one of the "
            "two is another model's",
            files->ids_end - 1, vocab_size);
        return -EINVAL;
    }
    if (max_tokens < SERVER_TEXT_TOKENS_MIN) {
        snprintf(
            error, ERROR_BYTES,
            "texts may have only %u tokens, a pair needs at least %u: see --max-input-length, and "
            "model_max_length in tokenizer_config.json",
            max_tokens, SERVER_TEXT_TOKENS_MIN);
        return -EINVAL;
    }
    return 0;
}

static int open_tokenizer(struct server *server, char error[ERROR_BYTES])
{
    struct tokenizer_files files;
    int rc = tokenizer_files_open(&files, server->settings->model_id, error);
    if (rc != 0)
        return rc;
    rc = check_tokenizer(server, &files, error);
    if (rc != 0) {
        tokenizer_files_close(&files);
        return rc;
    }
    server->job_shape = (struct job_shape){.vocab_size = server->model.config.vocab_size,
                                           .max_tokens = max_tokens_of(server, &files),
                                           .n_labels = server->model.config.n_labels};
    server->truncate_left = files.truncate_left;
    server->refuses_pairs = server->model.config.n_types == 1 && !files.one_token_type;
    server->tokenizer = tokenizer_create(&files, error);
    tokenizer_files_close(&files);
    if (server->tokenizer == NULL)
        return -EINVAL;
    server->scratch = tokenizer_scratch_create(server->tokenizer, server->job_shape.max_tokens,
                                               server->settings->payload_limit, error);
    return server->scratch == NULL ? -ENOMEM : 0;
}

int server_open_model(struct server *server, const struct settings *settings,
                      char error[ERROR_BYTES])
{
    server->settings = settings;
    server->worker.silent_max_ns = settings->hang_timeout_ms * NS_PER_MS;
    server->started_ns = clock_now_ns();
    server->model_name = settings->served_model_name[0] != '\0' ? settings->served_model_name
                                                                : folder_name(settings->model_id);
    int rc = model_open_config(&server->model, settings->model_id, error);
    if (rc != 0)
        return rc;
    const struct model_config *config = &server->model.config;
    server->labels = (struct response_labels){.names = config->labels,
                                              .n_labels = config->n_labels,
                                              .is_number = config->label_is_number,
                                              .return_all = config->return_all_scores,
                                              .problem = problem_of(config->problem)};
    rc = open_tokenizer(server, error);
    if (rc != 0)
        return rc;
    struct request_limits limits = {.texts_max = settings->max_client_batch_size,
                                    .depth_max = settings->max_json_depth,
                                    .body_bytes_max = settings->payload_limit};
    server->parser = request_parser_create(&limits);
    server->input_ids = calloc(server->job_shape.max_tokens, sizeof(*server->input_ids));
    if (server->parser == NULL || server->input_ids == NULL) {
        snprintf(error, ERROR_BYTES, "out of memory for the request parser");
        return -ENOMEM;
    }
    return 0;
}

/* ---- the lane -------------------------------------------------------------------------------- */

/* What a predecessor on this lane took and never answered: its connections ended with it. */
static void count_lost_requests(struct stats_block *stats)
{
    uint64_t requests = stats_counted(stats, STATS_REQUESTS), responses = 0;
    for (uint32_t i = STATS_RESPONSES_OK; i <= STATS_RESPONSES_LOST; i++)
        responses += stats_counted(stats, (enum stats_counter)i);
    if (requests > responses)
        stats_add(stats, STATS_RESPONSES_LOST, requests - responses);
}

static int check_segment(const struct server *server, char error[ERROR_BYTES])
{
    const struct segment_geometry *geometry = &server->segment.geometry;
    uint32_t lane = server->settings->lane;
    if (lane >= geometry->n_lanes) {
        snprintf(
            error, ERROR_BYTES,
            "--lane %u does not exist: the segment has %u lanes; start the worker with the same "
            "--frontends",
            lane, geometry->n_lanes);
        return -EINVAL;
    }
    if (job_payload_bytes(&server->job_shape) > geometry->payload_bytes ||
        job_result_bytes(&server->job_shape) > geometry->result_bytes) {
        snprintf(error, ERROR_BYTES,
                 "the segment's slots are too small for this model; give worker and frontends the "
                 "same --model-id and --max-input-length");
        return -EINVAL;
    }
    char model_id[128];
    segment_model_id(&server->segment, model_id);
    if (strncmp(model_id, server->model.fingerprint, MODEL_CONFIG_DIGITS) != 0) {
        snprintf(error, ERROR_BYTES,
                 "%.100s holds another model by now than the worker serves; reload with SIGHUP to "
                 "the supervisor, or put the old one back",
                 server->settings->model_id);
        return -EINVAL;
    }
    struct process_view holder;
    process_read(&server->segment, lane, &holder);
    if (process_is_alive(&holder) && holder.pid != (uint32_t)getpid()) {
        snprintf(error, ERROR_BYTES, "lane %u is held by process %u; choose another --lane", lane,
                 holder.pid);
        return -EBUSY;
    }
    return 0;
}

int server_open_lane(struct server *server, char error[ERROR_BYTES])
{
    int rc = check_segment(server, error);
    if (rc != 0)
        return rc;
    uint32_t lane = server->settings->lane;
    uint32_t n_slots = server->segment.geometry.slots_per_lane;
    process_claim(&server->segment, lane);
    server->stats = stats_writer(&server->segment, lane);
    count_lost_requests(server->stats);
    server->slot_owners = calloc(n_slots, sizeof(*server->slot_owners));
    if (server->slot_owners == NULL || deadlines_open(&server->deadlines, n_slots) != 0) {
        snprintf(error, ERROR_BYTES, "out of memory for %u slots", n_slots);
        return -ENOMEM;
    }
    h2o_linklist_init_anchor(&server->pendings);
    return lane_attach_producer(&server->lane, &server->segment, lane, error);
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

static void configure(struct server *server)
{
    const struct settings *settings = server->settings;
    h2o_globalconf_t *config = &server->config;
    h2o_config_init(config);
    config->server_name = h2o_iovec_init(NULL, 0); /* who we are is nobody's business */
    /* libh2o takes a Content-Length equal to its limit but not a chunked body of that size: one
     * byte more, and the router draws the line for both. */
    config->max_request_entity_size = (size_t)settings->payload_limit + 1;
    /* Ours come first (connections_sweep); this is the net below them. */
    config->http1.req_timeout = 2 * (uint64_t)settings->client_timeout_ms + 10000;
    config->http1.upgrade_to_http2 = settings->h2c;
    config->http2.idle_timeout = settings->client_timeout_ms;
    config->http2.max_concurrent_requests_per_connection = SERVER_HTTP2_STREAMS_MAX;
    config->http2.graceful_shutdown_timeout = settings->drain_timeout_ms;
    routes_register(server);
}

int server_open_http(struct server *server, char error[ERROR_BYTES])
{
    if (getrandom(server->request_id_seed, sizeof(server->request_id_seed), 0) !=
            sizeof(server->request_id_seed) ||
        connections_open(server) != 0) {
        snprintf(error, ERROR_BYTES, "no memory for --max-connections %u",
                 server->settings->max_connections);
        return -ENOMEM;
    }
    configure(server);
    h2o_context_init(&server->context, h2o_evloop_create(), &server->config);
    server->accept = (h2o_accept_ctx_t){.ctx = &server->context, .hosts = server->config.hosts};
    int rc = completion_open(&server->completion, &server->segment, server->settings->lane,
                             server->context.queue);
    if (rc != 0)
        snprintf(error, ERROR_BYTES, "cannot start the completion thread: %s", strerror(-rc));
    return rc;
}

/* ---- the port -------------------------------------------------------------------------------- */

static void on_accept(h2o_socket_t *listener, const char *error)
{
    struct server *server = listener->data;
    if (error != NULL)
        return;
    for (int i = 0; i < SERVER_ACCEPTS_PER_CALLBACK; i++) {
        if (h2o_linklist_is_empty(&server->free_connections)) {
            h2o_socket_read_stop(listener); /* the kernel's queue holds the rest */
            return;
        }
        h2o_socket_t *socket = h2o_evloop_socket_accept(listener);
        if (socket == NULL)
            return;
        unsigned timeout_ms = SERVER_USER_TIMEOUT_MS;
        setsockopt(h2o_socket_get_fd(socket), IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms,
                   sizeof(timeout_ms));
        connection_open(server, socket);
    }
}

void server_may_accept(struct server *server)
{
    if (server->listener != NULL && !h2o_socket_is_reading(server->listener))
        h2o_socket_read_start(server->listener, on_accept);
}

static int open_socket(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
        bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, SERVER_BACKLOG) != 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static const char *what_to_do(int code)
{
    switch (code) {
    case -EADDRINUSE:
        return "; stop the program that has it, or choose another --port (PORT)";
    case -EACCES:
        return "; only root may take a port below 1024: choose another --port (PORT)";
    case -EADDRNOTAVAIL:
        return "; --hostname must be an address of this machine";
    default:
        return "";
    }
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        return 0;
    return address.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port)
                                         : ntohs(((struct sockaddr_in *)&address)->sin_port);
}

int server_listen(struct server *server, char error[ERROR_BYTES])
{
    const struct settings *settings = server->settings;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *address;
    char port[8];
    snprintf(port, sizeof(port), "%u", settings->port);
    int rc = getaddrinfo(settings->hostname, port, &hints, &address);
    if (rc != 0) {
        snprintf(error, ERROR_BYTES, "--hostname %s is no address: %s", settings->hostname,
                 gai_strerror(rc));
        return -EINVAL;
    }
    int fd = open_socket(address);
    freeaddrinfo(address);
    if (fd < 0) {
        snprintf(error, ERROR_BYTES, "cannot listen on %s port %s: %s%s", settings->hostname, port,
                 strerror(-fd), what_to_do(fd));
        return fd;
    }
    server->port = port_of(fd);
    server->listener =
        h2o_evloop_socket_create(server->context.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    server->listener->data = server;
    h2o_socket_read_start(server->listener, on_accept);
    return 0;
}

/* ---- the loop -------------------------------------------------------------------------------- */

void server_describe(struct server *server)
{
    char description[64];
    snprintf(description, sizeof(description), SERVER_DESCRIPTION_FORMAT, server->n_connections,
             server->n_in_flight);
    process_set_description(&server->segment, server->settings->lane, description);
}

const char *server_compute_type(const struct server *server)
{
    return strstr(server->worker.view.description, "cuda") != NULL ? "gpu+optimized" : "cpu";
}

/* A worker of another shape has put a new file in the segment's place: this process cannot follow
 * it (its model, its slots are other ones), so it makes way for a successor that can. */
static void make_way(struct server *server)
{
    log_warning("the segment %s was replaced by one of another shape; ending to be started again",
                server->settings->segment);
    drain_begin(server);
    pending_give_up_all(server);
}

static void tick(struct server *server)
{
    uint64_t now_ns = server->now_ns;
    if (now_ns < server->next_tick_ns)
        return;
    server->next_tick_ns = now_ns + SERVER_TICK_NS;
    process_heartbeat(&server->segment, server->settings->lane, now_ns);
    server_describe(server);
    worker_watch_update(&server->worker, &server->segment, now_ns);
    connections_sweep(server);
    pending_sweep(server);
    linger_sweep(&server->linger, now_ns);
    if (!server->draining && !segment_is_current(&server->segment, server->settings->segment))
        make_way(server);
}

static int32_t wait_ms(const struct server *server)
{
    if (server->sent_outside_loop)
        return 0;
    uint64_t now_ns = clock_now_ns(), until_ns = server->next_tick_ns;
    const struct deadline *first = deadlines_first(&server->deadlines);
    if (first != NULL)
        until_ns = min_u64(until_ns, first->at_ns);
    if (until_ns <= now_ns)
        return 0;
    return (int32_t)((until_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

int server_turn(struct server *server)
{
    if (h2o_evloop_run(server->context.loop, wait_ms(server)) != 0 && errno != EINTR)
        return -errno;
    server->sent_outside_loop = false;
    server->now_ns = clock_now_ns();
    connections_watch(server);
    tick(server);
    pending_reap(server);
    pending_expire(server);
    if (server->draining)
        drain_step(server);
    return 0;
}

void server_close(struct server *server)
{
    completion_close(&server->completion);
    linger_close(&server->linger);
    lane_detach_producer(&server->lane);
    deadlines_close(&server->deadlines);
    free(server->slot_owners);
    connections_close(server);
    request_parser_destroy(server->parser);
    free(server->input_ids);
    tokenizer_scratch_destroy(server->scratch);
    tokenizer_destroy(server->tokenizer);
    model_close(&server->model);
    segment_close(&server->segment);
}
