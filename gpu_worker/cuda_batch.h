/* A batch as the card reads it: one block of words in mapped memory (kernels/kernels.h has the
 * picture). Writing it is all that the CPU does for a batch beside two launches. */
#ifndef WEIR_GPU_WORKER_CUDA_BATCH_H
#define WEIR_GPU_WORKER_CUDA_BATCH_H

#include "gpu_worker/encoder.h"
#include "gpu_worker/kernels/kernels.h"

/* Room for any batch of at most max_tokens tokens in at most max_sequences sequences, with its
 * tokens filled up to max_rows, the largest bucket. Each array starts on a cache line. */
struct descriptor_layout cuda_batch_layout(uint32_t max_tokens, uint32_t max_sequences,
                                           uint32_t max_rows);

/* Writes batch `number`; tokens past the batch's own, up to n_rows, become fillers. */
void cuda_batch_pack(uint32_t *words /* (layout->n_words) */,
                     const struct descriptor_layout *layout, const struct batch *batch,
                     uint32_t number, uint32_t n_rows);

#endif
