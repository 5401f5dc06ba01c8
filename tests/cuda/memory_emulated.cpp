/* Memory for the emulated GPU: any will do, so it ends at a page that nobody may touch. */
#include <sys/mman.h>

#include "fixture.h"

namespace fixture
{

static constexpr size_t PAGE_BYTES = 4096;

void *memory_take(size_t bytes, void **mapping, size_t *mapping_bytes)
{
    const size_t used = (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    *mapping_bytes = used + PAGE_BYTES;
    *mapping =
        mmap(nullptr, *mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(*mapping != MAP_FAILED);
    EXPECT(mprotect((char *)*mapping + used, PAGE_BYTES, PROT_NONE) == 0);
    return (char *)*mapping +
           (used - bytes) / 16 * 16; /* 16-byte alignment goes before the guard */
}

void memory_give_back(void *mapping, size_t mapping_bytes)
{
    munmap(mapping, mapping_bytes);
}

cudaError_t wait_for_kernel()
{
    return cudaSuccess; /* it ran when it was launched */
}

} // namespace fixture
