/* Bytes whose neighbour is a page that must not be touched: a parser that reads one byte too far
 * dies of SIGSEGV, with or without a sanitizer. */
#ifndef WEIR_TESTS_PROTO_GUARD_H
#define WEIR_TESTS_PROTO_GUARD_H

#include "tests/test.h"

#include <sys/mman.h>
#include <unistd.h>

struct guard {
    char *map;
    size_t usable, page;
};

/* Room for `bytes_max`. */
static inline struct guard guard_open(size_t bytes_max)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t usable = (bytes_max + page - 1) / page * page + page;
    char *map =
        mmap(NULL, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    EXPECT(map != MAP_FAILED);
    EXPECT(mprotect(map + usable, page, PROT_NONE) == 0);
    return (struct guard){map, usable, page};
}

static inline void guard_close(struct guard *guard)
{
    EXPECT(munmap(guard->map, guard->usable + guard->page) == 0);
}

/* A copy of the bytes with exactly `padding` readable bytes behind it. */
static inline char *guard_place(const struct guard *guard, const void *bytes, size_t size,
                                size_t padding)
{
    char *place = guard->map + guard->usable - size - padding;

    EXPECT(size + padding <= guard->usable);
    memcpy(place, bytes, size);
    memset(place + size, 0xAA, padding);
    return place;
}

#endif
