/* Memory with a pool's manners for response_buffer: one block that is never given back. */
#ifndef WEIR_TESTS_FRONTEND_ARENA_H
#define WEIR_TESTS_FRONTEND_ARENA_H

#include <stddef.h>

#define ARENA_BYTES (4u << 20)

static inline void *arena_allocate(void *context, size_t size)
{
    static _Alignas(16) char bytes[ARENA_BYTES];
    static size_t used;
    (void)context;
    size_t start = used;
    used += (size + 15) & ~(size_t)15;
    return used <= ARENA_BYTES ? bytes + start : NULL;
}

#endif
