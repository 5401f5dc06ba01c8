/* Places the children of each node, depth first over the sorted keys, into the first gap of the
 * array that fits them. Free nodes form a list in order; a search gives up after PLACES_TRIED of
 * them and appends, and what it passed over leaves the list: without that bound a vocabulary of
 * 100,000 takes a minute instead of a tenth of a second, for an array a few per cent smaller. */
#include "frontend/tokenizer_trie.h"

#include <errno.h>
#include <stdlib.h>

#define PLACES_TRIED     512u
#define PLACES_FORGOTTEN 64u
#define NONE             UINT32_MAX

struct builder {
    struct tokenizer_trie_node *nodes;
    uint32_t *next_free, *previous_free; /* (capacity), NONE at the ends */
    uint32_t first_free, last_free;
    uint32_t capacity;
    uint32_t used_end; /* no node at or after it is in use */
    const struct tokenizer_trie_entry *entries;
};

static bool grow(struct builder *builder, uint32_t needed)
{
    if (needed <= builder->capacity)
        return true;
    uint32_t capacity = builder->capacity ? builder->capacity : 1u << 12;
    while (capacity < needed)
        capacity *= 2;
    void *nodes = realloc(builder->nodes, capacity * sizeof(*builder->nodes));
    if (nodes)
        builder->nodes = nodes;
    void *next = realloc(builder->next_free, capacity * sizeof(uint32_t));
    if (next)
        builder->next_free = next;
    void *previous = realloc(builder->previous_free, capacity * sizeof(uint32_t));
    if (previous)
        builder->previous_free = previous;
    if (!nodes || !next || !previous)
        return false;
    for (uint32_t i = builder->capacity; i < capacity; i++) {
        builder->nodes[i] = (struct tokenizer_trie_node){0, NONE, TRIE_NO_VALUE, 0};
        builder->next_free[i] = NONE;
        builder->previous_free[i] = builder->last_free;
        if (builder->last_free != NONE)
            builder->next_free[builder->last_free] = i;
        else
            builder->first_free = i;
        builder->last_free = i;
    }
    builder->capacity = capacity;
    return true;
}

static void leave_free_list(struct builder *builder, uint32_t node)
{
    uint32_t previous = builder->previous_free[node], next = builder->next_free[node];
    if (previous != NONE)
        builder->next_free[previous] = next;
    else if (builder->first_free == node)
        builder->first_free = next;
    if (next != NONE)
        builder->previous_free[next] = previous;
    else if (builder->last_free == node)
        builder->last_free = previous;
    builder->previous_free[node] = builder->next_free[node] = NONE;
}

/* A base so that base + byte is free for each byte; grows the array so that every byte has room. */
static bool find_base(struct builder *builder, const uint8_t *bytes, uint32_t n_bytes,
                      uint32_t *base)
{
    uint32_t tried = 0;
    if (!grow(builder, builder->used_end + 2 * 256))
        return false;
    for (uint32_t free_node = builder->first_free; free_node != NONE && tried < PLACES_TRIED;
         free_node = builder->next_free[free_node], tried++) {
        if (free_node <= bytes[0])
            continue;
        *base = free_node - bytes[0];
        if (*base > builder->used_end)
            break;
        uint32_t i = 1;
        while (i < n_bytes && builder->nodes[*base + bytes[i]].parent == NONE)
            i++;
        if (i == n_bytes)
            return true;
    }
    *base = builder->used_end;
    for (uint32_t i = 0; tried == PLACES_TRIED && i < PLACES_FORGOTTEN; i++)
        if (builder->first_free + 256 < builder->used_end)
            leave_free_list(builder, builder->first_free);
    return true;
}

/* The children of `node`, whose prefix the entries [first, end) share in their first `depth` bytes.
 */
static bool place_children(struct builder *builder, uint32_t first, uint32_t end, uint32_t depth,
                           uint32_t node)
{
    const struct tokenizer_trie_entry *entries = builder->entries;
    uint8_t bytes[256];
    uint32_t n_bytes = 0, base;

    if (first < end && entries[first].key.size == depth)
        builder->nodes[node].value = entries[first++].value;
    for (uint32_t i = first; i < end; i++) {
        uint8_t byte = (uint8_t)entries[i].key.bytes[depth];
        if (n_bytes == 0 || bytes[n_bytes - 1] != byte)
            bytes[n_bytes++] = byte;
    }
    if (n_bytes == 0)
        return true;
    if (!find_base(builder, bytes, n_bytes, &base))
        return false;
    builder->nodes[node].base = base;
    for (uint32_t i = 0; i < n_bytes; i++) {
        uint32_t child = base + bytes[i];
        leave_free_list(builder, child);
        builder->nodes[child].parent = node;
        if (child >= builder->used_end)
            builder->used_end = child + 1;
    }
    for (uint32_t i = 0; i < n_bytes; i++) {
        uint32_t group = first;
        while (first < end && (uint8_t)entries[first].key.bytes[depth] == bytes[i])
            first++;
        if (!place_children(builder, group, first, depth + 1, base + bytes[i]))
            return false;
    }
    return true;
}

static int compare_entries(const void *left, const void *right)
{
    const struct tokenizer_trie_entry *a = left, *b = right;
    return tokenizer_string_compare(&a->key, &b->key);
}

int tokenizer_trie_init(struct tokenizer_trie *trie, struct tokenizer_trie_entry *entries,
                        uint32_t n_entries)
{
    struct builder builder = {
        .first_free = NONE, .last_free = NONE, .entries = entries, .used_end = 1};
    qsort(entries, n_entries, sizeof(*entries), compare_entries);
    bool built = grow(&builder, 2 * 256);
    if (built) {
        leave_free_list(&builder, 0);
        /* The root is in use, yet nobody's child: no base is 0 once it has children. */
        builder.nodes[0].parent = 0;
        built = place_children(&builder, 0, n_entries, 0, 0);
    }
    built = built && grow(&builder, builder.used_end + 256);
    free(builder.next_free);
    free(builder.previous_free);
    if (!built) {
        free(builder.nodes);
        return -ENOMEM;
    }
    void *shrunk = realloc(builder.nodes, (builder.used_end + 256) * sizeof(*builder.nodes));
    trie->nodes = shrunk ? shrunk : builder.nodes;
    trie->n_nodes = builder.used_end + 256;
    return 0;
}

void tokenizer_trie_release(struct tokenizer_trie *trie)
{
    free(trie->nodes);
    trie->nodes = NULL;
}
