/* What a model is: a Hugging Face folder as it was downloaded, read and bounded, weights by role.
 *
 *     config.json          -> model_config: dimensions, labels, problem type
 *     model.safetensors    -> mapped read-only; each tensor checked against the config, then named
 *     tokenizer files      -> models/tokenizer_files.h
 *
 * No conversion step. No maths here. Everything read from a file is bounded before it is used; a
 * folder that cannot be served is refused by one sentence that says what was found and what is
 * supported. Weight matrices keep the checkpoint's layout: (out_dim, in_dim), row-major, that is
 * y = x W^T + b. */
#ifndef WEIR_MODELS_MODEL_H
#define WEIR_MODELS_MODEL_H

#include "shm/base.h"

#define MODEL_LAYERS_MAX      48
#define MODEL_LABELS_MAX      1024
#define MODEL_LABEL_BYTES_MAX 256
#define MODEL_DIM_MAX         8192
#define MODEL_FFN_MAX         32768
#define MODEL_HEADS_MAX       128
#define MODEL_TYPES_MAX       16
#define MODEL_VOCAB_MAX       1000000
#define MODEL_POSITIONS_MAX   8192

#define MODEL_CONFIG_DIGITS     16 /* of the fingerprint, those of config.json */
#define MODEL_FINGERPRINT_BYTES 33 /* as many again of the weights, and a NUL */

enum model_architecture { MODEL_DISTILBERT, MODEL_BERT };
enum model_problem { MODEL_SINGLE_LABEL, MODEL_MULTI_LABEL, MODEL_REGRESSION };
enum model_activation { MODEL_GELU /* exact, erf */, MODEL_RELU };
enum model_dtype { MODEL_FLOAT32, MODEL_FLOAT16, MODEL_BFLOAT16 };

struct model_config {
    enum model_architecture architecture;
    enum model_problem problem; /* softmax, sigmoid or none, as the pipeline decides */
    enum model_activation activation;
    uint32_t vocab_size;
    uint32_t hidden_dim; /* multiple of n_heads */
    uint32_t n_layers;
    uint32_t n_heads;
    uint32_t ffn_dim;
    uint32_t n_positions; /* rows of the position embedding */
    uint32_t n_types;     /* rows of the token type embedding; 0 for DistilBERT. A pair needs 2: a
                             BERT with 1 takes single texts only */
    uint32_t n_labels;
    float layer_norm_eps;
    const char *const *labels;   /* (n_labels), UTF-8, owned by the model */
    const bool *label_is_number; /* (n_labels): a whole number in id2label, and so in answers */
    bool return_all_scores;      /* an answer without top_k has all labels, in the model's order */
    char model_type[32];         /* "distilbert", "bert" */
};

/* A tensor inside the mapping: little-endian, row-major, at least 1-byte aligned (safetensors
 * promises no more), so read it through memcpy or model_tensor_to_float32(). */
struct model_tensor {
    const void *data;
    enum model_dtype dtype;
    uint32_t rows, columns; /* a vector has rows = 1 */
};

struct model_linear {
    struct model_tensor weight; /* (out_dim, in_dim) */
    struct model_tensor bias;   /* (1, out_dim) */
};

struct model_norm {
    struct model_tensor weight, bias; /* (1, hidden_dim) */
};

struct model_layer {
    struct model_linear query, key, value, attention_output; /* hidden -> hidden */
    struct model_norm attention_norm;
    struct model_linear ffn_in;  /* hidden -> ffn */
    struct model_linear ffn_out; /* ffn -> hidden */
    struct model_norm output_norm;
};

struct model_weights {
    struct model_tensor word_embeddings;     /* (vocab_size, hidden_dim) */
    struct model_tensor position_embeddings; /* (n_positions, hidden_dim) */
    struct model_tensor type_embeddings;     /* (n_types, hidden_dim); data NULL for DistilBERT */
    struct model_norm embeddings_norm;
    struct model_layer layers[MODEL_LAYERS_MAX];
    struct model_linear pooler;     /* hidden -> hidden on [CLS]; then ReLU (DistilBERT's
                                       pre_classifier) or tanh (BERT's pooler) */
    struct model_linear classifier; /* hidden -> n_labels */
};

struct model {
    struct model_config config;
    struct model_weights weights;
    /* Hex: MODEL_CONFIG_DIGITS of config.json, as many of the weights' size, header and a sample of
     * their pages. Equal for equal models; names the model in the segment. Only the first half
     * after model_open_config(). */
    char fingerprint[MODEL_FINGERPRINT_BYTES];
    void *mapping;
    uint64_t mapping_bytes;
    void *strings; /* labels */
};

/* Reads only config.json: all a frontend needs. 0 or -errno with a sentence in `error`. Release
 * with model_close(). */
int model_open_config(struct model *model, const char *folder, char error[ERROR_BYTES]);
/* Reads config.json and maps model.safetensors. 0 or -errno with a sentence in `error`. */
int model_open(struct model *model, const char *folder, char error[ERROR_BYTES]);
/* Takes back all that open gave; a model full of zeros may be closed, and one closed twice. */
void model_close(struct model *model);

/* A copy for whoever outlives the model: all of it but the labels, which the model owns. */
struct model_config model_config_without_labels(const struct model_config *config);

/* Widens rows [first_row, first_row + n_rows) to float32. */
void model_tensor_to_float32(const struct model_tensor *tensor, uint32_t first_row, uint32_t n_rows,
                             float *out /* (n_rows, columns) */);

#endif
