/* The stand-in's memory: every allocation starts as NaN, ends at a guard page, and is unmapped when
 * it is freed, so that a stray access is a fault. */
#include "standin/device.h"
#include "standin/standin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <atomic>
#include <map>
#include <mutex>

#include <sys/mman.h>

namespace standin
{

static constexpr size_t PAGE_BYTES = 4096, ALLOCATION_ALIGNMENT = 256;

struct allocation {
    void *mapping;
    size_t mapping_bytes, bytes;
    bool host;
};

static std::mutex mutex;
static std::map<uintptr_t, allocation> allocations; /* by first address */
static std::atomic<uint64_t> n_calls, n_live, n_allocations, n_matmuls, failing_call;
static std::atomic<const char *> failing_name; /* NULL: any */
extern std::atomic<uint64_t> n_graph_launches, n_queries;

[[noreturn]] void misuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "CUDA stand-in: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    abort();
}

bool call_shall_fail(const char *call)
{
    const char *name = failing_name;
    n_calls++;
    if (name != nullptr && strcmp(name, call) != 0)
        return false;
    uint64_t left = failing_call; /* several threads call */
    while (left != 0 && !failing_call.compare_exchange_weak(left, left - 1)) {
    }
    return left == 1;
}

void object_made()
{
    n_live++;
}

void object_destroyed()
{
    n_live--;
}

void count_matmul()
{
    n_matmuls++;
}

void check_range(const void *pointer, size_t bytes, size_t alignment, const char *what)
{
    const uintptr_t first = (uintptr_t)pointer;
    std::lock_guard<std::mutex> lock(mutex);
    auto next = allocations.upper_bound(first);
    if (first % alignment != 0)
        misuse("%s at %p is not aligned to %zu bytes", what, pointer, alignment);
    if (next == allocations.begin())
        misuse("%s at %p is in no allocation", what, pointer);
    const auto &[base, owner] = *--next;
    if (first + bytes > base + owner.bytes)
        misuse("%s at %p, %zu bytes, is not inside a live allocation", what, pointer, bytes);
}

static cudaError_t allocate(void **place, size_t bytes, bool host)
{
    const size_t padded =
        (bytes + ALLOCATION_ALIGNMENT - 1) / ALLOCATION_ALIGNMENT * ALLOCATION_ALIGNMENT;
    const size_t used = (padded + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    allocation made = {nullptr, used + PAGE_BYTES, bytes, host};
    made.mapping = mmap(nullptr, made.mapping_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == 0 || made.mapping == MAP_FAILED)
        return cudaErrorMemoryAllocation;
    madvise(made.mapping, made.mapping_bytes, MADV_HUGEPAGE); /* large ones are filled faster */
    mprotect((char *)made.mapping + used, PAGE_BYTES, PROT_NONE);
    *place = (char *)made.mapping + (used - padded);
    memset(*place, 0xff, bytes);
    std::lock_guard<std::mutex> lock(mutex);
    allocations[(uintptr_t)*place] = made;
    n_allocations++;
    object_made();
    return cudaSuccess;
}

static cudaError_t release(void *pointer, bool host)
{
    std::lock_guard<std::mutex> lock(mutex);
    auto found = allocations.find((uintptr_t)pointer);
    if (pointer == nullptr)
        return cudaSuccess;
    if (found == allocations.end() || found->second.host != host)
        misuse("%p is freed, but was not allocated so", pointer);
    munmap(found->second.mapping, found->second.mapping_bytes);
    allocations.erase(found);
    object_destroyed();
    return cudaSuccess;
}

} // namespace standin

using namespace standin;

extern "C" {

cudaError_t cudaMalloc(void **place, size_t bytes)
{
    check_no_capture("cudaMalloc");
    const cudaError_t error = call_error(cudaErrorMemoryAllocation);
    return error != cudaSuccess ? error : allocate(place, bytes, false);
}

cudaError_t cudaFree(void *pointer)
{
    cudaDeviceSynchronize(); /* as the real one does */
    return release(pointer, false);
}

cudaError_t cudaHostAlloc(void **place, size_t bytes, unsigned flags)
{
    check_no_capture("cudaHostAlloc");
    if ((flags & cudaHostAllocMapped) == 0)
        misuse("cudaHostAlloc without cudaHostAllocMapped: the card could not read it");
    const cudaError_t error = call_error(cudaErrorMemoryAllocation);
    return error != cudaSuccess ? error : allocate(place, bytes, true);
}

cudaError_t cudaFreeHost(void *pointer)
{
    cudaDeviceSynchronize();
    return release(pointer, true);
}

cudaError_t cudaHostGetDevicePointer(void **place, void *pointer, unsigned flags)
{
    check_range(pointer, 1, 1, "cudaHostGetDevicePointer's pointer");
    if (flags != 0)
        misuse("cudaHostGetDevicePointer with flags");
    *place = pointer;
    return call_error(cudaErrorInvalidValue);
}

cudaError_t cudaMemset(void *pointer, int value, size_t bytes)
{
    check_no_capture("cudaMemset");
    check_range(pointer, bytes, 1, "cudaMemset");
    cudaDeviceSynchronize();
    memset(pointer, value, bytes);
    return call_error(cudaErrorInvalidValue);
}

cudaError_t cudaMemsetAsync(void *pointer, int value, size_t bytes, cudaStream_t stream)
{
    check_range(pointer, bytes, 1, "cudaMemsetAsync");
    const cudaError_t error = call_error(cudaErrorInvalidValue);
    if (error != cudaSuccess)
        return error;
    return enqueue(stream, [=] {
        memset(pointer, value, bytes);
        return cudaSuccess;
    });
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    if (kind != cudaMemcpyHostToDevice)
        check_range(from, bytes, 1, "cudaMemcpyAsync's source");
    if (kind != cudaMemcpyDeviceToHost)
        check_range(to, bytes, 1, "cudaMemcpyAsync's target");
    const cudaError_t error = call_error(cudaErrorInvalidValue);
    if (error != cudaSuccess)
        return error;
    return enqueue(stream, [=] {
        memcpy(to, from, bytes);
        return cudaSuccess;
    });
}

struct standin_counts standin_counters(void)
{
    return {n_calls, n_graph_launches, n_allocations, n_live, n_matmuls, n_queries};
}

void standin_fail_call(uint64_t n)
{
    standin_fail_call_of(nullptr, n);
}

void standin_fail_call_of(const char *call, uint64_t n)
{
    failing_call = 0;
    failing_name = call;
    failing_call = n;
}

} /* extern "C" */
