/* Every kernel with float32 elements. */
#define ELEMENT_FLOAT32
#include "gpu_worker/kernels/set.cuh"
