/* The ground every floor stands on: assertions that are never off, the clock, small arithmetic.
 *
 * Includes nothing of ours. CHECK states an invariant of *this* process and aborts when it is
 * broken: going on would spoil memory that other processes share. What another process or a client
 * sent is never a CHECK: it is counted, refused, and life goes on. */
#ifndef WEIR_SHM_BASE_H
#define WEIR_SHM_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define CACHE_LINE_BYTES 64

/* Room for one sentence that says what went wrong, where, and what to do. */
#define ERROR_BYTES 256

/* A thread's stack for signal handlers. A signal's frame takes 3.3 KB with AVX-512 and 11 KB with
 * AMX, a line of the log 13 KB. */
#define SIGNAL_STACK_BYTES (64 << 10)

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Aborts with file, line and the broken condition, after telling them to the hook that
 * check_failed_hook() installed (a process' last words in shared memory) and to stderr. */
_Noreturn void check_failed(const char *file, int line, const char *condition);

/* `hook` is called once, before abort(); it must be async-signal-safe. NULL removes it. */
void check_failed_hook(void (*hook)(const char *sentence));

/* `say` is called behind the hook and instead of the bare line on stderr, so that the log's readers
 * can read it; it must be async-signal-safe. log_init() sets the log's. */
void check_failed_voice(void (*say)(const char *sentence));

#define CHECK(condition)                                  \
    do {                                                  \
        if (__builtin_expect(!(condition), 0))            \
            check_failed(__FILE__, __LINE__, #condition); \
    } while (0)

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

/* CLOCK_MONOTONIC in nanoseconds: the same for all processes of one machine. */
static inline uint64_t clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The smallest multiple of `alignment` (a power of two) that is not below `value`. */
static inline uint64_t align_up_u64(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

/* FNV-1a of 64 bits, for checks and for names in logs, not against an enemy. Begin with FNV1A_START
 * and pass on what came back. Fowler, Noll and Vo: draft-eastlake-fnv. */
#define FNV1A_START UINT64_C(0xcbf29ce484222325)
static inline uint64_t fnv1a_u64(uint64_t hash, const void *bytes, size_t size)
{
    const unsigned char *byte = (const unsigned char *)bytes;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    return hash;
}

#endif
