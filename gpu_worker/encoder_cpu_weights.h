/* The model's weights as the CPU backend keeps them: tables and vectors as float32 rows, matrices
 * packed for cpu_gemm. All of it lies in the encoder's arena; the model's mapping may be closed
 * afterwards. */
#ifndef WEIR_GPU_WORKER_ENCODER_CPU_WEIGHTS_H
#define WEIR_GPU_WORKER_ENCODER_CPU_WEIGHTS_H

#include "gpu_worker/cpu_gemm.h"
#include "gpu_worker/cpu_kernels.h"

struct encoder_cpu_layer {
    struct cpu_gemm_linear query, key, value; /* hidden -> a third of qkv's row */
    struct cpu_gemm_linear attention_output;  /* qkv's first third -> hidden */
    struct cpu_gemm_linear ffn_in, ffn_out;
    struct cpu_norm attention_norm, output_norm;
};

struct encoder_cpu_weights {
    struct model_config config; /* without labels */
    struct cpu_gemm_kind project, attention_output, ffn_in, ffn_out, pool;
    const float *word_embeddings;     /* (vocab_size, hidden) */
    const float *position_embeddings; /* (n_positions, hidden) */
    const float *type_embeddings;     /* (n_types, hidden) or NULL */
    struct cpu_norm embeddings_norm;
    struct encoder_cpu_layer layers[MODEL_LAYERS_MAX];
    struct cpu_gemm_linear pooler;
    const float *classifier_weight; /* (n_labels, hidden) */
    const float *classifier_bias;   /* (n_labels) */
    uint64_t vectors_at;            /* tables and vectors, in the order in which they are loaded */
};

/* Compiles the products and plans the memory. 0 or -errno with a sentence. */
int encoder_cpu_weights_plan(struct encoder_cpu_weights *weights, const struct model *model,
                             struct cpu_gemm *gemm, struct cpu_arena *arena,
                             char error[ERROR_BYTES]);
/* After cpu_arena_take(): widens, packs (on all threads). */
int encoder_cpu_weights_load(struct encoder_cpu_weights *weights, const struct model *model,
                             struct cpu_gemm *gemm, const struct cpu_arena *arena,
                             char error[ERROR_BYTES]);
void encoder_cpu_weights_close(struct encoder_cpu_weights *weights);

#endif
