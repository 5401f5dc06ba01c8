/* Small models with random weights, built in memory: what a folder would give, without the folder;
 * and batches of random texts for them. The same shape and seed give the same bytes. */
#ifndef WEIR_TESTS_GPU_WORKER_RANDOM_MODEL_H
#define WEIR_TESTS_GPU_WORKER_RANDOM_MODEL_H

#include "gpu_worker/encoder.h"
#include "models/model.h"

struct random_model {
    struct model model;
    float *numbers; /* owns every tensor */
};

/* A DistilBERT for tests of how an encoder starts: it starts quickly. */
extern const struct model_config RANDOM_MODEL_SMALL;
/* For tests of what an encoder answers: one wide head; many narrow ones, and two types. */
extern const struct model_config RANDOM_MODEL_DISTILBERT, RANDOM_MODEL_BERT;

/* A layer_norm_eps of 0 is taken as 1e-12. Aborts when there is no memory. */
void random_model_make(struct random_model *random, const struct model_config *config,
                       uint64_t seed);
void random_model_free(struct random_model *random);

#define RANDOM_TEXTS_TOKENS_MAX 1024
#define RANDOM_TEXTS_MAX        64

/* Texts, packed one after another. */
struct random_texts {
    uint32_t input_ids[RANDOM_TEXTS_TOKENS_MAX];
    uint32_t cu_seqlens[RANDOM_TEXTS_MAX + 1], type_starts[RANDOM_TEXTS_MAX];
    struct batch batch; /* of the arrays above, so not to be copied */
};

void random_texts_clear(struct random_texts *texts);
/* Adds this text, or one of random tokens of the config's vocabulary and with a second text from a
 * random place on. False where there is no room. */
bool random_texts_append(struct random_texts *texts, const uint32_t *input_ids, uint32_t length,
                         uint32_t type_start);
bool random_texts_append_random(struct random_texts *texts, const struct model_config *config,
                                uint32_t length, uint64_t *seed);
/* Random texts of these lengths, for which there must be room, and no others; each has its second
 * text from the middle on. */
void random_texts_make(struct random_texts *texts, const struct model_config *config,
                       const uint32_t *lengths, uint32_t n_texts, uint64_t seed);

/* splitmix64: the next number of a stream that `state` is. */
uint64_t random_next(uint64_t *state);
/* Uniform in -1 .. 1. */
float random_float(uint64_t *state);
/* Uniform in first .. last. */
uint32_t random_between(uint64_t *state, uint32_t first, uint32_t last);

#endif
