/* A predict request in flight: its texts' slots, its deadline, and what came back so far.
 *
 *     predict.c makes it ─► pending_submit() for each text ─► pending_reap() until all are back
 *          ─► the answer, or the first failure
 *
 * It lives in the request's pool. libh2o may dispose of the request at any moment (HTTP/2 reset, a
 * closed connection): the dispose hook then withdraws queued slots and disowns running ones, which
 * are released when they come back. */
#ifndef WEIR_FRONTEND_PENDING_H
#define WEIR_FRONTEND_PENDING_H

#include "frontend/exchange.h"

struct pending {
    h2o_linklist_t link; /* server->pendings */
    struct deadline deadline;
    struct exchange *exchange;
    struct predict_request request; /* without its texts: they are gone after tokenizing */
    uint32_t n_waiting;             /* texts submitted and not yet back */
    uint32_t *slots;                /* (n_texts); PENDING_NO_SLOT before and after its flight */
    float *logits;                  /* (n_texts, n_labels) */
    const float **rows;             /* (n_texts): into logits */
    uint64_t n_characters, n_tokens;
    uint32_t n_truncated;
    uint64_t submitted_ns, first_taken_ns, last_done_ns;
};

#define PENDING_NO_SLOT UINT32_MAX

/* For `request` with the deadline; links it to the server. */
struct pending *pending_create(struct exchange *exchange, const struct predict_request *request,
                               uint64_t deadline_ns);

/* Sends server->input_ids (n_tokens) as text `index` through a reserved slot. */
void pending_submit(struct pending *pending, uint32_t index, uint32_t slot_index,
                    const struct tokenizer_encoding *encoding);

/* Withdraws what is queued, disowns what runs, leaves the lists. Then the exchange may be answered
 * otherwise. Idempotent. */
void pending_abandon(struct pending *pending);

/* Takes all completions, answers the requests that are complete. */
void pending_reap(struct server *server);
/* Answers 504 to those whose deadline has passed. */
void pending_expire(struct server *server);
/* Ends the HTTP/1 connections whose clients went away while they waited. */
void pending_sweep(struct server *server);
/* Answers 503 to all: no worker will ever serve this segment again. */
void pending_give_up_all(struct server *server);

#endif
