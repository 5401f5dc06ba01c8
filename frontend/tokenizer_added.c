/* The splitter of the header. Candidates are found by first byte: all added tokens of a usual model
 * start with '[', so the walk over ordinary text is a memchr. */
#include "frontend/tokenizer_added.h"
#include "frontend/tokenizer_unicode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int tokenizer_added_init(struct tokenizer_added *added, const struct tokenizer_added_token *tokens,
                         const struct tokenizer_string *patterns, uint32_t n_tokens)
{
    memset(added, 0, sizeof(*added));
    added->tokens = tokens;
    added->n_tokens = n_tokens;
    struct tokenizer_trie_entry *entries = calloc(n_tokens + 1, sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_tokens; i++) {
        CHECK(patterns[i].size > 0);
        entries[i] = (struct tokenizer_trie_entry){patterns[i], i};
        added->starts[(uint8_t)patterns[i].bytes[0]] = true;
    }
    int result = tokenizer_trie_init(&added->trie, entries, n_tokens);
    free(entries);

    added->only_start = -1;
    for (int byte = 0, n_starts = 0; byte < 256; byte++)
        if (added->starts[byte])
            added->only_start = ++n_starts == 1 ? byte : -1;
    return result;
}

void tokenizer_added_release(struct tokenizer_added *added)
{
    tokenizer_trie_release(&added->trie);
}

void tokenizer_splitter_init(struct tokenizer_splitter *splitter,
                             const struct tokenizer_added *added, const uint8_t *text, size_t size)
{
    *splitter = (struct tokenizer_splitter){
        .added = added, .text = text, .end = text + size, .search = text, .done = text};
}

/* The next byte from `at` on that some token starts with, or the end. */
static const uint8_t *next_candidate(const struct tokenizer_splitter *splitter, const uint8_t *at)
{
    const struct tokenizer_added *added = splitter->added;
    if (added->n_tokens == 0)
        return splitter->end;
    if (added->only_start >= 0) {
        const uint8_t *found = memchr(at, added->only_start, (size_t)(splitter->end - at));
        return found ? found : splitter->end;
    }
    while (at < splitter->end && !added->starts[*at])
        at++;
    return at;
}

static bool find_match(struct tokenizer_splitter *splitter, struct tokenizer_piece *match)
{
    const uint8_t *at = splitter->search;
    while ((at = next_candidate(splitter, at)) < splitter->end) {
        size_t matched;
        uint32_t index = tokenizer_trie_longest(&splitter->added->trie, 0, at,
                                                (size_t)(splitter->end - at), &matched);
        if (index != TRIE_NO_VALUE) {
            *match = (struct tokenizer_piece){at, at + matched, &splitter->added->tokens[index]};
            splitter->search = match->end;
            return true;
        }
        at++;
    }
    return false;
}

static bool stands_alone(const struct tokenizer_splitter *splitter,
                         const struct tokenizer_piece *match)
{
    uint32_t size;
    if (match->start > splitter->text) {
        const uint8_t *before = tokenizer_utf8_before(splitter->text, match->start);
        if (tokenizer_unicode_is(UNICODE_WORD_CHARACTER, tokenizer_utf8_read(before, &size)))
            return false;
    }
    return match->end == splitter->end ||
           !tokenizer_unicode_is(UNICODE_WORD_CHARACTER, tokenizer_utf8_read(match->end, &size));
}

/* lstrip and rstrip: the token takes the white space beside it, but not what was yielded before. */
static void take_white_space(const struct tokenizer_splitter *splitter,
                             struct tokenizer_piece *match)
{
    uint32_t size;
    while (match->token->lstrip && match->start > splitter->text) {
        const uint8_t *before = tokenizer_utf8_before(splitter->text, match->start);
        if (!tokenizer_unicode_is(UNICODE_WHITE_SPACE, tokenizer_utf8_read(before, &size)))
            break;
        match->start = before;
    }
    if (match->token->lstrip && match->start < splitter->done)
        match->start = splitter->done;
    while (match->token->rstrip && match->end < splitter->end) {
        if (!tokenizer_unicode_is(UNICODE_WHITE_SPACE, tokenizer_utf8_read(match->end, &size)))
            break;
        match->end += size;
    }
}

/* The next match that is a token: it stands alone if it must, and is not all white space that the
 * token before took. */
static bool find_token(struct tokenizer_splitter *splitter, struct tokenizer_piece *match)
{
    while (find_match(splitter, match)) {
        if (match->token->single_word && !stands_alone(splitter, match))
            continue;
        take_white_space(splitter, match);
        if (match->start < match->end)
            return true;
        splitter->done = match->end;
    }
    return false;
}

bool tokenizer_splitter_next(struct tokenizer_splitter *splitter, struct tokenizer_piece *piece)
{
    struct tokenizer_piece match = splitter->pending;
    splitter->pending.token = NULL;
    if (!match.token && !find_token(splitter, &match)) {
        *piece = (struct tokenizer_piece){splitter->done, splitter->end, NULL};
        splitter->done = splitter->end;
        return piece->start < piece->end;
    }
    if (splitter->done < match.start) {
        *piece = (struct tokenizer_piece){splitter->done, match.start, NULL};
        splitter->pending = match;
        splitter->done = match.start;
        return true;
    }
    *piece = match;
    splitter->done = match.end;
    return true;
}
