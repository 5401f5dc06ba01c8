/* config.json of a Hugging Face folder, read as transformers reads it: the same keys, aliases and
 * defaults, every number bounded. What the encoders do not compute (other architectures and
 * activations, relative positions, decoders, quantized weights) is refused by a sentence. */
#ifndef WEIR_MODELS_CONFIG_H
#define WEIR_MODELS_CONFIG_H

#include "models/model.h"

/* Fills `config` from the file's bytes. `*strings` owns the labels: release it with free(), also
 * after an error (then NULL). 0, -EINVAL or -ENOMEM with a sentence in `error`. */
int config_parse(const char *bytes, size_t size_bytes, struct model_config *config, void **strings,
                 char error[ERROR_BYTES]);

#endif
