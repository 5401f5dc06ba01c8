/* A model's weights on the card: the checkpoint's layout, in the encoder's element type, Q, K and V
 * of a layer fused into one matrix. The head stays float32. With fp8, what the body's GEMMs read is
 * E4M3 codes. */
#ifndef WEIR_GPU_WORKER_CUDA_WEIGHTS_H
#define WEIR_GPU_WORKER_CUDA_WEIGHTS_H

#include "gpu_worker/cuda_fp8.h"
#include "gpu_worker/kernels/kernels.h"
#include "models/model.h"

struct cuda_linear {
    void *weight, *bias; /* (out_dim, in_dim), (out_dim) */
};

struct cuda_norm {
    void *weight, *bias; /* (hidden_dim) */
};

struct cuda_layer {
    struct cuda_linear qkv; /* (3 * hidden_dim, hidden_dim): the rows of Q, then of K, then of V */
    struct cuda_linear attention_output;
    struct cuda_norm attention_norm;
    struct cuda_linear ffn_in, ffn_out;
    struct cuda_norm output_norm;
    void *key_value_codes; /* with fp8, of the last layer, whose other weights are elements:
                              (2 * hidden_dim, hidden_dim) */
};

struct cuda_weights {
    void *word_embeddings, *position_embeddings, *type_embeddings;
    struct cuda_norm embeddings_norm;
    struct cuda_layer layers[MODEL_LAYERS_MAX];
    void *pooler_weight;                        /* (hidden_dim, hidden_dim) */
    float *pooler_bias;                         /* (hidden_dim) */
    float *classifier_weight, *classifier_bias; /* (n_labels, hidden_dim), (n_labels) */
};

/* Asks for the weights' memory. `fp8` is NULL but with that dtype. */
void cuda_weights_plan(struct cuda_weights *weights, const struct model *model,
                       const struct kernel_set *kernels, struct cuda_fp8 *fp8,
                       struct cuda_plan *plan);

/* Reads, converts and uploads every tensor; sets fp8's scales of weights. 0 or -errno with a
 * sentence. */
int cuda_weights_upload(struct cuda_weights *weights, const struct model *model,
                        const struct kernel_set *kernels, struct cuda_fp8 *fp8, cudaStream_t stream,
                        char error[ERROR_BYTES]);

#endif
