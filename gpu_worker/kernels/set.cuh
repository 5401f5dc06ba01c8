/* All kernels of one element type, and the table that the host side sees. Included once by each of
 * kernels_float16.cu, kernels_bfloat16.cu, kernels_float32.cu and kernels_fp8.cu. */
#include "gpu_worker/kernels/attention_launch.cuh"
#include "gpu_worker/kernels/convert.cuh"
#include "gpu_worker/kernels/embed.cuh"
#include "gpu_worker/kernels/gelu.cuh"
#include "gpu_worker/kernels/head.cuh"
#include "gpu_worker/kernels/layernorm.cuh"
#include "gpu_worker/kernels/record.cuh"
#if ELEMENT_HAS_TENSOR_CORES && !ELEMENT_HAS_FP8
#include "gpu_worker/kernels/gemm.cuh"
#endif

namespace ELEMENT_NAME
{
/* What a set lacks is NULL in its table. */
#if !ELEMENT_HAS_TENSOR_CORES || ELEMENT_HAS_FP8
static constexpr cudaError_t (*gemm)(void *, const void *, const void *, const void *,
                                     enum gemm_epilogue, uint32_t, uint32_t, uint32_t,
                                     cudaStream_t) = NULL;
#endif
#if !ELEMENT_HAS_FP8
static constexpr cudaError_t (*quantize)(struct fp8_output, const void *, float, uint64_t,
                                         cudaStream_t) = NULL;
static constexpr cudaError_t (*quantize_weights)(struct fp8_output, const float *, uint64_t,
                                                 cudaStream_t) = NULL;
#endif
} // namespace ELEMENT_NAME

#define KERNEL_SET_NAME_(name) kernel_set_##name
#define KERNEL_SET_NAME(name)  KERNEL_SET_NAME_(name)

/* In the order of struct kernel_set. */
extern "C" const struct kernel_set KERNEL_SET_NAME(ELEMENT_NAME) = {
    ELEMENT_WORD,
    sizeof(ELEMENT_NAME::element),
    ELEMENT_NAME::embed_layernorm,
    ELEMENT_NAME::layernorm,
    ELEMENT_NAME::gelu,
    ELEMENT_NAME::attention,
    ELEMENT_NAME::attention_cls,
    ELEMENT_NAME::gather_cls,
    ELEMENT_NAME::classify,
    ELEMENT_NAME::gemm,
    ELEMENT_NAME::convert,
    ELEMENT_NAME::record_amax,
    ELEMENT_NAME::quantize,
    ELEMENT_NAME::quantize_weights,
};
