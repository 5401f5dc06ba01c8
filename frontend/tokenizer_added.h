/* Added tokens: strings that are one token wherever they occur, cut out before anything else ([SEP]
 * in the middle of a word is a token).
 *
 * A splitter walks over a text once and yields pieces in order: ordinary text, or one added token.
 * It takes the longest token at the leftmost place, never two that overlap, and honours
 * single_word, lstrip and rstrip just as the reference does, that is, *after* matching: a match
 * that single_word refuses still uses up its bytes. */
#ifndef WEIR_FRONTEND_TOKENIZER_ADDED_H
#define WEIR_FRONTEND_TOKENIZER_ADDED_H

#include "frontend/tokenizer_trie.h"

struct tokenizer_added {
    struct tokenizer_trie trie; /* values are indices into `tokens` */
    const struct tokenizer_added_token *tokens;
    uint32_t n_tokens;
    bool starts[256]; /* whether a token starts with the byte */
    int only_start;   /* the byte that all tokens start with, or -1 */
};

/* `patterns` (n_tokens) are the strings to look for: the tokens' contents, or their normalized
 * forms; none is empty and no two are equal. Borrows `tokens`. 0 or -ENOMEM. */
int tokenizer_added_init(struct tokenizer_added *added, const struct tokenizer_added_token *tokens,
                         const struct tokenizer_string *patterns, uint32_t n_tokens);
void tokenizer_added_release(struct tokenizer_added *added);

struct tokenizer_piece {
    const uint8_t *start, *end;
    const struct tokenizer_added_token *token; /* NULL for ordinary text, which is not empty */
};

struct tokenizer_splitter {
    const struct tokenizer_added *added;
    const uint8_t *text, *end;
    const uint8_t *search;          /* where the next match may begin */
    const uint8_t *done;            /* the end of what was yielded */
    struct tokenizer_piece pending; /* a token found after the ordinary piece last yielded */
};

void tokenizer_splitter_init(struct tokenizer_splitter *splitter,
                             const struct tokenizer_added *added, const uint8_t *text, size_t size);
/* False once there are no more pieces. */
bool tokenizer_splitter_next(struct tokenizer_splitter *splitter, struct tokenizer_piece *piece);

#endif
