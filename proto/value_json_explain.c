/* The second, slow look at a body that is not JSON: jansson keeps account of positions, simdjson
 * does not. Only on the way to a 400, and only over the first EXPLAINED_BYTES, so that a client who
 * sends large rubbish costs no more than one who sends little. */
#include "proto/value_json.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define EXPLAINED_BYTES 32768

/* As lenient as simdjson, so that the mistake it names is the one that simdjson met. */
#define EXPLAIN_FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL)

/* jansson quotes the input ("... near 'x'"); the offset says it better, and safely. */
static int cause_bytes(const char *cause)
{
    const char *near = strstr(cause, " near ");

    return near != NULL ? (int)(near - cause) : (int)strlen(cause);
}

/* jansson counts the bytes it has taken, the token at fault included. */
static size_t fault_offset(const json_error_t *cause, size_t explained)
{
    if (json_error_code(cause) == json_error_premature_end_of_input ||
        strstr(cause->text, " near end of file") != NULL)
        return explained;
    return cause->position > 0 ? (size_t)cause->position - 1 : 0;
}

void json_explain(const char *body, size_t body_bytes, char *sentence, size_t sentence_bytes)
{
    size_t explained = body_bytes < EXPLAINED_BYTES ? body_bytes : EXPLAINED_BYTES;
    json_error_t cause;
    json_t *accepted = json_loadb(body, explained, EXPLAIN_FLAGS, &cause);
    size_t offset = accepted != NULL ? explained : fault_offset(&cause, explained);

    if (accepted == NULL && json_error_code(&cause) == json_error_stack_overflow)
        snprintf(sentence, sentence_bytes,
                 "the body is not JSON, and nests deeper than --max-json-depth allows");
    else if (accepted != NULL || (offset == explained && explained < body_bytes))
        snprintf(sentence, sentence_bytes, "the body is not JSON: see its bytes from %zu on",
                 accepted != NULL && explained == body_bytes ? (size_t)0 : explained);
    else
        snprintf(sentence, sentence_bytes, "the body is not JSON: %.*s at byte %zu",
                 cause_bytes(cause.text), cause.text, offset);
    json_decref(accepted);
}
