/* The encoder once more, as the formulas say it: plain loops in double precision, one text at a
 * time, every row of every layer computed. */
#ifndef WEIR_TESTS_GPU_WORKER_REFERENCE_ENCODER_H
#define WEIR_TESTS_GPU_WORKER_REFERENCE_ENCODER_H

#include "models/model.h"

/* logits (n_labels) of one text; the tensors must be float32. */
void reference_logits(const struct model *model, const uint32_t *input_ids, uint32_t n_tokens,
                      uint32_t type_start, double *logits);

/* Shown what each matrix product of a layer is about to read, (n, in_dim), a copy that it may
 * change: `linear` says which product. */
struct reference_watch {
    void (*input)(void *context, const struct model_linear *linear, double *x, uint32_t n,
                  uint32_t in_dim);
    void *context;
};

/* The same, watched. */
void reference_logits_watched(const struct model *model, const uint32_t *input_ids,
                              uint32_t n_tokens, uint32_t type_start, double *logits,
                              const struct reference_watch *watch);

#endif
