/* The [CLS] tail's ends and our GEMM against plain loops in double; and the signals to the
 * host. */
#include "fixture.h"

using namespace fixture;

static void gathering_takes_first_rows_and_says_almost_done()
{
    for (const struct kernel_set *kernels : KERNEL_SETS)
        for (uint32_t hidden_dim : {8u, 128u, 768u, 2048u}) {
            packed_batch batch({3, 1, 40}, 44, 5);
            matrix x(*kernels, 44, hidden_dim), cls(*kernels, 8, hidden_dim);
            x.fill_random(1, 1.0f);
            batch.copy_descriptor();
            run_under_every_schedule(cls.elements, [&] {
                return kernels->gather_cls(cls.data(), x.data(), &batch.device, 8, hidden_dim,
                                           nullptr);
            });
            for (uint32_t row = 0; row < 8; row++)
                for (uint32_t i = 0; i < hidden_dim; i++)
                    EXPECT(cls.get(row, i) == (row < 3 ? x.get(batch.cu_seqlens[row], i) : 0.0f));
            EXPECT_EQUAL(batch.device.signal->almost_done, 5);
            EXPECT_EQUAL(batch.device.signal->done, 0);
        }
}

static void a_batch_of_one_sequence_says_almost_done_too()
{
    packed_batch batch({3}, 3, 9);
    matrix x(kernel_set_float16, 3, 64), cls(kernel_set_float16, 1, 64);
    x.fill_random(1, 1.0f);
    batch.copy_descriptor();
    launched(kernel_set_float16.gather_cls(cls.data(), x.data(), &batch.device, 1, 64, nullptr));
    EXPECT_EQUAL(batch.device.signal->almost_done, 9);
}

struct head_case {
    head_case(uint32_t n_rows, uint32_t hidden_dim, uint32_t n_labels)
        : pooled(kernel_set_float32, n_rows, hidden_dim),
          pooler_bias(kernel_set_float32, 1, hidden_dim),
          weight(kernel_set_float32, n_labels, hidden_dim), bias(kernel_set_float32, 1, n_labels)
    {
        pooled.fill_random(1, 1.0f);
        pooler_bias.fill_random(2, 0.5f);
        weight.fill_random(3, 0.3f);
        bias.fill_random(4, 0.5f);
    }
    double logit(uint32_t row, uint32_t label, enum pooler_activation activation) const
    {
        double sum = bias.get(0, label);
        for (uint32_t i = 0; i < pooled.n_columns; i++) {
            const double x = (double)pooled.get(row, i) + pooler_bias.get(0, i);
            sum += (activation == POOLER_TANH ? tanh(x) : fmax(x, 0.0)) * weight.get(label, i);
        }
        return sum;
    }
    matrix pooled, pooler_bias, weight, bias;
};

static void check_classify(uint32_t n_labels, uint32_t hidden_dim,
                           enum pooler_activation activation, uint32_t number)
{
    const uint32_t n_sequences = 5, n_rows = 8, stride = n_sequences * n_labels + 3;
    head_case head(n_rows, hidden_dim, n_labels);
    packed_batch batch({2, 1, 4, 1, 9}, 17, number);
    array logits(sizeof(float) * 2 * stride);
    const float *mine = (const float *)logits.data + number % 2 * stride;
    const float *other = (const float *)logits.data + (number + 1) % 2 * stride;
    batch.copy_descriptor();
    int n_published = 0;
    gpu::set_publish_observer([&](const uint32_t *word, uint32_t) {
        n_published++;
        EXPECT(word == &batch.device.signal->done);
        for (uint32_t i = 0; i < n_sequences * n_labels; i++)
            EXPECT(!isnan(mine[i])); /* the host may read them from now on */
    });
    gpu::watch_mapped_words(logits.data, logits.bytes);
    run_under_every_schedule(
        logits,
        [&] {
            return kernel_set_float16.classify(
                (float *)logits.data, stride, (const float *)head.pooled.data(),
                (const float *)head.pooler_bias.data(), (const float *)head.weight.data(),
                (const float *)head.bias.data(), activation, &batch.device, n_rows, hidden_dim,
                n_labels, nullptr);
        },
        [&] {
            *batch.device.batches_done = number - 1;
            batch.device.signal->done = 0;
            n_published = 0;
        });
    gpu::set_publish_observer(nullptr);
    EXPECT_EQUAL(n_published, 1); /* by a store that the compiler may not move */
    gpu::watch_mapped_words(nullptr, 0);
    for (uint32_t s = 0; s < n_sequences; s++)
        for (uint32_t label = 0; label < n_labels; label++)
            EXPECT(fabs(mine[s * n_labels + label] - head.logit(s, label, activation)) < 1e-4);
    for (uint32_t i = 0; i < stride; i++)
        EXPECT(isnan(other[i]));
    for (uint32_t i = n_sequences * n_labels; i < stride; i++)
        EXPECT(isnan(mine[i])); /* rows past n_sequences write nothing */
    EXPECT_EQUAL(batch.device.signal->done, number);
    EXPECT_EQUAL(*batch.device.batches_done, number);
    EXPECT_EQUAL(*batch.device.tickets, 0);
}

static void logits_equal_their_twin_and_the_last_block_signs_off()
{
    check_classify(2, 768, POOLER_RELU, 1);
    check_classify(2, 768, POOLER_TANH, 2);
    check_classify(1, 40, POOLER_TANH, 3);
    check_classify(77, 128, POOLER_RELU, 4);
}

static double epilogue_of(enum gemm_epilogue epilogue, double sum, double bias, double before)
{
    switch (epilogue) {
    case GEMM_BIAS:
        return sum + bias;
    case GEMM_RESIDUAL:
        return before + sum + bias;
    case GEMM_RELU:
        return fmax(sum + bias, 0.0);
    case GEMM_GELU:
        return 0.5 * (sum + bias) * (1.0 + erf((sum + bias) * 0.70710678118654752));
    default:
        return sum;
    }
}

static void check_gemm(const struct kernel_set &kernels, enum gemm_epilogue epilogue,
                       uint32_t n_rows, uint32_t out_dim, uint32_t in_dim)
{
    const struct kernel_set &y_kernels = epilogue == GEMM_FLOAT ? kernel_set_float32 : kernels;
    matrix x(kernels, n_rows, in_dim), weight(kernels, out_dim, in_dim), bias(kernels, 1, out_dim);
    matrix y(y_kernels, n_rows, out_dim), before(y_kernels, n_rows, out_dim);
    std::vector<double> expected((size_t)n_rows * out_dim);
    x.fill_random(1, 1.0f);
    weight.fill_random(2, 1.0f / sqrtf((float)in_dim));
    bias.fill_random(3, 0.5f);
    before.fill_random(4, 1.0f);
    for (uint32_t row = 0; row < n_rows; row++)
        for (uint32_t o = 0; o < out_dim; o++) {
            double sum = 0.0;
            for (uint32_t i = 0; i < in_dim; i++)
                sum += (double)x.get(row, i) * weight.get(o, i);
            expected[(size_t)row * out_dim + o] =
                epilogue_of(epilogue, sum, bias.get(0, o), before.get(row, o));
        }
    run_under_every_schedule(y.elements, [&] {
        if (epilogue == GEMM_RESIDUAL)
            memcpy(y.data(), before.data(), y.elements.bytes);
        return kernels.gemm(y.data(), x.data(), weight.data(), bias.data(), epilogue, n_rows,
                            out_dim, in_dim, nullptr);
    });
    EXPECT(relative_error(y, expected, n_rows) < 1.5 * tolerance(kernels));
}

static void our_gemm_equals_its_twin_for_ragged_rows()
{
    for (const struct kernel_set *kernels : {&kernel_set_float16, &kernel_set_bfloat16})
        for (enum gemm_epilogue epilogue :
             {GEMM_GELU, GEMM_BIAS, GEMM_RESIDUAL, GEMM_RELU, GEMM_FLOAT}) {
            check_gemm(*kernels, epilogue, 1, 64, 32);
            check_gemm(*kernels, epilogue, 70, 128, 96);
            if (epilogue == GEMM_GELU) /* all have the same sums */
                check_gemm(*kernels, epilogue, 65, 64, 64);
        }
    check_gemm(kernel_set_float16, GEMM_GELU, 130, 64, 256);
    EXPECT(kernel_set_float32.gemm == nullptr);
}

int main()
{
    RUN(gathering_takes_first_rows_and_says_almost_done);
    RUN(a_batch_of_one_sequence_says_almost_done_too);
    RUN(logits_equal_their_twin_and_the_last_block_signs_off);
    RUN(our_gemm_equals_its_twin_for_ragged_rows);
    return 0;
}
