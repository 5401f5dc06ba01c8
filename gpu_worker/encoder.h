/* The encoder seam: from packed token ids to logits. The worker knows nothing else of a backend,
 * and a backend knows nothing of slots, lanes or HTTP.
 *
 * Sequences lie one after another without padding:
 *
 *     input_ids   101 2023 2003 102 | 101 2307 102 | ...
 *     cu_seqlens  0                   4              7 ...      (n_sequences + 1 entries)
 *
 * Promises of every backend: a text's logits do not depend on its batch-mates (same text, same
 * bits, for one backend, dtype and machine); forward() and what stands in for it allocate nothing.
 *
 * A backend whose work runs elsewhere, on a card, also has submit(), almost_done() and collect(),
 * all three or none. With them the next batch is queued behind the one that runs, so the card never
 * waits for us, and it is closed late: when the card says that the running one is in its last
 * steps.
 *
 *     submit(1)     almost_done   submit(2)   collect: 1   almost_done   submit(3)   collect: 2 ...
 *     card  [======= 1 =======|==][======= 2 =============|==][======= 3 ...
 *
 * Where they are NULL the worker calls forward(), and nothing else differs. */
#ifndef WEIR_GPU_WORKER_ENCODER_H
#define WEIR_GPU_WORKER_ENCODER_H

#include "gpu_worker/start_timer.h"
#include "models/model.h"
#include "shm/log.h"

struct batch {
    const uint32_t *input_ids;   /* (n_tokens), each < vocab_size: the caller checked */
    const uint32_t *cu_seqlens;  /* (n_sequences + 1), ascending from 0 to n_tokens */
    const uint32_t *type_starts; /* (n_sequences): index within its sequence of the first token of
                                    type 1 (a pair's second text); the length where there is none */
    uint32_t n_sequences, n_tokens;
};

/* X(identifier, the word of --dtype). */
#define ENCODER_DTYPES(X)   \
    X(AUTO, "auto")         \
    X(FLOAT32, "float32")   \
    X(FLOAT16, "float16")   \
    X(BFLOAT16, "bfloat16") \
    X(FP8, "fp8")           \
    X(INT8, "int8")

#define ENCODER_DTYPE_ENUM(identifier, word) ENCODER_DTYPE_##identifier,
enum encoder_dtype { ENCODER_DTYPES(ENCODER_DTYPE_ENUM) ENCODER_DTYPE_COUNT };

/* Who speaks: a module has copies of its own of shm/log.c and shm/base.c, which know neither the
 * worker's log settings nor where its last words go. */
struct encoder_voice {
    struct log_settings log;
    void (*last_words)(const char *sentence); /* what a broken CHECK says: async-signal-safe */
};

struct encoder_options {
    enum encoder_dtype dtype;  /* AUTO: the backend's default */
    uint32_t threads;          /* cpu: threads of a forward pass; 0 = all cores */
    uint32_t max_batch_tokens; /* no batch is larger; >= model's max length */
    uint32_t max_batch_sequences;
    struct start_timer *timer;         /* create() ends its phases on it; NULL: nobody asks */
    const struct encoder_voice *voice; /* a module takes it in create(); NULL: as it is */
};

struct encoder; /* a backend's own state */

/* Batches that are submitted and not yet collected: one runs, one is queued behind it. More would
 * only be closed earlier than they must be. */
#define ENCODER_FLIGHTS_MAX 2

struct encoder_backend {
    const char *name; /* the word of --backend: "cpu", "cuda" */
    /* Reads the model's weights (the mapping may be closed afterwards), takes all memory, compiles
     * all primitives. NULL with a sentence in `error`. */
    struct encoder *(*create)(const struct model *model, const struct encoder_options *options,
                              char error[ERROR_BYTES]);
    /* logits: (n_sequences, n_labels) float32. 0 or -errno (the encoder is unusable after an error:
     * the worker dies and is replaced). Blocks until the logits are there. */
    int (*forward)(struct encoder *encoder, const struct batch *batch, float *logits);
    /* Queues a batch behind those in flight, fewer than ENCODER_FLIGHTS_MAX, and returns. The
     * batch's arrays are the caller's again at once. 0 or -errno, as forward(). */
    int (*submit)(struct encoder *encoder, const struct batch *batch);
    /* Whether the newest batch is in its last steps, or through: time to close the next one. */
    bool (*almost_done)(const struct encoder *encoder);
    /* Of the oldest batch in flight: 1 and its logits (n_sequences, n_labels), 0 when they are not
     * there yet, or -errno, as forward(); also when they should have been there long ago. Never
     * waits; now_ns is the time of the call. */
    int (*collect)(struct encoder *encoder, float *logits, uint64_t now_ns);
    /* One line for logs and /info: "oneDNN 2.6.3 float32, 2 threads, 278 MB". */
    const char *(*describe)(const struct encoder *encoder);
    /* Tokens beyond which a larger batch gains no throughput and only adds latency. NULL: no such
     * bound. Asked before create(); the worker lowers --max-batch-tokens to it. */
    uint32_t (*useful_batch_tokens)(const struct encoder_options *options);
    void (*destroy)(struct encoder *encoder);
};

extern const struct encoder_backend encoder_cpu;

#endif
