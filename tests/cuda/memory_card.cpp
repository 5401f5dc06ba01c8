/* The same tests on a card: managed memory, which the test and the kernels see at one address, and
 * no schedules to choose from. compute-sanitizer takes the guard page's place. */
#include "fixture.h"

namespace fixture
{

void *memory_take(size_t bytes, void **mapping, size_t *mapping_bytes)
{
    *mapping_bytes = bytes;
    EXPECT_EQUAL(cudaMallocManaged(mapping, bytes, cudaMemAttachGlobal), cudaSuccess);
    return *mapping;
}

void memory_give_back(void *mapping, size_t)
{
    cudaFree(mapping);
}

cudaError_t wait_for_kernel()
{
    return cudaDeviceSynchronize();
}

} // namespace fixture

namespace gpu
{

void set_schedule(int)
{
}

void set_publish_observer(std::function<void(const uint32_t *, uint32_t)>)
{
}

void watch_mapped_words(const void *, size_t)
{
}

counters take_counters()
{
    return counters{};
}

} // namespace gpu
