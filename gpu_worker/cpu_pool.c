/* A stage is one word: its number and the tasks nobody has taken yet. Whoever takes one holds the
 * stage open until he reports it finished, so function, context and n_tasks stand still while
 * anybody can read them. A thread that overslept a stage holds nothing of it: nobody waits for it.
 *
 *     caller                                        thread
 *     function, context, n_tasks := ...
 *     unfinished := n_tasks
 *     open := (number + 1, n_tasks)   (release) ──► (number, left) -> (number, left - 1) (acquire)
 *     take and run tasks, as the threads do         run the task
 *     wait for unfinished == 0        (acquire) ◄── unfinished -= 1 (release)
 *
 * Sleep and wake: the sleeper raises `sleepers` and then lets the kernel compare `bell`; the caller
 * raises `bell` and then reads `sleepers`. Both pairs are sequentially consistent, so one of the
 * two sees the other. */
#include "gpu_worker/cpu_pool.h"

#include <linux/futex.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Looks at a word before sleeping: some tens of microseconds, longer than the gap between two
 * stages of a forward pass and far shorter than a frontend's time slice. */
#define SPINS_BEFORE_SLEEP 2000
/* While waiting for the last task of a stage there is nothing to sleep on; give the core away. */
#define SPINS_BEFORE_YIELD 2000

struct thread {
    pthread_t handle;
    struct cpu_pool *pool;
    uint32_t index;
};

struct cpu_pool {
    uint32_t n_threads, n_started;
    struct thread *threads; /* (n_threads); entry 0 is the caller */
    char *signal_stacks;    /* (n_threads, SIGNAL_STACK_BYTES); the caller has its own */
    cpu_pool_function function;
    void *context;
    uint32_t n_tasks;
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t open; /* stage number << 32 | tasks not taken */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t unfinished;
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t bell;
    _Atomic uint32_t sleepers;
    _Atomic bool stop;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* oneDNN asks OpenMP how many threads it may use. Each of ours is told "one": the parallelism is
 * between tasks, and no OpenMP thread is ever made. */
static void forbid_openmp_threads(void)
{
    omp_set_num_threads(1);
}

static uint32_t tasks_left(uint64_t open)
{
    return (uint32_t)open;
}

/* False when the stage has no task left. */
static bool take_task(struct cpu_pool *pool, uint32_t *task)
{
    /* Acquire: pairs with the release in publish_stage(). */
    uint64_t open = atomic_load_explicit(&pool->open, memory_order_acquire);

    do {
        if (tasks_left(open) == 0)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&pool->open, &open, open - 1,
                                                    memory_order_acquire, memory_order_acquire));
    *task = pool->n_tasks - tasks_left(open);
    return true;
}

static void run_tasks(struct cpu_pool *pool, uint32_t thread)
{
    uint32_t task;

    while (take_task(pool, &task)) {
        pool->function(pool->context, task, thread);
        /* Release: pairs with the acquire in await_tasks(). */
        atomic_fetch_sub_explicit(&pool->unfinished, 1, memory_order_release);
    }
}

static bool has_cause_to_run(struct cpu_pool *pool)
{
    return tasks_left(atomic_load_explicit(&pool->open, memory_order_relaxed)) > 0 ||
           atomic_load_explicit(&pool->stop, memory_order_relaxed);
}

static void await_cause(struct cpu_pool *pool)
{
    for (uint32_t i = 0; i < SPINS_BEFORE_SLEEP; i++) {
        if (has_cause_to_run(pool))
            return;
        relax();
    }
    for (;;) {
        uint32_t heard = atomic_load_explicit(&pool->bell, memory_order_acquire);
        if (has_cause_to_run(pool))
            return;
        atomic_fetch_add_explicit(&pool->sleepers, 1, memory_order_seq_cst);
        if (atomic_load_explicit(&pool->bell, memory_order_seq_cst) == heard)
            syscall(SYS_futex, &pool->bell, FUTEX_WAIT_PRIVATE, heard, NULL, NULL, 0);
        atomic_fetch_sub_explicit(&pool->sleepers, 1, memory_order_relaxed);
    }
}

/* A fault's handler needs a stack that is one: oneDNN's products point the stack pointer elsewhere
 * for a while, and a stack that overflowed has no room. Without it the process would end without
 * last words (last_words_install() has more). */
static void *thread_main(void *argument)
{
    struct thread *self = argument;
    const stack_t stack = {.ss_sp = self->pool->signal_stacks + self->index * SIGNAL_STACK_BYTES,
                           .ss_size = SIGNAL_STACK_BYTES};
    stack_t before;

    CHECK(sigaltstack(&stack, &before) == 0);
    forbid_openmp_threads();
    while (!atomic_load_explicit(&self->pool->stop, memory_order_acquire)) {
        run_tasks(self->pool, self->index);
        await_cause(self->pool);
    }
    CHECK(sigaltstack(&before, NULL) == 0); /* sanitizers free what they find at a thread's end */
    return NULL;
}

static void ring(struct cpu_pool *pool)
{
    atomic_fetch_add_explicit(&pool->bell, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&pool->sleepers, memory_order_seq_cst) > 0)
        syscall(SYS_futex, &pool->bell, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void publish_stage(struct cpu_pool *pool)
{
    uint64_t number = (atomic_load_explicit(&pool->open, memory_order_relaxed) >> 32) + 1;

    atomic_store_explicit(&pool->unfinished, pool->n_tasks, memory_order_relaxed);
    /* Release: pairs with the acquire in take_task(). */
    atomic_store_explicit(&pool->open, number << 32 | pool->n_tasks, memory_order_release);
    ring(pool);
}

static void await_tasks(struct cpu_pool *pool)
{
    uint32_t spins = 0;

    while (atomic_load_explicit(&pool->unfinished, memory_order_acquire) > 0) {
        relax();
        if (++spins >= SPINS_BEFORE_YIELD)
            sched_yield();
    }
}

void cpu_pool_run(struct cpu_pool *pool, cpu_pool_function function, void *context,
                  uint32_t n_tasks)
{
    /* One task needs no company, and waking it would cost more than the task. */
    if (pool->n_started == 0 || n_tasks <= 1) {
        for (uint32_t task = 0; task < n_tasks; task++)
            function(context, task, 0);
        return;
    }
    pool->function = function;
    pool->context = context;
    pool->n_tasks = n_tasks;
    publish_stage(pool);
    run_tasks(pool, 0);
    await_tasks(pool);
}

/* Signals are for the worker's main thread: these threads block all that can be blocked, but those
 * that a fault raises. */
static int start_thread(struct cpu_pool *pool, uint32_t index)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    struct thread *thread = &pool->threads[index];
    sigset_t blocked, before;
    int status;

    *thread = (struct thread){.pool = pool, .index = index};
    sigfillset(&blocked);
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    status = pthread_create(&thread->handle, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

struct cpu_pool *cpu_pool_create(uint32_t n_threads, char error[ERROR_BYTES])
{
    struct cpu_pool *pool;

    CHECK(n_threads >= 1 && n_threads <= CPU_POOL_THREADS_MAX);
    pool = aligned_alloc(CACHE_LINE_BYTES, align_up_u64(sizeof(*pool), CACHE_LINE_BYTES));
    if (pool) {
        memset(pool, 0, sizeof(*pool));
        pool->n_threads = n_threads;
        pool->threads = calloc(n_threads, sizeof(*pool->threads));
        pool->signal_stacks = malloc((size_t)n_threads * SIGNAL_STACK_BYTES);
    }
    if (!pool || !pool->threads || !pool->signal_stacks) {
        snprintf(error, ERROR_BYTES, "no memory for %u threads", n_threads);
        cpu_pool_destroy(pool);
        return NULL;
    }
    forbid_openmp_threads();
    for (uint32_t i = 1; i < n_threads; i++) {
        int status = start_thread(pool, i);
        if (status) {
            snprintf(error, ERROR_BYTES,
                     "cannot start thread %u of %u: %s; try a smaller --threads", i + 1, n_threads,
                     strerror(status));
            cpu_pool_destroy(pool);
            return NULL;
        }
        pool->n_started++;
    }
    return pool;
}

void cpu_pool_destroy(struct cpu_pool *pool)
{
    if (!pool)
        return;
    atomic_store_explicit(&pool->stop, true, memory_order_release);
    ring(pool);
    for (uint32_t i = 1; i <= pool->n_started; i++)
        pthread_join(pool->threads[i].handle, NULL);
    free(pool->signal_stacks);
    free(pool->threads);
    free(pool);
}

uint32_t cpu_pool_threads(const struct cpu_pool *pool)
{
    return pool->n_threads;
}

/* cgroup v2: "max 100000" or "200000 100000" (quota and period in microseconds). UINT32_MAX where
 * no quota is set or no such file is there. A started core counts as one. */
static uint32_t cgroup_cores(void)
{
    unsigned long long quota_us, period_us;
    uint32_t cores = UINT32_MAX;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");

    if (!file)
        return cores;
    if (fscanf(file, "%llu %llu", &quota_us, &period_us) == 2 && quota_us > 0 && period_us > 0)
        cores = (uint32_t)min_u64((quota_us + period_us - 1) / period_us, UINT32_MAX);
    fclose(file);
    return cores;
}

uint32_t cpu_usable_cores(void)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t cores = online > 0 ? (uint64_t)online : 1;
    cpu_set_t mask;

    if (sched_getaffinity(0, sizeof(mask), &mask) == 0)
        cores = (uint64_t)CPU_COUNT(&mask);
    return (uint32_t)max_u64(1, min_u64(min_u64(cores, cgroup_cores()), CPU_POOL_THREADS_MAX));
}
