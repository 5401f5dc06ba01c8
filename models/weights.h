/* Which tensor of a checkpoint plays which role, for each architecture, and what shape it must
 * have. */
#ifndef WEIR_MODELS_WEIGHTS_H
#define WEIR_MODELS_WEIGHTS_H

#include "models/model.h"
#include "models/safetensors.h"

/* Fills `weights` with tensors that point into the file's bytes. Every role is filled and every
 * shape is as `config` makes it, or -EINVAL with a sentence in `error`. Tensors without a role
 * (position_ids, a language model's head) are left alone. */
int weights_find(const struct safetensors *file, const struct model_config *config,
                 struct model_weights *weights, char error[ERROR_BYTES]);

#endif
