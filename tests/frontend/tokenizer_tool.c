/* Lets a script drive the tokenizer: requests on stdin, answers on stdout, both little-endian.
 *
 *     tokenizer_tool FOLDER [--whole-counts]
 *
 *     request   u8 what: 'e' encode, 'l' encode truncating left, 'c' count, 'x' explain
 *               u32 max_tokens
 *               u32 size, text
 *               u32 size (UINT32_MAX: no pair), pair
 *     answer    'e', 'l': u32 n_tokens, u32 type_start, u32 truncated, u32 ids (n_tokens)
 *               'c': u64 count        'x': u32 n, then n of u32 id, start, stop, special
 *
 * Each text is copied so that its padding ends right before a page that cannot be read. */
#include "frontend/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TEXT_BYTES_MAX (8u << 20)
#define TOKENS_MAX     70000u

struct guarded {
    char *end; /* of what can be read */
};

struct answers {
    struct tokenizer_token *tokens;
    uint32_t n_tokens;
};

static struct guarded guarded_create(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = TEXT_BYTES_MAX + 2 * page;
    char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(bytes != MAP_FAILED);
    CHECK(mprotect(bytes + size - page, page, PROT_NONE) == 0);
    return (struct guarded){bytes + size - page};
}

static void read_exactly(void *bytes, size_t size)
{
    if (fread(bytes, 1, size, stdin) != size) {
        fprintf(stderr, "a request ends early\n");
        exit(1);
    }
}

static uint32_t read_number(void)
{
    uint32_t number;
    read_exactly(&number, sizeof(number));
    return number;
}

static void write_number(uint32_t number)
{
    fwrite(&number, sizeof(number), 1, stdout);
}

/* The padding is what reads as words, should anybody read it as text. */
static const char *read_text(struct guarded *guarded, uint32_t size)
{
    CHECK(size <= TEXT_BYTES_MAX);
    char *text = guarded->end - TOKENIZER_PADDING_BYTES - size;
    read_exactly(text, size);
    memset(text + size, 'a', TOKENIZER_PADDING_BYTES);
    return text;
}

static void collect(void *context, const struct tokenizer_token *token)
{
    struct answers *answers = context;
    if (answers->n_tokens % 4096 == 0) {
        size_t room = answers->n_tokens + 4096u;
        answers->tokens = realloc(answers->tokens, room * sizeof(*answers->tokens));
        CHECK(answers->tokens);
    }
    answers->tokens[answers->n_tokens++] = *token;
}

static void explain(const struct tokenizer *tokenizer, const struct tokenizer_input *input)
{
    struct answers answers = {NULL, 0};
    CHECK(tokenizer_explain(tokenizer, input->text, input->text_bytes, true, collect, &answers) ==
          0);
    write_number(answers.n_tokens);
    for (uint32_t i = 0; i < answers.n_tokens; i++) {
        write_number(answers.tokens[i].id);
        write_number(answers.tokens[i].start);
        write_number(answers.tokens[i].stop);
        write_number(answers.tokens[i].special);
    }
    free(answers.tokens);
}

static void encode(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                   const struct tokenizer_input *input, uint32_t max_tokens, bool left)
{
    static uint32_t input_ids[TOKENS_MAX];
    struct tokenizer_encoding encoding;
    tokenizer_encode(tokenizer, scratch, input, max_tokens, left, input_ids, &encoding);
    write_number(encoding.n_tokens);
    write_number(encoding.type_start);
    write_number(encoding.truncated);
    fwrite(input_ids, sizeof(uint32_t), encoding.n_tokens, stdout);
}

static void answer(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch, int what,
                   struct guarded guarded[2])
{
    uint32_t max_tokens = read_number();
    struct tokenizer_input input = {.text_bytes = read_number()};
    input.text = read_text(&guarded[0], (uint32_t)input.text_bytes);
    uint32_t pair_bytes = read_number();
    if (pair_bytes != UINT32_MAX) {
        input.pair_bytes = pair_bytes;
        input.pair = read_text(&guarded[1], pair_bytes);
    }
    if (what == 'x') {
        explain(tokenizer, &input);
    } else if (what == 'c') {
        uint64_t count = tokenizer_count(tokenizer, scratch, &input);
        fwrite(&count, sizeof(count), 1, stdout);
    } else {
        encode(tokenizer, scratch, &input, max_tokens, what == 'l');
    }
}

int main(int argc, char **argv)
{
    struct tokenizer_files files;
    char error[ERROR_BYTES] = "usage: tokenizer_tool FOLDER [--whole-counts]";
    int what;
    bool whole_counts = argc == 3 && strcmp(argv[2], "--whole-counts") == 0;
    if ((argc != 2 && !whole_counts) || tokenizer_files_open(&files, argv[1], error) != 0) {
        fprintf(stderr, "%s\n", error);
        return 78;
    }
    files.whole_counts = whole_counts;
    struct tokenizer *tokenizer = tokenizer_create(&files, error);
    tokenizer_files_close(&files);
    struct tokenizer_scratch *scratch =
        tokenizer ? tokenizer_scratch_create(tokenizer, TOKENS_MAX, TEXT_BYTES_MAX, error) : NULL;
    if (!scratch) {
        fprintf(stderr, "%s\n", error);
        return 78;
    }
    struct guarded guarded[2] = {guarded_create(), guarded_create()};
    while ((what = getchar()) != EOF) {
        answer(tokenizer, scratch, what, guarded);
        fflush(stdout);
    }
    tokenizer_scratch_destroy(scratch);
    tokenizer_destroy(tokenizer);
    return 0;
}
