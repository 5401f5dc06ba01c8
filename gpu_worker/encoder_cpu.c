/* The CPU backend: DistilBERT and BERT in float32.
 *
 *     embed    x      = norm(word[id] + position[i] (+ type[t]))         (n_tokens, hidden)
 *     layer    qkv    = x [Wq Wk Wv]^T + b                               (n_tokens, 3 hidden)
 *              qkv[q] = softmax(q k^T / sqrt(d)) v, per (sequence, head), in q's place
 *              x      = norm(x + qkv[q] Wo^T + b)
 *              h      = gelu(x W1^T + b)                                 (n_tokens, ffn)
 *              x      = norm(x + h W2^T + b)
 *     head     logits = Wc act(x[CLS] Wp^T + b) + b                      (n_sequences, n_labels)
 *
 * The last layer computes keys and values for every token, and all the rest for the [CLS] rows
 * alone: nothing else of it is ever read. Those rows live in buffers of their own (cls_*).
 *
 * Each line above is one stage on the pool; the norms ride on the product before them, a block of
 * rows at a time. Memory is one arena; after create() nothing is allocated by us. */
#include "gpu_worker/encoder.h"

#include "gpu_worker/cpu_arena.h"
#include "gpu_worker/cpu_gemm.h"
#include "gpu_worker/cpu_kernels.h"
#include "gpu_worker/cpu_pool.h"
#include "gpu_worker/encoder_cpu_weights.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Tokens of one embedding task: enough to be worth handing out. */
#define EMBED_TOKENS 16

/* A batch of this many tokens keeps a thread busy in every stage; more only makes the first wait
 * for the last. */
#define USEFUL_TOKENS_OF_A_THREAD 256
#define USEFUL_TOKENS_MIN         512

struct encoder {
    struct cpu_pool *pool;
    struct cpu_gemm gemm;
    struct cpu_arena arena;
    const struct cpu_kernels *kernels;
    struct encoder_cpu_weights weights;
    uint32_t max_tokens, max_sequences, max_length;
    uint64_t x_at, qkv_at, y_at, h_at, cls_x_at, cls_qkv_at, scratch_at; /* into the arena */
    float *x, *qkv, *y, *h, *cls_x, *cls_qkv;
    uint64_t scratch_bytes; /* of one thread */
    char description[96];
};

/* ---- stages ---------------------------------------------------------------------------------- */

struct pass {
    struct encoder *encoder;
    const struct batch *batch;
    const struct cpu_norm *norm; /* of the running product's rows_done */
    bool last_layer;
    float *rows; /* what rows_done adds to and normalises: x or cls_x */
    float *logits;
};

static uint32_t sequence_of(const struct batch *batch, uint32_t token)
{
    uint32_t low = 0, high = batch->n_sequences;

    while (high - low > 1) { /* cu_seqlens[low] <= token < cu_seqlens[high] */
        uint32_t middle = low + (high - low) / 2;
        if (batch->cu_seqlens[middle] <= token)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void embed_tokens(void *context, uint32_t task, uint32_t thread)
{
    struct pass *pass = context;
    struct encoder *encoder = pass->encoder;
    const struct batch *batch = pass->batch;
    const struct encoder_cpu_weights *weights = &encoder->weights;
    uint64_t hidden = weights->config.hidden_dim;
    uint32_t first = task * EMBED_TOKENS;
    uint32_t end = (uint32_t)min_u64(first + EMBED_TOKENS, batch->n_tokens);
    uint32_t sequence = sequence_of(batch, first);

    for (uint32_t token = first; token < end; token++) {
        uint32_t position, type;

        if (token == batch->cu_seqlens[sequence + 1])
            sequence++;
        position = token - batch->cu_seqlens[sequence];
        type = position >= batch->type_starts[sequence] && weights->config.n_types > 1;
        encoder->kernels->add_norm(
            weights->word_embeddings + batch->input_ids[token] * hidden,
            weights->position_embeddings + position * hidden,
            weights->type_embeddings ? weights->type_embeddings + type * hidden : NULL,
            &weights->embeddings_norm, (uint32_t)hidden, encoder->x + token * hidden);
    }
}

static void attend(void *context, uint32_t task, uint32_t thread)
{
    struct pass *pass = context;
    struct encoder *encoder = pass->encoder;
    const struct model_config *config = &encoder->weights.config;
    uint32_t sequence = task / config->n_heads, head = task % config->n_heads;
    uint32_t head_dim = config->hidden_dim / config->n_heads;
    uint32_t stride = 3 * config->hidden_dim;
    uint32_t start = pass->batch->cu_seqlens[sequence];
    uint32_t length = pass->batch->cu_seqlens[sequence + 1] - start;
    const float *row = encoder->qkv + (uint64_t)start * stride + head * head_dim;
    float *query = pass->last_layer
                       ? encoder->cls_qkv + (uint64_t)sequence * stride + head * head_dim
                       : encoder->qkv + (uint64_t)start * stride + head * head_dim;
    char *scratch = (char *)cpu_arena_at(&encoder->arena, encoder->scratch_at);

    encoder->kernels->attention(&(struct cpu_attention){
        .q = query,
        .k = row + config->hidden_dim,
        .v = row + 2 * config->hidden_dim,
        .out = query,
        .q_stride = stride,
        .kv_stride = stride,
        .out_stride = stride,
        .n_queries = pass->last_layer ? 1 : length,
        .n_keys = length,
        .head_dim = head_dim,
        .scale = 1.0f / sqrtf((float)head_dim),
        .scratch = (float *)(scratch + thread * encoder->scratch_bytes),
    });
}

/* rows = norm(rows + y) */
static void add_and_norm(void *context, uint32_t first_row, uint32_t n_rows)
{
    struct pass *pass = context;
    struct encoder *encoder = pass->encoder;
    uint64_t hidden = encoder->weights.config.hidden_dim;

    for (uint64_t row = first_row; row < (uint64_t)first_row + n_rows; row++)
        encoder->kernels->add_norm(pass->rows + row * hidden, encoder->y + row * hidden, NULL,
                                   pass->norm, (uint32_t)hidden, pass->rows + row * hidden);
}

static void gather_cls(struct pass *pass)
{
    struct encoder *encoder = pass->encoder;
    uint64_t hidden = encoder->weights.config.hidden_dim;

    for (uint32_t i = 0; i < pass->batch->n_sequences; i++)
        __builtin_memcpy(encoder->cls_x + i * hidden,
                         encoder->x + pass->batch->cu_seqlens[i] * hidden, hidden * sizeof(float));
}

static void classify(void *context, uint32_t task, uint32_t thread)
{
    struct pass *pass = context;
    struct encoder *encoder = pass->encoder;
    const struct encoder_cpu_weights *weights = &encoder->weights;
    uint32_t hidden = weights->config.hidden_dim, n_labels = weights->config.n_labels;
    float *pooled = encoder->y + (uint64_t)task * hidden;

    for (uint32_t i = 0; i < hidden; i++)
        pooled[i] =
            weights->config.architecture == MODEL_BERT ? tanhf(pooled[i]) : fmaxf(pooled[i], 0.0f);
    encoder->kernels->project(pooled, weights->classifier_weight, weights->classifier_bias, hidden,
                              n_labels, pass->logits + (uint64_t)task * n_labels);
}

/* ---- a forward pass -------------------------------------------------------------------------- */

static int project_qkv(struct pass *pass, const struct encoder_cpu_layer *layer)
{
    struct encoder *encoder = pass->encoder;
    uint32_t hidden = encoder->weights.config.hidden_dim;
    uint32_t n_tokens = pass->batch->n_tokens, n_sequences = pass->batch->n_sequences;
    struct cpu_gemm_part parts[] = {
        {&layer->query, encoder->x, encoder->qkv, n_tokens},
        {&layer->key, encoder->x, encoder->qkv + hidden, n_tokens},
        {&layer->value, encoder->x, encoder->qkv + 2 * hidden, n_tokens},
    };

    if (pass->last_layer)
        parts[0] =
            (struct cpu_gemm_part){&layer->query, encoder->cls_x, encoder->cls_qkv, n_sequences};
    return cpu_gemm_run(&encoder->gemm, parts, ARRAY_COUNT(parts), NULL, NULL);
}

/* in -> y, then pass->rows = norm(pass->rows + y) */
static int project_and_norm(struct pass *pass, const struct cpu_gemm_linear *linear,
                            const struct cpu_norm *norm, const float *in, uint32_t n_rows)
{
    struct encoder *encoder = pass->encoder;
    struct cpu_gemm_part part = {linear, in, encoder->y, n_rows};

    pass->norm = norm;
    return cpu_gemm_run(&encoder->gemm, &part, 1, add_and_norm, pass);
}

static int run_layer(struct pass *pass, const struct encoder_cpu_layer *layer)
{
    struct encoder *encoder = pass->encoder;
    const struct batch *batch = pass->batch;
    uint32_t n_rows = pass->last_layer ? batch->n_sequences : batch->n_tokens;
    float *rows = pass->last_layer ? encoder->cls_x : encoder->x;
    float *mixed = pass->last_layer ? encoder->cls_qkv : encoder->qkv;
    struct cpu_gemm_part ffn_in = {&layer->ffn_in, rows, encoder->h, n_rows};
    int status;

    pass->rows = rows;
    if (pass->last_layer)
        gather_cls(pass);
    status = project_qkv(pass, layer);
    if (status)
        return status;
    cpu_pool_run(encoder->pool, attend, pass, batch->n_sequences * encoder->weights.config.n_heads);
    status =
        project_and_norm(pass, &layer->attention_output, &layer->attention_norm, mixed, n_rows);
    if (status)
        return status;
    status = cpu_gemm_run(&encoder->gemm, &ffn_in, 1, NULL, NULL);
    if (status)
        return status;
    return project_and_norm(pass, &layer->ffn_out, &layer->output_norm, encoder->h, n_rows);
}

static int forward(struct encoder *encoder, const struct batch *batch, float *logits)
{
    const struct encoder_cpu_weights *weights = &encoder->weights;
    struct pass pass = {.encoder = encoder, .batch = batch, .logits = logits};
    struct cpu_gemm_part pooler = {&weights->pooler, encoder->cls_x, encoder->y,
                                   batch->n_sequences};
    int status = 0;

    CHECK(batch->n_tokens >= 1 && batch->n_tokens <= encoder->max_tokens);
    CHECK(batch->n_sequences >= 1 && batch->n_sequences <= encoder->max_sequences);
    CHECK(batch->cu_seqlens[batch->n_sequences] == batch->n_tokens);
    for (uint32_t i = 0; i < batch->n_sequences; i++)
        CHECK(batch->cu_seqlens[i + 1] - batch->cu_seqlens[i] - 1 < encoder->max_length);

    cpu_pool_run(encoder->pool, embed_tokens, &pass,
                 (batch->n_tokens + EMBED_TOKENS - 1) / EMBED_TOKENS);
    for (uint32_t i = 0; status == 0 && i < weights->config.n_layers; i++) {
        pass.last_layer = i + 1 == weights->config.n_layers;
        status = run_layer(&pass, &weights->layers[i]);
    }
    if (status == 0)
        status = cpu_gemm_run(&encoder->gemm, &pooler, 1, NULL, NULL);
    if (status == 0)
        cpu_pool_run(encoder->pool, classify, &pass, batch->n_sequences);
    return status;
}

/* ---- creation -------------------------------------------------------------------------------- */

static uint64_t plan_rows(struct encoder *encoder, const char *name, uint32_t n_rows, uint64_t dim)
{
    uint64_t floats = cpu_gemm_rows_room(n_rows) * dim;
    return cpu_arena_plan(&encoder->arena, name, floats * sizeof(float));
}

static void plan_activations(struct encoder *encoder)
{
    const struct model_config *config = &encoder->weights.config;
    uint32_t tokens = encoder->max_tokens, sequences = encoder->max_sequences;

    encoder->x_at = plan_rows(encoder, "x", tokens, config->hidden_dim);
    encoder->qkv_at = plan_rows(encoder, "qkv", tokens, 3 * (uint64_t)config->hidden_dim);
    encoder->y_at = plan_rows(encoder, "y", tokens, config->hidden_dim);
    encoder->h_at = plan_rows(encoder, "h", tokens, config->ffn_dim);
    encoder->cls_x_at = plan_rows(encoder, "cls x", sequences, config->hidden_dim);
    encoder->cls_qkv_at =
        plan_rows(encoder, "cls qkv", sequences, 3 * (uint64_t)config->hidden_dim);
    encoder->scratch_bytes = align_up_u64(
        cpu_attention_scratch_bytes(encoder->max_length, config->hidden_dim / config->n_heads),
        CACHE_LINE_BYTES);
    encoder->scratch_at = cpu_arena_plan(&encoder->arena, "scratch of attention",
                                         encoder->scratch_bytes * cpu_pool_threads(encoder->pool));
}

static void place_activations(struct encoder *encoder)
{
    encoder->x = cpu_arena_at(&encoder->arena, encoder->x_at);
    encoder->qkv = cpu_arena_at(&encoder->arena, encoder->qkv_at);
    encoder->y = cpu_arena_at(&encoder->arena, encoder->y_at);
    encoder->h = cpu_arena_at(&encoder->arena, encoder->h_at);
    encoder->cls_x = cpu_arena_at(&encoder->arena, encoder->cls_x_at);
    encoder->cls_qkv = cpu_arena_at(&encoder->arena, encoder->cls_qkv_at);
}

/* Which block sizes may be used; every kind of product has its say. The buffers are still empty. */
static int check_bits(struct encoder *encoder, char error[ERROR_BYTES])
{
    const struct encoder_cpu_layer *layer = &encoder->weights.layers[0];
    struct {
        const struct cpu_gemm_linear *linear;
        float *in, *out;
    } products[] = {
        {&layer->query, encoder->x, encoder->qkv},
        {&layer->attention_output, encoder->qkv, encoder->y},
        {&layer->ffn_in, encoder->x, encoder->h},
        {&layer->ffn_out, encoder->h, encoder->y},
        {&encoder->weights.pooler, encoder->x, encoder->y},
    };
    int status = 0;

    for (size_t i = 0; status == 0 && i < ARRAY_COUNT(products); i++)
        status = cpu_gemm_check_bits(&encoder->gemm, products[i].linear, products[i].in,
                                     products[i].out, error);
    if (status == 0)
        cpu_gemm_log_steps(&encoder->gemm);
    return status;
}

static void describe_encoder(struct encoder *encoder)
{
    char version[32];

    cpu_dnnl_version(version);
    snprintf(encoder->description, sizeof(encoder->description),
             "oneDNN %s float32 %s, %u threads, %u MB", version, encoder->kernels->tier,
             cpu_pool_threads(encoder->pool), (uint32_t)(encoder->arena.planned_bytes / 1000000));
}

static int open_encoder(struct encoder *encoder, const struct model *model,
                        const struct encoder_options *options, char error[ERROR_BYTES])
{
    uint32_t n_threads = options->threads ? options->threads : cpu_usable_cores();
    int status;

    encoder->kernels = cpu_kernels_best();
    encoder->max_tokens = options->max_batch_tokens;
    encoder->max_sequences = options->max_batch_sequences;
    encoder->max_length = (uint32_t)min_u64(model->config.n_positions, encoder->max_tokens);
    encoder->pool = cpu_pool_create((uint32_t)min_u64(n_threads, CPU_POOL_THREADS_MAX), error);
    if (!encoder->pool)
        return -ENOMEM;
    status = cpu_gemm_open(&encoder->gemm, encoder->pool, error);
    if (status == 0)
        status = encoder_cpu_weights_plan(&encoder->weights, model, &encoder->gemm, &encoder->arena,
                                          error);
    if (status)
        return status;
    cpu_gemm_plan(&encoder->gemm, &encoder->arena, encoder->max_tokens);
    plan_activations(encoder);
    status = cpu_arena_take(&encoder->arena, error);
    if (status)
        return status;
    place_activations(encoder);
    start_timer_end(options->timer, START_PHASE_DEVICE);
    status =
        encoder_cpu_weights_load(&encoder->weights, model, &encoder->gemm, &encoder->arena, error);
    if (status)
        return status;
    start_timer_end(options->timer, START_PHASE_WEIGHTS);
    status = check_bits(encoder, error);
    if (status == 0)
        start_timer_end(options->timer, START_PHASE_ALGORITHMS);
    return status;
}

static void destroy(struct encoder *encoder)
{
    if (!encoder)
        return;
    encoder_cpu_weights_close(&encoder->weights);
    cpu_gemm_close(&encoder->gemm);
    cpu_pool_destroy(encoder->pool);
    cpu_arena_release(&encoder->arena);
    free(encoder);
}

static struct encoder *create(const struct model *model, const struct encoder_options *options,
                              char error[ERROR_BYTES])
{
    struct encoder *encoder;

    CHECK(options->max_batch_tokens >= 1 && options->max_batch_sequences >= 1);
    if (options->dtype != ENCODER_DTYPE_AUTO && options->dtype != ENCODER_DTYPE_FLOAT32) {
        snprintf(error, ERROR_BYTES,
                 "--dtype: the cpu backend is built for float32 only; use float32 or auto");
        return NULL;
    }
    encoder = calloc(1, sizeof(*encoder));
    if (!encoder) {
        snprintf(error, ERROR_BYTES, "no memory for the encoder");
        return NULL;
    }
    if (open_encoder(encoder, model, options, error)) {
        destroy(encoder);
        return NULL;
    }
    describe_encoder(encoder);
    cpu_arena_log(&encoder->arena);
    return encoder;
}

static const char *describe(const struct encoder *encoder)
{
    return encoder->description;
}

static uint32_t useful_batch_tokens(const struct encoder_options *options)
{
    uint64_t n_threads = options->threads ? options->threads : cpu_usable_cores();
    return (uint32_t)max_u64(n_threads * USEFUL_TOKENS_OF_A_THREAD, USEFUL_TOKENS_MIN);
}

const struct encoder_backend encoder_cpu = {
    .name = "cpu",
    .create = create,
    .forward = forward,
    .describe = describe,
    .useful_batch_tokens = useful_batch_tokens,
    .destroy = destroy,
};
