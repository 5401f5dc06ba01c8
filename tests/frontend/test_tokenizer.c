/* Making a tokenizer: what it keeps of the files, what it refuses, and memory that runs short. */
#include "frontend/tokenizer.h"

#include "tests/frontend/tokenizer_fixture.h"

static const char *const words[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "", "b"};

/* Linked with --wrap: the n-th allocation fails, counted from when this is set; 0 is never. */
static int fail_at, n_allocations, n_held;
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *memory);

static bool fails(void)
{
    return fail_at > 0 && ++n_allocations == fail_at;
}

static void *held(void *memory)
{
    n_held += memory != NULL;
    return memory;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : held(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : held(__real_calloc(n, size));
}

void *__wrap_realloc(void *memory, size_t size)
{
    if (fails())
        return NULL;
    n_held -= memory != NULL;
    return held(__real_realloc(memory, size));
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : held(__real_aligned_alloc(alignment, size));
}

void __wrap_free(void *memory)
{
    n_held -= memory != NULL;
    __real_free(memory);
}

static void add_token(struct tokenizer_files *files, const char *content, uint32_t id)
{
    files->added_tokens[files->n_added_tokens++] = (struct tokenizer_added_token){
        .content = {content, (uint32_t)strlen(content)}, .id = id, .normalized = true};
}

static void one_above_the_vocabulary(struct tokenizer_files *files)
{
    add_token(files, "new", 9);
}

static void expect_text(const struct tokenizer *tokenizer, uint32_t id, const char *expected)
{
    struct tokenizer_string text = tokenizer_token_text(tokenizer, id);
    EXPECT_EQUAL(text.size, strlen(expected));
    EXPECT(memcmp(text.bytes, expected, text.size) == 0);
}

static void every_token_has_its_text(void)
{
    struct tokenizer *tokenizer =
        fixture_create(words, ARRAY_COUNT(words), one_above_the_vocabulary);
    expect_text(tokenizer, 2, "[CLS]");
    expect_text(tokenizer, 4, "a");
    expect_text(tokenizer, 5, "");
    expect_text(tokenizer, 8, "");
    expect_text(tokenizer, 9, "new");
    expect_text(tokenizer, 10, "");
    expect_text(tokenizer, UINT32_MAX, "");
    tokenizer_destroy(tokenizer);
}

static void refused(struct tokenizer_added_token *added, uint32_t n_added, const char *part)
{
    struct tokenizer_string vocabulary[] = {{"u", 1}, {"c", 1}, {"s", 1}};
    struct tokenizer_files files = {.vocabulary = vocabulary,
                                    .vocab_size = 3,
                                    .added_tokens = added,
                                    .n_added_tokens = n_added,
                                    .clean_text = true,
                                    .lowercase = true,
                                    .max_chars_per_word = 100,
                                    .continuation = {"##", 2},
                                    .cls_id = 1,
                                    .sep_id = 2};
    char error[ERROR_BYTES];
    EXPECT(!tokenizer_create(&files, error));
    EXPECT(strstr(error, part));
}

static void added_tokens_that_look_the_same_are_refused(void)
{
    struct tokenizer_added_token same[] = {{.content = {"Day", 3}, .id = 5, .normalized = true},
                                           {.content = {"day", 3}, .id = 6, .normalized = true}};
    struct tokenizer_added_token nothing[] = {
        {.content = {"\u200B", 3}, .id = 5, .normalized = true}};
    refused(same, 2, "the same text after normalization");
    refused(nothing, 1, "one is empty");
    same[1].normalized = false; /* looked for in the raw text: these two differ */
    struct tokenizer_files files = {
        .added_tokens = same, .n_added_tokens = 2, .lowercase = true, .max_chars_per_word = 1};
    char error[ERROR_BYTES];
    struct tokenizer *tokenizer = tokenizer_create(&files, error);
    EXPECT(tokenizer);
    tokenizer_destroy(tokenizer);
}

static void other_special_ids(struct tokenizer_files *files)
{
    files->cls_id = 6;
    files->sep_id = 4;
}

/* The pair "a", "a" under those files. */
static void expect_pair(void (*edit)(struct tokenizer_files *), const uint32_t expected[5],
                        uint32_t type_start)
{
    struct tokenizer *tokenizer = fixture_create(words, ARRAY_COUNT(words), edit);
    struct tokenizer_scratch *scratch = fixture_scratch(tokenizer);
    char text[TOKENIZER_PADDING_BYTES + 1] = "a";
    struct tokenizer_input input = {text, 1, text, 1};
    struct tokenizer_encoding encoding;
    uint32_t ids[8];
    tokenizer_encode(tokenizer, scratch, &input, 8, false, ids, &encoding);
    EXPECT_EQUAL(encoding.n_tokens, 5);
    EXPECT_EQUAL(encoding.type_start, type_start);
    EXPECT(memcmp(ids, expected, 5 * sizeof(*expected)) == 0);
    tokenizer_scratch_destroy(scratch);
    tokenizer_destroy(tokenizer);
}

static void the_template_has_the_ids_of_the_files(void)
{
    expect_pair(other_special_ids, (const uint32_t[]){6, 4, 4, 4, 4}, 3);
}

static void of_one_token_type(struct tokenizer_files *files)
{
    files->one_token_type = true;
}

static void a_pair_may_be_all_of_one_type(void)
{
    expect_pair(of_one_token_type, (const uint32_t[]){2, 4, 3, 4, 3}, 5);
}

static struct tokenizer *create_with_added(struct tokenizer_files *files, char error[ERROR_BYTES])
{
    static struct tokenizer_string vocabulary[] = {{"u", 1}, {"c", 1}, {"s", 1}, {"##xy", 4}};
    static struct tokenizer_added_token added[] = {
        {.content = {"Day", 3}, .id = 5, .normalized = true}, {.content = {"[X]", 3}, .id = 6}};
    *files = (struct tokenizer_files){.vocabulary = vocabulary,
                                      .vocab_size = 4,
                                      .added_tokens = added,
                                      .n_added_tokens = 2,
                                      .clean_text = true,
                                      .max_chars_per_word = 100,
                                      .continuation = {"##", 2}};
    return tokenizer_create(files, error);
}

/* Shrinking an array may fail without harm; all other failures are reported, and nothing is lost.
 */
static void each_allocation_may_fail(void)
{
    struct tokenizer_files files;
    char error[ERROR_BYTES];
    int n_reported = 0, held_before = n_held;
    bool failed = true;
    for (fail_at = 1; failed; fail_at++) {
        n_allocations = 0;
        struct tokenizer *tokenizer = create_with_added(&files, error);
        struct tokenizer_scratch *scratch =
            tokenizer ? tokenizer_scratch_create(tokenizer, 100, 1000, error) : NULL;
        if (!scratch)
            EXPECT(strstr(error, "no memory"));
        n_reported += !scratch;
        tokenizer_scratch_destroy(scratch);
        tokenizer_destroy(tokenizer);
        EXPECT_EQUAL(n_held, held_before);
        failed = n_allocations >= fail_at;
    }
    printf("   %d of %d failures reported\n", n_reported, fail_at - 2);
    EXPECT(n_reported > 20);
    fail_at = 0;
}

int main(void)
{
    RUN(every_token_has_its_text);
    RUN(added_tokens_that_look_the_same_are_refused);
    RUN(the_template_has_the_ids_of_the_files);
    RUN(a_pair_may_be_all_of_one_type);
    RUN(each_allocation_may_fail);
    return 0;
}
