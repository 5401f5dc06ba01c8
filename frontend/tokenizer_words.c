/* Words of a text and their tokens: see the header. */
#include "frontend/tokenizer_words.h"

#include <string.h>

/* A word that is longer than max_chars_per_word is one [UNK], so its bytes need not be kept. There
 * may be a RUN_BREAK for each character, and the last step may write one mapping past the end. */
#define WORD_BYTES_MAX (5 * TOKENIZER_WORD_CHARS_MAX + 2 * TOKENIZER_MAPPING_BYTES)

/* Stands in normalized text where something was deleted across which marks must not be moved; gone
 * once they are ordered. No byte of UTF-8. */
#define RUN_BREAK 0xFF

/* Normalized text as it grows: one word, or all of a piece. */
struct growing {
    uint8_t *bytes;
    size_t size;
    size_t marks_end; /* where the last mark that may have to be moved ends; 0: there is none */
    uint32_t n_characters;
    uint32_t max_characters; /* beyond it only n_characters grows */
};

uint32_t tokenizer_word_tokens(const struct tokenizer *tokenizer, const uint8_t *word, size_t size,
                               uint32_t n_characters, uint32_t *ids)
{
    uint32_t count = 0, node = 0;
    if (n_characters > tokenizer->max_chars_per_word)
        size = 0;
    for (size_t start = 0, matched = 0; start < size; start += matched) {
        uint32_t id = node == UINT32_MAX
                          ? TRIE_NO_VALUE
                          : tokenizer_trie_longest(&tokenizer->vocabulary, node, word + start,
                                                   size - start, &matched);
        if (id == TRIE_NO_VALUE) {
            count = 0;
            break;
        }
        ids[count++] = id;
        node = tokenizer->continuation_node;
    }
    if (count == 0)
        ids[count++] = tokenizer->unk_id;
    return count;
}

/* A run of marks, ordered by combining class; those of one class stay as they came. */
struct run {
    struct {
        uint32_t class, c;
    } marks[TOKENIZER_WORD_CHARS_MAX];
    uint32_t count;
};

static void run_add(struct run *run, uint32_t class, uint32_t c)
{
    uint32_t place = run->count++;
    for (; place > 0 && run->marks[place - 1].class > class; place--)
        run->marks[place] = run->marks[place - 1];
    run->marks[place].class = class;
    run->marks[place].c = c;
}

static uint8_t *run_write(struct run *run, uint8_t *out)
{
    for (uint32_t i = 0; i < run->count; i++)
        out += tokenizer_utf8_write(run->marks[i].c, out);
    run->count = 0;
    return out;
}

/* Puts each run of marks in canonical order, which is exact for all words that are not too long;
 * only a run of a thousand is cut in two, so that nobody can make us sort for long. */
static void order_marks(struct growing *text)
{
    struct run run;
    uint8_t *out = text->bytes;
    uint32_t size;
    run.count = 0;
    for (size_t at = 0; at < text->size; at += size) {
        bool is_break = text->bytes[at] == RUN_BREAK;
        size = 1;
        uint32_t c = is_break ? 0 : tokenizer_utf8_read(text->bytes + at, &size);
        uint32_t class = is_break ? 0 : tokenizer_unicode_class(c);
        if (class == 0 || run.count == ARRAY_COUNT(run.marks))
            out = run_write(&run, out);
        if (class > 0)
            run_add(&run, class, c);
        else if (!is_break)
            out += tokenizer_utf8_write(c, out);
    }
    out = run_write(&run, out);
    text->size = (size_t)(out - text->bytes);
}

/* Appends what becomes of the code point at `bytes`, which is not a space and not isolated. */
static inline void append(struct growing *text, const struct tokenizer_normalizer *normalizer,
                          uint32_t entry, const uint8_t *bytes, uint32_t size)
{
    const struct tokenizer_mapping *mapping;
    uint32_t payload = entry & TOKENIZER_PAYLOAD_MASK;
    bool full = text->n_characters > text->max_characters;

    switch ((enum tokenizer_action)(entry >> TOKENIZER_ACTION_SHIFT)) {
    case ACTION_KEEP:
    case ACTION_ORDER:
        memcpy(text->bytes + text->size, bytes, 4);
        text->size += full ? 0 : size;
        text->n_characters++;
        if (entry >> TOKENIZER_ACTION_SHIFT == ACTION_ORDER)
            text->marks_end = text->size;
        break;
    case ACTION_BYTE:
        text->bytes[text->size] = (uint8_t)payload;
        text->size += !full;
        text->n_characters++;
        break;
    case ACTION_MAP:
        mapping = &normalizer->mappings[payload];
        memcpy(text->bytes + text->size, mapping->bytes, TOKENIZER_MAPPING_BYTES);
        text->size += full ? 0 : mapping->size;
        text->n_characters += mapping->n_characters;
        break;
    case ACTION_BARRIER:
        if (text->size > 0 && text->size == text->marks_end && !full)
            text->bytes[text->size++] = RUN_BREAK;
        break;
    case ACTION_DELETE:
    case ACTION_SPACE:
    case ACTION_ISOLATE:
        break;
    }
}

uint32_t tokenizer_words_next(struct tokenizer_words *words, uint32_t *ids)
{
    uint8_t bytes[WORD_BYTES_MAX];
    struct growing word = {bytes, 0, 0, 0, words->tokenizer->max_chars_per_word};

    while (words->at < words->end) {
        uint32_t size;
        uint32_t c = tokenizer_utf8_read(words->at, &size);
        uint32_t entry = tokenizer_normalizer_entry(words->normalizer, c);
        uint32_t action = entry >> TOKENIZER_ACTION_SHIFT;
        if (action < ACTION_SPACE) {
            append(&word, words->normalizer, entry, words->at, size);
            words->at += size;
            continue;
        }
        if (word.n_characters > 0)
            break;
        words->at += size;
        if (action == ACTION_ISOLATE) {
            ids[0] = entry & TOKENIZER_PAYLOAD_MASK;
            return 1;
        }
    }
    if (word.n_characters == 0)
        return 0;
    if (word.marks_end > 0)
        order_marks(&word);
    return tokenizer_word_tokens(words->tokenizer, word.bytes, word.size, word.n_characters, ids);
}

/* Appends a space or an isolated code point as the normalizer alone leaves it. */
static void append_separator(struct growing *text,
                             const struct tokenizer_normalizer_options *options, uint32_t c)
{
    uint32_t normalized[TOKENIZER_NORMALIZED_MAX];
    uint16_t sets = 0;
    for (uint16_t set = UNICODE_REMOVED; set <= UNICODE_DECOMPOSES; set <<= 1)
        if (tokenizer_unicode_is(set, c))
            sets |= set;
    uint32_t count = tokenizer_normalize(options, c, sets, normalized);
    for (uint32_t i = 0; i < count; i++)
        text->size += tokenizer_utf8_write(normalized[i], text->bytes + text->size);
}

size_t tokenizer_normalize_text(const struct tokenizer_normalizer *normalizer, const uint8_t *text,
                                size_t size, uint8_t *out)
{
    struct growing normalized = {out, 0, 0, 0, UINT32_MAX};
    uint32_t c_size;
    for (size_t at = 0; at < size; at += c_size) {
        uint32_t c = tokenizer_utf8_read(text + at, &c_size);
        uint32_t entry = tokenizer_normalizer_entry(normalizer, c);
        if (entry >> TOKENIZER_ACTION_SHIFT >= ACTION_SPACE)
            append_separator(&normalized, &normalizer->options, c);
        else
            append(&normalized, normalizer, entry, text + at, c_size);
    }
    if (normalized.marks_end > 0)
        order_marks(&normalized);
    return normalized.size;
}

void tokenizer_units_init(struct tokenizer_units *units, const struct tokenizer *tokenizer,
                          const uint8_t *text, size_t size, uint8_t *normalized_text)
{
    memset(units, 0, sizeof(*units));
    units->tokenizer = tokenizer;
    units->normalized_text = normalized_text;
    tokenizer_splitter_init(&units->raw, &tokenizer->raw, text, size);
    tokenizer_splitter_init(&units->normalized, &tokenizer->normalized, text, 0);
    units->words = (struct tokenizer_words){tokenizer, &tokenizer->normalizer, text, text};
}

/* The next piece of the text, with its added tokens of both kinds cut out. */
static bool next_piece(struct tokenizer_units *units, struct tokenizer_piece *piece)
{
    bool two_passes = units->tokenizer->normalized.n_tokens > 0;
    while (!two_passes || !tokenizer_splitter_next(&units->normalized, piece)) {
        if (!tokenizer_splitter_next(&units->raw, piece))
            return false;
        if (piece->token || !two_passes)
            return true;
        size_t size =
            tokenizer_normalize_text(&units->tokenizer->normalizer, piece->start,
                                     (size_t)(piece->end - piece->start), units->normalized_text);
        tokenizer_splitter_init(&units->normalized, &units->tokenizer->normalized,
                                units->normalized_text, size);
    }
    return true;
}

uint32_t tokenizer_units_next(struct tokenizer_units *units, uint32_t *ids, bool *is_added)
{
    const struct tokenizer *tokenizer = units->tokenizer;
    struct tokenizer_piece piece;
    uint32_t count;
    *is_added = false;
    while ((count = tokenizer_words_next(&units->words, ids)) == 0) {
        if (!next_piece(units, &piece))
            return 0;
        if (piece.token) {
            *is_added = true;
            ids[0] = piece.token->id;
            return 1;
        }
        units->words = (struct tokenizer_words){
            tokenizer,
            tokenizer->normalized.n_tokens > 0 ? &tokenizer->identity : &tokenizer->normalizer,
            piece.start, piece.end};
    }
    return count;
}
