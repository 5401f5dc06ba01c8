/* Attention, all rows and [CLS] only, against plain loops in double, for every path: narrow blocks
 * of 16 and 32 keys, wide blocks, the row kernel for other head sizes and for float32. */
#include "fixture.h"

using namespace fixture;

/* The twin for one query row and head; `first` is the sequence's first row, `key_value` begins with
 * the keys' columns. */
static void attend_reference(double *context, const matrix &query, uint32_t query_row,
                             uint32_t query_column, const matrix &key_value, uint32_t key_column,
                             uint32_t value_column, uint32_t first, uint32_t length,
                             uint32_t head_dim)
{
    std::vector<double> weights(length);
    double max = -INFINITY, sum = 0.0;
    for (uint32_t k = 0; k < length; k++) {
        for (uint32_t i = 0; i < head_dim; i++)
            weights[k] += (double)query.get(query_row, query_column + i) *
                          key_value.get(first + k, key_column + i);
        weights[k] /= sqrt((double)head_dim);
        max = fmax(max, weights[k]);
    }
    for (double &weight : weights)
        sum += weight = exp(weight - max);
    for (uint32_t i = 0; i < head_dim; i++) {
        context[i] = 0.0;
        for (uint32_t k = 0; k < length; k++)
            context[i] += weights[k] / sum * key_value.get(first + k, value_column + i);
    }
}

static std::vector<double> attention_reference(const matrix &qkv, const packed_batch &batch,
                                               uint32_t hidden_dim, uint32_t n_heads)
{
    const uint32_t head_dim = hidden_dim / n_heads;
    std::vector<double> expected((size_t)batch.host.n_tokens * hidden_dim);
    for (uint32_t s = 0; s < batch.host.n_sequences; s++)
        for (uint32_t t = batch.cu_seqlens[s]; t < batch.cu_seqlens[s + 1]; t++)
            for (uint32_t c = 0; c < hidden_dim; c += head_dim)
                attend_reference(&expected[(size_t)t * hidden_dim + c], qkv, t, c, qkv,
                                 hidden_dim + c, 2 * hidden_dim + c, batch.cu_seqlens[s],
                                 batch.cu_seqlens[s + 1] - batch.cu_seqlens[s], head_dim);
    return expected;
}

static void check_attention(const struct kernel_set &kernels, uint32_t n_heads, uint32_t head_dim,
                            const std::vector<uint32_t> &lengths, float spread)
{
    const uint32_t hidden_dim = n_heads * head_dim;
    uint32_t n_tokens = 0;
    for (uint32_t length : lengths)
        n_tokens += length;
    packed_batch batch(lengths, n_tokens);
    matrix qkv(kernels, n_tokens, 3 * hidden_dim), context(kernels, n_tokens, hidden_dim);
    qkv.fill_random(11, spread);
    batch.copy_descriptor();
    run_under_every_schedule(context.elements, [&] {
        return kernels.attention(context.data(), NO_CODES, qkv.data(), &batch.device, n_tokens,
                                 hidden_dim, n_heads, nullptr);
    });
    const std::vector<double> expected = attention_reference(qkv, batch, hidden_dim, n_heads);
    EXPECT(relative_error(context, expected, n_tokens) < 1.5 * tolerance(kernels));
}

static void attention_equals_its_twin_on_tensor_cores()
{
    for (const struct kernel_set *kernels : {&kernel_set_float16, &kernel_set_bfloat16})
        for (uint32_t head_dim : {64u, 32u})
            check_attention(*kernels, 2, head_dim, {1, 7, 16, 17, 32, 33, 64, 65, 130, 3}, 1.2f);
    check_attention(kernel_set_float16, 12, 64, {25}, 1.2f);
    check_attention(kernel_set_float16, 1, 64, {512}, 1.2f);
    check_attention(kernel_set_float16, 1, 64, {200},
                    6.0f); /* scores far apart: rescaling matters */
}

static void attention_equals_its_twin_for_other_heads_and_float32()
{
    for (const struct kernel_set *kernels : KERNEL_SETS) {
        check_attention(*kernels, 2, 16, {1, 40, 9}, 1.2f);
        check_attention(*kernels, 2, 96, {1, 33, 64}, 1.2f);
        for (uint32_t head_dim : {40u, 72u, 136u}) /* where the lanes' share of columns grows */
            check_attention(*kernels, 1, head_dim, {5, 33}, 1.2f);
        check_attention(*kernels, 1, 256, {31, 2}, 1.0f);
    }
    check_attention(kernel_set_float32, 2, 64, {1, 32, 65, 130}, 1.2f);
    check_attention(kernel_set_float32, 4, 32, {12, 100}, 1.2f);
}

static void attention_takes_more_work_than_its_grid_has_blocks()
{
    check_attention(kernel_set_float16, 1, 64, std::vector<uint32_t>(150, 1), 1.0f);
}

static void every_length_from_1_to_512_is_right()
{
    /* Keys' weight goes by the sum of values, so a wrong mask shows: all values 1 give context 1,
     * and any key outside the sequence would bring in its 1000. */
    const struct kernel_set &kernels = kernel_set_float16;
    for (uint32_t length = 1; length <= 512; length += length < 70 ? BY_SANITIZER(1, 4, 4) : 37) {
        packed_batch batch({length}, length);
        matrix qkv(kernels, length + 64, 3 * 32), context(kernels, length, 32);
        qkv.fill_random(length, 1.0f);
        for (uint32_t row = 0; row < qkv.n_rows; row++)
            for (uint32_t i = 64; i < 96; i++)
                qkv.set(row, i, row < length ? 1.0f : 1000.0f);
        batch.copy_descriptor();
        launched(kernels.attention(context.data(), NO_CODES, qkv.data(), &batch.device, length, 32,
                                   1, nullptr));
        for (uint32_t row = 0; row < length; row++)
            for (uint32_t i = 0; i < 32; i++)
                EXPECT(fabsf(context.get(row, i) - 1.0f) < 1e-3f);
    }
}

/* Sequence `text`, alone and then among others, must come out with the same bits. */
static void same_text_same_bits_whatever_shares_its_batch()
{
    const uint32_t hidden_dim = 128, text_rows[] = {1, 12, 30, 33, 100};
    for (const struct kernel_set *kernels : KERNEL_SETS)
        for (uint32_t rows : text_rows) {
            packed_batch alone({rows}, rows), among({5, 70, rows, 2}, 77 + rows);
            matrix a(*kernels, rows, 3 * hidden_dim), a_out(*kernels, rows, hidden_dim);
            matrix b(*kernels, 77 + rows, 3 * hidden_dim), b_out(*kernels, 77 + rows, hidden_dim);
            a.fill_random(5, 1.0f);
            b.fill_random(6, 2.0f);
            const size_t row_bytes = (size_t)hidden_dim * kernels->element_bytes;
            memcpy((char *)b.data() + 75 * 3 * row_bytes, a.data(), rows * 3 * row_bytes);
            alone.copy_descriptor();
            among.copy_descriptor();
            launched(kernels->attention(a_out.data(), NO_CODES, a.data(), &alone.device, rows,
                                        hidden_dim, 2, nullptr));
            launched(kernels->attention(b_out.data(), NO_CODES, b.data(), &among.device, 77 + rows,
                                        hidden_dim, 2, nullptr));
            EXPECT(memcmp(a_out.data(), (char *)b_out.data() + 75 * row_bytes, rows * row_bytes) ==
                   0);
        }
}

static void check_attention_cls(const struct kernel_set &kernels, uint32_t n_heads,
                                uint32_t head_dim, const std::vector<uint32_t> &lengths,
                                uint32_t spare_rows, float spread = 1.2f)
{
    const uint32_t hidden_dim = n_heads * head_dim, n_sequences = (uint32_t)lengths.size();
    uint32_t n_tokens = 0;
    for (uint32_t length : lengths)
        n_tokens += length;
    packed_batch batch(lengths, n_tokens);
    matrix query(kernels, n_sequences + spare_rows, hidden_dim);
    matrix key_value(kernels, n_tokens, 2 * hidden_dim);
    matrix context(kernels, n_sequences + spare_rows, hidden_dim);
    std::vector<double> expected((size_t)n_sequences * hidden_dim);
    query.fill_random(21, spread);
    key_value.fill_random(22, spread);
    batch.copy_descriptor();
    for (uint32_t s = 0; s < n_sequences; s++)
        for (uint32_t c = 0; c < hidden_dim; c += head_dim)
            attend_reference(&expected[(size_t)s * hidden_dim + c], query, s, c, key_value, c,
                             hidden_dim + c, batch.cu_seqlens[s], lengths[s], head_dim);
    run_under_every_schedule(context.elements, [&] {
        return kernels.attention_cls(context.data(), query.data(), key_value.data(), &batch.device,
                                     n_sequences + spare_rows, hidden_dim, n_heads, nullptr);
    });
    EXPECT(relative_error(context, expected, n_sequences) < tolerance(kernels));
}

static void attention_of_cls_rows_equals_its_twin()
{
    for (const struct kernel_set *kernels : KERNEL_SETS) {
        check_attention_cls(*kernels, 2, 64, {1, 31, 32, 33, 64, 65}, 3);
        check_attention_cls(*kernels, 4, 32, {12}, 0);
        check_attention_cls(*kernels, 1, 96, {5, 100}, 1);
        check_attention_cls(*kernels, 1, 256, {40}, 0);
    }
    check_attention_cls(kernel_set_float16, 12, 64, {512}, 15);
}

/* A maximum that began with 0 and not below every score would leave such a text no weight at all.
 */
static void texts_whose_scores_all_lie_far_below_zero_are_right()
{
    const std::vector<uint32_t> lengths = {1, 1, 1, 1, 1, 2, 1, 1, 3, 1, 1, 1};
    for (const struct kernel_set *kernels : KERNEL_SETS)
        for (uint32_t head_dim : {64u, 16u}) {
            check_attention(*kernels, 2, head_dim, lengths, 16.0f);
            check_attention_cls(*kernels, 2, head_dim, lengths, 0, 16.0f);
        }
}

int main()
{
    RUN(attention_equals_its_twin_on_tensor_cores);
    RUN(attention_equals_its_twin_for_other_heads_and_float32);
    RUN(attention_takes_more_work_than_its_grid_has_blocks);
    RUN(every_length_from_1_to_512_is_right);
    RUN(same_text_same_bits_whatever_shares_its_batch);
    RUN(attention_of_cls_rows_equals_its_twin);
    RUN(texts_whose_scores_all_lie_far_below_zero_are_right);
    return 0;
}
