/* A GPU for tests: runs CUDA kernels that the host compiler compiled, one fiber for each CUDA
 * thread.
 *
 * A block's fibers run one at a time and give way only where a CUDA thread can wait: at a barrier
 * or at a warp-wide operation. The schedule decides in which order they run, so a kernel that
 * forgets a barrier gives different bits under different schedules, or reads poison:
 *
 *     shared memory starts as NaN in every block
 *     cp.async poisons its target at once and fills it only at the wait that covers it
 *     a warp-wide operation waits for every lane of its mask; a lane that has left, or stands at
 *         another operation, ends the run with a report; so does a barrier that some have left out
 *     ldmatrix checks alignment and range, and counts bank conflicts
 *
 * What it cannot show: the tensor cores' own rounding, races without any scheduling point between,
 * and timing. One emulated GPU a process; one host thread may use it at a time. */
#ifndef WEIR_TESTS_CUDA_EMULATION_GPU_H
#define WEIR_TESTS_CUDA_EMULATION_GPU_H

#include <stddef.h>
#include <stdint.h>

#include <functional>
#include <vector>

#include <cuda_runtime_api.h>

namespace gpu
{

struct index {
    unsigned x, y, z;
};

/* What CUDA calls threadIdx, blockIdx, blockDim, gridDim: the running fiber's. */
index thread_index();
index block_index();
index block_size();
index grid_size();

/* Schedules 0 .. N_SCHEDULES - 1: {forward, reverse, shuffled with different seeds} order of
 * threads and blocks, each once with all warps in step and once with one warp running as far as it
 * can. */
constexpr int N_SCHEDULES = 8;
void set_schedule(int schedule);

struct counters {
    uint64_t blocks, barriers, collectives, mmas, ldmatrices, bank_conflicts;
};
counters take_counters(); /* and sets them to zero */

/* Runs a grid to its end. `kernel` is one thread's work. */
void run_grid(const char *name, dim3 grid, dim3 block, const std::function<void()> &kernel);

/* A launch's arguments as the kernel declares them, byte by byte. */
typedef std::vector<std::vector<unsigned char>> arguments;

/* What LAUNCH() comes to: run_grid() at once, or whatever the CUDA runtime's stand-in, or the PTX
 * interpreter, makes of it. */
typedef cudaError_t (*launch_hook)(const char *name, dim3 grid, dim3 block, cudaStream_t stream,
                                   std::function<void()> kernel, const arguments &values);
void set_launch_hook(launch_hook hook);
cudaError_t launch(const char *name, dim3 grid, dim3 block, cudaStream_t stream,
                   std::function<void()> kernel, const arguments &values);

/* Called whenever a kernel publishes a word to the host, just before the host could see it: what
 * the word vouches for must be in memory by then. */
void set_publish_observer(std::function<void(const uint32_t *word, uint32_t value)> observer);

/* Words that the host reads once it is told: from now on whoever publishes must find each of them
 * fenced, behind its writing and by the thread that wrote it, else the run ends with a report.
 * Stricter than PTX's model, in which behind a barrier one thread's fence speaks for its block. */
void watch_mapped_words(const void *words, size_t bytes);

/* Called by kernels, through portable_host.h. */
void block_barrier();
void warp_barrier(unsigned mask);
uint64_t shuffle(unsigned mask, uint64_t value, int source_lane);
void multiply_fragments(float d[4], const float a[8], const float b[4]);
void load_matrices(uint32_t out[4], const void *row, bool transposed);
void copy_async(void *shared, const void *global, bool live);
void copy_async_commit_group();
void copy_async_wait_group(int pending);
void *shared_array(const void *key, size_t bytes);
int lane();
void system_fence();
void publish(uint32_t *word, uint32_t value);
void check_alignment(const void *pointer, size_t bytes, const char *what);

/* Ends the process with a report of where every thread stands. */
[[noreturn]] void fail(const char *why);

} // namespace gpu

#endif
