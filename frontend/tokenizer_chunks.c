/* One bit for each of 64 bytes; then chunks are edges between bits.
 *
 * Only the classification of bytes uses vector instructions, and only those that every x86-64 has:
 * AVX2 instead made the whole tokenizer 2 to 4 per cent faster, which is not worth a second version
 * and a choice at run time. */
#include "frontend/tokenizer_chunks.h"

#define BLOCK_BYTES 64u

struct masks {
    uint64_t space, punctuation; /* bit i speaks of byte i of the block */
};

static inline bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline bool is_punctuation(uint8_t c)
{
    uint8_t letter = c | 0x20;
    return c > ' ' && c < 0x7F && !(letter >= 'a' && letter <= 'z') && !(c >= '0' && c <= '9');
}

static inline struct masks classify_portable(const uint8_t *block)
{
    struct masks masks = {0, 0};
    for (uint32_t i = 0; i < BLOCK_BYTES; i++) {
        masks.space |= (uint64_t)is_space(block[i]) << i;
        masks.punctuation |= (uint64_t)is_punctuation(block[i]) << i;
    }
    return masks;
}

#ifdef __SSE2__
#include <emmintrin.h>

/* All ones in the bytes of `v` that lie in [first, last]; signed, so both bounds are ASCII. */
static inline __m128i between(__m128i v, char first, char last)
{
    return _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8((char)(first - 1))),
                         _mm_cmplt_epi8(v, _mm_set1_epi8((char)(last + 1))));
}

static inline struct masks classify(const uint8_t *block)
{
    struct masks masks = {0, 0};
    for (uint32_t i = 0; i < BLOCK_BYTES; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(block + i));
        __m128i letter = between(_mm_or_si128(v, _mm_set1_epi8(0x20)), 'a', 'z');
        __m128i word = _mm_or_si128(letter, between(v, '0', '9'));
        __m128i punctuation = _mm_andnot_si128(word, between(v, '!', '~'));
        __m128i newline =
            _mm_or_si128(between(v, '\t', '\n'), _mm_cmpeq_epi8(v, _mm_set1_epi8('\r')));
        __m128i space = _mm_or_si128(newline, _mm_cmpeq_epi8(v, _mm_set1_epi8(' ')));
        masks.space |= (uint64_t)(uint32_t)_mm_movemask_epi8(space) << i;
        masks.punctuation |= (uint64_t)(uint32_t)_mm_movemask_epi8(punctuation) << i;
    }
    return masks;
}
#else
static inline struct masks classify(const uint8_t *block)
{
    return classify_portable(block);
}
#endif

/* Reads the block at `at`: bits of words, bits of punctuation, none of either behind `end`. */
static inline void read_block(struct masks (*classify_block)(const uint8_t *), const uint8_t *at,
                              const uint8_t *end, uint64_t *word, uint64_t *punctuation)
{
    size_t rest = (size_t)(end - at);
    uint64_t valid = rest >= BLOCK_BYTES ? UINT64_MAX : (UINT64_C(1) << rest) - 1;
    struct masks masks = classify_block(at);
    *punctuation = masks.punctuation & valid;
    *word = ~(masks.space | masks.punctuation) & valid;
}

/* The end of a word that fills the block at `at` from its first byte on. */
static inline const uint8_t *find_word_end(struct masks (*classify_block)(const uint8_t *),
                                           const uint8_t *at, const uint8_t *end)
{
    uint64_t word = UINT64_MAX, punctuation;
    while (word == UINT64_MAX && at < end) {
        read_block(classify_block, at, end, &word, &punctuation);
        at += word == UINT64_MAX ? BLOCK_BYTES : (uint32_t)__builtin_ctzll(~word);
    }
    return at;
}

__attribute__((always_inline)) static inline uint32_t
chunks_next(struct masks (*classify_block)(const uint8_t *), const uint8_t **position,
            const uint8_t *end, struct tokenizer_chunk *chunks)
{
    const uint8_t *at = *position;
    uint32_t count = 0;
    while (at < end && count + BLOCK_BYTES <= TOKENIZER_CHUNKS_MAX) {
        uint64_t word, punctuation;
        uint32_t advance = BLOCK_BYTES;
        read_block(classify_block, at, end, &word, &punctuation);
        if (word >> 63 && (size_t)(end - at) > BLOCK_BYTES) { /* may go on in the next block */
            advance = ~word ? BLOCK_BYTES - (uint32_t)__builtin_clzll(~word) : 0;
            if (advance == 0) {
                const uint8_t *word_end = find_word_end(classify_block, at, end);
                chunks[count++] = (struct tokenizer_chunk){at, (size_t)(word_end - at)};
                at = word_end;
                continue;
            }
            word &= (UINT64_C(1) << advance) - 1;
        }
        uint64_t firsts = (word & ~(word << 1)) | punctuation;
        uint64_t lasts = (word & ~(word >> 1)) | punctuation;
        for (; firsts; firsts &= firsts - 1, lasts &= lasts - 1) {
            uint32_t first = (uint32_t)__builtin_ctzll(firsts);
            uint32_t last = (uint32_t)__builtin_ctzll(lasts);
            chunks[count++] = (struct tokenizer_chunk){at + first, last - first + 1};
        }
        at += advance;
    }
    *position = at < end ? at : end;
    return count;
}

uint32_t tokenizer_chunks_next(const uint8_t **at, const uint8_t *end,
                               struct tokenizer_chunk *chunks)
{
    return chunks_next(classify, at, end, chunks);
}

uint32_t tokenizer_chunks_next_portable(const uint8_t **at, const uint8_t *end,
                                        struct tokenizer_chunk *chunks)
{
    return chunks_next(classify_portable, at, end, chunks);
}
