/* The fp8 set: E4M3 codes against a table made from the format's definition, and the codes that
 * each kernel writes in passing against plain loops in double. */
#include "fixture.h"

#include <algorithm>

#include <cuda_fp16.h>

using namespace fixture;

static const struct kernel_set &FP8 = kernel_set_fp8;

/* ---- the format: a sign, 4 bits of exponent with bias 7, 3 of mantissa; all ones is a NaN ---- */

static double decode(uint8_t code)
{
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    if ((code & 0x7f) == 0x7f)
        return NAN;
    const double size = exponent == 0 ? ldexp(mantissa, -9) : ldexp(8 + mantissa, exponent - 10);
    return code & 0x80 ? -size : size;
}

/* The nearest code by search; of two, the even one; the largest beyond the range. */
static uint8_t encode(double value)
{
    const uint8_t sign = signbit(value) ? 0x80 : 0;
    const double size = fmin(fabs(value), 448.0);
    uint8_t best = 0;
    if (isnan(value))
        return 0x7f;
    for (int code = 1; code < 0x7f; code++) {
        const double closer = fabs(decode(best) - size) - fabs(decode((uint8_t)code) - size);
        if (closer > 0 || (closer == 0 && code % 2 == 0))
            best = (uint8_t)code;
    }
    return sign | best;
}

static uint8_t code_at(const array &codes, size_t i)
{
    return ((const uint8_t *)codes.data)[i];
}

/* Whether a code is that of a value which is known to within `error`. */
static bool is_code_of(uint8_t code, double value, double error)
{
    const double least = decode(encode(value - error)), most = decode(encode(value + error));
    return decode(code) >= least && decode(code) <= most;
}

/* ---- conversion ---- */

static std::vector<float> telling_values()
{
    std::vector<float> values = {0.0f,   -0.0f,   1e-30f, -1e-30f, INFINITY, -INFINITY,
                                 NAN,    -NAN,    448.0f, 463.0f,  464.0f,   464.1f,
                                 480.0f, -465.0f, 1e30f,  -1e30f,  0.0009f,  -0.001f};
    for (int code = 0; code < 0x7f; code++) {
        const float here = (float)decode((uint8_t)code);
        const float next = code < 0x7e ? (float)decode((uint8_t)(code + 1)) : 480.0f;
        const float middle = (here + next) / 2; /* exact: a tie */
        for (float value : {here, middle, nextafterf(middle, 0.0f), nextafterf(middle, 1e9f),
                            nextafterf(here, 1e9f)}) {
            values.push_back(value);
            values.push_back(-value);
        }
    }
    while (values.size() % 8 != 0)
        values.push_back(1.0f);
    return values;
}

static void every_code_every_tie_and_every_wild_value_is_converted()
{
    const std::vector<float> values = telling_values();
    array in(values.size() * sizeof(float)), codes(values.size());
    memcpy(in.data, values.data(), in.bytes);
    run_under_every_schedule(codes, [&] {
        return FP8.quantize_weights({codes.data, 1.0f}, (const float *)in.data, values.size(),
                                    nullptr);
    });
    for (size_t i = 0; i < values.size(); i++)
        if (isnan(values[i]))
            EXPECT_EQUAL(code_at(codes, i) & 0x7f, 0x7f);
        else
            EXPECT_EQUAL(code_at(codes, i), encode(values[i]));
}

static void the_scale_comes_before_the_rounding()
{
    const std::vector<float> values = telling_values();
    array in(values.size() * sizeof(float)), codes(values.size());
    memcpy(in.data, values.data(), in.bytes);
    for (float inverse_scale : {0.25f, 3.0f, 1e-3f, 117.0f}) {
        launched(FP8.quantize_weights({codes.data, inverse_scale}, (const float *)in.data,
                                      values.size(), nullptr));
        for (size_t i = 0; i < values.size(); i++)
            if (!isnan(values[i]))
                EXPECT_EQUAL(code_at(codes, i), encode(values[i] * inverse_scale));
    }
}

static void elements_are_quantized_with_a_floor_or_without()
{
    const uint32_t n = 8 * 258; /* ends at the guard page */
    matrix x(kernel_set_float16, 1, n + 8);
    array codes(n);
    x.fill_random(7, 3.0f);
    x.set(0, 17, NAN);
    for (float least : {-INFINITY, 0.0f}) {
        run_under_every_schedule(codes, [&] {
            return FP8.quantize({codes.data, 9.0f}, x.data(), least, n, nullptr);
        });
        for (uint32_t i = 0; i < n; i++) {
            const float value = x.get(0, i);
            if (i == 17)
                EXPECT_EQUAL(code_at(codes, i) & 0x7f, 0x7f);
            else
                EXPECT_EQUAL(code_at(codes, i), encode(9.0f * std::max(value, least)));
        }
    }
}

/* ---- kernels that write codes in passing ---- */

/* The fp8 set's elements are float16's, bit for bit; the codes are of the same values before they
 * were rounded to elements. */
static void check_layernorm(uint32_t n_rows, uint32_t hidden_dim, float inverse_scale)
{
    matrix input(kernel_set_float16, n_rows, hidden_dim), x(kernel_set_float16, n_rows, hidden_dim);
    matrix expected(kernel_set_float32, n_rows, hidden_dim);
    matrix weight(kernel_set_float16, 1, hidden_dim), bias(kernel_set_float16, 1, hidden_dim);
    matrix weight32(kernel_set_float32, 1, hidden_dim), bias32(kernel_set_float32, 1, hidden_dim);
    array codes((size_t)n_rows * hidden_dim);
    input.fill_random(1, 2.0f, 0.5f);
    weight.fill_random(2, 0.3f, 1.0f);
    bias.fill_random(3, 0.2f);
    for (uint32_t i = 0; i < hidden_dim; i++) {
        weight32.set(0, i, weight.get(0, i));
        bias32.set(0, i, bias.get(0, i));
        for (uint32_t row = 0; row < n_rows; row++)
            expected.set(row, i, input.get(row, i));
    }
    const struct norm_weights norm = {weight.data(), bias.data(), 1e-12f};
    const struct norm_weights norm32 = {weight32.data(), bias32.data(), 1e-12f};
    launched(kernel_set_float32.layernorm(expected.data(), NO_CODES, &norm32, n_rows, hidden_dim,
                                          nullptr));
    run_under_every_schedule(
        codes,
        [&] {
            return FP8.layernorm(x.data(), {codes.data, inverse_scale}, &norm, n_rows, hidden_dim,
                                 nullptr);
        },
        [&] { memcpy(x.data(), input.data(), x.elements.bytes); });
    launched(
        kernel_set_float16.layernorm(input.data(), NO_CODES, &norm, n_rows, hidden_dim, nullptr));
    EXPECT(memcmp(x.data(), input.data(), x.elements.bytes) == 0);
    for (uint32_t row = 0; row < n_rows; row++)
        for (uint32_t i = 0; i < hidden_dim; i++) {
            const double value = (double)expected.get(row, i) * inverse_scale;
            EXPECT(is_code_of(code_at(codes, (size_t)row * hidden_dim + i), value,
                              1e-5 * fabs(value) + 1e-5 * inverse_scale));
        }
}

static void layernorm_writes_elements_and_codes()
{
    for (uint32_t hidden_dim : {16u, 128u, 272u, 512u, 768u, 1040u, 2048u})
        check_layernorm(hidden_dim == 768 ? 9 : 3, hidden_dim, 60.0f);
    check_layernorm(1, 768, 400.0f); /* much of it saturates */
}

static void layernorm_writes_no_codes_where_none_are_wanted()
{
    matrix x(kernel_set_float16, 2, 128), y(kernel_set_float16, 2, 128);
    matrix weight(kernel_set_float16, 1, 128), bias(kernel_set_float16, 1, 128);
    x.fill_random(1, 2.0f);
    y.fill_random(1, 2.0f);
    weight.fill_random(2, 0.3f, 1.0f);
    bias.fill_random(3, 0.2f);
    const struct norm_weights norm = {weight.data(), bias.data(), 1e-12f};
    launched(FP8.layernorm(x.data(), NO_CODES, &norm, 2, 128, nullptr));
    launched(kernel_set_float16.layernorm(y.data(), NO_CODES, &norm, 2, 128, nullptr));
    EXPECT(memcmp(x.data(), y.data(), x.elements.bytes) == 0);
}

static void check_embedding(uint32_t hidden_dim, const std::vector<uint32_t> &lengths,
                            uint32_t n_rows)
{
    const float inverse_scale = 50.0f;
    matrix words(kernel_set_float16, 100, hidden_dim), types(kernel_set_float16, 2, hidden_dim);
    matrix positions(kernel_set_float16, 512, hidden_dim);
    matrix weight(kernel_set_float16, 1, hidden_dim), bias(kernel_set_float16, 1, hidden_dim);
    matrix x(kernel_set_float16, n_rows, hidden_dim), plain(kernel_set_float16, n_rows, hidden_dim);
    packed_batch batch(lengths, n_rows);
    array codes((size_t)n_rows * hidden_dim);
    words.fill_random(1, 0.5f);
    positions.fill_random(2, 0.3f);
    types.fill_random(3, 0.4f);
    weight.fill_random(4, 0.1f, 1.0f);
    bias.fill_random(5, 0.1f);
    const struct embedding_tables tables = {
        words.data(), positions.data(), types.data(), 100, 512, 2};
    const struct norm_weights norm = {weight.data(), bias.data(), 1e-12f};
    run_under_every_schedule(
        codes,
        [&] {
            return FP8.embed_layernorm(x.data(), {codes.data, inverse_scale}, &batch.device,
                                       &tables, &norm, n_rows, hidden_dim, nullptr);
        },
        [&] { batch.descriptor.poison(); });
    launched(kernel_set_float16.embed_layernorm(plain.data(), NO_CODES, &batch.device, &tables,
                                                &norm, n_rows, hidden_dim, nullptr));
    EXPECT(memcmp(x.data(), plain.data(), x.elements.bytes) == 0);
    for (uint32_t row = 0; row < n_rows; row++)
        for (uint32_t i = 0; i < hidden_dim; i++) {
            const double value = (double)x.get(row, i) * inverse_scale;
            EXPECT(is_code_of(code_at(codes, (size_t)row * hidden_dim + i), value,
                              6e-4 * fabs(value)));
        }
}

static void embedding_writes_elements_and_codes_and_zeros_behind_them()
{
    check_embedding(768, {1, 7, 12}, 32);
    check_embedding(144, {5, 33, 2}, 48);
}

static void gelu_writes_codes_instead()
{
    const uint32_t n = 8 * 300;
    matrix x(kernel_set_float16, 1, n), before(kernel_set_float16, 1, n);
    array codes(n);
    x.fill_random(3, 1.6f);
    memcpy(before.data(), x.data(), x.elements.bytes);
    run_under_every_schedule(codes, [&] {
        return FP8.gelu(x.data(), {codes.data, 80.0f}, n, nullptr);
    });
    EXPECT(memcmp(x.data(), before.data(), x.elements.bytes) == 0);
    for (uint32_t i = 0; i < n; i++) {
        const double v = x.get(0, i), gelu = 0.5 * v * (1.0 + erf(v * 0.70710678118654752));
        EXPECT(is_code_of(code_at(codes, i), 80.0 * gelu, 1e-4));
    }
}

/* Codes of what the float16 set writes as elements: those are known to half a unit of their last
 * place, and the rows of nobody keep what they held. */
static void check_attention(uint32_t n_heads, uint32_t head_dim,
                            const std::vector<uint32_t> &lengths)
{
    const uint32_t hidden_dim = n_heads * head_dim;
    const float inverse_scale = 200.0f;
    uint32_t n_tokens = 0;
    for (uint32_t length : lengths)
        n_tokens += length;
    const uint32_t n_rows = n_tokens + 5;
    packed_batch batch(lengths, n_rows);
    matrix qkv(kernel_set_float16, n_rows, 3 * hidden_dim);
    matrix context(kernel_set_float16, n_rows, hidden_dim);
    array codes((size_t)n_rows * hidden_dim);
    qkv.fill_random(11, 1.2f);
    batch.copy_descriptor();
    run_under_every_schedule(codes, [&] {
        return FP8.attention(codes.data, {codes.data, inverse_scale}, qkv.data(), &batch.device,
                             n_rows, hidden_dim, n_heads, nullptr);
    });
    launched(kernel_set_float16.attention(context.data(), NO_CODES, qkv.data(), &batch.device,
                                          n_rows, hidden_dim, n_heads, nullptr));
    for (uint32_t row = 0; row < n_rows; row++)
        for (uint32_t i = 0; i < hidden_dim; i++) {
            const uint8_t code = code_at(codes, (size_t)row * hidden_dim + i);
            const double value = (double)context.get(row, i) * inverse_scale;
            EXPECT(row >= n_tokens ? code == 0xff
                                   : is_code_of(code, value, 6e-4 * fabs(value) + 1e-4));
        }
}

static void attention_writes_codes_instead()
{
    check_attention(2, 64, {1, 7, 16, 17, 32, 33, 64, 65, 130, 3});
    check_attention(2, 32, {1, 16, 31, 33, 100});
    check_attention(2, 16, {1, 40, 9});
    check_attention(1, 96, {33, 2});
    check_attention(1, 256, {31, 2});
}

/* ---- calibration ---- */

static void the_range_of_a_batch_is_recorded_and_nothing_behind_it()
{
    for (const struct kernel_set *kernels : KERNEL_SETS)
        for (uint32_t n_columns : {8u, 264u, 768u}) {
            packed_batch batch({5, 1, 9}, 32);
            matrix x(*kernels, 32, n_columns);
            array amax(sizeof(float));
            batch.copy_descriptor();
            x.fill_random(3, 0.5f);
            for (uint32_t i = 0; i < n_columns; i++)
                x.set(15, i, 1000.0f); /* the first row of nobody */
            for (uint32_t at = 0; at < 15; at += 7)
                for (float before : {0.0f, 3.0f, 40.0f}) {
                    const float least = -20.0f - (float)at;
                    x.set(at, n_columns - 1 - at % 8, least);
                    run_under_every_schedule(
                        amax,
                        [&] {
                            return kernels->record_amax((uint32_t *)amax.data, x.data(),
                                                        &batch.device, 32, n_columns, nullptr);
                        },
                        [&] { memcpy(amax.data, &before, sizeof before); });
                    EXPECT(*(const float *)amax.data == std::max(before, -least));
                }
        }
}

int main()
{
    RUN(every_code_every_tie_and_every_wild_value_is_converted);
    RUN(the_scale_comes_before_the_rounding);
    RUN(elements_are_quantized_with_a_floor_or_without);
    RUN(layernorm_writes_elements_and_codes);
    RUN(layernorm_writes_no_codes_where_none_are_wanted);
    RUN(embedding_writes_elements_and_codes_and_zeros_behind_them);
    RUN(gelu_writes_codes_instead);
    RUN(attention_writes_codes_instead);
    RUN(the_range_of_a_batch_is_recorded_and_nothing_behind_it);
    return 0;
}
