/* The start, in the order of its phases: the card; its memory and the weights; the first choice of
 * algorithms; a first text. cuBLASLt takes half a second to load and needs nothing of this but the
 * driver's version, so it loads beside all up to the weights, the making of the context too. What
 * is slow and not needed for an answer comes after it (cuda_graphs.h). */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_worker/cuda_batch.h"
#include "gpu_worker/cuda_engine.h"
#include "gpu_worker/cuda_error.h"

#define COMPUTE_CAPABILITY_MIN 8 /* mma.m16n8k16 and cp.async */

/* Whether there is a card that serves. Makes no context: who has none shall know at once. */
static int find_device(struct encoder *e, char error[ERROR_BYTES])
{
    struct cudaDeviceProp properties;
    int n_devices;
    int result = cuda_check(cudaGetDeviceCount(&n_devices), "the search for a GPU", error);
    if (result == 0)
        result = cuda_check(cudaGetDeviceProperties(&properties, 0), "the look at GPU 0", error);
    if (result == 0)
        result =
            cuda_check(cudaDriverGetVersion(&e->driver_version), "the driver's version", error);
    if (result != 0)
        return result;
    if (properties.major < COMPUTE_CAPABILITY_MIN) {
        snprintf(error, ERROR_BYTES,
                 "%.64s has compute capability %d.%d, weir needs %d.0 or newer: use --backend cpu",
                 properties.name, properties.major, properties.minor, COMPUTE_CAPABILITY_MIN);
        return -ENODEV;
    }
    e->compute_capability = 10 * properties.major + properties.minor;
    if (e->fp8 != NULL && e->compute_capability < CUDA_FP8_COMPUTE_MIN) {
        snprintf(error, ERROR_BYTES,
                 "%.64s has compute capability %d.%d, --dtype fp8 needs 8.9 or newer: use --dtype "
                 "float16",
                 properties.name, properties.major, properties.minor);
        return -ENODEV;
    }
    e->n_multiprocessors = properties.multiProcessorCount;
    snprintf(e->device_name, sizeof e->device_name, "%.*s", (int)sizeof e->device_name - 1,
             properties.name);
    return 0;
}

static int open_device(struct encoder *e, char error[ERROR_BYTES])
{
    const int result = cuda_check(cudaSetDevice(0), "the opening of GPU 0", error);
    return result != 0 ? result
                       : cuda_check(cudaStreamCreateWithFlags(&e->stream, cudaStreamNonBlocking),
                                    "the creation of a stream", error);
}

static void plan_activations(struct encoder *e)
{
    struct cuda_activations *a = &e->activations;
    struct cuda_plan *plan = &e->device_plan;
    const uint64_t bytes = e->kernels->element_bytes;
    const uint64_t rows = cuda_buckets_largest(&e->tokens) * bytes;
    const uint64_t cls_rows = cuda_buckets_largest(&e->sequences) * bytes;
    const uint64_t hidden = e->config.hidden_dim, ffn = e->config.ffn_dim;
    cuda_plan_add(plan, "activations", rows * hidden, &a->x);
    cuda_plan_add(plan, "activations", rows * 3 * hidden, &a->qkv);
    cuda_plan_add(plan, "activations", rows * hidden, &a->context);
    cuda_plan_add(plan, "activations", rows * ffn, &a->ffn);
    if (e->fp8 != NULL) {
        cuda_plan_add(plan, "fp8 codes", cuda_buckets_largest(&e->tokens) * hidden, &a->x_codes);
        cuda_plan_add(plan, "fp8 codes", cuda_buckets_largest(&e->tokens) * ffn, &a->ffn_codes);
        cuda_plan_add(plan, "fp8 scales", CUDA_FP8_SCALE_BYTES(e->config.n_layers),
                      (void **)&e->fp8->device_scales);
    }
    if (e->recording.path != NULL)
        cuda_plan_add(plan, "calibration",
                      sizeof(uint32_t) * MODEL_PRODUCT_COUNT * (uint64_t)e->config.n_layers,
                      (void **)&e->recording.amax_bits);
    cuda_plan_add(plan, "[CLS] activations", cls_rows * hidden, &a->cls_x);
    cuda_plan_add(plan, "[CLS] activations", cls_rows * hidden, &a->cls_query);
    cuda_plan_add(plan, "[CLS] activations", cls_rows * hidden, &a->cls_context);
    cuda_plan_add(plan, "[CLS] activations", cls_rows * ffn, &a->cls_ffn);
    cuda_plan_add(plan, "[CLS] activations",
                  (uint64_t)cuda_buckets_largest(&e->sequences) * hidden * sizeof(float),
                  (void **)&a->pooled);
}

/* cuBLASLt's workspace, and what its algorithms are tried with. */
static void plan_algorithms(struct encoder *e)
{
    if (e->gemm_context.own != NULL)
        return;
    cuda_plan_add(&e->device_plan, "cuBLASLt workspace", CUDA_GEMM_WORKSPACE_BYTES,
                  &e->gemm_context.workspace);
    cuda_trials_plan(&e->trials, e->gemms, CUDA_GEMM_COUNT, &e->device_plan, &e->mapped_plan);
}

/* Both plans, and the card's addresses of what the kernels share. */
static int open_memory(struct encoder *e, const struct model *model, char error[ERROR_BYTES])
{
    struct cuda_plan *device = &e->device_plan, *mapped = &e->mapped_plan;
    struct kernel_batch *batch = &e->batch;
    batch->layout =
        cuda_batch_layout(e->max_tokens, e->max_sequences, cuda_buckets_largest(&e->tokens));
    e->logits_stride = (uint32_t)align_up_u64((uint64_t)e->max_sequences * e->config.n_labels, 16);
    cuda_plan_init(device, "device memory");
    cuda_weights_plan(&e->weights, model, e->kernels, e->fp8, device);
    plan_activations(e);
    cuda_plan_add(device, "descriptor", sizeof(uint32_t) * batch->layout.tokens,
                  (void **)&batch->descriptor);
    cuda_plan_add(device, "descriptor", sizeof(uint32_t), (void **)&batch->batches_done);
    cuda_plan_add(device, "descriptor", sizeof(uint32_t), (void **)&batch->tickets);
    cuda_plan_init(mapped, "mapped memory");
    cuda_plan_add(mapped, "staging",
                  sizeof(uint32_t) * BATCHES_IN_FLIGHT * (uint64_t)batch->layout.n_words,
                  (void **)&e->staging);
    cuda_plan_add(mapped, "signal", sizeof *e->signal, (void **)&e->signal);
    cuda_plan_add(mapped, "logits", sizeof(float) * BATCHES_IN_FLIGHT * (uint64_t)e->logits_stride,
                  (void **)&e->logits);
    plan_algorithms(e);
    int result = cuda_plan_open_device(device, error);
    if (result == 0)
        result = cuda_plan_open_mapped(mapped, error);
    if (result != 0)
        return result;
    batch->staging = cuda_plan_device_address(mapped, e->staging);
    batch->signal = cuda_plan_device_address(mapped, e->signal);
    cuda_plan_print(device);
    cuda_plan_print(mapped);
    return 0;
}

/* ---- cuBLASLt, on a thread of its own ---- */

struct blas_loader {
    bool begun; /* there is a thread to join */
    pthread_t thread;
    struct encoder *encoder;
    int result;
    char error[ERROR_BYTES];
};

/* The library first: only its handle needs the context, which the other thread is making. */
static void *load_blas(void *argument)
{
    struct blas_loader *loader = argument;
    struct encoder *e = loader->encoder;
    struct cuda_blas *blas = &e->gemm_context.blas;
    loader->result = cuda_blas_open(blas, e->driver_version, loader->error);
    if (loader->result == 0)
        loader->result = cuda_check(cudaSetDevice(0), "the opening of GPU 0", loader->error);
    if (loader->result == 0)
        loader->result = cuda_blas_create_handle(blas, loader->error);
    return NULL;
}

static int begin_loading_blas(struct blas_loader *loader, char error[ERROR_BYTES])
{
    if (loader->encoder->gemm_context.own != NULL)
        return 0;
    loader->begun = pthread_create(&loader->thread, NULL, load_blas, loader) == 0;
    if (loader->begun)
        return 0;
    snprintf(error, ERROR_BYTES, "no thread can be started to load cuBLASLt");
    return -EAGAIN;
}

/* Waits for it in any case. `result` is the start's so far, and stays if that is an error. */
static int end_loading_blas(struct blas_loader *loader, int result, char error[ERROR_BYTES])
{
    if (loader->begun)
        pthread_join(loader->thread, NULL);
    if (result != 0 || loader->result == 0)
        return result;
    memcpy(error, loader->error, ERROR_BYTES);
    return loader->result;
}

/* Card, memory and weights, with cuBLASLt beside them. */
static int load(struct encoder *e, const struct model *model, struct start_timer *timer,
                char error[ERROR_BYTES])
{
    struct blas_loader loader = {.encoder = e};
    int result = find_device(e, error);
    if (result == 0)
        result = begin_loading_blas(&loader, error);
    if (result != 0)
        return result;
    result = open_device(e, error);
    if (result == 0) {
        start_timer_end(timer, START_PHASE_DEVICE);
        cuda_forward_describe_gemms(e);
        result = open_memory(e, model, error);
    }
    if (result == 0)
        result = cuda_weights_upload(&e->weights, model, e->kernels, e->fp8, e->stream, error);
    result = end_loading_blas(&loader, result, error);
    if (result == 0)
        start_timer_end(timer, START_PHASE_WEIGHTS);
    return result;
}

/* ---- first answers ---- */

/* Our own GEMM has one algorithm. */
static void make_all_ready(struct encoder *e)
{
    for (uint32_t i = 0; i < e->tokens.count; i++)
        cuda_bucket_make_ready(&e->tokens, i);
    for (uint32_t i = 0; i < e->sequences.count; i++)
        cuda_bucket_make_ready(&e->sequences, i);
}

/* One text, kernel by kernel: loads what is loaded lazily, and shows that the card computes. */
static int warm_up(struct encoder *e, char error[ERROR_BYTES])
{
    const uint32_t input_ids[1] = {0}, cu_seqlens[2] = {0, 1}, type_starts[1] = {1};
    const struct batch batch = {input_ids, cu_seqlens, type_starts, 1, 1};
    float *logits = malloc(sizeof(float) * e->config.n_labels);
    int result = logits != NULL ? cuda_run(e, &batch, logits) : -ENOMEM;
    for (uint32_t i = 0; result == 0 && i < e->config.n_labels; i++)
        if (!isfinite(logits[i]))
            result = -ERANGE;
    if (result == -ERANGE)
        snprintf(
            error, ERROR_BYTES,
            "the first forward pass gave no finite logits: the model overflows %s; use --dtype "
            "bfloat16 or float32",
            e->kernels->dtype);
    else if (result != 0)
        snprintf(error, ERROR_BYTES, "the first forward pass failed: see the log line before");
    free(logits);
    return result;
}

int cuda_start(struct encoder *e, const struct model *model, struct start_timer *timer,
               char error[ERROR_BYTES])
{
    int result = load(e, model, timer, error);
    if (result != 0)
        return result;
    e->gemm_context.stream = e->stream;
    if (e->gemm_context.own != NULL)
        make_all_ready(e);
    else
        result = cuda_choice_begin(e, error);
    if (result != 0)
        return result;
    start_timer_end(timer, START_PHASE_ALGORITHMS);
    result = warm_up(e, error);
    if (result != 0)
        return result;
    start_timer_end(timer, START_PHASE_FIRST_PASS);
    result = cuda_recording_begin(&e->recording, &e->config, e->stream, error);
    if (result == 0)
        cuda_graphs_begin(e, timer);
    return result;
}
