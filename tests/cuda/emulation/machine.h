/* The emulated GPU's insides, shared by its .cpp files only. */
#ifndef WEIR_TESTS_CUDA_EMULATION_MACHINE_H
#define WEIR_TESTS_CUDA_EMULATION_MACHINE_H

#include "emulation/gpu.h"

namespace gpu
{

constexpr int THREADS_MAX = 1024, SHARED_ARRAYS_MAX = 16, COPIES_MAX = 64;
constexpr size_t FIBER_STACK_BYTES = 64 << 10;
constexpr size_t STATIC_SHARED_BYTES_MAX = 48 << 10;
constexpr size_t SHARED_BYTES_MAX = STATIC_SHARED_BYTES_MAX;

enum fiber_state : uint8_t { READY, AT_BARRIER, AT_WARP_OPERATION, LEFT };
enum warp_operation : uint8_t { SYNC, SHUFFLE, MULTIPLY, LOAD_MATRICES, LOAD_MATRICES_TRANSPOSED };

struct async_copy {
    void *to;
    const void *from;
    bool live;
    int group;
};

struct fiber {
    void *stack_pointer;
    char *stack;
    index thread;
    int lane;
    fiber_state state;

    /* The warp operation it stands at, and its operands. */
    warp_operation operation;
    unsigned mask;
    uint64_t value; /* of a shuffle, in and out */
    int source_lane;
    const float *a, *b; /* of a multiplication */
    float *d;
    const void *row; /* of a matrix load */
    uint32_t *out;

    async_copy copies[COPIES_MAX];
    int n_copies, copy_group;
};

struct shared_array_entry {
    const void *key;
    size_t offset;
};

struct machine {
    fiber fibers[THREADS_MAX];
    int n_threads;
    fiber *running;
    void *scheduler_stack;
    index block, block_dim, grid_dim;
    const std::function<void()> *kernel;
    const char *kernel_name;
    int schedule;
    counters count;
    alignas(1024) unsigned char shared[SHARED_BYTES_MAX];
    size_t shared_bytes;
    shared_array_entry shared_arrays[SHARED_ARRAYS_MAX];
    int n_shared_arrays;
};

extern machine the_machine;

void yield_to_scheduler();

/* Carries out every operation of a warp whose lanes have all arrived. Returns whether there was
 * one. */
bool complete_warp_operations(int warp);

/* Of mapped.cpp: before a grid, whenever a thread has run, and when the host is told. */
void forget_mapped_writes();
void look_at_mapped_words();
void check_mapped_words();

/* The row, if it is aligned and in the block's shared memory. */
const void *check_matrix_row(const void *row);

} // namespace gpu

#endif
