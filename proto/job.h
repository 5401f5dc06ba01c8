/* A slot's contents: what a frontend asks of the worker for one text, and what it gets back.
 *
 *     payload  | struct job header | n_tokens ids, u16 where the vocabulary fits, else u32 |
 *     result   | n_labels float32 logits |
 *
 * type_start is the index of the first token of type 1, with which a pair's second text begins;
 * n_tokens where there is none.
 *
 * The worker copies a payload once and checks the copy with job_read(): a frontend gone wild cannot
 * hurt it. */
#ifndef WEIR_PROTO_JOB_H
#define WEIR_PROTO_JOB_H

#include "shm/base.h"

struct job_shape {
    uint32_t vocab_size;
    uint32_t max_tokens; /* a text's, special ones included */
    uint32_t n_labels;
};

/* Bytes of a payload and of a result for geometry in the segment. */
uint32_t job_payload_bytes(const struct job_shape *shape);
uint32_t job_result_bytes(const struct job_shape *shape);

/* Writes at most job_payload_bytes(). n_tokens in 1..max_tokens, type_start <= n_tokens, ids <
 * vocab_size (CHECKed: our own tokenizer made them). */
void job_write(void *payload, const struct job_shape *shape, const uint32_t *input_ids,
               uint32_t n_tokens, uint32_t type_start);

/* Checks every number and widens the ids into input_ids (max_tokens). 0 with *n_tokens and
 * *type_start set, or -EINVAL, when input_ids may be half written. `payload` is a private copy of
 * job_payload_bytes(). */
int job_read(const void *payload, const struct job_shape *shape, uint32_t *input_ids,
             uint32_t *n_tokens, uint32_t *type_start);

/* FNV-1a of the ids, to name a text in a log without printing it. Bounded by the shape. */
uint64_t job_hash(const void *payload, const struct job_shape *shape);

#endif
