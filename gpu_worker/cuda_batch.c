/* Packs a batch's descriptor: header, cu_seqlens, attention work, tokens. */
#include "gpu_worker/cuda_batch.h"

#include <string.h>

#define LINE_WORDS (CACHE_LINE_BYTES / sizeof(uint32_t))

static uint32_t whole_lines(uint64_t words)
{
    return (uint32_t)align_up_u64(words, LINE_WORDS);
}

/* A wide block serves at least 32 tokens (a sequence of 65 takes two); a narrow word at least one
 * token, and a short sequence at most two words. */
static uint32_t work_blocks_max(uint32_t max_tokens, uint32_t max_sequences)
{
    const uint32_t wide = max_tokens / WORK_NARROW_LENGTH + 1;
    const uint64_t narrow_words = min_u64(max_tokens, 2 * (uint64_t)max_sequences);
    return wide + (uint32_t)(narrow_words / WORK_WORDS_A_BLOCK) + 1;
}

struct descriptor_layout cuda_batch_layout(uint32_t max_tokens, uint32_t max_sequences,
                                           uint32_t max_rows)
{
    const uint64_t work_words =
        (uint64_t)work_blocks_max(max_tokens, max_sequences) * WORK_WORDS_A_BLOCK;
    const uint64_t token_words =
        (uint64_t)max_rows * sizeof(struct packed_token) / sizeof(uint32_t);
    struct descriptor_layout layout;
    layout.cu_seqlens = whole_lines(sizeof(struct batch_header) / sizeof(uint32_t));
    layout.work = layout.cu_seqlens + whole_lines((uint64_t)max_sequences + 1);
    layout.tokens = layout.work + whole_lines(work_words);
    layout.n_words = layout.tokens + whole_lines(token_words);
    return layout;
}

static uint32_t sequence_length(const struct batch *batch, uint32_t sequence)
{
    return batch->cu_seqlens[sequence + 1] - batch->cu_seqlens[sequence];
}

/* Long sequences: four words for each 64 rows, also for rows past the end, whose warps help to
 * load. */
static uint32_t pack_wide_work(uint32_t *work, const struct batch *batch)
{
    uint32_t n_words = 0;
    for (uint32_t s = 0; s < batch->n_sequences; s++) {
        const uint32_t length = sequence_length(batch, s);
        if (length <= WORK_NARROW_LENGTH)
            continue;
        for (uint32_t row = 0; row < align_up_u64(length, WORK_WIDE_ROWS); row += WORK_ROWS)
            work[n_words++] = s << WORK_TILE_BITS | row / WORK_ROWS;
    }
    return n_words;
}

static uint32_t pack_narrow_work(uint32_t *work, const struct batch *batch)
{
    uint32_t n_words = 0;
    for (uint32_t s = 0; s < batch->n_sequences; s++) {
        const uint32_t length = sequence_length(batch, s);
        if (length > WORK_NARROW_LENGTH)
            continue;
        for (uint32_t row = 0; row < length; row += WORK_ROWS)
            work[n_words++] = s << WORK_TILE_BITS | row / WORK_ROWS;
    }
    while (n_words % WORK_WORDS_A_BLOCK != 0)
        work[n_words++] = WORK_NONE;
    return n_words;
}

static void pack_tokens(struct packed_token *tokens, const struct batch *batch, uint32_t n_rows)
{
    const struct packed_token filler = {.type = TOKEN_FILLER};
    for (uint32_t s = 0; s < batch->n_sequences; s++) {
        const uint32_t first = batch->cu_seqlens[s], length = sequence_length(batch, s);
        for (uint32_t i = 0; i < length; i++)
            tokens[first + i] = (struct packed_token){
                .id = batch->input_ids[first + i],
                .position = (uint16_t)i,
                .type = i >= batch->type_starts[s],
            };
    }
    for (uint32_t row = batch->n_tokens; row < n_rows; row++)
        tokens[row] = filler;
}

void cuda_batch_pack(uint32_t *words, const struct descriptor_layout *layout,
                     const struct batch *batch, uint32_t number, uint32_t n_rows)
{
    struct batch_header header = {
        .number = number,
        .n_tokens = batch->n_tokens,
        .n_sequences = batch->n_sequences,
    };
    uint32_t *work = words + layout->work;
    const uint32_t n_wide_words = pack_wide_work(work, batch);
    const uint32_t n_narrow_words = pack_narrow_work(work + n_wide_words, batch);
    CHECK(layout->work + n_wide_words + n_narrow_words <= layout->tokens);
    CHECK(layout->tokens + n_rows * (sizeof(struct packed_token) / sizeof(uint32_t)) <=
          layout->n_words);
    header.n_wide_blocks = n_wide_words / WORK_WORDS_A_BLOCK;
    header.n_blocks = (n_wide_words + n_narrow_words) / WORK_WORDS_A_BLOCK;
    memcpy(words + layout->cu_seqlens, batch->cu_seqlens,
           sizeof(uint32_t) * (batch->n_sequences + 1));
    pack_tokens((struct packed_token *)(words + layout->tokens), batch, n_rows);
    memcpy(words, &header, sizeof header);
}
