/* The pool: every task once, results visible, any number of tasks, threads that oversleep. */
#include "gpu_worker/cpu_pool.h"
#include "tests/test.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define TASKS_MAX 500

struct stage {
    uint32_t input;             /* written before the stage, read by tasks */
    uint32_t output[TASKS_MAX]; /* written by tasks without atomics, read after the stage */
    _Atomic uint32_t runs[TASKS_MAX];
    _Atomic uint32_t per_thread[8];
    uint32_t n_threads;
};

static void run_one(void *context, uint32_t task, uint32_t thread)
{
    struct stage *stage = context;

    EXPECT(thread < stage->n_threads);
    atomic_fetch_add(&stage->runs[task], 1);
    atomic_fetch_add(&stage->per_thread[thread], 1);
    stage->output[task] = stage->input + task;
}

static void check_stage(struct cpu_pool *pool, struct stage *stage, uint32_t n_tasks)
{
    for (uint32_t i = 0; i < TASKS_MAX; i++)
        atomic_store(&stage->runs[i], 0);
    stage->input++;
    cpu_pool_run(pool, run_one, stage, n_tasks);
    for (uint32_t i = 0; i < TASKS_MAX; i++)
        EXPECT_EQUAL(stage->runs[i], i < n_tasks);
    for (uint32_t i = 0; i < n_tasks; i++)
        EXPECT_EQUAL(stage->output[i], stage->input + i);
}

static void every_task_runs_once_whatever_their_number(void)
{
    char error[ERROR_BYTES];

    for (uint32_t n_threads = 1; n_threads <= 8; n_threads++) {
        struct cpu_pool *pool = cpu_pool_create(n_threads, error);
        static struct stage stage;

        EXPECT(pool != NULL);
        EXPECT_EQUAL(cpu_pool_threads(pool), n_threads);
        stage.n_threads = n_threads;
        for (uint32_t n_tasks = 0; n_tasks <= TASKS_MAX; n_tasks += 1 + n_tasks / 10)
            check_stage(pool, &stage, n_tasks);
        cpu_pool_destroy(pool);
    }
}

static void stages_in_quick_succession_do_not_mix(void)
{
    char error[ERROR_BYTES];
    struct cpu_pool *pool = cpu_pool_create(4, error);
    static struct stage stage;

    stage.n_threads = 4;
    for (uint32_t i = 0; i < 20000; i++) {
        stage.input = i;
        cpu_pool_run(pool, run_one, &stage, 3);
        for (uint32_t task = 0; task < 3; task++)
            EXPECT_EQUAL(stage.output[task], i + task);
    }
    cpu_pool_destroy(pool);
}

/* Two tasks that wait for each other end only if two threads take part. */
struct pair {
    _Atomic uint32_t arrived;
};

static void meet(void *context, uint32_t task, uint32_t thread)
{
    struct pair *pair = context;

    atomic_fetch_add(&pair->arrived, 1);
    while (atomic_load(&pair->arrived) < 2)
        sched_yield();
}

/* Longer than a thread looks for work before it sleeps on the futex. */
static void let_them_fall_asleep(void)
{
    uint64_t end_ns = clock_now_ns() + 2 * NS_PER_MS;

    while (clock_now_ns() < end_ns)
        sched_yield();
}

static void sleeping_threads_are_woken(void)
{
    char error[ERROR_BYTES];
    struct cpu_pool *pool = cpu_pool_create(2, error);

    for (int i = 0; i < 20; i++) {
        struct pair pair = {0};

        let_them_fall_asleep();
        cpu_pool_run(pool, meet, &pair, 2);
        EXPECT_EQUAL(pair.arrived, 2);
    }
    cpu_pool_destroy(pool);
}

/* ---- a fault on a thread of the pool ---- */

#define TOLD 42

static void tell(int signal_number)
{
    (void)signal_number;
    _exit(TOLD);
}

/* Each call takes a page; a sum of it is used, so that none is optimised away. */
static __attribute__((noinline)) uint32_t overflow(uint32_t depth)
{
    volatile char page[4096];

    page[depth % sizeof(page)] = 1;
    return depth == UINT32_MAX ? 0 : overflow(depth + 1) + (uint32_t)page[0];
}

static void overflow_on_thread_1(void *context, uint32_t task, uint32_t thread)
{
    if (thread == 1)
        overflow(0);
    for (;;)
        pause(); /* the caller's task: until the other one has ended us all */
}

static void a_fault_on_a_thread_finds_a_stack_to_tell_it_on(void)
{
    int status;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        struct sigaction action = {.sa_handler = tell, .sa_flags = SA_ONSTACK};
        char error[ERROR_BYTES];

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        sigaction(SIGSEGV, &action, NULL);
        cpu_pool_run(cpu_pool_create(2, error), overflow_on_thread_1, NULL, 2);
        _exit(0);
    }
    EXPECT_EQUAL(waitpid(child, &status, 0), child);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == TOLD);
}

static void the_number_of_cores_makes_sense(void)
{
    EXPECT(cpu_usable_cores() >= 1);
    EXPECT(cpu_usable_cores() <= (uint32_t)sysconf(_SC_NPROCESSORS_CONF));
}

int main(void)
{
    RUN(every_task_runs_once_whatever_their_number);
    RUN(stages_in_quick_succession_do_not_mix);
    RUN(sleeping_threads_are_woken);
    RUN(a_fault_on_a_thread_finds_a_stack_to_tell_it_on);
    RUN(the_number_of_cores_makes_sense);
    return 0;
}
