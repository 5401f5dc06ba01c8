/* weir-frontend: one HTTP process. Speaks to clients on one side and to the worker through its lane
 * on the other.
 *
 *     settings ─► model, tokenizer ─► wait for the worker ─► lane, libh2o ─► port ─► loop ─► drain
 *
 * An open port means "send me traffic", so it is opened last, once the worker is ready. Exit
 * status: 0 after a drain, else as proto/settings.h has them. A port that is taken is a
 * configuration error: the supervisor gives up at the first start, and tries again where a frontend
 * had served on it before. */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "frontend/drain.h"
#include "frontend/server.h"
#include "shm/last_words.h"

/* Between two looks at a segment that has no ready worker: doubles up to the longest. */
#define WAIT_SHORTEST_NS (5 * NS_PER_MS)
#define WAIT_LONGEST_NS  (100 * NS_PER_MS)

/* Left alone, glibc gives memory back and takes it again with every 100 KB body, which costs 16
 * times what the body does. */
static void keep_memory(void)
{
    mallopt(M_TRIM_THRESHOLD, 128 << 20);
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
}

/* Before any thread is started, so that all inherit the mask. */
static void block_signals(sigset_t *stop_signals)
{
    sigemptyset(stop_signals);
    sigaddset(stop_signals, SIGTERM);
    sigaddset(stop_signals, SIGINT);
    sigprocmask(SIG_BLOCK, stop_signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static bool worker_is_ready(const struct segment *segment)
{
    struct process_view worker;
    process_read(segment, PROCESS_WORKER, &worker);
    return worker.state == PROCESS_STATE_READY && process_is_alive(&worker);
}

/* Maps the segment once a ready worker stands behind it. False: told to stop meanwhile. */
static bool wait_for_worker(struct server *server, const sigset_t *stop_signals)
{
    const char *path = server->settings->segment;
    char error[ERROR_BYTES];
    bool said = false;
    for (uint64_t wait_ns = WAIT_SHORTEST_NS;; wait_ns = min_u64(2 * wait_ns, WAIT_LONGEST_NS)) {
        if (segment_open_frontend(&server->segment, path, error) == 0) {
            if (worker_is_ready(&server->segment))
                return true;
            segment_close(&server->segment); /* a new worker may replace the file */
        }
        if (!said)
            log_info("waiting for the worker of %s", path);
        said = true;
        struct timespec wait = {.tv_nsec = (long)wait_ns};
        if (sigtimedwait(stop_signals, NULL, &wait) > 0)
            return false;
    }
}

static void announce(const struct server *server)
{
    const struct settings *settings = server->settings;
    log_info("listening on %s port %u, lane %u: %s, texts of up to %u tokens, %u places",
             settings->hostname, server->port, settings->lane, server->model_name,
             server->job_shape.max_tokens, server->segment.geometry.slots_per_lane);
    if (settings->ready_fd != 0) {
        (void)!write((int)settings->ready_fd, "\n", 1);
        close((int)settings->ready_fd);
    }
}

static void on_stop_signal(h2o_socket_t *socket, const char *error)
{
    struct signalfd_siginfo info;
    (void)error;
    while (read(h2o_socket_get_fd(socket), &info, sizeof(info)) == (ssize_t)sizeof(info))
        drain_begin(socket->data);
}

static void watch_signals(struct server *server, const sigset_t *stop_signals)
{
    int fd = signalfd(-1, stop_signals, SFD_NONBLOCK | SFD_CLOEXEC);
    CHECK(fd >= 0);
    h2o_socket_t *socket =
        h2o_evloop_socket_create(server->context.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    socket->data = server;
    h2o_socket_read_start(socket, on_stop_signal);
}

/* What could not be opened, as an exit status. */
static int exit_status_of_start(int rc)
{
    switch (rc) {
    case -EINVAL:
    case -EACCES:        /* a port below 1024 */
    case -EADDRINUSE:    /* somebody else's port */
    case -EADDRNOTAVAIL: /* an address of another machine */
        return SETTINGS_EXIT_CONFIG;
    default:
        return SETTINGS_EXIT_RETRY;
    }
}

/* What came of it, as an exit status. */
static int serve(struct server *server)
{
    while (!drain_is_over(server)) {
        int rc = server_turn(server);
        if (rc != 0) {
            log_error("the event loop broke: %s", strerror(-rc));
            return SETTINGS_EXIT_RETRY;
        }
    }
    if (server->n_connections > 0)
        log_warning("drain is over with %u connections open (--drain-timeout-ms)",
                    server->n_connections);
    return 0;
}

static int run(struct server *server, const struct settings *settings, const sigset_t *stop_signals)
{
    char error[ERROR_BYTES] = "";
    if (server_open_model(server, settings, error) != 0) {
        log_error("%s", error);
        return SETTINGS_EXIT_CONFIG;
    }
    if (!wait_for_worker(server, stop_signals))
        return 0;
    int rc = server_open_lane(server, error);
    if (rc == 0) {
        last_words_install(&server->segment, settings->lane, NULL);
        rc = server_open_http(server, error);
    }
    if (rc == 0)
        rc = server_listen(server, error);
    if (rc != 0) {
        log_error("%s", error);
        return exit_status_of_start(rc);
    }
    watch_signals(server, stop_signals);
    process_set_state(&server->segment, settings->lane, PROCESS_STATE_READY);
    announce(server);
    return serve(server);
}

int main(int argc, char **argv)
{
    static struct server server;
    struct settings settings;
    char error[ERROR_BYTES], name[32];
    sigset_t stop_signals;
    switch (settings_parse(&settings, argc, argv, getenv, error)) {
    case SETTINGS_HELP:
        settings_print_help("weir-frontend");
        return 0;
    case SETTINGS_BAD:
        log_init("frontend", settings.json_output, LOG_SEVERITY_ERROR); /* of which lane? */
        log_error("%s", error);
        return SETTINGS_EXIT_USAGE;
    case SETTINGS_OK:
        break;
    }
    snprintf(name, sizeof(name), "frontend %u", settings.lane);
    log_init(name, settings.json_output, log_severity_of(settings.log_level));
    keep_memory();
    block_signals(&stop_signals);
    int status = run(&server, &settings, &stop_signals);
    last_words_remove();
    server_close(&server);
    return status;
}
