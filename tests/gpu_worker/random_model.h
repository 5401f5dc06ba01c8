/* Small models with random weights, built in memory: what a folder would give, without the folder.
 * The same shape and seed give the same bytes. */
#ifndef WEIR_TESTS_GPU_WORKER_RANDOM_MODEL_H
#define WEIR_TESTS_GPU_WORKER_RANDOM_MODEL_H

#include "models/model.h"

struct random_model {
    struct model model;
    float *numbers; /* owns every tensor */
};

/* A DistilBERT for tests of how an encoder starts: it starts quickly. */
extern const struct model_config RANDOM_MODEL_SMALL;

/* Fills what is 0 in `config` that cannot be 0 (eps, labels). Exits when there is no memory. */
void random_model_make(struct random_model *random, const struct model_config *config,
                       uint64_t seed);
void random_model_free(struct random_model *random);

/* splitmix64: the next number of a stream that `state` is. */
uint64_t random_next(uint64_t *state);
/* Uniform in -1 .. 1. */
float random_float(uint64_t *state);
/* Uniform in first .. last. */
uint32_t random_between(uint64_t *state, uint32_t first, uint32_t last);

#endif
