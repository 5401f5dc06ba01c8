/* Model folders small enough to write in a test: 2 layers of width 4, made of numbers that say
 * where they stand; and an allocator that fails when it is told to. */
#ifndef WEIR_TESTS_MODELS_TINY_FOLDER_H
#define WEIR_TESTS_MODELS_TINY_FOLDER_H

#include "models/model.h"

#define TINY_PATH_BYTES 256

enum {
    TINY_LAYERS = 2,
    TINY_DIM = 4,
    TINY_HEADS = 2,
    TINY_FFN = 6,
    TINY_VOCAB = 10,
    TINY_POSITIONS = 8,
    TINY_TYPES = 2,
    TINY_LABELS = 3
};

struct tiny_bytes {
    uint8_t *bytes;
    size_t size_bytes;
};

/* A config.json that fits the weights below. A literal. */
const char *tiny_config(enum model_architecture architecture);

/* A whole model.safetensors. The elements of the n-th tensor (in the order of the file) are
 * n + 1/4, n + 2/4, n + 3/4, n + 1, again and again: exact in all three types. Norms are called
 * gamma and beta where `old_names` is set. free() the bytes. */
struct tiny_bytes tiny_weights(enum model_architecture architecture, enum model_dtype dtype,
                               bool old_names);

/* A safetensors file made of a header and `data_bytes` of data, all zero. free() the bytes. */
struct tiny_bytes tiny_file(const char *header, size_t data_bytes);

/* A folder of our own under $TMPDIR, and what is in it. */
void tiny_folder_create(char folder[TINY_PATH_BYTES]);
void tiny_folder_write(const char *folder, const char *name, const void *bytes, size_t size_bytes);
void tiny_folder_remove(const char *folder);
/* A folder with tiny_config() and tiny_weights() in it. */
void tiny_folder_create_model(char folder[TINY_PATH_BYTES], enum model_architecture architecture,
                              enum model_dtype dtype);

/* Arms the n-th allocation of jansson from now on to fail; 0 disarms. Then: whether it came to
 * that, and how many allocations are not yet freed. */
void tiny_fail_allocation(int n);
bool tiny_allocation_failed(void);
int tiny_allocations_held(void);

#endif
