/* The tokenizer once more, the slow way, with the place of every token in the raw text.
 *
 * It runs the reference's passes one after another over arrays of code points, each of which
 * carries the raw bytes it came from; that is how the reference defines offsets, oddities included
 * (after canonical ordering a mark has the place of the mark whose position it took). It shares
 * only the facts about code points and the vocabulary with tokenizer_encode(), so each checks the
 * other. */
#include "frontend/tokenizer_words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Code points that one byte of text can become at most, between passes; and those of one code
 * point. */
#define GROWTH 2u

/* A code point, and the bytes of the raw text that it stands for. */
struct point {
    uint32_t c;
    uint32_t start, stop;
};

struct points {
    struct point *items;
    size_t count;
};

struct explainer {
    const struct tokenizer *tokenizer;
    const uint8_t *text;
    struct points points, spare; /* each has room for the whole text */
    uint8_t *bytes;              /* the normalized piece */
    struct point *origin;        /* (bytes of the normalized piece) */
    uint32_t *ids;               /* (TOKENIZER_WORD_TOKENS_MAX) */
    void (*emit)(void *context, const struct tokenizer_token *token);
    void *context;
};

static void add_point(struct points *points, uint32_t c, const struct point *origin)
{
    points->items[points->count++] = (struct point){c, origin->start, origin->stop};
}

/* What a pass makes goes into `spare`; then the two change places. */
static void end_pass(struct explainer *explainer)
{
    struct points made = explainer->spare;
    explainer->spare = explainer->points;
    explainer->spare.count = 0;
    explainer->points = made;
}

static void clean_text(struct explainer *explainer)
{
    for (size_t i = 0; i < explainer->points.count; i++) {
        const struct point *point = &explainer->points.items[i];
        if (!tokenizer_unicode_is(UNICODE_REMOVED, point->c))
            add_point(&explainer->spare,
                      tokenizer_unicode_is(UNICODE_WHITE_SPACE, point->c) ? ' ' : point->c, point);
    }
    end_pass(explainer);
}

static void handle_chinese_chars(struct explainer *explainer)
{
    for (size_t i = 0; i < explainer->points.count; i++) {
        const struct point *point = &explainer->points.items[i];
        bool chinese = tokenizer_unicode_is(UNICODE_CHINESE, point->c);
        if (chinese)
            add_point(&explainer->spare, ' ', point);
        add_point(&explainer->spare, point->c, point);
        if (chinese)
            add_point(&explainer->spare, ' ', point);
    }
    end_pass(explainer);
}

/* While decomposing, a point's `start` is its number and `stop` holds the combining class and
 * whether its decomposition added it to what was there. */
#define MARK(class, added) ((class) << 1 | (added))
#define CLASS_OF(point)    ((point)->stop >> 1)
#define IS_ADDED(point)    ((point)->stop & 1)

static int compare_marks(const void *left, const void *right)
{
    const struct point *a = left, *b = right;
    if (CLASS_OF(a) != CLASS_OF(b))
        return CLASS_OF(a) < CLASS_OF(b) ? -1 : 1;
    return a->start < b->start ? -1 : 1;
}

static void order_marks(struct points *decomposed)
{
    for (size_t first = 0, end; first < decomposed->count; first = end) {
        for (end = first; end < decomposed->count && CLASS_OF(&decomposed->items[end]) > 0; end++)
            ;
        if (end - first > 1)
            qsort(decomposed->items + first, end - first, sizeof(struct point), compare_marks);
        end += end == first;
    }
}

static void decompose(struct explainer *explainer)
{
    struct points *decomposed = &explainer->spare;
    for (size_t i = 0; i < explainer->points.count; i++) {
        uint32_t parts[UNICODE_DECOMPOSITION_MAX];
        uint32_t n_parts = tokenizer_unicode_decompose(explainer->points.items[i].c, parts);
        for (uint32_t j = 0; j < n_parts; j++) {
            uint32_t mark = MARK(tokenizer_unicode_class(parts[j]), j > 0);
            struct point part = {parts[j], (uint32_t)decomposed->count, mark};
            decomposed->items[decomposed->count++] = part;
        }
    }
    order_marks(decomposed);
    /* The first parts, in their new order, stand for the code points in their old order. */
    struct point start = {0, 0, 0}, *origin = &start;
    for (size_t i = 0, next = 0; i < decomposed->count; i++) {
        if (!IS_ADDED(&decomposed->items[i]))
            origin = &explainer->points.items[next++];
        decomposed->items[i].start = origin->start;
        decomposed->items[i].stop = origin->stop;
    }
    end_pass(explainer);
}

static void strip_accents(struct explainer *explainer)
{
    decompose(explainer);
    for (size_t i = 0; i < explainer->points.count; i++)
        if (!tokenizer_unicode_is(UNICODE_MARK, explainer->points.items[i].c))
            add_point(&explainer->spare, explainer->points.items[i].c, &explainer->points.items[i]);
    end_pass(explainer);
}

static void lowercase(struct explainer *explainer)
{
    for (size_t i = 0; i < explainer->points.count; i++) {
        uint32_t lowered[UNICODE_LOWERCASE_MAX];
        uint32_t count = tokenizer_unicode_lowercase(explainer->points.items[i].c, lowered);
        for (uint32_t j = 0; j < count; j++)
            add_point(&explainer->spare, lowered[j], &explainer->points.items[i]);
    }
    end_pass(explainer);
}

/* Normalizes raw text into `bytes` and `origin`; the size of both. */
static size_t normalize(struct explainer *explainer, const uint8_t *start, const uint8_t *end)
{
    const struct tokenizer_normalizer_options *options = &explainer->tokenizer->normalizer.options;
    size_t size = 0;
    uint32_t c_size;
    explainer->points.count = explainer->spare.count = 0;
    for (const uint8_t *at = start; at < end; at += c_size) {
        uint32_t c = tokenizer_utf8_read(at, &c_size);
        uint32_t place = (uint32_t)(at - explainer->text);
        add_point(&explainer->points, c, &(struct point){c, place, place + c_size});
    }
    if (options->clean_text)
        clean_text(explainer);
    if (options->handle_chinese_chars)
        handle_chinese_chars(explainer);
    if (options->strip_accents)
        strip_accents(explainer);
    if (options->lowercase)
        lowercase(explainer);
    for (size_t i = 0; i < explainer->points.count; i++) {
        c_size = tokenizer_utf8_write(explainer->points.items[i].c, explainer->bytes + size);
        while (c_size-- > 0)
            explainer->origin[size++] = explainer->points.items[i];
    }
    return size;
}

/* Emits a token made of the normalized bytes [start, stop). */
static void emit_bytes(const struct explainer *explainer, uint32_t id, size_t start, size_t stop)
{
    struct tokenizer_token token = {id, explainer->origin[start].start,
                                    explainer->origin[stop - 1].stop, false};
    explainer->emit(explainer->context, &token);
}

static void explain_word(const struct explainer *explainer, size_t start, size_t stop,
                         uint32_t n_characters)
{
    const struct tokenizer *tokenizer = explainer->tokenizer;
    uint32_t count = tokenizer_word_tokens(tokenizer, explainer->bytes + start, stop - start,
                                           n_characters, explainer->ids);
    if (count == 1) {
        emit_bytes(explainer, explainer->ids[0], start, stop);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = tokenizer->token_texts[explainer->ids[i]].size;
        size -= i > 0 ? tokenizer->continuation_size : 0;
        emit_bytes(explainer, explainer->ids[i], start, start + size);
        start += size;
    }
}

/* The pre-tokenizer over the normalized bytes [at, end). */
static void explain_piece(const struct explainer *explainer, size_t at, size_t end)
{
    uint32_t n_characters = 0, size;
    size_t word = at;
    for (; at < end; at += size) {
        uint32_t c = tokenizer_utf8_read(explainer->bytes + at, &size);
        bool space = tokenizer_unicode_is(UNICODE_WHITE_SPACE, c);
        bool isolated = tokenizer_unicode_is(UNICODE_PUNCTUATION, c);
        if (!space && !isolated) {
            n_characters++;
            continue;
        }
        if (n_characters > 0)
            explain_word(explainer, word, at, n_characters);
        if (isolated)
            explain_word(explainer, at, at + size, 1);
        word = at + size;
        n_characters = 0;
    }
    if (n_characters > 0)
        explain_word(explainer, word, end, n_characters);
}

static void explain_text(struct explainer *explainer, size_t text_bytes)
{
    struct tokenizer_splitter raw, normalized;
    struct tokenizer_piece piece;
    tokenizer_splitter_init(&raw, &explainer->tokenizer->raw, explainer->text, text_bytes);
    while (tokenizer_splitter_next(&raw, &piece)) {
        if (piece.token) {
            struct tokenizer_token token = {piece.token->id,
                                            (uint32_t)(piece.start - explainer->text),
                                            (uint32_t)(piece.end - explainer->text), false};
            explainer->emit(explainer->context, &token);
            continue;
        }
        size_t size = normalize(explainer, piece.start, piece.end);
        tokenizer_splitter_init(&normalized, &explainer->tokenizer->normalized, explainer->bytes,
                                size);
        while (tokenizer_splitter_next(&normalized, &piece)) {
            size_t start = (size_t)(piece.start - explainer->bytes);
            size_t stop = (size_t)(piece.end - explainer->bytes);
            if (piece.token)
                emit_bytes(explainer, piece.token->id, start, stop);
            else
                explain_piece(explainer, start, stop);
        }
    }
}

static void emit_special(const struct explainer *explainer, uint32_t id)
{
    struct tokenizer_token token = {id, 0, 0, true};
    explainer->emit(explainer->context, &token);
}

int tokenizer_explain(const struct tokenizer *tokenizer, const char *text, size_t text_bytes,
                      bool add_special_tokens,
                      void (*emit_token)(void *context, const struct tokenizer_token *token),
                      void *context)
{
    struct explainer explainer = {.tokenizer = tokenizer,
                                  .text = (const uint8_t *)text,
                                  .emit = emit_token,
                                  .context = context};
    size_t n_points = GROWTH * text_bytes + UNICODE_DECOMPOSITION_MAX;
    size_t n_bytes = TOKENIZER_NORMALIZED_GROWTH * text_bytes + TOKENIZER_PADDING_BYTES;
    explainer.points.items = malloc(n_points * sizeof(struct point));
    explainer.spare.items = malloc(n_points * sizeof(struct point));
    explainer.bytes = malloc(n_bytes);
    explainer.origin = malloc(n_bytes * sizeof(struct point));
    explainer.ids = malloc(TOKENIZER_WORD_TOKENS_MAX * sizeof(uint32_t));
    bool ready = explainer.points.items && explainer.spare.items && explainer.bytes &&
                 explainer.origin && explainer.ids;
    if (ready) {
        if (add_special_tokens)
            emit_special(&explainer, tokenizer->cls_id);
        explain_text(&explainer, text_bytes);
        if (add_special_tokens)
            emit_special(&explainer, tokenizer->sep_id);
    }
    free(explainer.points.items);
    free(explainer.spare.items);
    free(explainer.bytes);
    free(explainer.origin);
    free(explainer.ids);
    return ready ? 0 : -ENOMEM;
}
