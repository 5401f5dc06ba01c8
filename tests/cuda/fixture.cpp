/* The kernels' fixture; see fixture.h. */
#include "fixture.h"

#include <algorithm>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace fixture
{

const struct kernel_set *const KERNEL_SETS[3] = {&kernel_set_float16, &kernel_set_bfloat16,
                                                 &kernel_set_float32};

array::array(size_t n_bytes) : bytes(n_bytes)
{
    data = memory_take(bytes, &mapping, &mapping_bytes);
    poison();
}

array::~array()
{
    memory_give_back(mapping, mapping_bytes);
}

void launched(cudaError_t status)
{
    EXPECT_EQUAL(status, cudaSuccess);
    EXPECT_EQUAL(wait_for_kernel(), cudaSuccess);
}

void array::poison()
{
    memset(data, 0xff, bytes);
}

matrix::matrix(const struct kernel_set &set_of, uint32_t rows, uint32_t columns)
    : n_rows(rows), n_columns(columns), elements((size_t)rows * columns * set_of.element_bytes),
      kernels(set_of)
{
}

float random_normal(uint32_t *state)
{
    float sum = 0.0f; /* of four uniform values: near enough to normal */
    for (int i = 0; i < 4; i++) {
        *state = *state * 1664525u + 1013904223u;
        sum += (float)(*state >> 8) / (1 << 24) - 0.5f;
    }
    return sum * 1.7320508f;
}

void matrix::fill_random(uint32_t seed, float spread, float offset)
{
    uint32_t state = seed;
    for (uint32_t row = 0; row < n_rows; row++)
        for (uint32_t column = 0; column < n_columns; column++)
            set(row, column, offset + spread * random_normal(&state));
}

float matrix::get(uint32_t row, uint32_t column) const
{
    const size_t i = (size_t)row * n_columns + column;
    if (&kernels == &kernel_set_float16)
        return __half2float(((const __half *)elements.data)[i]);
    if (&kernels == &kernel_set_bfloat16)
        return __bfloat162float(((const __nv_bfloat16 *)elements.data)[i]);
    return ((const float *)elements.data)[i];
}

void matrix::set(uint32_t row, uint32_t column, float value)
{
    const size_t i = (size_t)row * n_columns + column;
    if (&kernels == &kernel_set_float16)
        ((__half *)elements.data)[i] = __float2half_rn(value);
    else if (&kernels == &kernel_set_bfloat16)
        ((__nv_bfloat16 *)elements.data)[i] = __float2bfloat16_rn(value);
    else
        ((float *)elements.data)[i] = value;
}

static uint32_t sum_of(const std::vector<uint32_t> &lengths)
{
    uint32_t sum = 0;
    for (uint32_t length : lengths)
        sum += length;
    return sum;
}

packed_batch::packed_batch(const std::vector<uint32_t> &lengths, uint32_t rows, uint32_t number,
                           uint32_t vocab_size)
    : n_rows(rows),
      staging(BATCHES_IN_FLIGHT * sizeof(uint32_t) *
              cuda_batch_layout(sum_of(lengths), (uint32_t)lengths.size(), rows).n_words),
      descriptor(sizeof(uint32_t) *
                 cuda_batch_layout(sum_of(lengths), (uint32_t)lengths.size(), rows).tokens),
      counters(2 * sizeof(uint32_t)), signal(sizeof(struct batch_signal))
{
    uint32_t state = 99;
    cu_seqlens.push_back(0);
    for (uint32_t length : lengths) {
        cu_seqlens.push_back(cu_seqlens.back() + length);
        type_starts.push_back((length + 1) / 2);
        for (uint32_t i = 0; i < length; i++)
            input_ids.push_back((state = state * 1664525u + 1013904223u) >> 8);
    }
    for (uint32_t &id : input_ids)
        id %= vocab_size;
    host = {input_ids.data(), cu_seqlens.data(), type_starts.data(), (uint32_t)lengths.size(),
            cu_seqlens.back()};
    device.staging = (const uint32_t *)staging.data;
    device.descriptor = (uint32_t *)descriptor.data;
    device.batches_done = (uint32_t *)counters.data;
    device.tickets = device.batches_done + 1;
    device.signal = (struct batch_signal *)signal.data;
    device.layout = cuda_batch_layout(host.n_tokens, host.n_sequences, rows);
    *device.batches_done = number - 1;
    *device.tickets = 0;
    memset(signal.data, 0, signal.bytes);
    cuda_batch_pack((uint32_t *)staging.data +
                        (size_t)(number % BATCHES_IN_FLIGHT) * device.layout.n_words,
                    &device.layout, &host, number, rows);
}

void packed_batch::copy_descriptor()
{
    const uint32_t number = *device.batches_done + 1;
    memcpy(descriptor.data,
           device.staging + (size_t)(number % BATCHES_IN_FLIGHT) * device.layout.n_words,
           descriptor.bytes);
}

double relative_error(const matrix &actual, const std::vector<double> &expected, uint32_t n_rows)
{
    double squares = 0.0, largest = 0.0;
    const size_t n = (size_t)n_rows * actual.n_columns;
    for (size_t i = 0; i < n; i++) {
        const double value =
            actual.get((uint32_t)(i / actual.n_columns), (uint32_t)(i % actual.n_columns));
        squares += expected[i] * expected[i];
        if (!(fabs(value - expected[i]) <= largest)) /* a NaN is the largest error of all */
            largest = isnan(value) ? INFINITY : fabs(value - expected[i]);
    }
    return largest / sqrt(squares / (double)n);
}

double tolerance(const struct kernel_set &kernels)
{
    if (&kernels == &kernel_set_float16)
        return 4e-3;
    return &kernels == &kernel_set_bfloat16 ? 3e-2 : 2e-5;
}

void run_under_every_schedule(array &output, const std::function<cudaError_t()> &launch,
                              const std::function<void()> &before)
{
    std::vector<unsigned char> first(output.bytes);
    /* PTX runs slowly, and its barriers are the source's: one schedule will do for it. */
    const int n_schedules =
        getenv("WEIR_PTX") != nullptr ? 1 : BY_SANITIZER(gpu::N_SCHEDULES, 2, 2);
    for (int schedule = 0; schedule < n_schedules; schedule++) {
        gpu::set_schedule(schedule);
        output.poison();
        if (before)
            before();
        launched(launch());
        if (schedule == 0)
            memcpy(first.data(), output.data, output.bytes);
        EXPECT(memcmp(first.data(), output.data, output.bytes) == 0);
        EXPECT_EQUAL(gpu::take_counters().bank_conflicts, 0);
    }
    gpu::set_schedule(0);
}

} // namespace fixture
