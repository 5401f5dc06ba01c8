/* One anonymous mapping, with room to begin at a huge page. */
#include "gpu_worker/cpu_arena.h"

#include "shm/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE_BYTES (UINT64_C(2) << 20)

static uint64_t mapping_bytes(const struct cpu_arena *arena)
{
    return align_up_u64(arena->planned_bytes + 1, HUGE_PAGE_BYTES);
}

static uint32_t entry_of(struct cpu_arena *arena, const char *name)
{
    for (uint32_t i = 0; i < arena->n_entries; i++)
        if (strcmp(arena->entries[i].name, name) == 0)
            return i;
    CHECK(arena->n_entries < CPU_ARENA_ENTRIES_MAX);
    arena->entries[arena->n_entries].name = name;
    return arena->n_entries++;
}

uint64_t cpu_arena_plan(struct cpu_arena *arena, const char *name, uint64_t bytes)
{
    uint64_t offset = arena->planned_bytes;
    uint64_t whole_lines = align_up_u64(bytes, CACHE_LINE_BYTES);

    CHECK(!arena->base);
    arena->entries[entry_of(arena, name)].bytes += whole_lines;
    arena->planned_bytes += whole_lines;
    return offset;
}

int cpu_arena_take(struct cpu_arena *arena, char error[ERROR_BYTES])
{
    uint64_t bytes = mapping_bytes(arena);
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (base == MAP_FAILED) {
        int status = -errno;
        snprintf(error, ERROR_BYTES,
                 "cannot take %llu MB for the model: %s; try a smaller model or "
                 "--max-batch-tokens",
                 (unsigned long long)(bytes >> 20), strerror(-status));
        return status;
    }
    /* Advice only: a kernel without huge pages says EINVAL, and all works as before. */
    madvise(base, bytes, MADV_HUGEPAGE);
    arena->base = base;
    return 0;
}

void *cpu_arena_at(const struct cpu_arena *arena, uint64_t offset)
{
    CHECK(arena->base && offset < arena->planned_bytes);
    return arena->base + offset;
}

void cpu_arena_log(const struct cpu_arena *arena)
{
    for (uint32_t i = 0; i < arena->n_entries; i++)
        log_debug("encoder memory: %10.3f MB %s", (double)arena->entries[i].bytes / 1e6,
                  arena->entries[i].name);
    log_debug("encoder memory: %10.3f MB in all", (double)arena->planned_bytes / 1e6);
}

void cpu_arena_release(struct cpu_arena *arena)
{
    if (arena->base)
        munmap(arena->base, mapping_bytes(arena));
    *arena = (struct cpu_arena){0};
}
