/* Encoding: tokens of one or two sequences, truncated and put into the template.
 *
 * Tokens are gathered by the cache where it applies and word by word where it does not. Truncation
 * is the reference's, to the token: a sequence of a pair counts as far as the end of the first word
 * at which it alone has `max_tokens` tokens (special ones not deducted, added tokens counted but
 * not looked at), and the room is shared by those capped counts. With whole counts it is shared by
 * the true ones. Only where a pair is too long does the difference matter; only then is it looked
 * at. */
#include "frontend/tokenizer_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPECIALS_SINGLE 2u /* [CLS] [SEP] */
#define SPECIALS_PAIR   3u /* [CLS] [SEP] [SEP] */

struct tokenizer_scratch {
    uint32_t tokens_max;
    size_t text_bytes_max;
    struct tokenizer_cache cache; /* zeroed where it does not apply */
    uint32_t *ids[2];             /* (tokens_max + slack) each: what is kept of a sequence */
    uint64_t *word_starts;        /* (tokens_max + 2): a ring, for truncation from the left */
    uint8_t *normalized_text;     /* NULL unless an added token is looked for in normalized text */
};

struct sequence {
    const uint8_t *text;
    size_t size;
    uint32_t *ids;  /* the first max_tokens tokens; from the left, token i is at i % max_tokens */
    uint64_t count; /* tokens that count for truncation */
    uint64_t total; /* tokens there are; only from the left */
};

static bool allocate(struct tokenizer_scratch *scratch, const struct tokenizer *tokenizer)
{
    size_t n_ids = scratch->tokens_max + (size_t)TOKENIZER_SINK_SLACK;
    scratch->ids[0] = calloc(n_ids, sizeof(uint32_t));
    scratch->ids[1] = calloc(n_ids, sizeof(uint32_t));
    scratch->word_starts = calloc(scratch->tokens_max + UINT64_C(2), sizeof(uint64_t));
    if (!scratch->ids[0] || !scratch->ids[1] || !scratch->word_starts)
        return false;
    if (tokenizer_cache_applies(tokenizer))
        return tokenizer_cache_init(&scratch->cache, tokenizer) == 0;
    if (tokenizer->normalized.n_tokens == 0)
        return true;
    scratch->normalized_text =
        malloc(scratch->text_bytes_max * TOKENIZER_NORMALIZED_GROWTH + TOKENIZER_PADDING_BYTES);
    return scratch->normalized_text != NULL;
}

struct tokenizer_scratch *tokenizer_scratch_create(const struct tokenizer *tokenizer,
                                                   uint32_t tokens_max, size_t text_bytes_max,
                                                   char error[ERROR_BYTES])
{
    struct tokenizer_scratch *scratch = calloc(1, sizeof(*scratch));
    if (scratch) {
        scratch->tokens_max = tokens_max;
        scratch->text_bytes_max = text_bytes_max;
    }
    if (scratch && allocate(scratch, tokenizer))
        return scratch;
    tokenizer_scratch_destroy(scratch);
    snprintf(error, ERROR_BYTES, "no memory to tokenize texts of %zu bytes into %u tokens",
             text_bytes_max, tokens_max);
    return NULL;
}

void tokenizer_scratch_destroy(struct tokenizer_scratch *scratch)
{
    if (!scratch)
        return;
    tokenizer_cache_release(&scratch->cache);
    free(scratch->ids[0]);
    free(scratch->ids[1]);
    free(scratch->word_starts);
    free(scratch->normalized_text);
    free(scratch);
}

/* Tokens up to the end of the first word at which there are at least `enough`; added tokens count,
 * but do not end it. The first `kept_max` are kept. */
static void gather_words(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                         struct sequence *sequence, uint64_t enough, uint64_t kept_max)
{
    struct tokenizer_units units;
    uint32_t unit[TOKENIZER_WORD_TOKENS_MAX], n_unit;
    bool is_added = true;
    sequence->count = 0;
    tokenizer_units_init(&units, tokenizer, sequence->text, sequence->size,
                         scratch->normalized_text);
    while ((is_added || sequence->count < enough) &&
           (n_unit = tokenizer_units_next(&units, unit, &is_added)) > 0) {
        for (uint32_t i = 0; i < n_unit && sequence->count + i < kept_max; i++)
            sequence->ids[sequence->count + i] = unit[i];
        sequence->count += n_unit;
    }
}

/* The same through the cache, but may count on beyond the word. */
static void gather_cached(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                          struct sequence *sequence, uint64_t enough, uint64_t kept_max)
{
    struct tokenizer_sink sink = {.ids = sequence->ids, .kept_max = kept_max};
    struct tokenizer_splitter splitter;
    struct tokenizer_piece piece;
    tokenizer_splitter_init(&splitter, &tokenizer->raw, sequence->text, sequence->size);
    while (tokenizer_sink_count(&sink) < enough && tokenizer_splitter_next(&splitter, &piece)) {
        if (piece.token) {
            sink.ids[sink.n_kept++] = piece.token->id;
            tokenizer_sink_trim(&sink);
        } else {
            tokenizer_cache_text(&scratch->cache, tokenizer, piece.start, piece.end, enough, &sink);
        }
    }
    sequence->count = tokenizer_sink_count(&sink);
}

static void gather(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                   struct sequence *sequence, uint64_t enough, uint64_t kept_max)
{
    if (scratch->cache.lines)
        gather_cached(tokenizer, scratch, sequence, enough, kept_max);
    else
        gather_words(tokenizer, scratch, sequence, enough, kept_max);
}

/* The same from the other end: keeps the last `room` tokens, and counts from the start of the last
 * word from which on there are at least `enough`, which is all if there is no such word.
 *
 * Reads forward, since added tokens can only be found so, and keeps the starts of those words that
 * may still be the one, oldest first; each has fewer than `enough` tokens after its successor. */
static void gather_left(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                        struct sequence *sequence, uint32_t enough)
{
    struct tokenizer_units units;
    uint32_t unit[TOKENIZER_WORD_TOKENS_MAX], n_unit;
    uint64_t total = 0, first = 0, n_starts = 0, ring = enough + UINT64_C(2);
    uint64_t *starts = scratch->word_starts;
    bool is_added;
    tokenizer_units_init(&units, tokenizer, sequence->text, sequence->size,
                         scratch->normalized_text);
    while ((n_unit = tokenizer_units_next(&units, unit, &is_added)) > 0) {
        if (!is_added)
            starts[(first + n_starts++) % ring] = total;
        for (uint32_t i = 0; i < n_unit; i++)
            sequence->ids[total++ % enough] = unit[i];
        for (; n_starts > 1 && total - starts[(first + 1) % ring] >= enough; n_starts--)
            first++;
    }
    uint64_t start = n_starts > 0 ? starts[first % ring] : 0;
    bool capped = !tokenizer->whole_counts && total - start >= enough;
    sequence->count = capped ? total - start : total;
    sequence->total = total;
}

/* How many tokens of each sequence stay when `room` tokens are free: longest first. */
static void share_room(uint64_t room, uint64_t counts[2])
{
    bool swap = counts[0] > counts[1];
    uint64_t shorter = swap ? counts[1] : counts[0];
    uint64_t longer = shorter > room ? shorter : max_u64(shorter, room - shorter);
    if (shorter + longer > room) {
        shorter = room / 2;
        longer = shorter + room % 2;
    }
    counts[0] = swap ? longer : shorter;
    counts[1] = swap ? shorter : longer;
}

/* Gathers both sequences with the counts that decide about truncation. */
static void gather_input(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                         struct sequence sequences[2], bool is_pair, uint32_t max_tokens,
                         bool truncate_left)
{
    uint64_t enough = is_pair && tokenizer->whole_counts ? UINT64_MAX : max_tokens;
    for (int i = 0; i < 1 + is_pair; i++) {
        CHECK(sequences[i].size <= scratch->text_bytes_max);
        if (truncate_left)
            gather_left(tokenizer, scratch, &sequences[i], max_tokens);
        else
            gather(tokenizer, scratch, &sequences[i], enough, max_tokens);
    }
    /* What the cache counted beyond the word must not count. */
    for (int i = 0; i < 2 && is_pair && !truncate_left; i++)
        if (sequences[i].count >= enough)
            gather_words(tokenizer, scratch, &sequences[i], enough, max_tokens);
}

/* Appends the `kept` tokens at the sequence's start, or at its end if truncated from the left. */
static uint32_t *append_kept(uint32_t *out, const struct sequence *sequence, uint64_t kept,
                             uint32_t max_tokens, bool truncate_left)
{
    uint64_t first = truncate_left ? (sequence->total - kept) % max_tokens : 0;
    uint64_t n_before_wrap = min_u64(kept, max_tokens - first);
    out = mempcpy(out, sequence->ids + first, n_before_wrap * sizeof(*out));
    return mempcpy(out, sequence->ids, (kept - n_before_wrap) * sizeof(*out));
}

void tokenizer_encode(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                      const struct tokenizer_input *input, uint32_t max_tokens, bool truncate_left,
                      uint32_t *input_ids, struct tokenizer_encoding *encoding)
{
    struct sequence sequences[2] = {
        {(const uint8_t *)input->text, input->text_bytes, scratch->ids[0], 0, 0},
        {(const uint8_t *)input->pair, input->pair_bytes, scratch->ids[1], 0, 0}};
    bool is_pair = input->pair != NULL;
    uint32_t n_specials = is_pair ? SPECIALS_PAIR : SPECIALS_SINGLE, *out = input_ids;
    CHECK(max_tokens >= n_specials && max_tokens <= scratch->tokens_max);

    gather_input(tokenizer, scratch, sequences, is_pair, max_tokens, truncate_left);
    uint64_t kept[2] = {sequences[0].count, sequences[1].count};
    uint64_t room = max_tokens - n_specials;
    encoding->truncated = kept[0] + kept[1] > room;
    if (encoding->truncated && is_pair)
        share_room(room, kept);
    else if (encoding->truncated)
        kept[0] = room;

    *out++ = tokenizer->cls_id;
    out = append_kept(out, &sequences[0], kept[0], max_tokens, truncate_left);
    *out++ = tokenizer->sep_id;
    encoding->type_start = (uint32_t)(out - input_ids);
    if (is_pair) {
        out = append_kept(out, &sequences[1], kept[1], max_tokens, truncate_left);
        *out++ = tokenizer->sep_id;
    }
    encoding->n_tokens = (uint32_t)(out - input_ids);
    if (tokenizer->one_token_type)
        encoding->type_start = encoding->n_tokens;
}

uint64_t tokenizer_count(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                         const struct tokenizer_input *input)
{
    struct sequence text = {(const uint8_t *)input->text, input->text_bytes, scratch->ids[0], 0, 0};
    struct sequence pair = {(const uint8_t *)input->pair, input->pair_bytes, scratch->ids[1], 0, 0};
    CHECK(max_u64(text.size, pair.size) <= scratch->text_bytes_max);
    gather(tokenizer, scratch, &text, UINT64_MAX, 0);
    if (!input->pair)
        return text.count + SPECIALS_SINGLE;
    gather(tokenizer, scratch, &pair, UINT64_MAX, 0);
    return text.count + pair.count + SPECIALS_PAIR;
}
