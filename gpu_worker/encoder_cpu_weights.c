/* Two walks over the same list of tensors: the first adds up bytes, the second fills them. One
 * function is both walks (take_tensor with a NULL base), so they cannot disagree. */
#include "gpu_worker/encoder_cpu_weights.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- tables and vectors ---------------------------------------------------------------------- */

struct walk {
    float *base; /* NULL while planning */
    uint64_t n_floats;
};

static const float *take_tensor(struct walk *walk, const struct model_tensor *tensor)
{
    uint64_t floats = (uint64_t)tensor->rows * tensor->columns;
    float *place = walk->base ? walk->base + walk->n_floats : NULL;

    if (!tensor->data)
        return NULL;
    if (place)
        model_tensor_to_float32(tensor, 0, tensor->rows, place);
    walk->n_floats += align_up_u64(floats, CACHE_LINE_BYTES / sizeof(float));
    return place;
}

static struct cpu_norm take_norm(struct walk *walk, const struct model_norm *norm, float eps)
{
    return (struct cpu_norm){
        .weight = take_tensor(walk, &norm->weight),
        .bias = take_tensor(walk, &norm->bias),
        .eps = eps,
    };
}

static void walk_vectors(struct encoder_cpu_weights *weights, const struct model *model,
                         struct walk *walk)
{
    const struct model_weights *from = &model->weights;
    float eps = model->config.layer_norm_eps;

    weights->word_embeddings = take_tensor(walk, &from->word_embeddings);
    weights->position_embeddings = take_tensor(walk, &from->position_embeddings);
    weights->type_embeddings = take_tensor(walk, &from->type_embeddings);
    weights->embeddings_norm = take_norm(walk, &from->embeddings_norm, eps);
    for (uint32_t i = 0; i < model->config.n_layers; i++) {
        struct encoder_cpu_layer *layer = &weights->layers[i];
        layer->attention_norm = take_norm(walk, &from->layers[i].attention_norm, eps);
        layer->output_norm = take_norm(walk, &from->layers[i].output_norm, eps);
    }
    weights->classifier_weight = take_tensor(walk, &from->classifier.weight);
    weights->classifier_bias = take_tensor(walk, &from->classifier.bias);
}

/* ---- matrices -------------------------------------------------------------------------------- */

#define LINEARS_OF_A_LAYER 6

/* Linear `index` of the whole model and what it is loaded from; the last one is the pooler. */
static struct cpu_gemm_linear *linear_at(struct encoder_cpu_weights *weights,
                                         const struct model *model, uint32_t index,
                                         const struct model_linear **from,
                                         const struct cpu_gemm_kind **kind)
{
    uint32_t layer = index / LINEARS_OF_A_LAYER;
    struct encoder_cpu_layer *to = &weights->layers[layer];
    const struct model_layer *source = &model->weights.layers[layer];

    if (layer == weights->config.n_layers) {
        *from = &model->weights.pooler;
        *kind = &weights->pool;
        return &weights->pooler;
    }
    switch (index % LINEARS_OF_A_LAYER) {
    case 0:
        *from = &source->query;
        *kind = &weights->project;
        return &to->query;
    case 1:
        *from = &source->key;
        *kind = &weights->project;
        return &to->key;
    case 2:
        *from = &source->value;
        *kind = &weights->project;
        return &to->value;
    case 3:
        *from = &source->attention_output;
        *kind = &weights->attention_output;
        return &to->attention_output;
    case 4:
        *from = &source->ffn_in;
        *kind = &weights->ffn_in;
        return &to->ffn_in;
    default:
        *from = &source->ffn_out;
        *kind = &weights->ffn_out;
        return &to->ffn_out;
    }
}

static uint32_t count_linears(const struct encoder_cpu_weights *weights)
{
    return weights->config.n_layers * LINEARS_OF_A_LAYER + 1;
}

static int open_kinds(struct encoder_cpu_weights *weights, struct cpu_gemm *gemm,
                      char error[ERROR_BYTES])
{
    uint32_t hidden = weights->config.hidden_dim, ffn = weights->config.ffn_dim;
    enum cpu_activation activation =
        weights->config.activation == MODEL_RELU ? CPU_ACTIVATION_RELU : CPU_ACTIVATION_GELU;
    const struct {
        struct cpu_gemm_kind *kind;
        struct cpu_dnnl_shape shape; /* in_dim, out_dim, in_stride, out_stride, activation */
    } kinds[] = {
        {&weights->project, {hidden, hidden, hidden, 3 * hidden, CPU_ACTIVATION_NONE}},
        {&weights->attention_output, {hidden, hidden, 3 * hidden, hidden, CPU_ACTIVATION_NONE}},
        {&weights->ffn_in, {hidden, ffn, hidden, ffn, activation}},
        {&weights->ffn_out, {ffn, hidden, ffn, hidden, CPU_ACTIVATION_NONE}},
        {&weights->pool, {hidden, hidden, hidden, hidden, CPU_ACTIVATION_NONE}},
    };
    int status = 0;

    for (size_t i = 0; status == 0 && i < ARRAY_COUNT(kinds); i++)
        status = cpu_gemm_kind_open(gemm, kinds[i].kind, &kinds[i].shape, error);
    return status;
}

int encoder_cpu_weights_plan(struct encoder_cpu_weights *weights, const struct model *model,
                             struct cpu_gemm *gemm, struct cpu_arena *arena,
                             char error[ERROR_BYTES])
{
    struct walk walk = {0};
    int status;

    weights->config = model_config_without_labels(&model->config);
    status = open_kinds(weights, gemm, error);
    if (status)
        return status;
    walk_vectors(weights, model, &walk);
    weights->vectors_at =
        cpu_arena_plan(arena, "embeddings, norms, classifier", walk.n_floats * sizeof(float));
    for (uint32_t i = 0; status == 0 && i < count_linears(weights); i++) {
        const struct model_linear *from;
        const struct cpu_gemm_kind *kind;
        struct cpu_gemm_linear *linear = linear_at(weights, model, i, &from, &kind);

        status = cpu_gemm_linear_plan(linear, kind, arena, error);
    }
    return status;
}

struct packing {
    struct encoder_cpu_weights *weights;
    const struct model *model;
    struct cpu_gemm *gemm;
    float *staging; /* (n_threads, staging_floats) */
    uint64_t staging_floats;
    _Atomic int status;
    char *error;
};

static void pack_linear(void *context, uint32_t task, uint32_t thread)
{
    struct packing *packing = context;
    const struct model_linear *from;
    const struct cpu_gemm_kind *kind;
    struct cpu_gemm_linear *linear =
        linear_at(packing->weights, packing->model, task, &from, &kind);
    float *staging = packing->staging + thread * packing->staging_floats;
    char error[ERROR_BYTES];
    int status = cpu_gemm_linear_pack(packing->gemm, linear, thread, from, staging, error),
        none = 0;

    /* The first to fail tells why. */
    if (status && atomic_compare_exchange_strong(&packing->status, &none, status))
        snprintf(packing->error, ERROR_BYTES, "%s", error);
}

static uint64_t staging_floats(const struct encoder_cpu_weights *weights)
{
    uint64_t hidden = weights->config.hidden_dim;
    uint64_t from_hidden = hidden * max_u64(weights->project.slice_dim, weights->ffn_in.slice_dim);

    return max_u64(from_hidden, (uint64_t)weights->config.ffn_dim * weights->ffn_out.slice_dim);
}

int encoder_cpu_weights_load(struct encoder_cpu_weights *weights, const struct model *model,
                             struct cpu_gemm *gemm, const struct cpu_arena *arena,
                             char error[ERROR_BYTES])
{
    struct walk walk = {.base = cpu_arena_at(arena, weights->vectors_at)};
    struct packing packing = {.weights = weights, .model = model, .gemm = gemm, .error = error};

    walk_vectors(weights, model, &walk);
    packing.staging_floats = staging_floats(weights);
    packing.staging = calloc(cpu_pool_threads(gemm->pool), packing.staging_floats * sizeof(float));
    if (!packing.staging) {
        snprintf(error, ERROR_BYTES, "no memory to pack the weights in");
        return -ENOMEM;
    }
    cpu_pool_run(gemm->pool, pack_linear, &packing, count_linears(weights));
    free(packing.staging);
    return atomic_load(&packing.status);
}

void encoder_cpu_weights_close(struct encoder_cpu_weights *weights)
{
    for (uint32_t i = 0; i < weights->config.n_layers; i++) {
        struct encoder_cpu_layer *layer = &weights->layers[i];
        cpu_gemm_linear_close(&layer->query);
        cpu_gemm_linear_close(&layer->key);
        cpu_gemm_linear_close(&layer->value);
        cpu_gemm_linear_close(&layer->attention_output);
        cpu_gemm_linear_close(&layer->ffn_in);
        cpu_gemm_linear_close(&layer->ffn_out);
    }
    cpu_gemm_linear_close(&weights->pooler);
}
