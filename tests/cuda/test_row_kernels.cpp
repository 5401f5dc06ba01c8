/* LayerNorm, embedding, GELU and the conversion of weights against plain loops in double. */
#include "fixture.h"

#include <cuda_fp16.h>

using namespace fixture;

/* The twin: y = (x - mean) / sqrt(variance + eps) * weight + bias. */
static void layernorm_reference(double *y, const double *x, const matrix &weight,
                                const matrix &bias, double eps)
{
    const uint32_t n = weight.n_columns;
    double mean = 0.0, variance = 0.0;
    for (uint32_t i = 0; i < n; i++)
        mean += x[i] / n;
    for (uint32_t i = 0; i < n; i++)
        variance += (x[i] - mean) * (x[i] - mean) / n;
    for (uint32_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) / sqrt(variance + eps) * weight.get(0, i) + bias.get(0, i);
}

static void check_layernorm(const struct kernel_set &kernels, uint32_t n_rows, uint32_t hidden_dim)
{
    matrix input(kernels, n_rows, hidden_dim), x(kernels, n_rows, hidden_dim);
    matrix weight(kernels, 1, hidden_dim), bias(kernels, 1, hidden_dim);
    std::vector<double> row(hidden_dim), expected((size_t)n_rows * hidden_dim);
    input.fill_random(1, 2.0f, 0.5f);
    weight.fill_random(2, 0.3f, 1.0f);
    bias.fill_random(3, 0.2f);
    for (uint32_t r = 0; r < n_rows; r++) {
        for (uint32_t i = 0; i < hidden_dim; i++)
            row[i] = input.get(r, i);
        layernorm_reference(&expected[(size_t)r * hidden_dim], row.data(), weight, bias, 1e-12);
    }
    const struct norm_weights norm = {weight.data(), bias.data(), 1e-12f};
    run_under_every_schedule(
        x.elements,
        [&] { return kernels.layernorm(x.data(), NO_CODES, &norm, n_rows, hidden_dim, nullptr); },
        [&] { memcpy(x.data(), input.data(), x.elements.bytes); });
    EXPECT(relative_error(x, expected, n_rows) < tolerance(kernels));
}

static void layernorm_equals_its_twin_for_every_width_and_ragged_rows()
{
    for (const struct kernel_set *kernels : KERNEL_SETS)
        for (uint32_t hidden_dim :
             {8u, 128u, 256u, 264u, 512u, 520u, 768u, 776u, 1000u, 1024u, 1032u, 2048u})
            check_layernorm(*kernels, hidden_dim == 768 ? 9 : 3, hidden_dim);
    check_layernorm(kernel_set_float16, 1, 768);
}

static void check_eps(const struct kernel_set &kernels)
{
    matrix x(kernels, 1, 64), weight(kernels, 1, 64), bias(kernels, 1, 64);
    for (uint32_t i = 0; i < 64; i++) {
        x.set(0, i, 3.0f);
        weight.set(0, i, 1.0f);
        bias.set(0, i, 0.25f);
    }
    const struct norm_weights norm = {weight.data(), bias.data(), 1e-12f};
    launched(kernels.layernorm(x.data(), NO_CODES, &norm, 1, 64, nullptr));
    for (uint32_t i = 0; i < 64; i++)
        EXPECT(x.get(0, i) == 0.25f);
    /* And eps weighs: a spread of 1e-3 with eps 1e-6 comes out 1/sqrt(2) as large. */
    for (uint32_t i = 0; i < 64; i++)
        x.set(0, i, i % 2 ? 1e-3f : -1e-3f);
    const struct norm_weights wide = {weight.data(), bias.data(), 1e-6f};
    launched(kernels.layernorm(x.data(), NO_CODES, &wide, 1, 64, nullptr));
    EXPECT(fabs(x.get(0, 1) - 0.25 - 0.70710678) < tolerance(kernels) + 1e-4);
}

static void layernorm_uses_eps_where_a_row_is_constant()
{
    for (const struct kernel_set *kernels : KERNEL_SETS)
        check_eps(*kernels);
}

struct embedding_case {
    embedding_case(const struct kernel_set &kernels, uint32_t hidden_dim, uint32_t n_types)
        : words(kernels, 100, hidden_dim), positions(kernels, 512, hidden_dim),
          types(kernels, 2, hidden_dim), weight(kernels, 1, hidden_dim),
          bias(kernels, 1, hidden_dim)
    {
        words.fill_random(1, 0.5f);
        positions.fill_random(2, 0.3f);
        types.fill_random(3, 0.4f);
        weight.fill_random(4, 0.1f, 1.0f);
        bias.fill_random(5, 0.1f);
        tables = {words.data(), positions.data(), types.data(), 100, 512, n_types};
        norm = {weight.data(), bias.data(), 1e-12f};
    }
    matrix words, positions, types, weight, bias;
    struct embedding_tables tables;
    struct norm_weights norm;
};

/* The twin, with ids clamped to the vocabulary; rows past n_tokens are zeros. */
static std::vector<double> embed_reference(const embedding_case &e, const packed_batch &batch)
{
    const uint32_t hidden_dim = e.weight.n_columns;
    std::vector<double> expected((size_t)batch.n_rows * hidden_dim), row(hidden_dim);
    for (uint32_t s = 0; s < batch.host.n_sequences; s++)
        for (uint32_t t = batch.cu_seqlens[s]; t < batch.cu_seqlens[s + 1]; t++) {
            const uint32_t position = t - batch.cu_seqlens[s];
            const uint32_t id = batch.input_ids[t] < 100 ? batch.input_ids[t] : 99;
            for (uint32_t i = 0; i < hidden_dim; i++) {
                row[i] = (double)e.words.get(id, i) + e.positions.get(position, i);
                if (e.tables.n_types > 0)
                    row[i] += e.types.get(position >= batch.type_starts[s], i);
            }
            layernorm_reference(&expected[(size_t)t * hidden_dim], row.data(), e.weight, e.bias,
                                1e-12);
        }
    return expected;
}

static void check_embedding(const struct kernel_set &kernels, uint32_t hidden_dim, uint32_t n_types,
                            const std::vector<uint32_t> &lengths, uint32_t n_rows, uint32_t number)
{
    embedding_case e(kernels, hidden_dim, n_types);
    packed_batch batch(lengths, n_rows, number);
    matrix x(kernels, n_rows, hidden_dim);
    const std::vector<double> expected = embed_reference(e, batch);
    run_under_every_schedule(
        x.elements,
        [&] {
            return kernels.embed_layernorm(x.data(), NO_CODES, &batch.device, &e.tables, &e.norm,
                                           n_rows, hidden_dim, nullptr);
        },
        [&] { batch.descriptor.poison(); });
    EXPECT(relative_error(x, expected, n_rows) < tolerance(kernels));
    for (uint32_t row = batch.host.n_tokens; row < n_rows; row++)
        for (uint32_t i = 0; i < hidden_dim; i++)
            EXPECT(x.get(row, i) == 0.0f);
    const struct batch_header *header = (const struct batch_header *)batch.descriptor.data;
    EXPECT_EQUAL(header->number, number);
    EXPECT_EQUAL(header->n_tokens, batch.host.n_tokens);
    for (uint32_t s = 0; s <= batch.host.n_sequences; s++)
        EXPECT_EQUAL(batch.device.descriptor[batch.device.layout.cu_seqlens + s],
                     batch.cu_seqlens[s]);
    for (uint32_t i = 0; i < header->n_blocks * WORK_WORDS_A_BLOCK; i++)
        EXPECT_EQUAL(batch.device.descriptor[batch.device.layout.work + i],
                     batch.device.staging[(size_t)(number % BATCHES_IN_FLIGHT) *
                                              batch.device.layout.n_words +
                                          batch.device.layout.work + i]);
}

static void embedding_equals_its_twin_and_copies_the_descriptor()
{
    for (const struct kernel_set *kernels : KERNEL_SETS) {
        check_embedding(*kernels, 768, 0, {1, 7, 12}, 32, 1);
        check_embedding(*kernels, 128, 2, {5, 33, 2}, 48, 2);
        check_embedding(*kernels, 264, 2, {1}, 1, 3);
    }
    check_embedding(kernel_set_float16, 64, 2, {512, 1}, 513, 4);
}

static void wild_ids_and_positions_stay_inside_the_tables()
{
    embedding_case e(kernel_set_float16, 64, 2);
    packed_batch batch({4}, 4);
    matrix x(kernel_set_float16, 4, 64);
    const uint32_t wild[4] = {99, 100, UINT32_MAX, 1u << 31};
    struct packed_token *tokens =
        (struct packed_token *)(batch.device.staging + batch.device.layout.n_words +
                                batch.device.layout.tokens);
    for (int i = 0; i < 4; i++)
        batch.input_ids[i] = tokens[i].id = wild[i];
    launched(kernel_set_float16.embed_layernorm(x.data(), NO_CODES, &batch.device, &e.tables,
                                                &e.norm, 4, 64, nullptr));
    EXPECT(relative_error(x, embed_reference(e, batch), 4) < tolerance(kernel_set_float16));
    for (int i = 0; i < 4; i++) {
        tokens[i].position = UINT16_MAX;
        tokens[i].type = UINT16_MAX - 1;
    }
    launched(kernel_set_float16.embed_layernorm(x.data(), NO_CODES, &batch.device, &e.tables,
                                                &e.norm, 4, 64, nullptr));
}

static void gelu_is_the_exact_form()
{
    for (const struct kernel_set *kernels : KERNEL_SETS) {
        matrix input(*kernels, 1, 2056), x(*kernels, 1, 2056);
        std::vector<double> expected(2056);
        const double rounding = kernels == &kernel_set_float16    ? 1.0 / 1024
                                : kernels == &kernel_set_bfloat16 ? 1.0 / 128
                                                                  : 1e-6;
        for (uint32_t i = 0; i < 2056; i++) {
            input.set(0, i, ((float)i - 1028.0f) / 128.0f);
            const double v = input.get(0, i);
            expected[i] = 0.5 * v * (1.0 + erf(v * 0.70710678118654752));
        }
        run_under_every_schedule(
            x.elements, [&] { return kernels->gelu(x.data(), NO_CODES, 2056, nullptr); },
            [&] { memcpy(x.data(), input.data(), x.elements.bytes); });
        /* Near zero only the form counts: the tanh form would be off by 4.7e-4 at -2.7, where GELU
         * is -0.0094. */
        for (uint32_t i = 0; i < 2056; i++) {
            const double error = fabs(x.get(0, i) - expected[i]);
            EXPECT(error < 1e-6 + rounding * fabs(expected[i]));
        }
    }
}

static void gelu_keeps_to_its_elements()
{
    matrix x(kernel_set_float16, 1, 8 * 257);
    x.fill_random(1, 1.0f);
    const float behind = x.get(0, 8 * 256);
    launched(kernel_set_float16.gelu(x.data(), NO_CODES, 8 * 256, nullptr));
    EXPECT(x.get(0, 8 * 256) == behind);
}

static void conversion_rounds_to_nearest_even_and_reports_overflow()
{
    const float values[] = {0.0f,  -1.5f, 65504.0f, 1.0f + 1.0f / 2048, 1.0f + 3.0f / 2048,
                            6e-8f, 1e5f};
    array in(sizeof values), overflow(sizeof(uint32_t));
    memcpy(in.data, values, sizeof values);
    for (const struct kernel_set *kernels : KERNEL_SETS) {
        matrix out(*kernels, 1, 7);
        *(uint32_t *)overflow.data = 0;
        launched(kernels->convert(out.data(), (const float *)in.data, 7, (uint32_t *)overflow.data,
                                  nullptr));
        for (uint32_t i = 0; i < 6; i++) {
            matrix one(*kernels, 1, 1);
            one.set(0, 0, values[i]);
            EXPECT(out.get(0, i) == one.get(0, 0));
        }
        EXPECT_EQUAL(*(uint32_t *)overflow.data, kernels == &kernel_set_float16 ? 1 : 0);
    }
    matrix out(kernel_set_float16, 1, 7);
    *(uint32_t *)overflow.data = 0;
    launched(kernel_set_float16.convert(out.data(), (const float *)in.data, 6,
                                        (uint32_t *)overflow.data, nullptr));
    EXPECT_EQUAL(*(uint32_t *)overflow.data, 0);
    EXPECT(out.get(0, 3) == 1.0f);
    *(float *)in.data = INFINITY; /* which it was: nothing overflows */
    launched(kernel_set_float16.convert(out.data(), (const float *)in.data, 1,
                                        (uint32_t *)overflow.data, nullptr));
    EXPECT(isinf(out.get(0, 0)));
    EXPECT_EQUAL(*(uint32_t *)overflow.data, 0);
}

int main()
{
    RUN(layernorm_equals_its_twin_for_every_width_and_ragged_rows);
    RUN(layernorm_uses_eps_where_a_row_is_constant);
    RUN(embedding_equals_its_twin_and_copies_the_descriptor);
    RUN(wild_ids_and_positions_stay_inside_the_tables);
    RUN(gelu_is_the_exact_form);
    RUN(gelu_keeps_to_its_elements);
    RUN(conversion_rounds_to_nearest_even_and_reports_overflow);
    return 0;
}
