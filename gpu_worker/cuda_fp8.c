/* Scales for E4M3, and the recording of what they are made of; see cuda_fp8.h. */
#include "gpu_worker/cuda_fp8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_worker/cuda_error.h"
#include "shm/log.h"

float cuda_fp8_scale(float amax)
{
    return amax > 0.0f ? amax / CUDA_FP8_LARGEST : 1.0f;
}

int cuda_fp8_open(struct cuda_fp8 *fp8, const struct model *model, char error[ERROR_BYTES])
{
    const char *path = getenv(CUDA_FP8_FILE_VARIABLE);
    struct model_calibration calibration;
    if (path == NULL || path[0] == 0) {
        snprintf(error, ERROR_BYTES,
                 "--dtype fp8 needs to know how large the model's activations get: run "
                 "scripts/calibrate and name the file it makes in " CUDA_FP8_FILE_VARIABLE);
        return -EINVAL;
    }
    const int result = model_calibration_read(&calibration, path, model, error);
    if (result != 0)
        return result;
    for (uint32_t layer = 0; layer < model->config.n_layers; layer++)
        for (uint32_t i = 0; i < model_calibration_products(&model->config, layer); i++)
            fp8->scales[layer][i].input =
                cuda_fp8_scale(CUDA_FP8_HEADROOM * calibration.amax[layer][i]);
    log_info("fp8 scales come from %s, of %llu texts", path,
             (unsigned long long)calibration.n_texts);
    return 0;
}

int cuda_fp8_upload(const struct cuda_fp8 *fp8, uint32_t n_layers, cudaStream_t stream,
                    char error[ERROR_BYTES])
{
    const int result =
        cuda_check(cudaMemcpyAsync(fp8->device_scales, fp8->scales, CUDA_FP8_SCALE_BYTES(n_layers),
                                   cudaMemcpyHostToDevice, stream),
                   "the upload of scales", error);
    return result != 0 ? result
                       : cuda_check(cudaStreamSynchronize(stream), "the upload of scales", error);
}

/* ---- recording ---- */

static uint64_t recording_bytes(const struct model_config *config)
{
    return (uint64_t)config->n_layers * MODEL_PRODUCT_COUNT * sizeof(uint32_t);
}

int cuda_recording_begin(struct cuda_recording *recording, const struct model_config *config,
                         cudaStream_t stream, char error[ERROR_BYTES])
{
    if (recording->path == NULL)
        return 0;
    recording->n_texts = 0;
    recording->begun = true;
    return cuda_check(cudaMemsetAsync(recording->amax_bits, 0, recording_bytes(config), stream),
                      "the beginning of a calibration", error);
}

static int fetch(const struct cuda_recording *recording, const struct model_config *config,
                 struct model_calibration *calibration, cudaStream_t stream,
                 char error[ERROR_BYTES])
{
    int result =
        cuda_check(cudaMemcpyAsync(calibration->amax, recording->amax_bits, recording_bytes(config),
                                   cudaMemcpyDeviceToHost, stream),
                   "the end of a calibration", error);
    if (result == 0)
        result = cuda_check(cudaStreamSynchronize(stream), "the end of a calibration", error);
    return result;
}

void cuda_recording_end(struct cuda_recording *recording, const struct model_config *config,
                        cudaStream_t stream)
{
    struct model_calibration calibration = {.n_texts = recording->n_texts};
    char error[ERROR_BYTES];
    if (!recording->begun || recording->n_texts == 0)
        return;
    int result = fetch(recording, config, &calibration, stream, error);
    if (result == 0)
        result = model_calibration_write(&calibration, recording->path, config,
                                         recording->fingerprint, error);
    if (result == 0)
        log_info("calibrated with %llu texts: %s is for --dtype fp8 and " CUDA_FP8_FILE_VARIABLE,
                 (unsigned long long)recording->n_texts, recording->path);
    else
        log_error("no calibration is written: %s", error);
}
