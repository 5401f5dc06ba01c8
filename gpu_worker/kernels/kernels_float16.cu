/* Every kernel with float16 elements. */
#define ELEMENT_FLOAT16
#include "gpu_worker/kernels/set.cuh"
