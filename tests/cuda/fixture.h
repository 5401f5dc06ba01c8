/* What the kernels' tests share: arrays that end at a guard page, so that one element too far is a
 * fault; elements of any type as float32; a batch of sequences of given lengths; comparison with a
 * reference in double; and the run of one test under every schedule, bit for bit the same. */
#ifndef WEIR_TESTS_CUDA_FIXTURE_H
#define WEIR_TESTS_CUDA_FIXTURE_H

#include <math.h>

#include <functional>
#include <vector>

#include "emulation/gpu.h"
#define _Noreturn [[noreturn]] /* the seams are C */
extern "C" {
#include "gpu_worker/cuda_batch.h"
}
#include "tests/test.h"

namespace fixture
{

/* Memory whose last byte is followed by a page that nobody may touch; filled with NaN. */
class array
{
  public:
    explicit array(size_t bytes);
    ~array();
    array(const array &) = delete;
    array &operator=(const array &) = delete;
    void poison();
    void *data;
    size_t bytes;

  private:
    void *mapping;
    size_t mapping_bytes;
};

/* A matrix of elements of one kernel set, with the float32 values that its elements stand for. */
class matrix
{
  public:
    matrix(const struct kernel_set &kernels, uint32_t n_rows, uint32_t n_columns);
    /* Normal values of the given spread, rounded to the element type. */
    void fill_random(uint32_t seed, float spread, float offset = 0.0f);
    float get(uint32_t row, uint32_t column) const;
    void set(uint32_t row, uint32_t column, float value);
    void *data()
    {
        return elements.data;
    }
    const uint32_t n_rows, n_columns;
    array elements;

  private:
    const struct kernel_set &kernels;
};

/* A packed batch and everything that struct kernel_batch points to. Its ids are random; sequence s
 * has type 1 from its middle on. */
class packed_batch
{
  public:
    packed_batch(const std::vector<uint32_t> &lengths, uint32_t n_rows, uint32_t number = 1,
                 uint32_t vocab_size = 100);
    /* What the embedding kernel does first: the device's copy of the descriptor. */
    void copy_descriptor();
    struct batch host;
    struct kernel_batch device;
    std::vector<uint32_t> input_ids, cu_seqlens, type_starts;
    uint32_t n_rows;
    array staging, descriptor, counters, signal;
};

float random_normal(uint32_t *state);

/* The launch must have succeeded; returns when the kernel has ended. */
void launched(cudaError_t status);

/* What differs between the emulated GPU and a card: memory_emulated.cpp, memory_card.cpp. */
void *memory_take(size_t bytes, void **mapping, size_t *mapping_bytes);
void memory_give_back(void *mapping, size_t mapping_bytes);
cudaError_t wait_for_kernel();

/* The largest |actual - expected| over rows x columns, as a share of the expected values' size. */
double relative_error(const matrix &actual, const std::vector<double> &expected, uint32_t n_rows);

/* How far a value may be off after one rounding to the element type, with room for float32 sums. */
double tolerance(const struct kernel_set &kernels);

/* Runs `launch` under every schedule; each time the output, poisoned before, must come out with the
 * same bits, and without a bank conflict. */
void run_under_every_schedule(array &output, const std::function<cudaError_t()> &launch,
                              const std::function<void()> &before = nullptr);

/* For the launchers of sets that write none. */
static const struct fp8_output NO_CODES = {nullptr, 0.0f};

extern const struct kernel_set *const KERNEL_SETS[3];

} // namespace fixture

#endif
