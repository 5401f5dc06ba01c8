/* What the tests of the tokenizer share: tokenizers made from a list of words or from a vocabulary
 * file, padded texts, and a seeded generator of nasty text. */
#ifndef WEIR_TESTS_FRONTEND_TOKENIZER_FIXTURE_H
#define WEIR_TESTS_FRONTEND_TOKENIZER_FIXTURE_H

#include "frontend/tokenizer_words.h"
#include "tests/test.h"

#define FIXTURE_TEXT_BYTES_MAX (1u << 20)
#define FIXTURE_TOKENS_MAX     16384u

/* A tokenizer from `words` (n_words), whose first four are [PAD] [UNK] [CLS] [SEP]; all options on.
 * `change`, if not NULL, may alter the files before the tokenizer is made. */
struct tokenizer *fixture_create(const char *const *words, uint32_t n_words,
                                 void (*change)(struct tokenizer_files *files));

/* A tokenizer from a vocabulary file; NULL if there is no such file. */
struct tokenizer *fixture_open(const char *vocabulary_path, bool lowercase, bool whole_counts);

struct tokenizer_scratch *fixture_scratch(const struct tokenizer *tokenizer);

/* The path of name in ../shared/data/tokenizer beside the sources. Static storage. */
const char *fixture_shared(const char *name);

/* xorshift64*; never give it the state 0. */
uint64_t fixture_random(uint64_t *state);

/* Random UTF-8 of at most `size_max` bytes into `text`, from distributions that hurt; its size. */
size_t fixture_random_text(uint64_t *state, uint8_t *text, size_t size_max);

/* Tokens the plain way, without specials and cache, into `ids` (ids_max); their number. */
uint32_t fixture_plain_ids(const struct tokenizer *tokenizer, const uint8_t *text, size_t size,
                           uint32_t *ids, uint32_t ids_max);

#endif
