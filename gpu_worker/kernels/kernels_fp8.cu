/* Every kernel with float16 elements, and with E4M3 codes where a GEMM in fp8 reads next. */
#define ELEMENT_FP8
#include "gpu_worker/kernels/set.cuh"
