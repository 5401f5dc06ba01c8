// Stands before malloc, calloc and the forms of operator new that simdjson uses: see allocations.h.
#include "tests/proto/allocations.h"

#include <cstdlib>
#include <new>

namespace
{

long count;
long failing; // the count at which one fails; 0: never
bool has_failed;

bool fails()
{
    count++;
    if (count != failing)
        return false;
    has_failed = true;
    return true;
}

} // namespace

extern "C" {

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_malloc(size_t size)
{
    return fails() ? nullptr : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? nullptr : __real_calloc(n, size);
}

long allocations_count(void)
{
    return count;
}

void allocations_fail(long n)
{
    failing = n > 0 ? count + n : 0;
    has_failed = false;
}

int allocations_have_failed(void)
{
    return has_failed;
}
}

// All forms, so that each block is freed by the function that belongs to it. The throwing ones are
// the libraries' own affair: counted, never failed.
void *operator new(size_t size)
{
    count++;
    return __real_malloc(size);
}

void *operator new[](size_t size)
{
    count++;
    return __real_malloc(size);
}

void *operator new(size_t size, const std::nothrow_t &) noexcept
{
    return fails() ? nullptr : __real_malloc(size);
}

void *operator new[](size_t size, const std::nothrow_t &) noexcept
{
    return fails() ? nullptr : __real_malloc(size);
}

void operator delete(void *block) noexcept
{
    std::free(block);
}

void operator delete(void *block, size_t) noexcept
{
    std::free(block);
}

void operator delete[](void *block) noexcept
{
    std::free(block);
}

void operator delete[](void *block, size_t) noexcept
{
    std::free(block);
}
