/* Requests in flight: see pending.h. */
#include "frontend/pending.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "frontend/connection.h"
#include "frontend/predict.h"

/* ---- slots ----------------------------------------------------------------------------------- */

static void release_slot(struct server *server, uint32_t slot_index)
{
    /* A slot that a former frontend left running was never counted here. */
    if (server->slot_owners[slot_index].n_tokens > 0)
        server->n_in_flight--;
    server->slot_owners[slot_index] = (struct slot_owner){0};
    lane_release(&server->lane, slot_index);
}

void pending_submit(struct pending *pending, uint32_t index, uint32_t slot_index,
                    const struct tokenizer_encoding *encoding)
{
    struct server *server = pending->exchange->server;
    job_write(lane_payload(&server->lane, slot_index), &server->job_shape, server->input_ids,
              encoding->n_tokens, encoding->type_start);
    struct job_shape used = server->job_shape;
    used.max_tokens = encoding->n_tokens;
    lane_payload_used(&server->lane, slot_index, job_payload_bytes(&used));
    server->slot_owners[slot_index] = (struct slot_owner){
        .pending = pending, .text_index = index, .n_tokens = encoding->n_tokens};
    server->n_in_flight++;
    pending->slots[index] = slot_index;
    pending->n_waiting++;
    pending->n_tokens += encoding->n_tokens;
    pending->n_truncated += encoding->truncated;
    uint64_t now_ns = clock_now_ns();
    if (pending->submitted_ns == 0)
        pending->submitted_ns = now_ns;
    admission_submitted(&server->admission, encoding->n_tokens, now_ns);
    lane_submit(&server->lane, slot_index, encoding->n_tokens, now_ns, pending->deadline.at_ns);
    stats_add(server->stats, STATS_TEXTS, 1);
    stats_add(server->stats, STATS_TOKENS, encoding->n_tokens);
    stats_add(server->stats, STATS_TEXTS_TRUNCATED, encoding->truncated);
    stats_record(server->stats, STATS_HISTOGRAM_TEXT_TOKENS, encoding->n_tokens);
}

static void abandon_slot(struct server *server, uint32_t slot_index)
{
    struct slot_owner *owner = &server->slot_owners[slot_index];
    owner->pending = NULL;
    if (!lane_cancel(&server->lane, slot_index))
        return; /* the worker has it; it comes back to nobody */
    admission_withdrawn(&server->admission, owner->n_tokens, clock_now_ns());
    release_slot(server, slot_index);
}

/* ---- life ------------------------------------------------------------------------------------ */

void pending_abandon(struct pending *pending)
{
    struct server *server = pending->exchange->server;
    deadlines_remove(&server->deadlines, &pending->deadline);
    if (h2o_linklist_is_linked(&pending->link))
        h2o_linklist_unlink(&pending->link);
    for (uint32_t i = 0; pending->n_waiting > 0 && i < pending->request.n_texts; i++) {
        if (pending->slots[i] == PENDING_NO_SLOT)
            continue;
        abandon_slot(server, pending->slots[i]);
        pending->slots[i] = PENDING_NO_SLOT;
        pending->n_waiting--;
    }
}

static void on_dispose(void *pending)
{
    pending_abandon(pending);
}

struct pending *pending_create(struct exchange *exchange, const struct predict_request *request,
                               uint64_t deadline_ns)
{
    struct server *server = exchange->server;
    h2o_mem_pool_t *pool = &exchange->request->pool;
    uint32_t n = request->n_texts, n_labels = server->labels.n_labels;
    struct pending *pending = h2o_mem_alloc_shared(pool, sizeof(*pending), on_dispose);
    *pending = (struct pending){.exchange = exchange, .request = *request};
    pending->request.texts = NULL;
    pending->slots = h2o_mem_alloc_pool(pool, n * sizeof(*pending->slots));
    pending->logits = h2o_mem_alloc_pool(pool, (size_t)n * n_labels * sizeof(*pending->logits));
    pending->rows = h2o_mem_alloc_pool(pool, n * sizeof(*pending->rows));
    for (uint32_t i = 0; i < n; i++) {
        pending->slots[i] = PENDING_NO_SLOT;
        pending->rows[i] = pending->logits + (size_t)i * n_labels;
    }
    deadlines_add(&server->deadlines, &pending->deadline, deadline_ns);
    h2o_linklist_insert(&server->pendings, &pending->link);
    return pending;
}

static void fail(struct pending *pending, enum http_status status, const char *sentence)
{
    struct exchange *exchange = pending->exchange;
    pending_abandon(pending);
    exchange_send_error(exchange, status, "%s", sentence);
}

/* ---- completions ----------------------------------------------------------------------------- */

static void fail_by_status(struct pending *pending, uint32_t index, enum lane_status status)
{
    struct exchange *exchange = pending->exchange;
    pending_abandon(pending);
    switch (status) {
    case LANE_STATUS_EXPIRED:
        exchange_send_error(exchange, HTTP_DEADLINE,
                            "the deadline passed before text %u was computed", index);
        break;
    case LANE_STATUS_POISONED:
        exchange_send_error(exchange, HTTP_INTERNAL, "text %u was given up: workers died of it",
                            index);
        break;
    default:
        exchange_send_error(exchange, HTTP_INTERNAL, "the encoder failed on text %u", index);
        break;
    }
}

/* For Server-Timing; the histograms of queue and encode are the worker's, which counts the same. It
 * reads its clock once a turn, so a text may be taken at a time before it was submitted. */
static void note_times(struct pending *pending, const struct lane_completion *completion)
{
    uint64_t taken_ns = max_u64(completion->taken_ns, completion->submitted_ns);
    if (completion->done_ns < taken_ns)
        return; /* the other process' numbers: not to be trusted */
    if (pending->first_taken_ns == 0 || taken_ns < pending->first_taken_ns)
        pending->first_taken_ns = taken_ns;
    pending->last_done_ns = max_u64(pending->last_done_ns, completion->done_ns);
}

static void take_completion(struct server *server, const struct lane_completion *completion)
{
    struct slot_owner owner = server->slot_owners[completion->slot_index];
    struct pending *pending = owner.pending;
    float *row = NULL;
    if (pending != NULL) {
        row = pending->logits + (size_t)owner.text_index * server->labels.n_labels;
        memcpy(row, completion->result, server->labels.n_labels * sizeof(float));
        note_times(pending, completion);
        pending->slots[owner.text_index] = PENDING_NO_SLOT;
        pending->n_waiting--;
    }
    if (owner.n_tokens > 0)
        admission_completed(&server->admission, owner.n_tokens,
                            segment_worker_epoch(&server->segment), server->now_ns);
    release_slot(server, completion->slot_index);
    if (pending == NULL)
        return;
    enum lane_status status = completion->status;
    if (status == LANE_STATUS_OK && !response_logits_are_finite(&server->labels, row))
        status = LANE_STATUS_FAILED;
    if (status != LANE_STATUS_OK)
        fail_by_status(pending, owner.text_index, status);
    else if (pending->n_waiting == 0)
        predict_answer(pending);
}

void pending_reap(struct server *server)
{
    struct lane_completion completion;
    while (lane_reap(&server->lane, server->now_ns, &completion))
        take_completion(server, &completion);
}

/* ---- time and absence ------------------------------------------------------------------------ */

void pending_expire(struct server *server)
{
    struct deadline *first;
    while ((first = deadlines_first(&server->deadlines)) != NULL && first->at_ns <= server->now_ns)
        fail(H2O_STRUCT_FROM_MEMBER(struct pending, deadline, first), HTTP_DEADLINE,
             "the deadline passed while the request waited for the worker");
}

void pending_give_up_all(struct server *server)
{
    while (!h2o_linklist_is_empty(&server->pendings)) {
        struct pending *pending =
            H2O_STRUCT_FROM_MEMBER(struct pending, link, server->pendings.next);
        exchange_add_header(pending->exchange, "retry-after", "1");
        fail(pending, HTTP_UNAVAILABLE, "the server changed its model; send the request again");
    }
}

/* Behind an end of file, recv() does not tell of a reset. */
static bool has_broken(int fd)
{
    int error = 0;
    socklen_t size = sizeof(error);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0;
}

/* libh2o reads nothing while a request is pending, so it does not see a client go. Pipelined bytes
 * are not mistaken for that. A client that closed and one that only stopped sending look the same:
 * which of the two, its kernel says when it is sent something, and HTTP/1.1 has an interim answer
 * that may be sent at any time. RFC 9110 section 15.2: a client must be able to read one that it
 * did not expect. Whoever speaks HTTP/1.0 cannot be asked and is taken for gone, as nginx takes
 * all. */
static bool client_is_gone(const struct exchange *exchange)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct connection *connection = exchange->connection;
    int fd = h2o_socket_get_fd(connection->socket);
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n != 0)
        return n < 0 && errno != EAGAIN && errno != EINTR;
    if (connection->was_asked)
        return has_broken(fd);
    if (exchange->request->version < 0x101)
        return true;
    connection->was_asked = true;
    return send(fd, interim, sizeof(interim) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) !=
           (ssize_t)sizeof(interim) - 1;
}

void pending_sweep(struct server *server)
{
    h2o_linklist_t *node = server->pendings.next;
    while (node != &server->pendings) {
        struct pending *pending = H2O_STRUCT_FROM_MEMBER(struct pending, link, node);
        struct connection *connection = pending->exchange->connection;
        /* Oldest first; the young ones are mostly answered before it matters: no system call. */
        if (server->now_ns < pending->exchange->began_ns + SERVER_TICK_NS)
            break;
        node = node->next; /* an abort unlinks this one only: HTTP/1 has one request at a time */
        if (connection->phase != CONNECTION_HTTP2 && client_is_gone(pending->exchange))
            connection_abort(connection);
    }
}
