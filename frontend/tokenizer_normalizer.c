/* Builds the table of the header: every code point is normalized once, at start. */
#include "frontend/tokenizer_normalizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Room for every code point that can become something other than one byte (4,700 and 11,172 Hangul
 * syllables with all options on). */
#define MAPPINGS_MAX 32768u
#define BLOCKS_MAX   (UNICODE_CODE_POINTS / 256)

uint32_t tokenizer_normalize(const struct tokenizer_normalizer_options *options, uint32_t c,
                             uint16_t sets, uint32_t out[TOKENIZER_NORMALIZED_MAX])
{
    uint32_t decomposition[UNICODE_DECOMPOSITION_MAX] = {c};
    uint32_t n_decomposition = 1, count = 0;

    if (options->clean_text && sets & UNICODE_REMOVED)
        return 0;
    if (options->clean_text && sets & UNICODE_WHITE_SPACE) {
        out[0] = ' ';
        return 1;
    }
    bool padded = options->handle_chinese_chars && sets & UNICODE_CHINESE;
    if (padded)
        out[count++] = ' ';
    if (options->strip_accents && sets & UNICODE_DECOMPOSES)
        n_decomposition = tokenizer_unicode_decompose(c, decomposition);
    for (uint32_t i = 0; i < n_decomposition; i++) {
        if (options->strip_accents && tokenizer_unicode_is(UNICODE_MARK, decomposition[i]))
            continue;
        if (options->lowercase)
            count += tokenizer_unicode_lowercase(decomposition[i], out + count);
        else
            out[count++] = decomposition[i];
    }
    if (padded)
        out[count++] = ' ';
    return count;
}

/* What the table's entries are made from and where they go. */
struct builder {
    struct tokenizer_normalizer *normalizer;
    const uint16_t *sets; /* (UNICODE_CODE_POINTS) */
    uint32_t (*token_of)(void *context, const uint8_t *bytes, uint32_t size);
    void *context;
};

static uint32_t entry(enum tokenizer_action action, uint32_t payload)
{
    CHECK(payload <= TOKENIZER_PAYLOAD_MASK);
    return (uint32_t)action << TOKENIZER_ACTION_SHIFT | payload;
}

static uint32_t map_entry(struct tokenizer_normalizer *normalizer, const uint32_t *characters,
                          uint32_t n_characters)
{
    uint8_t bytes[4 * TOKENIZER_NORMALIZED_MAX];
    uint32_t size = 0;
    for (uint32_t i = 0; i < n_characters; i++)
        size += tokenizer_utf8_write(characters[i], bytes + size);
    if (size == 1)
        return entry(ACTION_BYTE, bytes[0]);

    CHECK(normalizer->n_mappings < MAPPINGS_MAX && size <= TOKENIZER_MAPPING_BYTES);
    struct tokenizer_mapping *mapping = &normalizer->mappings[normalizer->n_mappings];
    mapping->size = (uint8_t)size;
    mapping->n_characters = (uint8_t)n_characters;
    memcpy(mapping->bytes, bytes, size);
    return entry(ACTION_MAP, normalizer->n_mappings++);
}

/* The pre-tokenizer's part: what the normalized code point means for words. */
static uint32_t build_entry(const struct builder *builder, uint32_t c)
{
    const struct tokenizer_normalizer_options *options = &builder->normalizer->options;
    uint16_t sets = builder->sets[c];
    uint32_t normalized[TOKENIZER_NORMALIZED_MAX], *characters = normalized;
    uint32_t count = tokenizer_normalize(options, c, sets, normalized);

    if (count == 0) {
        bool barrier =
            !(options->clean_text && sets & UNICODE_REMOVED) && tokenizer_unicode_class(c) == 0;
        return entry(barrier ? ACTION_BARRIER : ACTION_DELETE, 0);
    }
    bool padded = count > 2 && characters[0] == ' ';
    if (padded) {
        characters++;
        count -= 2;
    }
    if (count == 1 && builder->sets[characters[0]] & UNICODE_WHITE_SPACE)
        return entry(ACTION_SPACE, 0);
    if (padded || (count == 1 && builder->sets[characters[0]] & UNICODE_PUNCTUATION)) {
        uint8_t bytes[4];
        CHECK(count == 1);
        uint32_t size = tokenizer_utf8_write(characters[0], bytes);
        return entry(ACTION_ISOLATE, builder->token_of(builder->context, bytes, size));
    }
    for (uint32_t i = 0; i < count; i++)
        CHECK(!(builder->sets[characters[i]] & (UNICODE_WHITE_SPACE | UNICODE_PUNCTUATION)));
    if (options->strip_accents && sets & UNICODE_ORDERED)
        return entry(ACTION_ORDER, 0);
    if (count == 1 && characters[0] == c)
        return entry(ACTION_KEEP, 0);
    return map_entry(builder->normalizer, characters, count);
}

/* Most code points are in no set but that of word characters, which is not the normalizer's
 * business. */
static void build_block(const struct builder *builder, uint32_t first, uint32_t block[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        bool plain = (builder->sets[first + i] & ~UNICODE_WORD_CHARACTER) == 0;
        block[i] = plain ? entry(ACTION_KEEP, 0) : build_entry(builder, first + i);
    }
}

static uint16_t find_or_add_block(struct tokenizer_normalizer *normalizer,
                                  const uint32_t block[256])
{
    uint32_t i = 0;
    while (i < normalizer->n_blocks && memcmp(normalizer->blocks[i], block, sizeof(uint32_t[256])))
        i++;
    if (i == normalizer->n_blocks) {
        memcpy(normalizer->blocks[i], block, sizeof(uint32_t[256]));
        normalizer->n_blocks++;
    }
    return (uint16_t)i;
}

int tokenizer_normalizer_init(
    struct tokenizer_normalizer *normalizer, const struct tokenizer_normalizer_options *options,
    uint32_t (*token_of)(void *context, const uint8_t *bytes, uint32_t size), void *context)
{
    memset(normalizer, 0, sizeof(*normalizer));
    normalizer->options = *options;
    uint16_t *sets = calloc(UNICODE_CODE_POINTS, sizeof(*sets));
    normalizer->blocks = malloc(BLOCKS_MAX * sizeof(*normalizer->blocks));
    normalizer->mappings = calloc(MAPPINGS_MAX, sizeof(*normalizer->mappings));
    if (!sets || !normalizer->blocks || !normalizer->mappings) {
        free(sets);
        return -ENOMEM;
    }
    tokenizer_unicode_sets(sets);
    struct builder builder = {normalizer, sets, token_of, context};
    for (uint32_t i = 0; i < BLOCKS_MAX; i++) {
        uint32_t block[256];
        build_block(&builder, i * 256, block);
        normalizer->block_of[i] = find_or_add_block(normalizer, block);
    }
    free(sets);
    return 0;
}

void tokenizer_normalizer_release(struct tokenizer_normalizer *normalizer)
{
    free(normalizer->blocks);
    free(normalizer->mappings);
    normalizer->blocks = NULL;
    normalizer->mappings = NULL;
}
