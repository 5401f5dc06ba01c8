/* The CUDA backend: cuBLASLt for the matrices, our kernels for the rest, one graph launch for a
 * batch's body and one for its tail (cuda_engine.h). Memory and algorithms are made in create()
 * (cuda_start.c), graphs beside the first answers (cuda_graphs.h).
 *
 * Environment, for operators and tests:
 *     WEIR_CUBLASLT           the cuBLASLt library to open
 *     WEIR_CUDA_WATCHDOG_MS   how long a batch may take before the card counts as hung
 *     WEIR_CUDA_TUNE_FILE     where the timed choice of cuBLASLt's algorithms is kept
 *     WEIR_CUDA_FP8_FILE      the calibration that --dtype fp8 takes its scales from
 *     WEIR_CUDA_CALIBRATE_FILE    where an encoder of another dtype writes one when it is closed
 *     WEIR_CUDA_GEMM=own      our GEMM for all products: cuBLASLt is not opened
 *     WEIR_CUDA_FFN=own       our GEMM with the GELU in its epilogue, for the FFN's first half only
 *     WEIR_CUDA_FFN=auto      the same where the tune file says that it is faster
 */
#include "gpu_worker/cuda_engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_worker/cuda_error.h"
#include "shm/log.h"

#define WATCHDOG_MS_DEFAULT      10000
#define WATCHDOG_MS_MAX          3600000
#define DIM_MULTIPLE             8 /* 16 bytes of 2-byte elements */
#define MULTIPROCESSORS_OF_LARGE 100
#define USEFUL_TOKENS_LARGE      8192
#define USEFUL_TOKENS            2048 /* more no longer fits an L4's second-level cache */

/* ---- choices ---- */

/* NULL where the variable is unset or empty. */
static const char *word_in(const char *variable)
{
    const char *word = getenv(variable);
    return word != NULL && word[0] != 0 ? word : NULL;
}

static int open_fp8(struct encoder *e, const struct model *model, char error[ERROR_BYTES])
{
    e->fp8 = calloc(1, sizeof *e->fp8);
    if (e->fp8 != NULL)
        return cuda_fp8_open(e->fp8, model, error);
    snprintf(error, ERROR_BYTES, "no memory for fp8's scales");
    return -ENOMEM;
}

static int choose_dtype(struct encoder *e, const struct model *model, enum encoder_dtype dtype,
                        char error[ERROR_BYTES])
{
    struct cuda_gemm_context *gemm = &e->gemm_context;
    gemm->compute_type = CUBLAS_COMPUTE_32F;
    switch (dtype) {
    case ENCODER_DTYPE_AUTO:
    case ENCODER_DTYPE_FLOAT16:
        e->kernels = &kernel_set_float16;
        gemm->element_type = CUDA_R_16F;
        return 0;
    case ENCODER_DTYPE_BFLOAT16:
        e->kernels = &kernel_set_bfloat16;
        gemm->element_type = CUDA_R_16BF;
        return 0;
    case ENCODER_DTYPE_FLOAT32:
        e->kernels = &kernel_set_float32;
        gemm->element_type = CUDA_R_32F;
        gemm->compute_type = CUBLAS_COMPUTE_32F_PEDANTIC;
        return 0;
    case ENCODER_DTYPE_FP8:
        e->kernels = &kernel_set_fp8;
        gemm->element_type = CUDA_R_16F;
        return open_fp8(e, model, error);
    default:
        snprintf(error, ERROR_BYTES,
                 "the cuda backend has float16, bfloat16, float32 and fp8: choose one of them as "
                 "--dtype");
        return -EINVAL;
    }
}

static int check_model(const struct model_config *config, enum encoder_dtype dtype,
                       char error[ERROR_BYTES])
{
    const uint32_t head_dim = config->hidden_dim / config->n_heads;
    const uint32_t multiple = dtype == ENCODER_DTYPE_FP8 ? CUDA_FP8_DIM_MULTIPLE : DIM_MULTIPLE;
    if (config->hidden_dim % multiple == 0 && config->ffn_dim % multiple == 0 &&
        head_dim % DIM_MULTIPLE == 0 && config->hidden_dim <= KERNEL_HIDDEN_DIM_MAX &&
        head_dim <= KERNEL_HEAD_DIM_MAX)
        return 0;
    snprintf(error, ERROR_BYTES,
             "the cuda backend needs hidden, FFN and head sizes that are multiples of %u (heads: "
             "of %d), "
             "hidden at most %d, heads at most %d; the model has %u, %u and %u: use %s",
             multiple, DIM_MULTIPLE, KERNEL_HIDDEN_DIM_MAX, KERNEL_HEAD_DIM_MAX, config->hidden_dim,
             config->ffn_dim, head_dim,
             dtype == ENCODER_DTYPE_FP8 ? "--dtype float16" : "--backend cpu");
    return -EINVAL;
}

static int refuse_word(const char *variable, const char *word, const char *allowed,
                       char error[ERROR_BYTES])
{
    snprintf(error, ERROR_BYTES,
             "%s is \"%.64s\", and can only be %s: unset it, so that cuBLASLt is used", variable,
             word, allowed);
    return -EINVAL;
}

/* Ours where it is asked for and applies. The choice is for the whole process, for the two differ
 * in their last bits: here, or when the tune file is read (cuda_choice.c). */
static int choose_own_ffn(struct encoder *e, char error[ERROR_BYTES])
{
    const char *word = word_in("WEIR_CUDA_FFN");
    const bool own = word != NULL && strcmp(word, "own") == 0;
    const bool by_time = word != NULL && strcmp(word, "auto") == 0;
    if (word != NULL && !own && !by_time)
        return refuse_word("WEIR_CUDA_FFN", word, "own or auto", error);
    if (by_time && e->tune_path == NULL) {
        snprintf(
            error, ERROR_BYTES,
            "WEIR_CUDA_FFN=auto does as the tune file says, so that a text keeps its bits when "
            "a worker is replaced: name one in WEIR_CUDA_TUNE_FILE");
        return -EINVAL;
    }
    e->own_ffn = (own || e->gemm_context.own != NULL) && cuda_forward_has_own_ffn(e);
    e->choice.ffn_by_time = by_time && cuda_forward_has_own_ffn(e);
    return 0;
}

/* All GEMMs by our kernel, or none: the bits of a text must not change while the server runs. */
static int choose_own_gemms(struct encoder *e, char error[ERROR_BYTES])
{
    const char *word = word_in("WEIR_CUDA_GEMM");
    if (word == NULL)
        return 0;
    if (strcmp(word, "own") != 0)
        return refuse_word("WEIR_CUDA_GEMM", word, "own", error);
    if (e->kernels->gemm == NULL || e->config.hidden_dim % KERNEL_GEMM_OUT_MULTIPLE != 0 ||
        e->config.ffn_dim % KERNEL_GEMM_OUT_MULTIPLE != 0) {
        snprintf(error, ERROR_BYTES,
                 "WEIR_CUDA_GEMM=own needs --dtype float16 or bfloat16, and hidden and FFN sizes "
                 "that are multiples of %d: unset it, so that cuBLASLt is used",
                 KERNEL_GEMM_OUT_MULTIPLE);
        return -EINVAL;
    }
    e->gemm_context.own = e->kernels;
    return 0;
}

static int choose_watchdog(struct encoder *e, char error[ERROR_BYTES])
{
    const char *word = word_in("WEIR_CUDA_WATCHDOG_MS");
    char *end = NULL;
    const long ms = word != NULL ? strtol(word, &end, 10) : WATCHDOG_MS_DEFAULT;
    if (word != NULL && (*end != 0 || ms < 1 || ms > WATCHDOG_MS_MAX)) {
        snprintf(
            error, ERROR_BYTES,
            "WEIR_CUDA_WATCHDOG_MS is \"%.64s\", and can only be a number of milliseconds from "
            "1 to %d: unset it, so that a batch may take %d",
            word, WATCHDOG_MS_MAX, WATCHDOG_MS_DEFAULT);
        return -EINVAL;
    }
    e->watchdog_ns = (uint64_t)ms * NS_PER_MS;
    return 0;
}

/* ---- create ---- */

static void cuda_destroy(struct encoder *e)
{
    if (e == NULL)
        return;
    cuda_graphs_end(&e->graphs);
    if (!e->failed) /* a card that hangs would hold us up */
        cuda_recording_end(&e->recording, &e->config, e->stream);
    cuda_blas_close(&e->gemm_context.blas);
    cuda_plan_close_mapped(&e->mapped_plan);
    cuda_plan_close_device(&e->device_plan);
    if (e->stream != NULL)
        cuda_check_logged(cudaStreamDestroy(e->stream), "a stream's end");
    free(e->fp8);
    free(e);
}

static void speak_as(const struct encoder_voice *voice)
{
    log_init(voice->log.process, voice->log.as_json, voice->log.threshold);
    check_failed_hook(voice->last_words);
}

static void describe(struct encoder *e)
{
    const size_t version = e->gemm_context.blas.version;
    char gemms[64] = "own GEMMs";
    if (e->gemm_context.own == NULL)
        snprintf(gemms, sizeof gemms, "cuBLASLt %zu.%zu", version / 10000, version / 100 % 100);
    snprintf(e->description, sizeof e->description, "%s%s %s, %s, %d multiprocessors, %.0f MB",
             gemms, e->own_ffn && e->gemm_context.own == NULL ? ", own FFN GEMM," : "",
             e->kernels->dtype, e->device_name, e->n_multiprocessors,
             (double)e->device_plan.total_bytes / 1e6);
}

static struct encoder *cuda_create(const struct model *model, const struct encoder_options *options,
                                   char error[ERROR_BYTES])
{
    if (options->voice != NULL)
        speak_as(options->voice);
    struct encoder *e = calloc(1, sizeof *e);
    if (e == NULL) {
        snprintf(error, ERROR_BYTES, "no memory for the encoder");
        return NULL;
    }
    e->config = model_config_without_labels(&model->config);
    e->max_tokens = options->max_batch_tokens;
    e->max_sequences = (uint32_t)min_u64(options->max_batch_sequences, e->max_tokens);
    e->tune_path = word_in("WEIR_CUDA_TUNE_FILE"); /* none: timing costs seconds */
    if (options->dtype != ENCODER_DTYPE_FP8)
        e->recording.path = word_in(CUDA_CALIBRATE_VARIABLE);
    memcpy(e->recording.fingerprint, model->fingerprint, sizeof e->recording.fingerprint);
    cuda_buckets_of_tokens(&e->tokens, e->max_tokens);
    cuda_buckets_of_sequences(&e->sequences, e->max_sequences);
    int result = choose_watchdog(e, error);
    if (result == 0)
        result = check_model(&e->config, options->dtype, error);
    if (result == 0)
        result = choose_dtype(e, model, options->dtype, error);
    if (result == 0)
        result = choose_own_gemms(e, error);
    if (result == 0)
        result = choose_own_ffn(e, error);
    if (result == 0)
        result = cuda_start(e, model, options->timer, error);
    if (result != 0) {
        cuda_destroy(e);
        return NULL;
    }
    describe(e);
    return e;
}

/* ---- the seam ---- */

static const char *cuda_describe(const struct encoder *e)
{
    return e->description;
}

static uint32_t cuda_useful_batch_tokens(const struct encoder_options *options)
{
    int count = 0;
    if (cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0) != cudaSuccess) {
        cudaGetLastError(); /* else the start's first launch would find this error */
        return USEFUL_TOKENS;
    }
    return count >= MULTIPROCESSORS_OF_LARGE ? USEFUL_TOKENS_LARGE : USEFUL_TOKENS;
}

__attribute__((visibility("default"))) const struct encoder_backend encoder_cuda = {
    .name = "cuda",
    .create = cuda_create,
    .forward = cuda_run,
    .submit = cuda_submit,
    .almost_done = cuda_almost_done,
    .collect = cuda_collect,
    .describe = cuda_describe,
    .destroy = cuda_destroy,
    .useful_batch_tokens = cuda_useful_batch_tokens,
};
