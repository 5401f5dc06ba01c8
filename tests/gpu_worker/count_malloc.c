/* The program's own malloc stands before glibc's for every library too. */
#include "tests/gpu_worker/count_malloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

bool count_malloc_works(void)
{
    return false;
}

void count_malloc_start(void)
{
}

struct malloc_counts count_malloc_stop(void)
{
    return (struct malloc_counts){0};
}

#else

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

/* Not inlined: the return address must be the caller's. */
#define OUTSIDE __attribute__((noinline))

OUTSIDE void *malloc(size_t size);
OUTSIDE void *calloc(size_t n, size_t size);
OUTSIDE void *realloc(void *block, size_t size);
OUTSIDE void *aligned_alloc(size_t alignment, size_t size);
OUTSIDE int posix_memalign(void **block, size_t alignment, size_t size);
OUTSIDE void free(void *block);

static _Atomic bool counting;
static _Atomic long by_us, by_libraries, kept;

static void count(const void *caller)
{
    extern const char __executable_start, etext; /* the linker's */

    if (!atomic_load(&counting))
        return;
    if ((const char *)caller >= &__executable_start && (const char *)caller < &etext)
        atomic_fetch_add(&by_us, 1);
    else
        atomic_fetch_add(&by_libraries, 1);
    atomic_fetch_add(&kept, 1);
}

void *malloc(size_t size)
{
    count(__builtin_return_address(0));
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count(__builtin_return_address(0));
    return __libc_calloc(n, size);
}

void *realloc(void *block, size_t size)
{
    if (!block)
        count(__builtin_return_address(0));
    return __libc_realloc(block, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count(__builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    count(__builtin_return_address(0));
    *block = __libc_memalign(alignment, size);
    return *block ? 0 : ENOMEM;
}

void free(void *block)
{
    if (block && atomic_load(&counting))
        atomic_fetch_sub(&kept, 1);
    __libc_free(block);
}

bool count_malloc_works(void)
{
    return true;
}

void count_malloc_start(void)
{
    atomic_store(&by_us, 0);
    atomic_store(&by_libraries, 0);
    atomic_store(&kept, 0);
    atomic_store(&counting, true);
}

struct malloc_counts count_malloc_stop(void)
{
    atomic_store(&counting, false);
    return (struct malloc_counts){by_us, by_libraries, kept};
}

#endif
