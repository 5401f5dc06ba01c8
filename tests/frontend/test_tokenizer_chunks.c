/* Cutting into chunks: both versions against a byte-by-byte reading, at the edge of a page. */
#include "frontend/tokenizer_chunks.h"

#include "tests/frontend/tokenizer_fixture.h"
#include "tests/proto/guard.h"

#define TEXT_BYTES_MAX 700u

typedef uint32_t next_function(const uint8_t **at, const uint8_t *end,
                               struct tokenizer_chunk *chunks);

static bool is_separator(uint8_t c)
{
    return c != '\0' && strchr(" \t\n\r!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c) != NULL;
}

static bool is_blank(uint8_t c)
{
    return c != '\0' && strchr(" \t\n\r", c) != NULL;
}

/* Reads the chunk at or after `at`; false at the end. */
static bool plain_next(const uint8_t **at, const uint8_t *end, struct tokenizer_chunk *chunk)
{
    while (*at < end && is_blank(**at))
        (*at)++;
    chunk->start = *at;
    if (*at < end && is_separator(**at))
        (*at)++;
    else
        while (*at < end && !is_separator(**at))
            (*at)++;
    chunk->size = (size_t)(*at - chunk->start);
    return chunk->size > 0;
}

static void compare(next_function *next, const uint8_t *text, size_t size)
{
    struct tokenizer_chunk chunks[TOKENIZER_CHUNKS_MAX], expected;
    const uint8_t *at = text, *plain = text, *end = text + size;
    while (at < end) {
        uint32_t count = next(&at, end, chunks);
        EXPECT(count <= TOKENIZER_CHUNKS_MAX && at <= end && (count > 0 || at == end));
        for (uint32_t i = 0; i < count; i++) {
            EXPECT(plain_next(&plain, end, &expected));
            EXPECT(chunks[i].start == expected.start);
            EXPECT_EQUAL(chunks[i].size, expected.size);
        }
    }
    EXPECT(!plain_next(&plain, end, &expected));
}

static void compare_both(const struct guard *guard, const uint8_t *text, size_t size)
{
    const uint8_t *placed = (uint8_t *)guard_place(guard, text, size, TOKENIZER_PADDING_BYTES);
    compare(tokenizer_chunks_next, placed, size);
    compare(tokenizer_chunks_next_portable, placed, size);
}

static void every_byte_is_cut_where_it_should_be(void)
{
    struct guard guard = guard_open(4);
    for (uint32_t c = 0; c < 256; c++) {
        uint8_t text[] = {'a', (uint8_t)c, 'b'};
        compare_both(&guard, text, sizeof(text));
        compare_both(&guard, text, 1);
    }
    guard_close(&guard);
}

static void words_of_every_length_and_place_are_whole(void)
{
    struct guard guard = guard_open(TEXT_BYTES_MAX);
    uint8_t text[TEXT_BYTES_MAX];
    for (size_t start = 0; start < 70; start++)
        for (size_t length = 1; length < 200; length++) {
            memset(text, ' ', sizeof(text));
            memset(text + start, 'w', length);
            compare_both(&guard, text, start + length);
            compare_both(&guard, text, start + length + 3);
        }
    guard_close(&guard);
}

static void random_text_is_cut_as_byte_by_byte(void)
{
    struct guard guard = guard_open(TEXT_BYTES_MAX);
    uint8_t text[TEXT_BYTES_MAX];
    uint64_t state = 2;
    for (int i = 0; i < 20000; i++)
        compare_both(&guard, text, fixture_random_text(&state, text, sizeof(text)));
    guard_close(&guard);
}

int main(void)
{
    RUN(every_byte_is_cut_where_it_should_be);
    RUN(words_of_every_length_and_place_are_whole);
    RUN(random_text_is_cut_as_byte_by_byte);
    return 0;
}
