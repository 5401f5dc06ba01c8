/* Scales follow what training leaves: each output of a matrix has about unit variance, norms scale
 * by about one. */
#include "tests/gpu_worker/random_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct model_config RANDOM_MODEL_SMALL = {
    .architecture = MODEL_DISTILBERT,
    .vocab_size = 20,
    .hidden_dim = 32,
    .n_layers = 2,
    .n_heads = 1,
    .ffn_dim = 32,
    .n_positions = 16,
    .n_labels = 2,
    .layer_norm_eps = 1e-12f,
};

const struct model_config RANDOM_MODEL_DISTILBERT = {
    .architecture = MODEL_DISTILBERT,
    .vocab_size = 60,
    .hidden_dim = 64,
    .n_layers = 3,
    .n_heads = 1,
    .ffn_dim = 128,
    .n_positions = 128,
    .n_labels = 2,
    .layer_norm_eps = 1e-12f,
};

const struct model_config RANDOM_MODEL_BERT = {
    .architecture = MODEL_BERT,
    .vocab_size = 60,
    .hidden_dim = 96,
    .n_layers = 2,
    .n_heads = 6,
    .ffn_dim = 64,
    .n_positions = 128,
    .n_types = 2,
    .n_labels = 5,
    .layer_norm_eps = 1e-12f,
};

uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

float random_float(uint64_t *state)
{
    return (float)(random_next(state) >> 40) / 8388608.0f - 1.0f;
}

uint32_t random_between(uint64_t *state, uint32_t first, uint32_t last)
{
    return first + (uint32_t)(random_next(state) % (last - first + 1));
}

struct maker {
    float *numbers; /* NULL while counting */
    uint64_t n_floats;
    uint64_t seed;
};

static struct model_tensor make_tensor(struct maker *maker, uint32_t rows, uint32_t columns,
                                       float scale, float offset)
{
    uint64_t floats = (uint64_t)rows * columns;
    float *data = maker->numbers ? maker->numbers + maker->n_floats : NULL;

    for (uint64_t i = 0; data && i < floats; i++)
        data[i] = offset + scale * random_float(&maker->seed);
    maker->n_floats += floats;
    return (struct model_tensor){
        .data = data, .dtype = MODEL_FLOAT32, .rows = rows, .columns = columns};
}

static struct model_linear make_linear(struct maker *maker, uint32_t out_dim, uint32_t in_dim)
{
    float scale = sqrtf(3.0f / (float)in_dim); /* uniform numbers: variance scale^2 / 3 */
    struct model_linear linear;

    linear.weight = make_tensor(maker, out_dim, in_dim, scale, 0);
    linear.bias = make_tensor(maker, 1, out_dim, 0.1f, 0);
    return linear;
}

static struct model_norm make_norm(struct maker *maker, uint32_t dim)
{
    struct model_norm norm;

    norm.weight = make_tensor(maker, 1, dim, 0.2f, 1);
    norm.bias = make_tensor(maker, 1, dim, 0.1f, 0);
    return norm;
}

static void make_weights(struct maker *maker, const struct model_config *config,
                         struct model_weights *weights)
{
    uint32_t hidden = config->hidden_dim;

    weights->word_embeddings = make_tensor(maker, config->vocab_size, hidden, 0.1f, 0);
    weights->position_embeddings = make_tensor(maker, config->n_positions, hidden, 0.05f, 0);
    if (config->n_types)
        weights->type_embeddings = make_tensor(maker, config->n_types, hidden, 0.05f, 0);
    weights->embeddings_norm = make_norm(maker, hidden);
    for (uint32_t i = 0; i < config->n_layers; i++) {
        struct model_layer *layer = &weights->layers[i];
        layer->query = make_linear(maker, hidden, hidden);
        layer->key = make_linear(maker, hidden, hidden);
        layer->value = make_linear(maker, hidden, hidden);
        layer->attention_output = make_linear(maker, hidden, hidden);
        layer->attention_norm = make_norm(maker, hidden);
        layer->ffn_in = make_linear(maker, config->ffn_dim, hidden);
        layer->ffn_out = make_linear(maker, hidden, config->ffn_dim);
        layer->output_norm = make_norm(maker, hidden);
    }
    weights->pooler = make_linear(maker, hidden, hidden);
    weights->classifier = make_linear(maker, config->n_labels, hidden);
}

void random_model_make(struct random_model *random, const struct model_config *config,
                       uint64_t seed)
{
    struct maker maker = {.seed = seed};

    memset(random, 0, sizeof(*random));
    random->model.config = *config;
    if (config->layer_norm_eps == 0)
        random->model.config.layer_norm_eps = 1e-12f;
    make_weights(&maker, config, &random->model.weights);
    random->numbers = malloc(maker.n_floats * sizeof(float));
    if (!random->numbers)
        abort();
    maker = (struct maker){.seed = seed, .numbers = random->numbers};
    make_weights(&maker, config, &random->model.weights);
}

void random_model_free(struct random_model *random)
{
    free(random->numbers);
    memset(random, 0, sizeof(*random));
}

/* ---- texts ---- */

void random_texts_clear(struct random_texts *texts)
{
    texts->cu_seqlens[0] = 0;
    texts->batch = (struct batch){texts->input_ids, texts->cu_seqlens, texts->type_starts, 0, 0};
}

bool random_texts_append(struct random_texts *texts, const uint32_t *input_ids, uint32_t length,
                         uint32_t type_start)
{
    struct batch *batch = &texts->batch;

    if (batch->n_sequences == RANDOM_TEXTS_MAX ||
        batch->n_tokens + length > RANDOM_TEXTS_TOKENS_MAX)
        return false;
    memcpy(texts->input_ids + batch->n_tokens, input_ids, length * sizeof(*input_ids));
    texts->type_starts[batch->n_sequences] = type_start;
    batch->n_tokens += length;
    texts->cu_seqlens[++batch->n_sequences] = batch->n_tokens;
    return true;
}

static void make_ids(uint32_t *input_ids, const struct model_config *config, uint32_t length,
                     uint64_t *seed)
{
    CHECK(length > 0 && length <= RANDOM_TEXTS_TOKENS_MAX);
    for (uint32_t i = 0; i < length; i++)
        input_ids[i] = random_between(seed, 0, config->vocab_size - 1);
}

bool random_texts_append_random(struct random_texts *texts, const struct model_config *config,
                                uint32_t length, uint64_t *seed)
{
    uint32_t input_ids[RANDOM_TEXTS_TOKENS_MAX];

    make_ids(input_ids, config, length, seed);
    return random_texts_append(texts, input_ids, length, random_between(seed, 1, length));
}

void random_texts_make(struct random_texts *texts, const struct model_config *config,
                       const uint32_t *lengths, uint32_t n_texts, uint64_t seed)
{
    uint32_t input_ids[RANDOM_TEXTS_TOKENS_MAX];

    random_texts_clear(texts);
    for (uint32_t i = 0; i < n_texts; i++) {
        make_ids(input_ids, config, lengths[i], &seed);
        CHECK(random_texts_append(texts, input_ids, lengths[i], (lengths[i] + 1) / 2));
    }
}
