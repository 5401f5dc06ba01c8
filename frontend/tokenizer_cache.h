/* The tokens of short chunks, remembered: most words of a text are looked up, not tokenized.
 *
 * A key is a chunk's bytes, at most 16, ASCII letters in lowercase if the tokenizer lowercases, and
 * zeros behind. An entry holds up to three tokens, so a hit is two compares and one 16-byte copy,
 * whatever the word. Each line has two entries: the first is filled at creation with the
 * vocabulary's words, frequent ones (low ids) first, and stays; the second is the last chunk that
 * was missed. The size is fixed, keys are compared whole, and a text made of misses only is as slow
 * as no cache, so there is nothing to poison.
 *
 * Zeros behind the bytes cannot confuse: a chunk that ends in NUL has the tokens of the chunk
 * without, as clean_text deletes NUL; without clean_text there is no cache. An empty entry is the
 * chunk of NULs, which has no tokens. */
#ifndef WEIR_FRONTEND_TOKENIZER_CACHE_H
#define WEIR_FRONTEND_TOKENIZER_CACHE_H

#include "frontend/tokenizer_chunks.h"
#include "frontend/tokenizer_words.h"

#define TOKENIZER_CACHE_KEY_BYTES 16u
#define TOKENIZER_CACHE_IDS       3u

struct tokenizer_cache_line;

struct tokenizer_cache {
    struct tokenizer_cache_line *lines;
};

/* Where tokens go: the first `kept_max` of a sequence are kept, the others only counted. */
struct tokenizer_sink {
    uint32_t *ids; /* room for kept_max + TOKENIZER_SINK_SLACK */
    uint64_t n_kept, kept_max;
    uint64_t n_dropped;
};

/* What one batch of cached chunks, or one word, may write before the sink is trimmed. */
#define TOKENIZER_SINK_SLACK \
    ((TOKENIZER_CACHE_IDS + 1) * TOKENIZER_CHUNKS_MAX + TOKENIZER_WORD_TOKENS_MAX)

static inline uint64_t tokenizer_sink_count(const struct tokenizer_sink *sink)
{
    return sink->n_kept + sink->n_dropped;
}

static inline void tokenizer_sink_trim(struct tokenizer_sink *sink)
{
    if (sink->n_kept > sink->kept_max) {
        sink->n_dropped += sink->n_kept - sink->kept_max;
        sink->n_kept = sink->kept_max;
    }
}

/* Whether chunks of this tokenizer may be cached at all. */
bool tokenizer_cache_applies(const struct tokenizer *tokenizer);

/* 0 or -ENOMEM; a zeroed cache may be released. */
int tokenizer_cache_init(struct tokenizer_cache *cache, const struct tokenizer *tokenizer);
void tokenizer_cache_release(struct tokenizer_cache *cache);

/* Tokenizes ordinary text into `sink`, until its end or until there are at least `enough` tokens.
 */
void tokenizer_cache_text(struct tokenizer_cache *cache, const struct tokenizer *tokenizer,
                          const uint8_t *text, const uint8_t *end, uint64_t enough,
                          struct tokenizer_sink *sink);

#endif
