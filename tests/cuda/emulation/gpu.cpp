/* The emulated GPU's machine: fibers, schedules, shared memory, barriers. The warp-wide operations
 * are in warp.cpp, mapped memory is in mapped.cpp. */
#include "emulation/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>

#include <sys/mman.h>

namespace gpu
{

machine the_machine;

[[noreturn]] void fail(const char *why)
{
    static const char *const STATE_WORDS[] = {"ready", "at a barrier", "at a warp operation",
                                              "left"};
    const machine &m = the_machine;
    int count[4] = {};
    fprintf(stderr, "gpu: %s: %s, block (%u,%u,%u), schedule %d\n", m.kernel_name, why, m.block.x,
            m.block.y, m.block.z, m.schedule);
    for (int i = 0; i < m.n_threads; i++)
        count[m.fibers[i].state]++;
    for (int i = 0; i < 4; i++)
        fprintf(stderr, "  %d threads %s\n", count[i], STATE_WORDS[i]);
    abort();
}

index thread_index()
{
    return the_machine.running->thread;
}

index block_index()
{
    return the_machine.block;
}

index block_size()
{
    return the_machine.block_dim;
}

index grid_size()
{
    return the_machine.grid_dim;
}

int lane()
{
    return the_machine.running->lane;
}

void set_schedule(int schedule)
{
    the_machine.schedule = schedule;
}

counters take_counters()
{
    counters taken = the_machine.count;
    the_machine.count = counters{};
    return taken;
}

/* ---- fibers: swapcontext() makes two system calls a switch, this makes none ---- */

extern "C" void weir_gpu_switch(void **save_stack, void *load_stack);
#if defined __x86_64__
asm(".text\n.type weir_gpu_switch,@function\nweir_gpu_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");
constexpr int SWITCH_SAVED_WORDS = 6;
#else
#error "the emulated GPU switches fibers in x86-64 assembly; this machine needs its own"
#endif

void yield_to_scheduler()
{
    machine &m = the_machine;
    weir_gpu_switch(&m.running->stack_pointer, m.scheduler_stack);
}

static void fiber_main()
{
    machine &m = the_machine;
    (*m.kernel)();
    if (m.running->n_copies > 0)
        fail("a thread leaves with cp.async under way");
    m.running->state = LEFT;
    yield_to_scheduler();
    abort();
}

static void prepare_fiber(fiber &f, int i)
{
    machine &m = the_machine;
    if (f.stack == nullptr)
        f.stack = (char *)mmap(nullptr, FIBER_STACK_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void **stack = (void **)(f.stack + FIBER_STACK_BYTES);
    *--stack = nullptr; /* keeps the stack aligned as after a call */
    *--stack = (void *)fiber_main;
    for (int word = 0; word < SWITCH_SAVED_WORDS; word++)
        *--stack = nullptr;
    f.stack_pointer = stack;
    f.thread = {i % m.block_dim.x, i / m.block_dim.x % m.block_dim.y,
                i / (m.block_dim.x * m.block_dim.y)};
    f.lane = i % 32;
    f.state = READY;
    f.n_copies = 0;
    f.copy_group = 0;
}

static void run_fiber(fiber &f)
{
    the_machine.running = &f;
    weir_gpu_switch(&the_machine.scheduler_stack, f.stack_pointer);
    look_at_mapped_words();
}

/* ---- schedules ---- */

static bool schedule_is_greedy()
{
    return the_machine.schedule % 2 == 1;
}

/* 0 .. n-1 in the schedule's order. */
static void fill_order(int *order, int n, uint32_t salt)
{
    const int kind = the_machine.schedule / 2;
    for (int i = 0; i < n; i++)
        order[i] = kind == 1 ? n - 1 - i : i;
    if (kind < 2)
        return;
    uint32_t random = (uint32_t)kind * 2654435761u + salt;
    for (int i = n - 1; i > 0; i--) {
        random = random * 1664525u + 1013904223u;
        std::swap(order[i], order[(random >> 8) % (i + 1)]);
    }
}

/* One warp runs until none of its lanes can go on. */
static bool run_warp(int warp, const int *order)
{
    machine &m = the_machine;
    bool any = false, again = true;
    while (again) {
        again = false;
        for (int i = 0; i < m.n_threads; i++) {
            fiber &f = m.fibers[order[i]];
            if (order[i] / 32 != warp || f.state != READY)
                continue;
            run_fiber(f);
            again = true;
        }
        again |= complete_warp_operations(warp);
        any |= again;
        if (!schedule_is_greedy())
            break;
    }
    return any;
}

/* All who have not left stand at the barrier: they go on. Returns whether they did. */
static bool release_barrier()
{
    machine &m = the_machine;
    int waiting = 0, left = 0;
    for (int i = 0; i < m.n_threads; i++) {
        waiting += m.fibers[i].state == AT_BARRIER;
        left += m.fibers[i].state == LEFT;
    }
    if (waiting == 0 || waiting + left < m.n_threads)
        return false;
    if (left > 0)
        fail("__syncthreads after some threads have left");
    m.count.barriers++;
    for (int i = 0; i < m.n_threads; i++)
        m.fibers[i].state = READY;
    return true;
}

static bool block_has_left()
{
    const machine &m = the_machine;
    for (int i = 0; i < m.n_threads; i++)
        if (m.fibers[i].state != LEFT)
            return false;
    return true;
}

static void run_block()
{
    machine &m = the_machine;
    const int n_warps = (m.n_threads + 31) / 32;
    int threads[THREADS_MAX], warps[THREADS_MAX / 32];
    memset(m.shared, 0xff, SHARED_BYTES_MAX); /* NaN in every float format */
    m.n_shared_arrays = 0;
    m.shared_bytes = 0;
    m.count.blocks++;
    for (int i = 0; i < m.n_threads; i++)
        prepare_fiber(m.fibers[i], i);
    fill_order(threads, m.n_threads, m.block.x);
    fill_order(warps, n_warps, m.block.x + 1);
    while (!block_has_left()) {
        bool any = false;
        for (int i = 0; i < n_warps; i++)
            any |= run_warp(warps[i], threads);
        if (!release_barrier() && !any)
            fail("deadlock: no thread can go on");
    }
}

void run_grid(const char *name, dim3 grid, dim3 block, const std::function<void()> &kernel)
{
    machine &m = the_machine;
    const int n_blocks = (int)(grid.x * grid.y * grid.z);
    forget_mapped_writes();
    m.kernel_name = name;
    m.kernel = &kernel;
    m.n_threads = (int)(block.x * block.y * block.z);
    m.block_dim = {block.x, block.y, block.z};
    m.grid_dim = {grid.x, grid.y, grid.z};
    if (n_blocks == 0 || grid.y > 65535 || grid.z > 65535 || m.n_threads == 0 ||
        m.n_threads > THREADS_MAX)
        fail("a launch configuration that CUDA refuses");
    int *order = (int *)malloc(sizeof(int) * (size_t)n_blocks);
    fill_order(order, n_blocks, 7);
    for (int i = 0; i < n_blocks; i++) {
        const unsigned b = (unsigned)order[i];
        m.block = {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
        run_block();
    }
    free(order);
}

static launch_hook the_launch_hook;

void set_launch_hook(launch_hook hook)
{
    the_launch_hook = hook;
}

cudaError_t launch(const char *name, dim3 grid, dim3 block, cudaStream_t stream,
                   std::function<void()> kernel, const arguments &values)
{
    if (the_launch_hook != nullptr)
        return the_launch_hook(name, grid, block, stream, std::move(kernel), values);
    run_grid(name, grid, block, kernel);
    return cudaSuccess;
}

static std::function<void(const uint32_t *, uint32_t)> the_publish_observer;

void set_publish_observer(std::function<void(const uint32_t *, uint32_t)> observer)
{
    the_publish_observer = std::move(observer);
}

void publish(uint32_t *word, uint32_t value)
{
    check_mapped_words();
    if (the_publish_observer)
        the_publish_observer(word, value);
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* ---- memory of a block ---- */

void block_barrier()
{
    the_machine.running->state = AT_BARRIER;
    yield_to_scheduler();
}

/* The array that all threads of the block know by `key`; made by whoever comes first. */
void *shared_array(const void *key, size_t bytes)
{
    machine &m = the_machine;
    for (int i = 0; i < m.n_shared_arrays; i++)
        if (m.shared_arrays[i].key == key)
            return m.shared + m.shared_arrays[i].offset;
    const size_t offset = (m.shared_bytes + 127) / 128 * 128;
    if (offset + bytes > STATIC_SHARED_BYTES_MAX || m.n_shared_arrays == SHARED_ARRAYS_MAX)
        fail("more than the 48 KiB of static shared memory that every GPU has");
    m.shared_arrays[m.n_shared_arrays++] = {key, offset};
    m.shared_bytes = offset + bytes;
    return m.shared + offset;
}

void check_alignment(const void *pointer, size_t bytes, const char *what)
{
    char sentence[96];
    if ((uintptr_t)pointer % bytes == 0)
        return;
    snprintf(sentence, sizeof sentence, "%s at %p is misaligned", what, pointer);
    fail(sentence);
}

static void check_shared(const void *pointer, size_t bytes, const char *what)
{
    const machine &m = the_machine;
    const unsigned char *p = (const unsigned char *)pointer;
    check_alignment(pointer, bytes, what);
    if (p < m.shared || p + bytes > m.shared + m.shared_bytes)
        fail("an access outside the block's shared memory");
}

const void *check_matrix_row(const void *row)
{
    check_shared(row, 16, "a row of ldmatrix");
    return row;
}

void copy_async(void *shared, const void *global, bool live)
{
    fiber &f = *the_machine.running;
    check_shared(shared, 16, "cp.async into shared memory");
    if (live)
        check_alignment(global, 16, "cp.async from global memory");
    if (f.n_copies == COPIES_MAX)
        fail("too many cp.async under way in one thread");
    memset(shared, 0xff, 16);
    f.copies[f.n_copies++] = {shared, global, live, f.copy_group};
}

void copy_async_commit_group()
{
    the_machine.running->copy_group++;
}

void copy_async_wait_group(int pending)
{
    fiber &f = *the_machine.running;
    int kept = 0;
    for (int i = 0; i < f.n_copies; i++) {
        const async_copy &copy = f.copies[i];
        if (copy.group >= f.copy_group - pending)
            f.copies[kept++] = copy;
        else if (copy.live)
            memcpy(copy.to, copy.from, 16);
        else
            memset(copy.to, 0, 16);
    }
    f.n_copies = kept;
}

} // namespace gpu
