/* Cuts text at ASCII separators, 64 bytes at a time.
 *
 * A chunk is one ASCII punctuation character, or a longest run of bytes that are neither that nor
 * one of space, tab, newline and carriage return. Whatever the normalizer's options, words never
 * reach across a chunk's edge, so a chunk's tokens depend on its bytes alone: that is what makes a
 * cache of them exact. What separates words outside ASCII is left to whoever tokenizes the chunk.
 */
#ifndef WEIR_FRONTEND_TOKENIZER_CHUNKS_H
#define WEIR_FRONTEND_TOKENIZER_CHUNKS_H

#include "shm/base.h"

struct tokenizer_chunk {
    const uint8_t *start;
    size_t size;
};

/* A block yields at most 64 chunks, so a batch of this size has room for one more block until then.
 */
#define TOKENIZER_CHUNKS_MAX 256u

/* Fills `chunks` (TOKENIZER_CHUNKS_MAX) from the text [*at, end) and moves `*at` behind the last;
 * the number of chunks, 0 only when `*at` has reached the end. 64 bytes after `end` can be read. */
uint32_t tokenizer_chunks_next(const uint8_t **at, const uint8_t *end,
                               struct tokenizer_chunk *chunks);

/* The same without vector instructions: what other machines get, and the tests' second opinion. */
uint32_t tokenizer_chunks_next_portable(const uint8_t **at, const uint8_t *end,
                                        struct tokenizer_chunk *chunks);

#endif
