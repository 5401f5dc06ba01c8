/* The predict route: see predict.h. */
#include "frontend/predict.h"

#include "frontend/connection.h"
#include "frontend/pending.h"
#include "frontend/routes.h"

#define RETRY_AFTER_AWAY_S 2 /* while the worker is away: about the time a start takes */

/* ---- what can be refused --------------------------------------------------------------------- */

bool predict_read_media(struct exchange *exchange, enum request_encoding *encoding)
{
    struct header_value type = exchange_header(exchange, "content-type");
    if (!negotiate_content_type(type, encoding)) {
        exchange_send_error(exchange, HTTP_MEDIA_TYPE,
                            "send application/json in UTF-8, or application/msgpack");
        return false;
    }
    exchange->answer_encoding = negotiate_accept(exchange_header(exchange, "accept"), *encoding);
    if (!negotiate_content_encoding(exchange_header(exchange, "content-encoding"))) {
        exchange_add_header(exchange, "accept-encoding", "identity");
        exchange_send_error(exchange, HTTP_MEDIA_TYPE,
                            "compressed bodies are not decoded; send the body as it is");
        return false;
    }
    return true;
}

void predict_refuse(struct exchange *exchange, const struct request_error *error)
{
    enum http_status status = error->kind == REQUEST_INVALID     ? HTTP_INVALID
                              : error->kind == REQUEST_TOO_LARGE ? HTTP_TOO_LARGE
                                                                 : HTTP_BAD_REQUEST;
    exchange_send_error_typed(exchange, status, error->type, error->sentence);
}

static bool read_body(struct exchange *exchange, struct predict_request *request)
{
    enum request_encoding encoding;
    struct request_error error;
    if (!predict_read_media(exchange, &encoding))
        return false;
    h2o_iovec_t body = exchange->request->entity;
    uint64_t began_ns = clock_now_ns();
    enum request_error_kind kind =
        request_parse(exchange->server->parser, encoding, body.base, body.len, request, &error);
    exchange->parse_ns = clock_now_ns() - began_ns;
    stats_record(exchange->server->stats, STATS_HISTOGRAM_PARSE, exchange->parse_ns);
    if (kind != REQUEST_OK)
        predict_refuse(exchange, &error);
    return kind == REQUEST_OK;
}

static bool read_deadline(struct exchange *exchange, uint64_t *deadline_ns)
{
    uint32_t timeout_ms = exchange->server->settings->request_timeout_ms;
    struct header_value value = exchange_header(exchange, "x-request-timeout-ms");
    if (value.bytes != NULL && !negotiate_timeout_ms(value, &timeout_ms)) {
        exchange_send_error(exchange, HTTP_BAD_REQUEST,
                            "x-request-timeout-ms is not a number of 1 to %d", TIMEOUT_MS_MAX);
        return false;
    }
    *deadline_ns = exchange->began_ns + timeout_ms * NS_PER_MS;
    return true;
}

static void refuse_overload(struct exchange *exchange, enum admission_verdict verdict,
                            uint32_t n_texts)
{
    struct server *server = exchange->server;
    exchange_add_header_format(exchange, "retry-after", "%u",
                               admission_retry_after_s(&server->admission, server->now_ns));
    if (verdict == ADMISSION_NO_SLOTS)
        exchange_send_error(exchange, HTTP_OVERLOADED,
                            "no room for %u texts: %u of %u places are free", n_texts,
                            server->lane.n_free, server->segment.geometry.slots_per_lane);
    else
        exchange_send_error(
            exchange, HTTP_OVERLOADED,
            "the queue takes about %llu ms, which is beyond this request's deadline",
            (unsigned long long)(admission_wait_ns(&server->admission, server->now_ns) /
                                 NS_PER_MS));
}

static bool admit(struct exchange *exchange, uint32_t n_texts, uint64_t deadline_ns)
{
    struct server *server = exchange->server;
    uint64_t now_ns = clock_now_ns();
    uint32_t n_slots = server->segment.geometry.slots_per_lane;
    if (n_texts > n_slots) {
        exchange_send_error(exchange, HTTP_INVALID,
                            "the request has %u texts, the limit is %u (--max-concurrent-requests)",
                            n_texts, n_slots);
        return false;
    }
    if (worker_watch_is_given_up(&server->worker, now_ns)) {
        exchange_add_header_format(exchange, "retry-after", "%d", RETRY_AFTER_AWAY_S);
        exchange_send_error(exchange, HTTP_UNAVAILABLE,
                            "the worker is away and does not come back");
        return false;
    }
    enum admission_verdict verdict =
        admission_decide(&server->admission, server->lane.n_free, n_texts, now_ns, deadline_ns);
    if (verdict != ADMISSION_YES)
        refuse_overload(exchange, verdict, n_texts);
    return verdict == ADMISSION_YES;
}

/* ---- tokenizing and submitting --------------------------------------------------------------- */

static void refuse_length(struct exchange *exchange, uint32_t index,
                          const struct tokenizer_input *input)
{
    struct server *server = exchange->server;
    uint64_t n_tokens = tokenizer_count(server->tokenizer, server->scratch, input);
    exchange_send_error(exchange, HTTP_INVALID,
                        "text %u has %llu tokens, the limit is %u; shorten it or allow truncation",
                        index, (unsigned long long)n_tokens, server->job_shape.max_tokens);
}

/* Characters as Text Embeddings Inference counts them: code points, of text and pair. */
static uint64_t count_characters(const char *bytes, size_t size)
{
    uint64_t n = 0;
    for (size_t i = 0; i < size; i++)
        n += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return n;
}

static bool truncates_left(const struct server *server, const struct predict_request *request)
{
    if (request->truncation_side == REQUEST_SIDE_DEFAULT)
        return server->truncate_left && request->dialect != REQUEST_TEI;
    return request->truncation_side == REQUEST_SIDE_LEFT;
}

/* transformers fails on such a pair too, with an index error of the type embedding. */
static bool check_pairs(struct exchange *exchange, const struct predict_request *request)
{
    if (!exchange->server->refuses_pairs)
        return true;
    for (uint32_t i = 0; i < request->n_texts; i++) {
        if (request->texts[i].pair == NULL)
            continue;
        exchange_send_error(exchange, HTTP_INVALID,
                            "text %u is a pair, but this model takes single texts only "
                            "(type_vocab_size is 1)",
                            i);
        return false;
    }
    return true;
}

/* False: a text is too long and may not be cut; the exchange has been answered. */
static bool submit_text(struct pending *pending, const struct request_text *text, uint32_t index,
                        bool may_truncate)
{
    struct server *server = pending->exchange->server;
    struct tokenizer_input input = {text->text, text->text_bytes, text->pair, text->pair_bytes};
    struct tokenizer_encoding encoding;
    uint32_t slot_index;
    tokenizer_encode(server->tokenizer, server->scratch, &input, server->job_shape.max_tokens,
                     truncates_left(server, &pending->request), server->input_ids, &encoding);
    if (encoding.truncated && !may_truncate) {
        struct exchange *exchange = pending->exchange;
        pending_abandon(pending);
        refuse_length(exchange, index, &input);
        return false;
    }
    CHECK(lane_reserve(&server->lane, &slot_index)); /* admit() counted them */
    pending_submit(pending, index, slot_index, &encoding);
    if (pending->request.dialect == REQUEST_TEI)
        pending->n_characters += count_characters(text->text, text->text_bytes) +
                                 count_characters(text->pair, text->pair_bytes);
    return true;
}

static void submit(struct exchange *exchange, const struct predict_request *request,
                   uint64_t deadline_ns)
{
    struct server *server = exchange->server;
    bool may_truncate = request->truncate == REQUEST_TRUNCATE_DEFAULT
                            ? server->settings->auto_truncate
                            : request->truncate == REQUEST_TRUNCATE_ON;
    uint64_t began_ns = clock_now_ns();
    struct pending *pending = pending_create(exchange, request, deadline_ns);
    for (uint32_t i = 0; i < request->n_texts; i++)
        if (!submit_text(pending, &request->texts[i], i, may_truncate))
            return;
    exchange->tokenize_ns = clock_now_ns() - began_ns;
    stats_record(server->stats, STATS_HISTOGRAM_TOKENIZE, exchange->tokenize_ns);
}

void predict_handle(struct exchange *exchange)
{
    struct predict_request request;
    uint64_t deadline_ns;
    if (read_body(exchange, &request) && check_pairs(exchange, &request) &&
        read_deadline(exchange, &deadline_ns) && admit(exchange, request.n_texts, deadline_ns))
        submit(exchange, &request, deadline_ns);
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* Text Embeddings Inference's headers, in its unit: whole milliseconds. */
static void add_tei_headers(const struct pending *pending)
{
    struct exchange *exchange = pending->exchange;
    unsigned long long total_ms = (clock_now_ns() - exchange->began_ns) / NS_PER_MS;
    unsigned long long tokenize_ms = exchange->tokenize_ns / NS_PER_MS;
    unsigned long long queue_ms = exchange->queue_ns / NS_PER_MS;
    unsigned long long encode_ms = exchange->encode_ns / NS_PER_MS;
    exchange_add_header(exchange, "x-compute-type", server_compute_type(exchange->server));
    exchange_add_header_format(exchange, "x-compute-time", "%llu", total_ms);
    exchange_add_header_format(exchange, "x-compute-characters", "%llu",
                               (unsigned long long)pending->n_characters);
    exchange_add_header_format(exchange, "x-compute-tokens", "%llu",
                               (unsigned long long)pending->n_tokens);
    exchange_add_header_format(exchange, "x-total-time", "%llu", total_ms);
    exchange_add_header_format(exchange, "x-tokenization-time", "%llu", tokenize_ms);
    exchange_add_header_format(exchange, "x-queue-time", "%llu", queue_ms);
    exchange_add_header_format(exchange, "x-inference-time", "%llu", encode_ms);
}

void predict_answer(struct pending *pending)
{
    struct exchange *exchange = pending->exchange;
    pending_abandon(pending); /* nothing waits any more: leaves the lists */
    exchange->timed = true;
    if (pending->first_taken_ns >= pending->submitted_ns && pending->submitted_ns != 0) {
        exchange->queue_ns = pending->first_taken_ns - pending->submitted_ns;
        exchange->encode_ns = pending->last_done_ns - pending->first_taken_ns;
    }
    if (pending->n_truncated > 0)
        exchange_add_header_format(exchange, "x-truncated", "%u", pending->n_truncated);
    if (pending->request.dialect == REQUEST_TEI)
        add_tei_headers(pending);
    struct response_buffer buffer = exchange_buffer(exchange);
    response_format(&buffer, exchange->answer_encoding, &pending->request,
                    &exchange->server->labels, pending->rows);
    exchange_send_buffer(exchange, HTTP_OK, &buffer, exchange->answer_encoding);
}
