/* The threads of a forward pass: run a function for each task of a stage, on all threads, and come
 * back when the last task is done.
 *
 * Tasks are handed out one by one from a counter, so a thread that loses its core to a frontend
 * delays one task and not its share of the stage (a static split with a barrier, as OpenMP makes
 * it, took 2 to 5 times longer beside one busy process). Between stages a thread spins for a few
 * microseconds, then it sleeps on a futex: a worker without work burns no core that a frontend
 * could use. */
#ifndef WEIR_GPU_WORKER_CPU_POOL_H
#define WEIR_GPU_WORKER_CPU_POOL_H

#include "shm/base.h"

#define CPU_POOL_THREADS_MAX 1024

struct cpu_pool;

/* task in 0 .. n_tasks-1; thread in 0 .. n_threads-1, for the task's scratch memory. */
typedef void (*cpu_pool_function)(void *context, uint32_t task, uint32_t thread);

/* The caller of cpu_pool_run() is one of the n_threads. NULL with a sentence in `error`. */
struct cpu_pool *cpu_pool_create(uint32_t n_threads, char error[ERROR_BYTES]);
void cpu_pool_destroy(struct cpu_pool *pool);

/* What the tasks wrote is visible to the caller afterwards, and what the caller wrote before is
 * visible to the tasks. Not reentrant: one caller at a time, and no task may call it. */
void cpu_pool_run(struct cpu_pool *pool, cpu_pool_function function, void *context,
                  uint32_t n_tasks);

uint32_t cpu_pool_threads(const struct cpu_pool *pool);

/* Cores this process may use: the affinity mask, bounded by the cgroup's CPU quota (a container's
 * `--cpus 2` on a host of 64 leaves the mask at 64). At least 1. */
uint32_t cpu_usable_cores(void);

#endif
