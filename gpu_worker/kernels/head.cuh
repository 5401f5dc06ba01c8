/* The two ends of a batch's [CLS] tail: the gathering of each sequence's first row, and the
 * classifier, whose last block tells the host that the batch is done.
 *
 *     cls[s] = x[cu_seqlens[s]]
 *     logits[s] = activation(pooled[s] + pooler_bias) W^T + b
 *
 * The activation is BERT's tanh or, in DistilBERT, ReLU. */
#ifndef WEIR_GPU_WORKER_KERNELS_HEAD_CUH
#define WEIR_GPU_WORKER_KERNELS_HEAD_CUH

#include "gpu_worker/kernels/element.cuh"

#define GATHER_THREADS 128
#define CLASSIFY_WARPS 4

namespace ELEMENT_NAME
{

/* One block a sequence; the first also says that the batch has come to its tail. */
__global__ void __launch_bounds__(GATHER_THREADS)
    gather_cls_kernel(element *cls /* (n_sequence_rows, hidden_dim) */,
                      const element *x /* (n_rows, hidden_dim) */, struct kernel_batch batch,
                      uint32_t hidden_dim)
{
    const struct batch_header *header = (const struct batch_header *)batch.descriptor;
    const uint32_t sequence = blockIdx.x;
    const bool live = sequence < header->n_sequences;
    const uint32_t row = live ? batch.descriptor[batch.layout.cu_seqlens + sequence] : 0;
    for (uint32_t i = threadIdx.x * VECTOR_ELEMENTS; i < hidden_dim;
         i += GATHER_THREADS * VECTOR_ELEMENTS) {
        float values[VECTOR_ELEMENTS] = {};
        if (live)
            load_vector(values, x + (size_t)row * hidden_dim + i);
        store_vector(cls + (size_t)sequence * hidden_dim + i, values);
    }
    if (sequence == 0 && threadIdx.x == 0)
        publish_to_host(&batch.signal->almost_done, header->number);
}

static cudaError_t gather_cls(void *cls, const void *x, const struct kernel_batch *batch,
                              uint32_t n_sequence_rows, uint32_t hidden_dim, cudaStream_t stream)
{
    return LAUNCH(gather_cls_kernel, dim3(n_sequence_rows), dim3(GATHER_THREADS), stream,
                  (element *)cls, (const element *)x, *batch, hidden_dim);
}

/* A warp computes one logit of one sequence, in float32. */
__device__ __forceinline__ float classify_one(const float *pooled /* (hidden_dim) */,
                                              const float *pooler_bias /* (hidden_dim) */,
                                              const float *weight /* (hidden_dim) */,
                                              enum pooler_activation activation,
                                              uint32_t hidden_dim)
{
    float sum = 0.0f;
    for (uint32_t i = threadIdx.x % WARP_THREADS; i < hidden_dim; i += WARP_THREADS) {
        const float x = pooled[i] + pooler_bias[i];
        sum += (activation == POOLER_TANH ? tanhf(x) : fmaxf(x, 0.0f)) * weight[i];
    }
    return warp_sum(sum);
}

/* Called by every thread of a block once its logits are written. The block that comes last, by the
 * ticket it draws, tells the host; it also counts the batch as done, for the next batch. */
__device__ __forceinline__ void sign_off(const struct kernel_batch &batch)
{
    const uint32_t number = ((const struct batch_header *)batch.descriptor)->number;
    __threadfence_system(); /* this thread's logits, before the block's ticket */
    __syncthreads();
    if (threadIdx.x > 0 || atomicAdd(batch.tickets, 1u) != gridDim.x - 1)
        return;
    *batch.tickets = 0;
    *batch.batches_done = number;
    publish_to_host(&batch.signal->done, number);
}

/* One warp a logit; every block signs off, those without a logit too. */
__global__ void __launch_bounds__(CLASSIFY_WARPS *WARP_THREADS)
    classify_kernel(float *logits /* mapped (2, logits_stride) */, uint32_t logits_stride,
                    const float *pooled /* (n_sequence_rows, hidden_dim) */,
                    const float *pooler_bias /* (hidden_dim) */,
                    const float *weight /* (n_labels, hidden_dim) */,
                    const float *bias /* (n_labels) */, enum pooler_activation activation,
                    struct kernel_batch batch, uint32_t hidden_dim, uint32_t n_labels)
{
    const struct batch_header *header = (const struct batch_header *)batch.descriptor;
    const uint32_t i = blockIdx.x * CLASSIFY_WARPS + threadIdx.x / WARP_THREADS;
    const uint32_t sequence = i / n_labels, label = i % n_labels;
    if (sequence < header->n_sequences) {
        const float sum = classify_one(pooled + (size_t)sequence * hidden_dim, pooler_bias,
                                       weight + (size_t)label * hidden_dim, activation, hidden_dim);
        if (threadIdx.x % WARP_THREADS == 0)
            logits[(size_t)(header->number % BATCHES_IN_FLIGHT) * logits_stride + i] =
                sum + bias[label];
    }
    sign_off(batch);
}

static cudaError_t classify(float *logits, uint32_t logits_stride, const float *pooled,
                            const float *pooler_bias, const float *weight, const float *bias,
                            enum pooler_activation activation, const struct kernel_batch *batch,
                            uint32_t n_sequence_rows, uint32_t hidden_dim, uint32_t n_labels,
                            cudaStream_t stream)
{
    const dim3 grid(ceil_div((uint64_t)n_sequence_rows * n_labels, CLASSIFY_WARPS)),
        block(CLASSIFY_WARPS * WARP_THREADS);
    return LAUNCH(classify_kernel, grid, block, stream, logits, logits_stride, pooled, pooler_bias,
                  weight, bias, activation, *batch, hidden_dim, n_labels);
}

} // namespace ELEMENT_NAME

#endif
