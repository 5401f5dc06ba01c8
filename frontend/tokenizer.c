/* Creation of a tokenizer from its files: strings, trie, normalizer table, added tokens. */
#include "frontend/tokenizer.h"
#include "frontend/tokenizer_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t token_of_character(void *context, const uint8_t *bytes, uint32_t size)
{
    uint32_t ids[TOKENIZER_WORD_TOKENS_MAX];
    tokenizer_word_tokens(context, bytes, size, 1, ids);
    return ids[0];
}

static int copy_strings(struct tokenizer *tokenizer, const struct tokenizer_files *files)
{
    size_t bytes = 0;
    uint32_t n_texts = files->vocab_size;
    for (uint32_t i = 0; i < files->vocab_size; i++)
        bytes += files->vocabulary[i].size;
    for (uint32_t i = 0; i < files->n_added_tokens; i++) {
        bytes += files->added_tokens[i].content.size;
        n_texts = (uint32_t)max_u64(n_texts, files->added_tokens[i].id + UINT64_C(1));
    }
    tokenizer->strings = malloc(bytes + TOKENIZER_PADDING_BYTES); /* normalizing reads beyond */
    tokenizer->token_texts = calloc(n_texts + 1, sizeof(*tokenizer->token_texts));
    tokenizer->added_tokens = calloc(files->n_added_tokens + 1, sizeof(*tokenizer->added_tokens));
    if (!tokenizer->strings || !tokenizer->token_texts || !tokenizer->added_tokens)
        return -ENOMEM;

    char *at = tokenizer->strings;
    for (uint32_t i = 0; i < files->vocab_size; i++) {
        tokenizer->token_texts[i] = (struct tokenizer_string){at, files->vocabulary[i].size};
        if (files->vocabulary[i].size > 0)
            at = mempcpy(at, files->vocabulary[i].bytes, files->vocabulary[i].size);
    }
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < files->n_added_tokens; i++) {
            struct tokenizer_added_token token = files->added_tokens[i];
            if (token.normalized != (pass == 1))
                continue;
            token.content.bytes = memcpy(at, token.content.bytes, token.content.size);
            at += token.content.size;
            tokenizer->token_texts[token.id] = token.content;
            tokenizer->added_tokens[tokenizer->n_added_tokens++] = token;
        }
        if (pass == 0)
            tokenizer->n_raw_tokens = tokenizer->n_added_tokens;
    }
    tokenizer->n_token_texts = n_texts;
    return 0;
}

static int build_vocabulary(struct tokenizer *tokenizer, const struct tokenizer_files *files)
{
    struct tokenizer_trie_entry *entries = calloc(files->vocab_size + 1, sizeof(*entries));
    uint32_t n_entries = 0;
    if (!entries)
        return -ENOMEM;
    for (uint32_t id = 0; id < files->vocab_size; id++)
        if (files->vocabulary[id].size > 0)
            entries[n_entries++] = (struct tokenizer_trie_entry){files->vocabulary[id], id};
    int result = tokenizer_trie_init(&tokenizer->vocabulary, entries, n_entries);
    free(entries);
    for (uint32_t i = 0; result == 0 && i < files->continuation.size; i++) {
        uint32_t node = tokenizer->continuation_node;
        if (node == UINT32_MAX)
            break;
        node = tokenizer_trie_child(&tokenizer->vocabulary, node,
                                    (uint8_t)files->continuation.bytes[i]);
        tokenizer->continuation_node = node ? node : UINT32_MAX;
    }
    return result;
}

static int build_normalizers(struct tokenizer *tokenizer, const struct tokenizer_files *files)
{
    struct tokenizer_normalizer_options options = {files->clean_text, files->handle_chinese_chars,
                                                   files->strip_accents, files->lowercase};
    struct tokenizer_normalizer_options none = {false, false, false, false};
    int result =
        tokenizer_normalizer_init(&tokenizer->normalizer, &options, token_of_character, tokenizer);
    if (result == 0 && tokenizer->n_added_tokens > tokenizer->n_raw_tokens)
        result =
            tokenizer_normalizer_init(&tokenizer->identity, &none, token_of_character, tokenizer);
    return result;
}

static int compare_patterns(const void *left, const void *right)
{
    return tokenizer_string_compare(left, right);
}

/* Two added tokens that are looked for as the same bytes, or as none, cannot be told apart: the
 * reference refuses them as well. `patterns` are sorted here and must be copies. */
static bool patterns_differ(struct tokenizer_string *patterns, uint32_t n_patterns,
                            char error[ERROR_BYTES])
{
    qsort(patterns, n_patterns, sizeof(*patterns), compare_patterns);
    for (uint32_t i = 0; i < n_patterns; i++) {
        bool same = i > 0 && tokenizer_string_compare(&patterns[i - 1], &patterns[i]) == 0;
        if (!same && patterns[i].size > 0)
            continue;
        snprintf(
            error, ERROR_BYTES,
            "two added tokens are the same text after normalization, or one is empty: \"%.*s\"; "
            "remove one from the tokenizer's files",
            (int)min_u64(patterns[i].size, 60), patterns[i].bytes);
        return false;
    }
    return true;
}

static int build_added(struct tokenizer *tokenizer, char error[ERROR_BYTES])
{
    uint32_t n_raw = tokenizer->n_raw_tokens, n_all = tokenizer->n_added_tokens;
    size_t bytes = TOKENIZER_PADDING_BYTES;
    for (uint32_t i = 0; i < n_all; i++)
        bytes += tokenizer->added_tokens[i].content.size * (size_t)TOKENIZER_NORMALIZED_GROWTH +
                 TOKENIZER_PADDING_BYTES;
    struct tokenizer_string *patterns = calloc(2 * (size_t)n_all + 1, sizeof(*patterns));
    uint8_t *normalized = calloc(1, bytes), *at = normalized;
    int result = patterns && normalized ? 0 : -ENOMEM;

    for (uint32_t i = 0; result == 0 && i < n_all; i++) {
        patterns[i] = tokenizer->added_tokens[i].content;
        if (i < n_raw)
            continue;
        patterns[i].size = (uint32_t)tokenizer_normalize_text(
            &tokenizer->normalizer, (const uint8_t *)patterns[i].bytes, patterns[i].size, at);
        patterns[i].bytes = (char *)at;
        at += patterns[i].size + TOKENIZER_PADDING_BYTES;
    }
    if (result == 0) {
        memcpy(patterns + n_all, patterns, n_all * sizeof(*patterns));
        if (!patterns_differ(patterns + n_all, n_raw, error) ||
            !patterns_differ(patterns + n_all + n_raw, n_all - n_raw, error))
            result = -EINVAL;
    }
    if (result == 0)
        result = tokenizer_added_init(&tokenizer->raw, tokenizer->added_tokens, patterns, n_raw);
    if (result == 0)
        result = tokenizer_added_init(&tokenizer->normalized, tokenizer->added_tokens + n_raw,
                                      patterns + n_raw, n_all - n_raw);
    free(patterns);
    free(normalized);
    return result;
}

struct tokenizer *tokenizer_create(const struct tokenizer_files *files, char error[ERROR_BYTES])
{
    struct tokenizer *tokenizer = calloc(1, sizeof(*tokenizer));
    snprintf(error, ERROR_BYTES, "no memory for a tokenizer of %u tokens", files->vocab_size);
    if (!tokenizer)
        return NULL;
    tokenizer->continuation_size = files->continuation.size;
    tokenizer->whole_counts = files->whole_counts;
    tokenizer->one_token_type = files->one_token_type;
    tokenizer->max_chars_per_word = files->max_chars_per_word;
    tokenizer->unk_id = files->unk_id;
    tokenizer->cls_id = files->cls_id;
    tokenizer->sep_id = files->sep_id;
    if (copy_strings(tokenizer, files) || build_vocabulary(tokenizer, files) ||
        build_normalizers(tokenizer, files) || build_added(tokenizer, error)) {
        tokenizer_destroy(tokenizer);
        return NULL;
    }
    error[0] = '\0';
    return tokenizer;
}

void tokenizer_destroy(struct tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    tokenizer_trie_release(&tokenizer->vocabulary);
    tokenizer_normalizer_release(&tokenizer->normalizer);
    tokenizer_normalizer_release(&tokenizer->identity);
    tokenizer_added_release(&tokenizer->raw);
    tokenizer_added_release(&tokenizer->normalized);
    free(tokenizer->added_tokens);
    free(tokenizer->token_texts);
    free(tokenizer->strings);
    free(tokenizer);
}

struct tokenizer_string tokenizer_token_text(const struct tokenizer *tokenizer, uint32_t id)
{
    if (id >= tokenizer->n_token_texts || tokenizer->token_texts[id].size == 0)
        return (struct tokenizer_string){"", 0};
    return tokenizer->token_texts[id];
}
