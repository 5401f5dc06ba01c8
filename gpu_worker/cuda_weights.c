/* Plans and uploads the weights; see cuda_weights.h.
 *
 * One list names every tensor and its place; planning and uploading are two walks over it. Tensors
 * pass as float32 through a pinned buffer that the conversion kernel reads in place. What becomes
 * codes passes twice: its scale must be known before its first code is. */
#include "gpu_worker/cuda_weights.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gpu_worker/cuda_error.h"

#define WEIGHTS_MAX   (MODEL_LAYERS_MAX * 16 + 16)
#define STAGING_BYTES (4u << 20)

/* One tensor of the checkpoint and where it goes. */
struct weight {
    const char *group; /* the plan's name for it */
    const struct model_tensor *tensor;
    void **place;           /* the region it is part of */
    uint32_t part, n_parts; /* of the region: 0 of 1, or Q, K, V as 0, 1, 2 of 3 */
    bool float32;           /* whatever the element type */
    float *scale;           /* of the region's codes; NULL: no codes */
};

struct weight_list {
    struct weight weights[WEIGHTS_MAX];
    uint32_t count;
};

static void add(struct weight_list *list, const char *group, const struct model_tensor *tensor,
                void **place)
{
    CHECK(list->count < WEIGHTS_MAX);
    if (tensor->data != NULL)
        list->weights[list->count++] = (struct weight){group, tensor, place, 0, 1, false, NULL};
}

static void add_float32(struct weight_list *list, const struct model_tensor *tensor, float **place)
{
    add(list, "head", tensor, (void **)place);
    list->weights[list->count - 1].float32 = true;
}

/* `scale` as in struct weight. */
static void add_linear(struct weight_list *list, const struct model_linear *linear,
                       struct cuda_linear *place, float *scale)
{
    add(list, "layers", &linear->weight, &place->weight);
    list->weights[list->count - 1].scale = scale;
    add(list, "layers", &linear->bias, &place->bias);
}

static void add_norm(struct weight_list *list, const char *group, const struct model_norm *norm,
                     struct cuda_norm *place)
{
    add(list, group, &norm->weight, &place->weight);
    add(list, group, &norm->bias, &place->bias);
}

/* Q, K and V become one matrix: parts 0, 1 and 2 of it. */
static void add_qkv(struct weight_list *list, const struct model_layer *layer,
                    struct cuda_linear *place, float *scale)
{
    const struct model_linear *const parts[] = {&layer->query, &layer->key, &layer->value};
    for (uint32_t bias = 0; bias < 2; bias++)
        for (uint32_t part = 0; part < ARRAY_COUNT(parts); part++) {
            add(list, "layers", bias ? &parts[part]->bias : &parts[part]->weight,
                bias ? &place->bias : &place->weight);
            list->weights[list->count - 1].part = part;
            list->weights[list->count - 1].n_parts = ARRAY_COUNT(parts);
            list->weights[list->count - 1].scale = bias ? NULL : scale;
        }
}

/* Keys and values once more, as codes: with fp8 the last layer's only part of the body. */
static void add_key_value_codes(struct weight_list *list, const struct model_layer *layer,
                                void **place, float *scale)
{
    const struct model_linear *const parts[] = {&layer->key, &layer->value};
    for (uint32_t part = 0; part < ARRAY_COUNT(parts); part++) {
        add(list, "layers", &parts[part]->weight, place);
        list->weights[list->count - 1].part = part;
        list->weights[list->count - 1].n_parts = ARRAY_COUNT(parts);
        list->weights[list->count - 1].scale = scale;
    }
}

static void add_layer(struct weight_list *list, const struct model_layer *layer,
                      struct cuda_layer *to, struct cuda_fp8_scales *scales, bool is_last)
{
    float *codes[MODEL_PRODUCT_COUNT] = {NULL};
    for (uint32_t i = 0; scales != NULL && !is_last && i < MODEL_PRODUCT_COUNT; i++)
        codes[i] = &scales[i].weight;
    add_qkv(list, layer, &to->qkv, codes[MODEL_PRODUCT_QKV]);
    if (scales != NULL && is_last)
        add_key_value_codes(list, layer, &to->key_value_codes, &scales[MODEL_PRODUCT_QKV].weight);
    add_linear(list, &layer->attention_output, &to->attention_output,
               codes[MODEL_PRODUCT_ATTENTION_OUTPUT]);
    add_norm(list, "layers", &layer->attention_norm, &to->attention_norm);
    add_linear(list, &layer->ffn_in, &to->ffn_in, codes[MODEL_PRODUCT_FFN_IN]);
    add_linear(list, &layer->ffn_out, &to->ffn_out, codes[MODEL_PRODUCT_FFN_OUT]);
    add_norm(list, "layers", &layer->output_norm, &to->output_norm);
}

static void list_weights(struct weight_list *list, struct cuda_weights *place,
                         const struct model *model, struct cuda_fp8 *fp8)
{
    const struct model_weights *from = &model->weights;
    list->count = 0;
    add(list, "embeddings", &from->word_embeddings, &place->word_embeddings);
    add(list, "embeddings", &from->position_embeddings, &place->position_embeddings);
    add(list, "embeddings", &from->type_embeddings, &place->type_embeddings);
    add_norm(list, "embeddings", &from->embeddings_norm, &place->embeddings_norm);
    for (uint32_t i = 0; i < model->config.n_layers; i++)
        add_layer(list, &from->layers[i], &place->layers[i], fp8 != NULL ? fp8->scales[i] : NULL,
                  i + 1 == model->config.n_layers);
    add(list, "head", &from->pooler.weight, &place->pooler_weight);
    add_float32(list, &from->pooler.bias, &place->pooler_bias);
    add_float32(list, &from->classifier.weight, &place->classifier_weight);
    add_float32(list, &from->classifier.bias, &place->classifier_bias);
}

static uint64_t tensor_elements(const struct model_tensor *tensor)
{
    return (uint64_t)tensor->rows * tensor->columns;
}

static uint32_t weight_bytes(const struct weight *weight, const struct kernel_set *kernels)
{
    if (weight->scale != NULL)
        return 1;
    return weight->float32 ? sizeof(float) : kernels->element_bytes;
}

void cuda_weights_plan(struct cuda_weights *weights, const struct model *model,
                       const struct kernel_set *kernels, struct cuda_fp8 *fp8,
                       struct cuda_plan *plan)
{
    struct weight_list list;
    list_weights(&list, weights, model, fp8);
    for (uint32_t i = 0; i < list.count; i++) {
        const struct weight *weight = &list.weights[i];
        const uint32_t bytes = weight_bytes(weight, kernels);
        if (weight->part == 0)
            cuda_plan_add(plan, weight->group,
                          tensor_elements(weight->tensor) * weight->n_parts * bytes, weight->place);
    }
}

/* ---- uploading ---- */

struct upload {
    float *staging;              /* pinned, STAGING_BYTES */
    const float *device_staging; /* the same, for the card */
    uint32_t *overflow;          /* pinned: set by the card */
    uint32_t *device_overflow;
    cudaStream_t stream;
};

static uint32_t chunk_rows_of(const struct model_tensor *tensor)
{
    const uint32_t chunk_rows = STAGING_BYTES / sizeof(float) / tensor->columns;
    CHECK(chunk_rows > 0);
    return chunk_rows;
}

/* The largest |w| of a tensor; infinite where one is no number. */
static float amax_of(const struct model_tensor *tensor, float *buffer)
{
    const uint32_t chunk_rows = chunk_rows_of(tensor);
    float amax = 0.0f;
    for (uint32_t row = 0; row < tensor->rows; row += chunk_rows) {
        const uint32_t n_rows = (uint32_t)min_u64(chunk_rows, tensor->rows - row);
        model_tensor_to_float32(tensor, row, n_rows, buffer);
        for (uint64_t i = 0; i < (uint64_t)n_rows * tensor->columns; i++) {
            const float size = fabsf(buffer[i]);
            amax = size <= amax ? amax : isnan(size) ? INFINITY : size;
        }
    }
    return amax;
}

/* Parts of one region share a scale: the largest of all decides. */
static int find_scales(const struct weight_list *list, float *buffer, char error[ERROR_BYTES])
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct weight *weight = &list->weights[i];
        if (weight->scale == NULL)
            continue;
        const float amax = amax_of(weight->tensor, buffer);
        if (isinf(amax)) {
            snprintf(error, ERROR_BYTES,
                     "a weight of the model is infinite or no number: fp8 has "
                     "no scale for it; use --dtype float32");
            return -ERANGE;
        }
        *weight->scale = weight->part == 0 ? amax : fmaxf(*weight->scale, amax);
        if (weight->part + 1 == weight->n_parts)
            *weight->scale = cuda_fp8_scale(*weight->scale);
    }
    return 0;
}

static cudaError_t convert(const struct upload *upload, const struct weight *weight, char *place,
                           uint64_t n_elements, const struct kernel_set *kernels)
{
    const struct kernel_set *to = weight->float32 ? &kernel_set_float32 : kernels;
    if (weight->scale != NULL)
        return kernels->quantize_weights((struct fp8_output){place, 1.0f / *weight->scale},
                                         upload->device_staging, n_elements, upload->stream);
    return to->convert(place, upload->device_staging, n_elements, upload->device_overflow,
                       upload->stream);
}

/* A chunk of rows at a time; the buffer is free again when the stream has nothing left to do. */
static int upload_weight(const struct upload *upload, const struct weight *weight,
                         const struct kernel_set *kernels, char error[ERROR_BYTES])
{
    const struct model_tensor *tensor = weight->tensor;
    const uint32_t chunk_rows = chunk_rows_of(tensor), bytes = weight_bytes(weight, kernels);
    char *place = (char *)*weight->place + weight->part * tensor_elements(tensor) * bytes;
    for (uint32_t row = 0; row < tensor->rows; row += chunk_rows) {
        const uint32_t n_rows = (uint32_t)min_u64(chunk_rows, tensor->rows - row);
        const uint64_t n_elements = (uint64_t)n_rows * tensor->columns;
        model_tensor_to_float32(tensor, row, n_rows, upload->staging);
        int result = cuda_check(convert(upload, weight, place, n_elements, kernels),
                                "the conversion of weights", error);
        if (result == 0)
            result =
                cuda_check(cudaStreamSynchronize(upload->stream), "the upload of weights", error);
        if (result != 0)
            return result;
        place += n_elements * bytes;
    }
    return 0;
}

int cuda_weights_upload(struct cuda_weights *weights, const struct model *model,
                        const struct kernel_set *kernels, struct cuda_fp8 *fp8, cudaStream_t stream,
                        char error[ERROR_BYTES])
{
    struct weight_list list;
    struct cuda_plan plan;
    struct upload upload = {.stream = stream};
    cuda_plan_init(&plan, "upload");
    cuda_plan_add(&plan, "staging", STAGING_BYTES, (void **)&upload.staging);
    cuda_plan_add(&plan, "overflow", sizeof(uint32_t), (void **)&upload.overflow);
    int result = cuda_plan_open_mapped(&plan, error);
    if (result == 0) {
        upload.device_staging = cuda_plan_device_address(&plan, upload.staging);
        upload.device_overflow = cuda_plan_device_address(&plan, upload.overflow);
        list_weights(&list, weights, model, fp8);
        result = find_scales(&list, upload.staging, error);
    }
    for (uint32_t i = 0; result == 0 && i < list.count; i++)
        result = upload_weight(&upload, &list.weights[i], kernels, error);
    if (result == 0 && *upload.overflow != 0) {
        snprintf(error, ERROR_BYTES,
                 "a weight of the model is too large for %s: use --dtype bfloat16 or float32",
                 kernels->dtype);
        result = -ERANGE;
    }
    cuda_plan_close_mapped(&plan);
    if (result == 0 && fp8 != NULL)
        result = cuda_fp8_upload(fp8, model->config.n_layers, stream, error);
    return result;
}
