/* The trie against a linear search, over random sets of keys of several shapes. */
#include "frontend/tokenizer_trie.h"

#include "tests/frontend/tokenizer_fixture.h"

#define KEYS_MAX      3000u
#define KEY_BYTES_MAX 12u

struct keys {
    char bytes[KEYS_MAX][KEY_BYTES_MAX];
    struct tokenizer_trie_entry entries[KEYS_MAX];
    uint32_t count;
};

static bool has_key(const struct keys *keys, const char *bytes, uint32_t size)
{
    for (uint32_t i = 0; i < keys->count; i++)
        if (keys->entries[i].key.size == size &&
            memcmp(keys->entries[i].key.bytes, bytes, size) == 0)
            return true;
    return false;
}

/* `alphabet` small: deep and shared; large: wide nodes. */
static void make_keys(struct keys *keys, uint64_t *state, uint32_t n_keys, uint32_t alphabet)
{
    keys->count = 0;
    for (uint32_t tries = 0; keys->count < n_keys && tries < 4 * n_keys; tries++) {
        char *bytes = keys->bytes[keys->count];
        uint32_t size = (uint32_t)(fixture_random(state) >> 20) % (KEY_BYTES_MAX + 1);
        for (uint32_t i = 0; i < size; i++)
            bytes[i] = (char)((fixture_random(state) >> 20) % alphabet);
        if (!has_key(keys, bytes, size))
            keys->entries[keys->count] =
                (struct tokenizer_trie_entry){{bytes, size}, keys->count + 7};
        else
            continue;
        keys->count++;
    }
}

static uint32_t search_longest(const struct keys *keys, const uint8_t *text, size_t size,
                               size_t *matched)
{
    uint32_t value = TRIE_NO_VALUE;
    *matched = 0;
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct tokenizer_string *key = &keys->entries[i].key;
        if (key->size > *matched && key->size <= size && memcmp(key->bytes, text, key->size) == 0) {
            value = keys->entries[i].value;
            *matched = key->size;
        }
    }
    return value;
}

static void the_longest_key_is_found_in_random_sets(void)
{
    static const struct {
        uint32_t n_keys, alphabet;
    } shapes[] = {{0, 2}, {1, 256}, {50, 2}, {400, 3}, {KEYS_MAX, 26}, {KEYS_MAX, 256}};
    static struct keys keys;
    uint64_t state = 1;
    for (size_t shape = 0; shape < ARRAY_COUNT(shapes); shape++) {
        struct tokenizer_trie trie = {0};
        make_keys(&keys, &state, shapes[shape].n_keys, shapes[shape].alphabet);
        EXPECT_EQUAL(tokenizer_trie_init(&trie, keys.entries, keys.count), 0);
        for (int i = 0; i < 3000; i++) {
            uint8_t text[KEY_BYTES_MAX + 4];
            size_t expected_size, size = 0;
            for (size_t j = 0; j < sizeof(text); j++)
                text[j] = (uint8_t)((fixture_random(&state) >> 20) % shapes[shape].alphabet);
            if (keys.count > 0 && i % 2 == 0) { /* half of them begin with a key */
                const struct tokenizer_string *key = &keys.entries[(uint32_t)i % keys.count].key;
                memcpy(text, key->bytes, key->size);
            }
            uint32_t expected = search_longest(&keys, text, sizeof(text), &expected_size);
            EXPECT_EQUAL(tokenizer_trie_longest(&trie, 0, text, sizeof(text), &size), expected);
            if (expected != TRIE_NO_VALUE)
                EXPECT_EQUAL(size, expected_size);
        }
        tokenizer_trie_release(&trie);
    }
}

static void a_walk_from_a_prefix_matches_only_what_goes_beyond_it(void)
{
    struct tokenizer_trie_entry entries[] = {{{"##", 2}, 1}, {{"##a", 3}, 2}, {{"a", 1}, 3}};
    struct tokenizer_trie trie;
    size_t matched;
    EXPECT_EQUAL(tokenizer_trie_init(&trie, entries, ARRAY_COUNT(entries)), 0);
    uint32_t node = tokenizer_trie_child(&trie, tokenizer_trie_child(&trie, 0, '#'), '#');
    EXPECT(node != 0);
    EXPECT_EQUAL(tokenizer_trie_longest(&trie, node, (const uint8_t *)"ab", 2, &matched), 2);
    EXPECT_EQUAL(matched, 1);
    EXPECT_EQUAL(tokenizer_trie_longest(&trie, node, (const uint8_t *)"b", 1, &matched),
                 TRIE_NO_VALUE);
    EXPECT_EQUAL(tokenizer_trie_child(&trie, node, 'b'), 0);
    tokenizer_trie_release(&trie);
}

static void the_longest_key_that_is_allowed_can_be_built(void)
{
    static char key[TRIE_KEY_BYTES_MAX];
    struct tokenizer_trie_entry entry = {{key, sizeof(key)}, 5};
    struct tokenizer_trie trie;
    size_t matched = 0;
    memset(key, 'k', sizeof(key));
    EXPECT_EQUAL(tokenizer_trie_init(&trie, &entry, 1), 0);
    EXPECT_EQUAL(tokenizer_trie_longest(&trie, 0, (const uint8_t *)key, sizeof(key), &matched), 5);
    EXPECT_EQUAL(matched, sizeof(key));
    tokenizer_trie_release(&trie);
}

int main(void)
{
    RUN(the_longest_key_is_found_in_random_sets);
    RUN(a_walk_from_a_prefix_matches_only_what_goes_beyond_it);
    RUN(the_longest_key_that_is_allowed_can_be_built);
    return 0;
}
