/* How a batch is written for the card. */
#include "gpu_worker/cuda_batch.h"
#include "tests/test.h"

#define SEQUENCES_MAX 64
#define TOKENS_MAX    4096

static uint32_t input_ids[TOKENS_MAX], cu_seqlens[SEQUENCES_MAX + 1], type_starts[SEQUENCES_MAX];

static struct batch batch_of(const uint32_t *lengths, uint32_t n_sequences)
{
    for (uint32_t s = 0; s < n_sequences; s++) {
        cu_seqlens[s + 1] = cu_seqlens[s] + lengths[s];
        type_starts[s] = lengths[s] / 2;
    }
    for (uint32_t i = 0; i < cu_seqlens[n_sequences]; i++)
        input_ids[i] = 1000 + i;
    return (struct batch){input_ids, cu_seqlens, type_starts, n_sequences, cu_seqlens[n_sequences]};
}

static void tokens_carry_position_and_type_and_fillers_follow(void)
{
    const uint32_t lengths[] = {3, 2};
    const struct batch batch = batch_of(lengths, 2);
    const struct descriptor_layout layout = cuda_batch_layout(5, 2, 16);
    uint32_t *words = calloc(layout.n_words, sizeof *words);
    cuda_batch_pack(words, &layout, &batch, 7, 16);
    const struct packed_token *tokens = (const void *)(words + layout.tokens);
    const struct batch_header *header = (const void *)words;
    EXPECT_EQUAL(header->number, 7);
    EXPECT_EQUAL(header->n_tokens, 5);
    EXPECT_EQUAL(header->n_sequences, 2);
    EXPECT_EQUAL(tokens[2].id, 1002);
    EXPECT_EQUAL(tokens[2].position, 2);
    EXPECT_EQUAL(tokens[0].type, 0);
    EXPECT_EQUAL(tokens[1].type, 1);
    EXPECT_EQUAL(tokens[3].position, 0);
    EXPECT_EQUAL(tokens[4].type, 1);
    for (int i = 5; i < 16; i++)
        EXPECT_EQUAL(tokens[i].type, TOKEN_FILLER);
    free(words);
}

/* Every row of every sequence belongs to exactly one word; a wide block's words are neighbours. */
static void check_work(const uint32_t *lengths, uint32_t n_sequences)
{
    const struct batch batch = batch_of(lengths, n_sequences);
    const struct descriptor_layout layout =
        cuda_batch_layout(batch.n_tokens, n_sequences, batch.n_tokens);
    uint32_t *words = calloc(layout.n_words, sizeof *words);
    uint8_t *owned = calloc(batch.n_tokens, 1);
    cuda_batch_pack(words, &layout, &batch, 1, batch.n_tokens);
    const struct batch_header *header = (const void *)words;
    EXPECT(memcmp(words + layout.cu_seqlens, cu_seqlens, sizeof(uint32_t) * (n_sequences + 1)) ==
           0);
    for (uint32_t i = 0; i < header->n_blocks * WORK_WORDS_A_BLOCK; i++) {
        const uint32_t word = words[layout.work + i], block = i / WORK_WORDS_A_BLOCK;
        if (word == WORK_NONE)
            continue;
        const uint32_t sequence = word >> WORK_TILE_BITS;
        const uint32_t first_row = word % (1u << WORK_TILE_BITS) * WORK_ROWS;
        EXPECT(sequence < n_sequences);
        EXPECT_EQUAL(block<header->n_wide_blocks, lengths[sequence]> WORK_NARROW_LENGTH);
        if (block < header->n_wide_blocks)
            EXPECT_EQUAL(first_row % WORK_WIDE_ROWS, i % WORK_WORDS_A_BLOCK * WORK_ROWS);
        for (uint32_t row = first_row; row < first_row + WORK_ROWS && row < lengths[sequence];
             row++)
            EXPECT_EQUAL(owned[cu_seqlens[sequence] + row]++, 0);
    }
    for (uint32_t i = 0; i < batch.n_tokens; i++)
        EXPECT_EQUAL(owned[i], 1);
    free(owned);
    free(words);
}

static void every_row_is_somebodys_work_exactly_once(void)
{
    const uint32_t mixed[] = {1, 16, 17, 32, 33, 64, 65, 128, 512, 31, 2};
    check_work(mixed, ARRAY_COUNT(mixed));
    for (uint32_t length = 1; length <= 600; length++)
        check_work(&length, 1);
}

/* An array that is one word too short is covered by what fills its last cache line, but where it
 * ends with one. */
static void the_arrays_of_every_number_of_sequences_lie_apart(void)
{
    uint32_t lengths[SEQUENCES_MAX];
    for (uint32_t n = 1; n <= SEQUENCES_MAX; n++) {
        lengths[n - 1] = 1;
        check_work(lengths, n);
    }
}

static void the_work_of_the_worst_batches_fits_its_layout(void)
{
    const uint32_t worst_lengths[] = {1, 16, 17, 32, 33, 65};
    for (size_t i = 0; i < ARRAY_COUNT(worst_lengths); i++) {
        uint32_t lengths[60];
        for (int s = 0; s < 60; s++)
            lengths[s] = worst_lengths[i];
        check_work(lengths, 60); /* cuda_batch_pack() CHECKs the room */
    }
}

int main(void)
{
    RUN(tokens_carry_position_and_type_and_fillers_follow);
    RUN(every_row_is_somebodys_work_exactly_once);
    RUN(the_arrays_of_every_number_of_sequences_lie_apart);
    RUN(the_work_of_the_worst_batches_fits_its_layout);
    return 0;
}
