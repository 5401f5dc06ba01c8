/* The CUDA encoder's insides, shared by cuda_start.c (how it comes to answer), cuda_choice.c (which
 * algorithms it multiplies by), cuda_graphs.c (what is made beside the first answers),
 * cuda_forward.c (what is queued for a batch), cuda_flight.c (batches in flight) and encoder_cuda.c
 * (what is asked for, and the seam).
 *
 * A batch is two graph launches, once their graphs are made (cuda_graphs.h). The body, one graph
 * for each bucket of tokens, runs the embedding and all layers up to the last one's keys and
 * values; the tail, one for each bucket of sequences, runs what is left for the [CLS] rows. Any
 * pair fits together, so a few dozen graphs serve every batch. */
#ifndef WEIR_GPU_WORKER_CUDA_ENGINE_H
#define WEIR_GPU_WORKER_CUDA_ENGINE_H

#include "gpu_worker/cuda_choice.h"
#include "gpu_worker/cuda_fp8.h"
#include "gpu_worker/cuda_gemm.h"
#include "gpu_worker/cuda_graphs.h"
#include "gpu_worker/cuda_memory.h"
#include "gpu_worker/cuda_weights.h"
#include "gpu_worker/encoder.h"

/* X(name, rows' buckets): the GEMMs of a forward pass. */
#define CUDA_GEMMS(X)                  \
    X(qkv, tokens)                     \
    X(key_value, tokens)               \
    X(attention_output, tokens)        \
    X(ffn_in, tokens)                  \
    X(ffn_out, tokens)                 \
    X(cls_query, sequences)            \
    X(cls_attention_output, sequences) \
    X(cls_ffn_in, sequences)           \
    X(cls_ffn_out, sequences)          \
    X(pooler, sequences)

#define CUDA_GEMM_ENUM(name, rows) CUDA_GEMM_##name,
enum cuda_gemm_index { CUDA_GEMMS(CUDA_GEMM_ENUM) CUDA_GEMM_COUNT };

/* Device memory that layers pass on; (rows of the largest bucket, ...) of elements. */
struct cuda_activations {
    void *x;       /* (tokens, hidden_dim): the residual stream */
    void *qkv;     /* (tokens, 3 * hidden_dim); in the last layer (tokens, 2 * hidden_dim) */
    void *context; /* (tokens, hidden_dim) */
    void *ffn;     /* (tokens, ffn_dim) */
    void *x_codes, *ffn_codes; /* of x and ffn, with fp8; `context` itself holds codes then */
    void *cls_x, *cls_query, *cls_context; /* (sequences, hidden_dim) */
    void *cls_ffn;                         /* (sequences, ffn_dim) */
    float *pooled;                         /* (sequences, hidden_dim) */
};

struct encoder {
    struct model_config config; /* without labels */
    uint32_t max_tokens, max_sequences;
    const struct kernel_set *kernels;
    bool own_ffn; /* FFN_in by our GEMM with the GELU in its epilogue */
    char device_name[128];
    int n_multiprocessors, driver_version, compute_capability;
    const char *tune_path; /* NULL: none */
    struct cuda_fp8 *fp8;  /* NULL but with that dtype */
    struct cuda_recording recording;

    cudaStream_t stream;
    struct cuda_plan device_plan, mapped_plan;
    struct cuda_weights weights;
    struct cuda_activations activations;
    struct cuda_buckets tokens, sequences;
    struct cuda_gemm_context gemm_context;
    struct cuda_gemm gemms[CUDA_GEMM_COUNT];
    struct cuda_trials trials; /* one user at a time: the start, then the thread of cuda_graphs.h */
    struct cuda_choice choice;
    struct kernel_batch batch; /* the card's addresses */
    struct cuda_graphs graphs;

    /* Mapped memory as this process sees it. */
    uint32_t *staging; /* (2, layout.n_words) */
    struct batch_signal *signal;
    float *logits; /* (2, logits_stride) */
    uint32_t logits_stride;

    /* Batches are numbered from 1 and finish in order. */
    uint32_t submitted, completed;
    uint32_t n_sequences[BATCHES_IN_FLIGHT]; /* by number % 2 */
    uint64_t submitted_ns[BATCHES_IN_FLIGHT];
    uint64_t watchdog_ns;
    uint64_t next_query_ns;
    bool failed;
    char description[ERROR_BYTES];
};

extern const struct encoder_backend encoder_cuda; /* the module's one exported name */

/* What each GEMM is. */
void cuda_forward_describe_gemms(struct encoder *encoder);

/* The operands that a batch has, of the first layer where there is a choice. */
void cuda_forward_operands(const struct encoder *encoder,
                           struct cuda_gemm_operands operands[CUDA_GEMM_COUNT]);

/* Whether our GEMM can do the FFN's first half, GELU and all. */
bool cuda_forward_has_own_ffn(const struct encoder *encoder);

/* Queue a bucket's kernels on the encoder's stream: captured into a graph, or run at once. */
int cuda_forward_body(struct encoder *encoder, uint32_t bucket, char error[ERROR_BYTES]);
int cuda_forward_tail(struct encoder *encoder, uint32_t bucket, char error[ERROR_BYTES]);

/* The seam's calls for batches in flight (encoder.h); up to BATCHES_IN_FLIGHT of them. A batch is
 * almost done when it has reached its tail. */
int cuda_submit(struct encoder *encoder, const struct batch *batch);
int cuda_collect(struct encoder *encoder, float *logits, uint64_t now_ns);
bool cuda_almost_done(const struct encoder *encoder);

/* Submits a batch where none flies, and waits for it: the seam's forward(). */
int cuda_run(struct encoder *encoder, const struct batch *batch, float *logits);

/* Opens the card and makes of an encoder whose choices are made one that answers. A failure leaves
 * what the seam's destroy() takes back. The timer may be NULL. */
int cuda_start(struct encoder *encoder, const struct model *model, struct start_timer *timer,
               char error[ERROR_BYTES]);

#endif
