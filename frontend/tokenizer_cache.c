/* Two passes over a batch of chunks: the first computes places and asks for their lines, the second
 * compares and copies. By then the lines have arrived; waiting for each would take half of the
 * time. */
#include "frontend/tokenizer_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LINES_LOG2      15u /* 2 MiB */
#define LINES           (UINT64_C(1) << LINES_LOG2)
#define HUGE_PAGE_BYTES (UINT64_C(2) << 20)

struct entry {
    uint64_t key[2];
    uint32_t ids[TOKENIZER_CACHE_IDS + 1]; /* the last place holds their number: see COUNT */
};
#define COUNT TOKENIZER_CACHE_IDS

struct tokenizer_cache_line {
    struct entry pinned, recent;
};

_Static_assert(sizeof(struct tokenizer_cache_line) == CACHE_LINE_BYTES, "one lookup, one line");
_Static_assert(LINES * sizeof(struct tokenizer_cache_line) == HUGE_PAGE_BYTES, "one huge page");

struct place {
    uint64_t key[2];
    struct tokenizer_cache_line *line;
};

/* key_masks[size]: keeps the first `size` bytes of 16. */
#define MASK_64(size) \
    ((size) >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * ((size) < 8 ? (size) : 0))) - 1)
#define MASK(size)                                        \
    {                                                     \
        MASK_64(size), (size) > 8 ? MASK_64((size)-8) : 0 \
    }
static const uint64_t key_masks[TOKENIZER_CACHE_KEY_BYTES + 1][2] = {
    MASK(0), MASK(1),  MASK(2),  MASK(3),  MASK(4),  MASK(5),  MASK(6),  MASK(7), MASK(8),
    MASK(9), MASK(10), MASK(11), MASK(12), MASK(13), MASK(14), MASK(15), MASK(16)};

/* Sets bit 5 of each byte that is an ASCII capital: carries out of 7 bits tell which are in A-Z. */
static inline uint64_t lowercase_ascii(uint64_t bytes)
{
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t low7 = bytes & (0x7F * ones);
    uint64_t from_a = low7 + (0x80 - 'A') * ones, after_z = low7 + (0x80 - 'Z' - 1) * ones;
    uint64_t capital = (from_a & ~after_z & ~bytes) & (0x80 * ones);
    return bytes | capital >> 2;
}

/* `chunk` has at most TOKENIZER_CACHE_KEY_BYTES bytes; 16 from its start can be read. */
static inline struct place find_place(const struct tokenizer_cache *cache, bool lowercase,
                                      const struct tokenizer_chunk *chunk)
{
    uint64_t low, high;
    memcpy(&low, chunk->start, sizeof(low));
    memcpy(&high, chunk->start + sizeof(low), sizeof(high));
    low &= key_masks[chunk->size][0];
    high &= key_masks[chunk->size][1];
    if (lowercase) {
        low = lowercase_ascii(low);
        high = lowercase_ascii(high);
    }
    uint64_t hash =
        low * UINT64_C(0x9E3779B97F4A7C15) ^ (high + 0x7F4A7C15) * UINT64_C(0xC2B2AE3D27D4EB4F);
    return (struct place){{low, high}, &cache->lines[hash >> (64 - LINES_LOG2)]};
}

static inline bool has_key(const struct entry *entry, const struct place *place)
{
    return ((entry->key[0] ^ place->key[0]) | (entry->key[1] ^ place->key[1])) == 0;
}

static void remember(struct entry *entry, const struct place *place, const uint32_t *ids,
                     uint64_t n_ids)
{
    if (n_ids > TOKENIZER_CACHE_IDS)
        return;
    memcpy(entry->key, place->key, sizeof(entry->key));
    memcpy(entry->ids, ids, n_ids * sizeof(*ids));
    entry->ids[COUNT] = (uint32_t)n_ids;
}

/* Tokenizes a chunk word by word, until `enough` tokens are there. */
static void tokenize_chunk(const struct tokenizer *tokenizer, const struct tokenizer_chunk *chunk,
                           uint64_t enough, struct tokenizer_sink *sink)
{
    struct tokenizer_words words = {tokenizer, &tokenizer->normalizer, chunk->start,
                                    chunk->start + chunk->size};
    uint32_t count;
    while (tokenizer_sink_count(sink) < enough &&
           (count = tokenizer_words_next(&words, sink->ids + sink->n_kept)) > 0) {
        sink->n_kept += count;
        if (chunk->size > TOKENIZER_CACHE_KEY_BYTES)
            tokenizer_sink_trim(sink);
    }
}

__attribute__((noinline)) static void miss(const struct tokenizer *tokenizer,
                                           const struct tokenizer_chunk *chunk,
                                           const struct place *place, struct tokenizer_sink *sink)
{
    uint64_t before = sink->n_kept;
    tokenize_chunk(tokenizer, chunk, UINT64_MAX, sink);
    remember(&place->line->recent, place, sink->ids + before, sink->n_kept - before);
}

static void tokenize_batch(struct tokenizer_cache *cache, const struct tokenizer *tokenizer,
                           const struct tokenizer_chunk *chunks, uint32_t n_chunks, uint64_t enough,
                           struct tokenizer_sink *sink)
{
    struct place places[TOKENIZER_CHUNKS_MAX];
    bool lowercase = tokenizer->normalizer.options.lowercase;
    for (uint32_t i = 0; i < n_chunks; i++) {
        if (chunks[i].size > TOKENIZER_CACHE_KEY_BYTES)
            continue;
        places[i] = find_place(cache, lowercase, &chunks[i]);
        __builtin_prefetch(places[i].line);
    }
    for (uint32_t i = 0; i < n_chunks; i++) {
        if (__builtin_expect(chunks[i].size > TOKENIZER_CACHE_KEY_BYTES, 0)) {
            tokenizer_sink_trim(sink);
            tokenize_chunk(tokenizer, &chunks[i], enough, sink);
            continue;
        }
        const struct tokenizer_cache_line *line = places[i].line;
        bool recent = has_key(&line->recent, &places[i]);
        if (__builtin_expect(recent | has_key(&line->pinned, &places[i]), 1)) {
            const struct entry *entry = recent ? &line->recent : &line->pinned;
            memcpy(sink->ids + sink->n_kept, entry->ids, sizeof(entry->ids));
            sink->n_kept += entry->ids[COUNT];
        } else {
            tokenizer_sink_trim(sink);
            miss(tokenizer, &chunks[i], &places[i], sink);
        }
    }
    tokenizer_sink_trim(sink);
}

void tokenizer_cache_text(struct tokenizer_cache *cache, const struct tokenizer *tokenizer,
                          const uint8_t *text, const uint8_t *end, uint64_t enough,
                          struct tokenizer_sink *sink)
{
    struct tokenizer_chunk chunks[TOKENIZER_CHUNKS_MAX];
    while (text < end && tokenizer_sink_count(sink) < enough) {
        uint32_t n_chunks = tokenizer_chunks_next(&text, end, chunks);
        tokenize_batch(cache, tokenizer, chunks, n_chunks, enough, sink);
    }
}

bool tokenizer_cache_applies(const struct tokenizer *tokenizer)
{
    return tokenizer->normalizer.options.clean_text && tokenizer->normalized.n_tokens == 0;
}

/* Only words that are one chunk and one token belong there; "##ing" and "[CLS]" are no words. */
static void pin_vocabulary(struct tokenizer_cache *cache, const struct tokenizer *tokenizer)
{
    bool lowercase = tokenizer->normalizer.options.lowercase;
    uint8_t padded[TOKENIZER_CACHE_KEY_BYTES + TOKENIZER_PADDING_BYTES];
    uint32_t ids[TOKENIZER_SINK_SLACK];
    for (uint32_t id = 0; id < tokenizer->n_token_texts; id++) {
        const struct tokenizer_string *text = &tokenizer->token_texts[id];
        struct tokenizer_sink sink = {.ids = ids, .kept_max = UINT64_MAX};
        struct tokenizer_chunk chunks[TOKENIZER_CHUNKS_MAX];
        if (text->size == 0 || text->size > TOKENIZER_CACHE_KEY_BYTES)
            continue;
        memset(padded, 0, sizeof(padded));
        memcpy(padded, text->bytes, text->size);
        const uint8_t *at = padded;
        if (tokenizer_chunks_next(&at, padded + text->size, chunks) != 1 ||
            chunks[0].size != text->size)
            continue;
        struct place place = find_place(cache, lowercase, &chunks[0]);
        if (place.line->pinned.ids[COUNT] > 0)
            continue;
        tokenize_chunk(tokenizer, &chunks[0], UINT64_MAX, &sink);
        remember(&place.line->pinned, &place, ids, sink.n_kept);
    }
}

int tokenizer_cache_init(struct tokenizer_cache *cache, const struct tokenizer *tokenizer)
{
    size_t bytes = LINES * sizeof(*cache->lines);
    cache->lines = aligned_alloc(HUGE_PAGE_BYTES, bytes);
    if (!cache->lines)
        return -ENOMEM;
    madvise(cache->lines, bytes, MADV_HUGEPAGE); /* a wish: without it, a tenth slower */
    memset(cache->lines, 0, bytes);
    pin_vocabulary(cache, tokenizer);
    return 0;
}

void tokenizer_cache_release(struct tokenizer_cache *cache)
{
    free(cache->lines);
    cache->lines = NULL;
}
