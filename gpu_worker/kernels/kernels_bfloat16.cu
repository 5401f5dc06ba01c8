/* Every kernel with bfloat16 elements. */
#define ELEMENT_BFLOAT16
#include "gpu_worker/kernels/set.cuh"
