/* All memory of an encoder, planned first, taken once, printed as a table.
 *
 *     cpu_arena_plan(&arena, "packed weights", bytes) -> offset      (any number of times)
 *     cpu_arena_take(&arena, error)                                  maps the sum, zeroed
 *     cpu_arena_at(&arena, offset) -> pointer                        64-byte aligned
 *
 * One mapping: forward passes then cannot allocate, the size is known before it is taken, and huge
 * pages save TLB misses over the weights. */
#ifndef WEIR_GPU_WORKER_CPU_ARENA_H
#define WEIR_GPU_WORKER_CPU_ARENA_H

#include "shm/base.h"

#define CPU_ARENA_ENTRIES_MAX 24

struct cpu_arena {
    struct {
        const char *name; /* a literal */
        uint64_t bytes;
    } entries[CPU_ARENA_ENTRIES_MAX]; /* sums by name, in order of first use */
    uint32_t n_entries;
    uint64_t planned_bytes;
    char *base;
};

/* Rounds up to whole cache lines. The name must be a literal; equal names add up. */
uint64_t cpu_arena_plan(struct cpu_arena *arena, const char *name, uint64_t bytes);
/* 0 or -errno with a sentence. */
int cpu_arena_take(struct cpu_arena *arena, char error[ERROR_BYTES]);
void *cpu_arena_at(const struct cpu_arena *arena, uint64_t offset);
/* One debug line for each entry and one for the sum. */
void cpu_arena_log(const struct cpu_arena *arena);
/* A zeroed arena may be released. */
void cpu_arena_release(struct cpu_arena *arena);

#endif
