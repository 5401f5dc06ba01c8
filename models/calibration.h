/* What a calibration found out about a model: how large the inputs of its matrix products get, in
 * texts like those it will serve. An 8-bit type's scales are made of it.
 *
 *     {"weir_calibration": 1,
 *      "model": "<fingerprint>",            of the model it belongs to
 *      "n_texts": 2048,
 *      "amax": [[3.1, 0.9, 3.3, 5.2],       layer 0: the largest |x| that QKV, the attention's
 *               ...                         output, the FFN's first and second product read
 *               [2.8]]}                     the last layer: QKV alone, the rest stays in 16 bits
 *
 * A model's weights are not in it: they are at hand at each start. */
#ifndef WEIR_MODELS_CALIBRATION_H
#define WEIR_MODELS_CALIBRATION_H

#include "models/model.h"

#define MODEL_CALIBRATION_FORMAT   1
#define MODEL_CALIBRATION_AMAX_MAX 65504.0f /* the largest float16: activations rest in it */

/* The products of a layer, by their input. */
enum model_product {
    MODEL_PRODUCT_QKV,
    MODEL_PRODUCT_ATTENTION_OUTPUT,
    MODEL_PRODUCT_FFN_IN,
    MODEL_PRODUCT_FFN_OUT,
    MODEL_PRODUCT_COUNT
};

struct model_calibration {
    uint64_t n_texts;
    float amax[MODEL_LAYERS_MAX][MODEL_PRODUCT_COUNT]; /* 0 where nothing is recorded */
};

/* How many of a layer's products are calibrated: all, but in the last layer QKV alone. */
uint32_t model_calibration_products(const struct model_config *config, uint32_t layer);

/* Reads the file and checks that it is whole, of this model, and plausible. 0, or -errno with a
 * sentence that says what to do. */
int model_calibration_read(struct model_calibration *calibration, const char *path,
                           const struct model *model, char error[ERROR_BYTES]);

/* Writes it beside the target and renames: a reader sees the old file or the new one. 0, or -errno
 * with a sentence. */
int model_calibration_write(const struct model_calibration *calibration, const char *path,
                            const struct model_config *config, const char *fingerprint,
                            char error[ERROR_BYTES]);

#endif
