/* Slow on purpose: no loop here is clever. */
#include "tests/gpu_worker/reference_encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double *rows_of(uint32_t n, uint32_t dim)
{
    double *rows = calloc((size_t)n * dim, sizeof(double));
    if (!rows)
        abort();
    return rows;
}

static const float *row(const struct model_tensor *tensor, uint32_t index)
{
    return (const float *)tensor->data + (size_t)index * tensor->columns;
}

/* y (n, out_dim) = x (n, in_dim) W^T + b */
static void linear(const struct model_linear *layer, const double *x, uint32_t n, double *y)
{
    uint32_t out_dim = layer->weight.rows, in_dim = layer->weight.columns;

    for (uint32_t i = 0; i < n; i++)
        for (uint32_t o = 0; o < out_dim; o++) {
            double sum = row(&layer->bias, 0)[o];
            for (uint32_t k = 0; k < in_dim; k++)
                sum += x[(size_t)i * in_dim + k] * row(&layer->weight, o)[k];
            y[(size_t)i * out_dim + o] = sum;
        }
}

static void linear_watched(const struct model_linear *layer, const double *x, uint32_t n, double *y,
                           const struct reference_watch *watch)
{
    uint32_t in_dim = layer->weight.columns;
    double *copy = rows_of(n, in_dim);

    memcpy(copy, x, sizeof(double) * n * in_dim);
    if (watch)
        watch->input(watch->context, layer, copy, n, in_dim);
    linear(layer, copy, n, y);
    free(copy);
}

static void norm(const struct model_norm *layer, float eps, double *x, uint32_t n, uint32_t dim)
{
    for (uint32_t i = 0; i < n; i++) {
        double *r = x + (size_t)i * dim, mean = 0, variance = 0;

        for (uint32_t d = 0; d < dim; d++)
            mean += r[d] / dim;
        for (uint32_t d = 0; d < dim; d++)
            variance += (r[d] - mean) * (r[d] - mean) / dim;
        for (uint32_t d = 0; d < dim; d++)
            r[d] = (r[d] - mean) / sqrt(variance + eps) * row(&layer->weight, 0)[d] +
                   row(&layer->bias, 0)[d];
    }
}

static void attention(const double *q, const double *k, const double *v, uint32_t n, uint32_t dim,
                      uint32_t n_heads, double *out)
{
    uint32_t head_dim = dim / n_heads;
    double *scores = rows_of(1, n);

    for (uint32_t at = 0; at < dim; at += head_dim)
        for (uint32_t i = 0; i < n; i++) {
            double largest = -INFINITY, sum = 0;

            for (uint32_t j = 0; j < n; j++) {
                scores[j] = 0;
                for (uint32_t d = at; d < at + head_dim; d++)
                    scores[j] += q[(size_t)i * dim + d] * k[(size_t)j * dim + d];
                scores[j] /= sqrt(head_dim);
                largest = fmax(largest, scores[j]);
            }
            for (uint32_t j = 0; j < n; j++)
                sum += scores[j] = exp(scores[j] - largest);
            for (uint32_t d = at; d < at + head_dim; d++) {
                out[(size_t)i * dim + d] = 0;
                for (uint32_t j = 0; j < n; j++)
                    out[(size_t)i * dim + d] += scores[j] / sum * v[(size_t)j * dim + d];
            }
        }
    free(scores);
}

static void add(double *x, const double *y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] += y[i];
}

static void run_layer(const struct model *model, const struct model_layer *layer, double *x,
                      uint32_t n, const struct reference_watch *watch)
{
    uint32_t dim = model->config.hidden_dim, ffn = model->config.ffn_dim;
    double *q = rows_of(n, dim), *k = rows_of(n, dim), *v = rows_of(n, dim);
    double *mixed = rows_of(n, dim), *h = rows_of(n, ffn), *y = rows_of(n, dim);

    linear_watched(&layer->query, x, n, q, watch);
    linear_watched(&layer->key, x, n, k, watch);
    linear_watched(&layer->value, x, n, v, watch);
    attention(q, k, v, n, dim, model->config.n_heads, mixed);
    linear_watched(&layer->attention_output, mixed, n, y, watch);
    add(x, y, (size_t)n * dim);
    norm(&layer->attention_norm, model->config.layer_norm_eps, x, n, dim);
    linear_watched(&layer->ffn_in, x, n, h, watch);
    for (size_t i = 0; i < (size_t)n * ffn; i++)
        h[i] = model->config.activation == MODEL_RELU ? fmax(h[i], 0)
                                                      : h[i] * 0.5 * (1 + erf(h[i] / sqrt(2)));
    linear_watched(&layer->ffn_out, h, n, y, watch);
    add(x, y, (size_t)n * dim);
    norm(&layer->output_norm, model->config.layer_norm_eps, x, n, dim);
    free(q);
    free(k);
    free(v);
    free(mixed);
    free(h);
    free(y);
}

void reference_logits(const struct model *model, const uint32_t *input_ids, uint32_t n_tokens,
                      uint32_t type_start, double *logits)
{
    reference_logits_watched(model, input_ids, n_tokens, type_start, logits, NULL);
}

void reference_logits_watched(const struct model *model, const uint32_t *input_ids,
                              uint32_t n_tokens, uint32_t type_start, double *logits,
                              const struct reference_watch *watch)
{
    const struct model_weights *weights = &model->weights;
    uint32_t dim = model->config.hidden_dim;
    double *x = rows_of(n_tokens, dim), *pooled = rows_of(1, dim);

    for (uint32_t i = 0; i < n_tokens; i++)
        for (uint32_t d = 0; d < dim; d++) {
            double sum = row(&weights->word_embeddings, input_ids[i])[d];
            sum += row(&weights->position_embeddings, i)[d];
            if (weights->type_embeddings.data)
                sum += row(&weights->type_embeddings, i >= type_start)[d];
            x[(size_t)i * dim + d] = sum;
        }
    norm(&weights->embeddings_norm, model->config.layer_norm_eps, x, n_tokens, dim);
    for (uint32_t i = 0; i < model->config.n_layers; i++)
        run_layer(model, &weights->layers[i], x, n_tokens, watch);
    linear(&weights->pooler, x, 1, pooled);
    for (uint32_t d = 0; d < dim; d++)
        pooled[d] = model->config.architecture == MODEL_BERT ? tanh(pooled[d]) : fmax(pooled[d], 0);
    linear(&weights->classifier, pooled, 1, logits);
    free(x);
    free(pooled);
}
