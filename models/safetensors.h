/* A safetensors file as an index of named tensors over its mapping.
 *
 *     0   u64       size of the header, little-endian
 *     8   JSON      {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
 *                    "__metadata__": {"any": "string"}}
 *     8 + header    the tensors, one directly after another; offsets count from here
 *
 * Nothing of it is believed before it is checked: the header lies within the file, every shape's
 * bytes (64 bits, overflow checked) are what its offsets span, and in order of their offsets the
 * tensors cover the data without a gap or an overlap. So a file that was cut anywhere is refused,
 * and a tensor that is found can be read without another look.
 *
 * The mapping follows the file: one that is cut while it is open kills the reader (SIGBUS).
 * Replace models by rename, as scripts/fetch_model does. */
#ifndef WEIR_MODELS_SAFETENSORS_H
#define WEIR_MODELS_SAFETENSORS_H

#include "shm/base.h"

#define SAFETENSORS_HEADER_BYTES_MAX (UINT64_C(100) << 20) /* the format's own limit */
#define SAFETENSORS_TENSORS_MAX      65536
#define SAFETENSORS_RANK_MAX         8
#define SAFETENSORS_PREFIX_BYTES     8 /* the header's size, before the header */

/* X(name in the file, bits of one element). */
#define SAFETENSORS_DTYPES(X) \
    X(BOOL, 8)                \
    X(U8, 8)                  \
    X(I8, 8)                  \
    X(F8_E5M2, 8)             \
    X(F8_E4M3, 8)             \
    X(F8_E8M0, 8)             \
    X(I16, 16)                \
    X(U16, 16)                \
    X(F16, 16)                \
    X(BF16, 16)               \
    X(I32, 32)                \
    X(U32, 32)                \
    X(F32, 32)                \
    X(F64, 64)                \
    X(I64, 64)                \
    X(U64, 64)                \
    X(C64, 64)                \
    X(F4, 4)                  \
    X(F6_E2M3, 6)             \
    X(F6_E3M2, 6)

#define SAFETENSORS_DTYPE_ENUM(name, bits) SAFETENSORS_##name,
enum safetensors_dtype { SAFETENSORS_DTYPES(SAFETENSORS_DTYPE_ENUM) SAFETENSORS_DTYPE_COUNT };

struct safetensors_tensor {
    const char *name;
    enum safetensors_dtype dtype;
    uint32_t rank;
    uint64_t shape[SAFETENSORS_RANK_MAX];
    uint64_t begin, end; /* bytes, from the first byte of the data */
};

struct safetensors {
    const uint8_t *bytes; /* the whole file */
    uint64_t size_bytes;
    uint64_t data_offset;
    struct safetensors_tensor *tensors; /* (n_tensors), by name */
    uint32_t n_tensors;
    void *header; /* jansson's tree: owns the names */
};

/* Indexes a file that lies in memory (borrowed). 0, -EINVAL or -ENOMEM with a sentence in `error`.
 * Release with safetensors_close(). */
int safetensors_parse(struct safetensors *file, const void *bytes, uint64_t size_bytes,
                      char error[ERROR_BYTES]);
void safetensors_close(struct safetensors *file);

/* NULL where the file has no such tensor. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *file, const char *name);

/* "F32"; for sentences. */
const char *safetensors_dtype_name(enum safetensors_dtype dtype);

#endif
