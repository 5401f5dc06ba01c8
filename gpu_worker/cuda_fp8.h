/* --dtype fp8: the body's GEMMs read E4M3 codes, 1 byte an element, and write float16. Everything
 * else, the residual stream, attention, the last layer's [CLS] rows and the head, is as with
 * float16, whose kernels write the codes in passing (kernels/fp8.cuh).
 *
 *     y = scale_x * scale_w * (codes_x codes_w^T) + bias (+ y)
 *
 * One scale a matrix, all that cuBLASLt has on compute capability 8.9 and 9.0 alike. A weight's is
 * its largest value's, found at start. An input's cannot be known at start: a calibration found it
 * (models/calibration.h, scripts/calibrate), WEIR_CUDA_FP8_FILE names its file. What is larger than
 * all that the calibration saw is not cut off until it is twice as large: E4M3 has 15 powers of two
 * and can spare one.
 *
 * The other side is here, too: with WEIR_CUDA_CALIBRATE_FILE an encoder of a float dtype records
 * what its GEMMs read while it serves, and writes the file when it is closed. */
#ifndef WEIR_GPU_WORKER_CUDA_FP8_H
#define WEIR_GPU_WORKER_CUDA_FP8_H

#include "gpu_worker/cuda_memory.h"
#include "gpu_worker/kernels/kernels.h"
#include "models/calibration.h"

#define CUDA_FP8_LARGEST        448.0f /* of E4M3 */
#define CUDA_FP8_HEADROOM       2.0f
#define CUDA_FP8_COMPUTE_MIN    89 /* compute capability 8.9 */
#define CUDA_FP8_DIM_MULTIPLE   16 /* cuBLASLt: 16 bytes of codes */
#define CUDA_FP8_SCALE_BYTES(n) ((uint64_t)(n)*MODEL_PRODUCT_COUNT * sizeof(struct cuda_fp8_scales))
#define CUDA_FP8_FILE_VARIABLE  "WEIR_CUDA_FP8_FILE"
#define CUDA_CALIBRATE_VARIABLE "WEIR_CUDA_CALIBRATE_FILE"

/* What a code stands for is code * scale. */
struct cuda_fp8_scales {
    float input, weight;
};

struct cuda_fp8 {
    struct cuda_fp8_scales scales[MODEL_LAYERS_MAX][MODEL_PRODUCT_COUNT];
    struct cuda_fp8_scales *device_scales; /* (n_layers, MODEL_PRODUCT_COUNT), as cuBLASLt reads */
};

/* What an encoder that calibrates has seen. */
struct cuda_recording {
    const char *path;    /* of the file to write; NULL: nothing is recorded */
    uint32_t *amax_bits; /* device (n_layers, MODEL_PRODUCT_COUNT): float32, see record_amax */
    bool begun;
    uint64_t n_texts;
    char fingerprint[MODEL_FINGERPRINT_BYTES]; /* of the model */
};

/* Takes the scales of the inputs from the calibration's file. 0 or -errno with a sentence. */
int cuda_fp8_open(struct cuda_fp8 *fp8, const struct model *model, char error[ERROR_BYTES]);

/* The scale of values up to `amax`; of a matrix of zeros, 1. */
float cuda_fp8_scale(float amax);

/* Brings all scales to the card. */
int cuda_fp8_upload(const struct cuda_fp8 *fp8, uint32_t n_layers, cudaStream_t stream,
                    char error[ERROR_BYTES]);

/* Begins, or begins anew, with nothing seen. Nothing is done where path is NULL. */
int cuda_recording_begin(struct cuda_recording *recording, const struct model_config *config,
                         cudaStream_t stream, char error[ERROR_BYTES]);

/* Writes the calibration if it was begun and any text was seen; a line in the log says what became
 * of it. */
void cuda_recording_end(struct cuda_recording *recording, const struct model_config *config,
                        cudaStream_t stream);

#endif
