/* The tune file: the timed choice of algorithms of one start, kept for the next ones
 * (WEIR_CUDA_TUNE_FILE). It changes how fast the same bits come, never the bits: what was timed had
 * the reference's bits (cuda_trial.h). It also says whether our FFN GEMM was faster, which only a
 * start with WEIR_CUDA_FFN=auto acts upon.
 *
 *     magic "weirtune" | format | entries | own FFN | struct cuda_tune_key
 *     for each GEMM and bucket: struct cuda_tune_entry
 *     FNV-1a of 64 bits over all of the above
 *
 * cuBLASLt allows its algorithms to be stored for the same version of itself; the key holds all
 * else that the choice depends on. A file that is stale, damaged or of another card is not used:
 * one line says why, and it is made anew. A new file replaces the old one whole or not at all. */
#ifndef WEIR_GPU_WORKER_CUDA_TUNE_H
#define WEIR_GPU_WORKER_CUDA_TUNE_H

#include "gpu_worker/cuda_gemm.h"

#define CUDA_TUNE_MAGIC  "weirtune"
#define CUDA_TUNE_FORMAT 2

/* X(field, what a log line calls it). */
#define CUDA_TUNE_KEY_FIELDS(X)                                 \
    X(compute_capability, "compute capability") /* 90 is 9.0 */ \
    X(n_multiprocessors, "number of multiprocessors")           \
    X(driver_version, "driver version")                         \
    X(cublas_version, "cuBLASLt version")                       \
    X(element_type, "dtype")                                    \
    X(compute_type, "compute type")                             \
    X(workspace_bytes, "workspace size")                        \
    X(architecture, "model architecture")                       \
    X(hidden_dim, "hidden size")                                \
    X(n_layers, "number of layers")                             \
    X(n_heads, "number of heads")                               \
    X(ffn_dim, "FFN size")                                      \
    X(activation, "activation")                                 \
    X(max_tokens, "limit of tokens in a batch")                 \
    X(max_sequences, "limit of texts in a batch")

struct cuda_tune_key {
    char card[128]; /* its name, zeros behind it */
#define CUDA_TUNE_KEY_FIELD(field, words) uint32_t field;
    CUDA_TUNE_KEY_FIELDS(CUDA_TUNE_KEY_FIELD)
};

struct cuda_tune_header {
    char magic[8];
    uint32_t format, n_entries;
    uint32_t own_ffn_is_fast; /* 0 or 1 */
    struct cuda_tune_key key;
};

struct cuda_tune_entry {
    uint32_t out_dim, in_dim, n_rows, epilogue;
    unsigned char algorithm[64];
};

/* Sets the GEMMs' algorithms to the file's. `operands`, one for each GEMM, are what cuBLASLt is
 * asked about; nothing is launched. False, with the algorithms undefined, where the file does not
 * serve; a line in the log says why. */
bool cuda_tune_load(const char *path, const struct cuda_tune_key *key,
                    const struct cuda_gemm_context *context, struct cuda_gemm *gemms,
                    const struct cuda_gemm_operands *operands, uint32_t n_gemms,
                    bool *own_ffn_is_fast);

/* Writes them. False, and a line in the log, where that fails: the server runs without the file. */
bool cuda_tune_save(const char *path, const struct cuda_tune_key *key,
                    const struct cuda_gemm *gemms, uint32_t n_gemms, bool own_ffn_is_fast);

/* Whether there is a file that serves and calls our FFN GEMM faster. The GEMMs are only counted. */
bool cuda_tune_says_own_ffn(const char *path, const struct cuda_tune_key *key,
                            const struct cuda_gemm *gemms, uint32_t n_gemms);

#endif
