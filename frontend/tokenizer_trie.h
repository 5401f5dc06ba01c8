/* A set of byte strings with a number each, as a double array: one node for each prefix, and the
 * child of node n for byte b is node base[n] + b, if that one's `parent` says n.
 *
 * Lookups touch one 16-byte node a byte and never branch on the number of children. The vocabulary
 * and the added tokens are tries; finding the longest entry at a place is a walk from the root. */
#ifndef WEIR_FRONTEND_TOKENIZER_TRIE_H
#define WEIR_FRONTEND_TOKENIZER_TRIE_H

#include "models/tokenizer_files.h"

#define TRIE_NO_VALUE UINT32_MAX

/* Keys are at most this long; the builder recurses once a byte. */
#define TRIE_KEY_BYTES_MAX 1024u

struct tokenizer_trie_node {
    uint32_t base;
    uint32_t parent; /* UINT32_MAX for a node that does not exist */
    uint32_t value;  /* TRIE_NO_VALUE where no key ends */
    uint32_t unused;
};

struct tokenizer_trie {
    struct tokenizer_trie_node *nodes; /* node 0 is the root; 256 more than any base */
    uint32_t n_nodes;
};

struct tokenizer_trie_entry {
    struct tokenizer_string key;
    uint32_t value;
};

/* Sorts `entries`; their keys must differ. 0 or -ENOMEM; a zeroed trie may be released. */
int tokenizer_trie_init(struct tokenizer_trie *trie, struct tokenizer_trie_entry *entries,
                        uint32_t n_entries);
void tokenizer_trie_release(struct tokenizer_trie *trie);

/* The child of `node` for `byte`, or 0 (the root is nobody's child). */
static inline uint32_t tokenizer_trie_child(const struct tokenizer_trie *trie, uint32_t node,
                                            uint8_t byte)
{
    uint32_t child = trie->nodes[node].base + byte;
    return trie->nodes[child].parent == node ? child : 0;
}

/* The value of the longest key that `bytes` starts with, walking from `node`, and its size in
 * `*matched`; TRIE_NO_VALUE where no key is longer than the walk to `node`. */
static inline uint32_t tokenizer_trie_longest(const struct tokenizer_trie *trie, uint32_t node,
                                              const uint8_t *bytes, size_t size, size_t *matched)
{
    uint32_t value = TRIE_NO_VALUE;
    for (size_t i = 0; i < size; i++) {
        node = tokenizer_trie_child(trie, node, bytes[i]);
        if (node == 0)
            break;
        if (trie->nodes[node].value != TRIE_NO_VALUE) {
            value = trie->nodes[node].value;
            *matched = i + 1;
        }
    }
    return value;
}

#endif
