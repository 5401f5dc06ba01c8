/* A forward pass, in the order of the card's stream; encoder_cpu.c has the CPU's.
 *
 *     body    embed_layernorm   x       = norm(word[id] + position[i] (+ type[t]))  (n, hidden)
 *     layer   qkv               qkv     = x [Wq Wk Wv]^T + b                        (n, 3 hidden)
 *             attention         context = softmax(q k^T / sqrt(d)) v                (n, hidden)
 *             attention_output  x       = x + context Wo^T + b
 *             layernorm         x       = norm(x)
 *             ffn_in            ffn     = x W1^T + b                                (n, ffn)
 *             gelu              ffn     = gelu(ffn)
 *             ffn_out           x       = x + ffn W2^T + b
 *             layernorm         x       = norm(x)
 *     last    key_value         qkv     = x [Wk Wv]^T + b                           (n, 2 hidden)
 *     tail    gather_cls        cls_x   = x[CLS]                                    (s, hidden)
 *             cls_query ...     what is left of the last layer, as above, on cls_x
 *             pooler            pooled  = cls_x Wp^T                                (s, hidden)
 *             classify          logits  = act(pooled + b) Wc^T + b                  (s, labels)
 *
 * n and s are the rows of the batch's buckets of tokens and of sequences. A ReLU rides on ffn_in;
 * so does the GELU where our own GEMM multiplies. With fp8 a layer's GEMMs read codes, which the
 * step before each has written. */
#include "gpu_worker/cuda_engine.h"

#include <math.h>
#include <string.h>

#include "gpu_worker/cuda_error.h"

/* A queue of work that stops at its first error. */
struct queue {
    struct encoder *encoder;
    uint32_t bucket, n_rows;
    int result;
    char *error; /* (ERROR_BYTES) */
};

/* Makes the call, and none of its arguments, unless an earlier one failed. */
#define QUEUE(queue, what, call)                                          \
    do {                                                                  \
        if ((queue)->result == 0)                                         \
            (queue)->result = cuda_check((call), (what), (queue)->error); \
    } while (0)

/* A product of the tail. */
static void gemm(struct queue *queue, enum cuda_gemm_index index, void *y, const void *x,
                 const struct cuda_linear *linear)
{
    const struct cuda_gemm_operands operands = {y, x, linear->weight, linear->bias, NULL, NULL};
    if (queue->result == 0)
        queue->result =
            cuda_gemm_enqueue(&queue->encoder->gemm_context, &queue->encoder->gemms[index],
                              &operands, queue->bucket, queue->error);
}

/* ---- what a body's GEMM reads: elements or, with fp8, codes ---- */

/* With fp8 the context has no use as elements, so its region holds the codes. */
static void *codes_of(const struct encoder *e, enum model_product product)
{
    const struct cuda_activations *a = &e->activations;
    void *const codes[MODEL_PRODUCT_COUNT] = {
        [MODEL_PRODUCT_QKV] = a->x_codes,
        [MODEL_PRODUCT_ATTENTION_OUTPUT] = a->context,
        [MODEL_PRODUCT_FFN_IN] = a->x_codes,
        [MODEL_PRODUCT_FFN_OUT] = a->ffn_codes,
    };
    return codes[product];
}

/* Where a kernel puts the codes that a product of `layer` reads next. */
static struct fp8_output codes_for(const struct encoder *e, uint32_t layer,
                                   enum model_product product)
{
    if (e->fp8 == NULL)
        return (struct fp8_output){NULL, 0.0f};
    return (struct fp8_output){codes_of(e, product), 1.0f / e->fp8->scales[layer][product].input};
}

static const struct fp8_output NO_CODES;

/* By what name scales and a calibration know a GEMM of the body. */
static enum model_product product_of(enum cuda_gemm_index index)
{
    static const enum model_product products[] = {
        [CUDA_GEMM_qkv] = MODEL_PRODUCT_QKV,
        [CUDA_GEMM_key_value] = MODEL_PRODUCT_QKV,
        [CUDA_GEMM_attention_output] = MODEL_PRODUCT_ATTENTION_OUTPUT,
        [CUDA_GEMM_ffn_in] = MODEL_PRODUCT_FFN_IN,
        [CUDA_GEMM_ffn_out] = MODEL_PRODUCT_FFN_OUT,
    };
    CHECK((size_t)index < ARRAY_COUNT(products));
    return products[index];
}

/* The operands of a GEMM of `layer`, whose elements are x. */
static struct cuda_gemm_operands operands_of(const struct encoder *e, enum cuda_gemm_index index,
                                             uint32_t layer, void *y, const void *x,
                                             const struct cuda_linear *linear)
{
    struct cuda_gemm_operands operands = {.y = y, .x = x, linear->weight, linear->bias, NULL, NULL};
    if (e->fp8 != NULL) {
        const enum model_product product = product_of(index);
        const struct cuda_fp8_scales *scales =
            &e->fp8->device_scales[layer * MODEL_PRODUCT_COUNT + product];
        operands.x = codes_of(e, product);
        operands.x_scale = &scales->input;
        operands.weight_scale = &scales->weight;
    }
    return operands;
}

/* A product of the body. An encoder that calibrates looks at its input first. */
static void multiply(struct queue *queue, enum cuda_gemm_index index, uint32_t layer, void *y,
                     const void *x, const struct cuda_linear *linear)
{
    const struct encoder *e = queue->encoder;
    const struct cuda_gemm_operands operands = operands_of(e, index, layer, y, x, linear);
    const enum model_product product = product_of(index);
    if (e->recording.path != NULL)
        QUEUE(queue, "record_amax",
              e->kernels->record_amax(
                  e->recording.amax_bits + layer * MODEL_PRODUCT_COUNT + product, x, &e->batch,
                  queue->n_rows, e->gemms[index].in_dim, e->stream));
    if (queue->result == 0)
        queue->result = cuda_gemm_enqueue(&e->gemm_context, &e->gemms[index], &operands,
                                          queue->bucket, queue->error);
}

/* ---- the layers ---- */

static void layernorm(struct queue *queue, void *x, struct fp8_output also,
                      const struct cuda_norm *norm)
{
    const struct encoder *e = queue->encoder;
    const struct norm_weights weights = {norm->weight, norm->bias, e->config.layer_norm_eps};
    QUEUE(queue, "layernorm",
          e->kernels->layernorm(x, also, &weights, queue->n_rows, e->config.hidden_dim, e->stream));
}

/* The FFN's activation, between its products. ReLU rides on the first, or on the making of codes;
 * the exact GELU is a pass of its own, or our GEMM's epilogue. */
static void activate(struct queue *queue, void *hidden, struct fp8_output codes)
{
    const struct encoder *e = queue->encoder;
    const uint64_t n_elements = (uint64_t)queue->n_rows * e->config.ffn_dim;
    if (e->config.activation == MODEL_GELU && !e->own_ffn)
        QUEUE(queue, "gelu", e->kernels->gelu(hidden, codes, n_elements, e->stream));
    else if (codes.codes != NULL)
        QUEUE(queue, "quantize", e->kernels->quantize(codes, hidden, 0.0f, n_elements, e->stream));
}

static void own_ffn_in(struct queue *queue, const struct cuda_layer *layer, const void *x,
                       void *hidden)
{
    const struct encoder *e = queue->encoder;
    QUEUE(queue, "our FFN GEMM",
          e->kernels->gemm(hidden, x, layer->ffn_in.weight, layer->ffn_in.bias, GEMM_GELU,
                           queue->n_rows, e->config.ffn_dim, e->config.hidden_dim, e->stream));
}

static void attention(struct queue *queue, uint32_t layer)
{
    const struct encoder *e = queue->encoder;
    const struct cuda_activations *a = &e->activations;
    QUEUE(queue, "attention",
          e->kernels->attention(a->context, codes_for(e, layer, MODEL_PRODUCT_ATTENTION_OUTPUT),
                                a->qkv, &e->batch, queue->n_rows, e->config.hidden_dim,
                                e->config.n_heads, e->stream));
}

/* One whole layer, for every token. The GEMMs after attention and FFN add to x: the residual. */
static void layer_forward(struct queue *queue, uint32_t i)
{
    const struct encoder *e = queue->encoder;
    const struct cuda_activations *a = &e->activations;
    const struct cuda_layer *layer = &e->weights.layers[i];
    multiply(queue, CUDA_GEMM_qkv, i, a->qkv, a->x, &layer->qkv);
    attention(queue, i);
    multiply(queue, CUDA_GEMM_attention_output, i, a->x, a->context, &layer->attention_output);
    layernorm(queue, a->x, codes_for(e, i, MODEL_PRODUCT_FFN_IN), &layer->attention_norm);
    if (e->own_ffn)
        own_ffn_in(queue, layer, a->x, a->ffn);
    else
        multiply(queue, CUDA_GEMM_ffn_in, i, a->ffn, a->x, &layer->ffn_in);
    activate(queue, a->ffn, codes_for(e, i, MODEL_PRODUCT_FFN_OUT));
    multiply(queue, CUDA_GEMM_ffn_out, i, a->x, a->ffn, &layer->ffn_out);
    layernorm(queue, a->x, codes_for(e, i + 1, MODEL_PRODUCT_QKV), &layer->output_norm);
}

static void embed(struct queue *queue)
{
    const struct encoder *e = queue->encoder;
    const struct cuda_weights *w = &e->weights;
    const struct embedding_tables tables = {w->word_embeddings,    w->position_embeddings,
                                            w->type_embeddings,    e->config.vocab_size,
                                            e->config.n_positions, e->config.n_types};
    const struct norm_weights norm = {w->embeddings_norm.weight, w->embeddings_norm.bias,
                                      e->config.layer_norm_eps};
    QUEUE(queue, "embed_layernorm",
          e->kernels->embed_layernorm(e->activations.x, codes_for(e, 0, MODEL_PRODUCT_QKV),
                                      &e->batch, &tables, &norm, queue->n_rows,
                                      e->config.hidden_dim, e->stream));
}

static void *row_of(const struct encoder *encoder, void *matrix, uint32_t row, uint32_t columns)
{
    return (char *)matrix + (uint64_t)row * columns * encoder->kernels->element_bytes;
}

/* Where the last layer's keys and values begin in its fused weights: behind the hidden_dim rows of
 * the query. With fp8 these weights are codes, in a place of their own. */
static struct cuda_linear key_value_of_last(const struct encoder *e)
{
    const struct cuda_layer *layer = &e->weights.layers[e->config.n_layers - 1];
    const uint32_t hidden_dim = e->config.hidden_dim;
    return (struct cuda_linear){e->fp8 != NULL
                                    ? layer->key_value_codes
                                    : row_of(e, layer->qkv.weight, hidden_dim, hidden_dim),
                                row_of(e, layer->qkv.bias, hidden_dim, 1)};
}

int cuda_forward_body(struct encoder *encoder, uint32_t bucket, char error[ERROR_BYTES])
{
    struct queue queue = {encoder, bucket, encoder->tokens.rows[bucket], 0, error};
    const struct cuda_activations *a = &encoder->activations;
    const uint32_t last = encoder->config.n_layers - 1;
    const struct cuda_linear key_value = key_value_of_last(encoder);
    embed(&queue);
    for (uint32_t i = 0; i < last; i++)
        layer_forward(&queue, i);
    multiply(&queue, CUDA_GEMM_key_value, last, a->qkv, a->x, &key_value);
    return queue.result;
}

/* The last layer's attention, for the [CLS] rows only. */
static void cls_attention(struct queue *queue, const struct cuda_layer *layer)
{
    const struct encoder *e = queue->encoder;
    const struct cuda_activations *a = &e->activations;
    QUEUE(queue, "gather_cls",
          e->kernels->gather_cls(a->cls_x, a->x, &e->batch, queue->n_rows, e->config.hidden_dim,
                                 e->stream));
    gemm(queue, CUDA_GEMM_cls_query, a->cls_query, a->cls_x, &layer->qkv);
    QUEUE(queue, "attention_cls",
          e->kernels->attention_cls(a->cls_context, a->cls_query, a->qkv, &e->batch, queue->n_rows,
                                    e->config.hidden_dim, e->config.n_heads, e->stream));
    gemm(queue, CUDA_GEMM_cls_attention_output, a->cls_x, a->cls_context, &layer->attention_output);
    layernorm(queue, a->cls_x, NO_CODES, &layer->attention_norm);
}

static void cls_ffn(struct queue *queue, const struct cuda_layer *layer)
{
    const struct cuda_activations *a = &queue->encoder->activations;
    if (queue->encoder->own_ffn)
        own_ffn_in(queue, layer, a->cls_x, a->cls_ffn);
    else
        gemm(queue, CUDA_GEMM_cls_ffn_in, a->cls_ffn, a->cls_x, &layer->ffn_in);
    activate(queue, a->cls_ffn, NO_CODES);
    gemm(queue, CUDA_GEMM_cls_ffn_out, a->cls_x, a->cls_ffn, &layer->ffn_out);
    layernorm(queue, a->cls_x, NO_CODES, &layer->output_norm);
}

static void classify(struct queue *queue)
{
    const struct encoder *e = queue->encoder;
    const struct cuda_weights *w = &e->weights;
    const enum pooler_activation activation =
        e->config.architecture == MODEL_BERT ? POOLER_TANH : POOLER_RELU;
    const struct cuda_linear pooler = {w->pooler_weight, NULL}; /* classify() adds its bias */
    gemm(queue, CUDA_GEMM_pooler, e->activations.pooled, e->activations.cls_x, &pooler);
    QUEUE(queue, "classify",
          e->kernels->classify(cuda_plan_device_address(&e->mapped_plan, e->logits),
                               e->logits_stride, e->activations.pooled, w->pooler_bias,
                               w->classifier_weight, w->classifier_bias, activation, &e->batch,
                               queue->n_rows, e->config.hidden_dim, e->config.n_labels, e->stream));
}

int cuda_forward_tail(struct encoder *encoder, uint32_t bucket, char error[ERROR_BYTES])
{
    struct queue queue = {encoder, bucket, encoder->sequences.rows[bucket], 0, error};
    const struct cuda_layer *layer = &encoder->weights.layers[encoder->config.n_layers - 1];
    cls_attention(&queue, layer);
    cls_ffn(&queue, layer);
    classify(&queue);
    return queue.result;
}

/* ---- the GEMMs ---- */

static struct cuda_gemm plain_gemm(const struct encoder *e, const char *name,
                                   const struct cuda_buckets *buckets, uint32_t out_dim,
                                   uint32_t in_dim)
{
    return (struct cuda_gemm){.name = name,
                              .out_dim = out_dim,
                              .in_dim = in_dim,
                              .epilogue = CUBLASLT_EPILOGUE_BIAS,
                              .x_type = e->gemm_context.element_type,
                              .y_type = e->gemm_context.element_type,
                              .buckets = buckets};
}

void cuda_forward_describe_gemms(struct encoder *encoder)
{
    const uint32_t hidden = encoder->config.hidden_dim, ffn_dim = encoder->config.ffn_dim;
    const uint32_t dims[CUDA_GEMM_COUNT][2] = {
        [CUDA_GEMM_qkv] = {3 * hidden, hidden},
        [CUDA_GEMM_key_value] = {2 * hidden, hidden},
        [CUDA_GEMM_attention_output] = {hidden, hidden},
        [CUDA_GEMM_ffn_in] = {ffn_dim, hidden},
        [CUDA_GEMM_ffn_out] = {hidden, ffn_dim},
        [CUDA_GEMM_cls_query] = {hidden, hidden},
        [CUDA_GEMM_cls_attention_output] = {hidden, hidden},
        [CUDA_GEMM_cls_ffn_in] = {ffn_dim, hidden},
        [CUDA_GEMM_cls_ffn_out] = {hidden, ffn_dim},
        [CUDA_GEMM_pooler] = {hidden, hidden},
    };
    struct cuda_gemm *gemms = encoder->gemms;
#define CUDA_GEMM_DESCRIBE(name, rows)                                   \
    gemms[CUDA_GEMM_##name] = plain_gemm(encoder, #name, &encoder->rows, \
                                         dims[CUDA_GEMM_##name][0], dims[CUDA_GEMM_##name][1]);
    CUDA_GEMMS(CUDA_GEMM_DESCRIBE)
    gemms[CUDA_GEMM_attention_output].beta = gemms[CUDA_GEMM_ffn_out].beta = 1.0f;
    gemms[CUDA_GEMM_cls_attention_output].beta = gemms[CUDA_GEMM_cls_ffn_out].beta = 1.0f;
    if (encoder->config.activation == MODEL_RELU)
        gemms[CUDA_GEMM_ffn_in].epilogue = gemms[CUDA_GEMM_cls_ffn_in].epilogue =
            CUBLASLT_EPILOGUE_RELU_BIAS;
    gemms[CUDA_GEMM_pooler].epilogue = CUBLASLT_EPILOGUE_DEFAULT; /* the head adds its bias */
    gemms[CUDA_GEMM_pooler].y_type = CUDA_R_32F;
    for (uint32_t i = CUDA_GEMM_qkv; encoder->fp8 != NULL && i <= CUDA_GEMM_ffn_out; i++) {
        gemms[i].x_type = CUDA_R_8F_E4M3;
        gemms[i].epilogue = CUBLASLT_EPILOGUE_BIAS;
    }
}

bool cuda_forward_has_own_ffn(const struct encoder *encoder)
{
    return encoder->kernels->gemm != NULL && encoder->recording.path == NULL &&
           encoder->config.activation == MODEL_GELU &&
           encoder->config.ffn_dim % KERNEL_GEMM_OUT_MULTIPLE == 0 &&
           encoder->config.hidden_dim % KERNEL_GEMM_IN_MULTIPLE == 0;
}

void cuda_forward_operands(const struct encoder *encoder,
                           struct cuda_gemm_operands operands[CUDA_GEMM_COUNT])
{
    const struct cuda_activations *a = &encoder->activations;
    const uint32_t last = encoder->config.n_layers - 1;
    const struct cuda_layer *first = &encoder->weights.layers[0];
    const struct cuda_layer *layer = &encoder->weights.layers[last];
    const struct cuda_linear key_value = key_value_of_last(encoder);
    const struct cuda_linear *out = &layer->attention_output;
    operands[CUDA_GEMM_qkv] = operands_of(encoder, CUDA_GEMM_qkv, 0, a->qkv, a->x, &first->qkv);
    operands[CUDA_GEMM_key_value] =
        operands_of(encoder, CUDA_GEMM_key_value, last, a->qkv, a->x, &key_value);
    operands[CUDA_GEMM_attention_output] = operands_of(encoder, CUDA_GEMM_attention_output, 0, a->x,
                                                       a->context, &first->attention_output);
    operands[CUDA_GEMM_ffn_in] =
        operands_of(encoder, CUDA_GEMM_ffn_in, 0, a->ffn, a->x, &first->ffn_in);
    operands[CUDA_GEMM_ffn_out] =
        operands_of(encoder, CUDA_GEMM_ffn_out, 0, a->x, a->ffn, &first->ffn_out);
    operands[CUDA_GEMM_cls_query] = (struct cuda_gemm_operands){
        .y = a->cls_query, .x = a->cls_x, layer->qkv.weight, layer->qkv.bias, NULL, NULL};
    operands[CUDA_GEMM_cls_attention_output] = (struct cuda_gemm_operands){
        .y = a->cls_x, .x = a->cls_context, out->weight, out->bias, NULL, NULL};
    operands[CUDA_GEMM_cls_ffn_in] = (struct cuda_gemm_operands){
        .y = a->cls_ffn, .x = a->cls_x, layer->ffn_in.weight, layer->ffn_in.bias, NULL, NULL};
    operands[CUDA_GEMM_cls_ffn_out] = (struct cuda_gemm_operands){
        .y = a->cls_x, .x = a->cls_ffn, layer->ffn_out.weight, layer->ffn_out.bias, NULL, NULL};
    operands[CUDA_GEMM_pooler] = (struct cuda_gemm_operands){
        .y = a->pooled, .x = a->cls_x, encoder->weights.pooler_weight, NULL, NULL, NULL};
}
