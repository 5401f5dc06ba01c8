/* Lets a script drive proto/: one command a line on stdin, one answer a line on stdout. Bytes are
 * hex.
 *
 *     repr FLOAT                                     the float32 with these bits, as JSON prints it
 *     parse ENCODING BODY                            what a predict request means
 *     answer ENCODINGS PROBLEM LABELS LOGITS BODY    the answer's bytes
 *
 * ENCODING is j (JSON) or m (MessagePack); ENCODINGS the request's and the answer's, as jm. PROBLEM
 * is s(ingle label), m(ulti label) or r(egression). LABELS are names divided by commas. LOGITS are
 * float32 bits, all labels of one text after the other. "no KIND SENTENCE" is a refusal. */
#include "proto/response.h"
#include "tests/proto/pool.h"
#include "tests/test.h"

#define LINE_BYTES (8 << 20)
#define LABELS_MAX 512
#define TEXTS_MAX  1024

static struct request_parser *parser;
static struct predict_request request;
static struct request_error error;

/* In place; the number of bytes. */
static size_t read_hex(char *hex)
{
    size_t size = strlen(hex) / 2;

    for (size_t i = 0; i < size; i++) {
        unsigned int byte;
        EXPECT(sscanf(hex + 2 * i, "%2x", &byte) == 1);
        hex[i] = (char)byte;
    }
    return size;
}

static void print_hex(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        printf("%02x", (unsigned char)bytes[i]);
}

static enum request_encoding encoding_of(char letter)
{
    return letter == 'm' ? REQUEST_MSGPACK : REQUEST_JSON;
}

/* False with the refusal printed. */
static bool parse(char letter, char *body)
{
    size_t size = read_hex(body);

    if (request_parse(parser, encoding_of(letter), body, size, &request, &error) == REQUEST_OK)
        return true;
    printf("no %d %s\n", error.kind, error.sentence);
    return false;
}

static void command_repr(const char *hex)
{
    uint32_t bits = (uint32_t)strtoul(hex, NULL, 16);
    struct response_buffer buffer = {.allocate = pool_allocate};
    float value;

    memcpy(&value, &bits, sizeof(value));
    response_append_float(&buffer, value);
    printf("%.*s\n", (int)buffer.size, buffer.bytes);
}

static void command_parse(const char *encoding, char *body)
{
    if (!parse(encoding[0], body))
        return;
    printf("ok %d list=%d object=%d top_k=%d:%u function=%d truncate=%d left=%d", request.dialect,
           request.is_list, request.is_object, request.has_top_k, request.top_k, request.function,
           request.truncate, request.truncation_side == REQUEST_SIDE_LEFT);
    for (uint32_t i = 0; i < request.n_texts; i++) {
        printf(" ");
        print_hex(request.texts[i].text, request.texts[i].text_bytes);
        if (request.texts[i].pair != NULL) {
            printf("+");
            print_hex(request.texts[i].pair, request.texts[i].pair_bytes);
        }
    }
    printf("\n");
}

static void command_answer(const char *encodings, const char *problem, char *label_words,
                           char *logit_hex, char *body)
{
    static const char *names[LABELS_MAX];
    static const float *rows[TEXTS_MAX];
    struct response_buffer buffer = {.allocate = pool_allocate};
    struct response_labels labels = {.names = names, .n_labels = 0};
    float *logits = pool_allocate(NULL, strlen(logit_hex) + 1);

    labels.problem = problem[0] == 'm'   ? RESPONSE_MULTI_LABEL
                     : problem[0] == 'r' ? RESPONSE_REGRESSION
                                         : RESPONSE_SINGLE_LABEL;
    while (label_words != NULL)
        names[labels.n_labels++] = strsep(&label_words, ",");
    memcpy(logits, logit_hex, read_hex(logit_hex));
    if (parse(encodings[0], body)) {
        for (uint32_t i = 0; i < request.n_texts; i++)
            rows[i] = logits + i * labels.n_labels;
        response_format(&buffer, encoding_of(encodings[1]), &request, &labels, rows);
        printf("ok ");
        print_hex(buffer.bytes, buffer.size);
        printf("\n");
    }
}

int main(void)
{
    static char line[LINE_BYTES];
    struct request_limits limits = {TEXTS_MAX, 32, LINE_BYTES};
    char *words[6];

    parser = request_parser_create(&limits);
    EXPECT(parser != NULL);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        int n_words = 0;
        char *next = line;
        line[strcspn(line, "\n")] = '\0';
        while (next != NULL && n_words < 6)
            words[n_words++] = strsep(&next, " ");
        if (n_words == 2 && strcmp(words[0], "repr") == 0)
            command_repr(words[1]);
        else if (n_words == 3 && strcmp(words[0], "parse") == 0)
            command_parse(words[1], words[2]);
        else if (n_words == 6 && strcmp(words[0], "answer") == 0)
            command_answer(words[1], words[2], words[3], words[4], words[5]);
        else
            printf("what?\n");
        pool_free_blocks();
        fflush(stdout);
    }
    request_parser_destroy(parser);
    return 0;
}
