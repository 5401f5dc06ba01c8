/* The automaton behind head.h: one state a byte, in the order in which a head is written.
 *
 *     METHOD SP TARGET SP VERSION CR LF ( NAME ":" OWS VALUE CR LF )* CR LF
 *
 * A single empty line before the request line is skipped, as RFC 9112 asks. */
#include "frontend/head.h"

#include <string.h>
#include <strings.h>

enum state {
    STATE_START,
    STATE_START_LF,
    STATE_METHOD,
    STATE_TARGET,
    STATE_VERSION,
    STATE_LINE_LF,
    STATE_LINE_START,
    STATE_NAME,
    STATE_VALUE_SPACE,
    STATE_VALUE,
    STATE_END_LF,
    STATE_DONE,
};

static const char version_text[] = "HTTP/1.";
#define VERSION_BYTES (sizeof(version_text) - 1)

bool head_is_token_char(unsigned char c)
{
    if (c >= 'a' && c <= 'z')
        return true;
    if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

bool head_is_value_char(unsigned char c)
{
    return (c >= 0x20 && c != 0x7f) || c == '\t';
}

static bool bad(struct head_scan *scan, const char *problem)
{
    scan->problem = problem;
    return false;
}

static bool name_is(const struct head_scan *scan, const char *bytes, const char *name)
{
    size_t size = scan->name_end - scan->name_start;
    return size == strlen(name) && strncasecmp(bytes + scan->name_start, name, size) == 0;
}

static bool take_content_length(struct head_scan *scan, const char *digits, size_t size)
{
    if (scan->has_length)
        return bad(scan, "the Content-Length header appears twice");
    if (size == 0 || size > 18)
        return bad(scan, "the Content-Length header is not a number of bytes");
    uint64_t length = 0;
    for (size_t i = 0; i < size; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return bad(scan, "the Content-Length header is not a number of bytes");
        length = length * 10 + (uint64_t)(digits[i] - '0');
    }
    scan->has_length = true;
    scan->content_length = length;
    return true;
}

static bool take_transfer_encoding(struct head_scan *scan, const char *value, size_t size)
{
    if (scan->has_chunked)
        return bad(scan, "the Transfer-Encoding header appears twice");
    if (size != strlen("chunked") || strncasecmp(value, "chunked", size) != 0)
        return bad(scan, "the only Transfer-Encoding understood is chunked");
    if (!scan->minor_version_1)
        return bad(scan, "Transfer-Encoding does not exist in HTTP/1.0");
    scan->has_chunked = true;
    return true;
}

/* A header's line is complete: looks at those that say where the request ends, and for whom it is.
 */
static bool take_header(struct head_scan *scan, char *bytes)
{
    char *value = bytes + scan->token_start;
    size_t size = scan->position - scan->token_start, n_spaces = 0;
    while (n_spaces < size && is_space(value[size - 1 - n_spaces]))
        n_spaces++;
    if (n_spaces > 0) {
        size -= n_spaces;
        memmove(value + n_spaces, value, size);
        memset(value, ' ', n_spaces);
        value += n_spaces;
    }
    if (++scan->n_headers > HEAD_HEADERS_MAX)
        return bad(scan, "the request has more than 100 headers");
    if (name_is(scan, bytes, "content-length"))
        return take_content_length(scan, value, size);
    if (name_is(scan, bytes, "transfer-encoding"))
        return take_transfer_encoding(scan, value, size);
    if (name_is(scan, bytes, "host"))
        scan->n_hosts++;
    /* RFC 9110 section 10.1.1: it must be ignored there. libh2o would send 100 Continue, which such
     * a client takes for the answer. */
    if (!scan->minor_version_1 && name_is(scan, bytes, "expect"))
        bytes[scan->name_start] = 'x';
    struct head_value offsets = {scan->position - (uint32_t)size, scan->position};
    if (scan->request_id.end == 0 && name_is(scan, bytes, "x-request-id"))
        scan->request_id = offsets;
    if (scan->traceparent.end == 0 && name_is(scan, bytes, "traceparent"))
        scan->traceparent = offsets;
    if (scan->user_agent.end == 0 && name_is(scan, bytes, "user-agent"))
        scan->user_agent = offsets;
    return true;
}

static bool finish(struct head_scan *scan)
{
    if (scan->has_length && scan->has_chunked)
        return bad(scan, "Content-Length and Transfer-Encoding exclude each other");
    if (scan->n_hosts > 1)
        return bad(scan, "the Host header appears twice");
    if (scan->n_hosts == 0 && scan->minor_version_1)
        return bad(scan, "HTTP/1.1 wants a Host header");
    return true;
}

/* The i-th byte of "HTTP/1.1" and the CR behind it. */
static bool step_version(struct head_scan *scan, unsigned char c)
{
    uint32_t i = scan->position - scan->token_start;
    if (i < VERSION_BYTES) {
        if (c != (unsigned char)version_text[i])
            return bad(scan, "the request line does not end in HTTP/1.1 or HTTP/1.0");
    } else if (i == VERSION_BYTES) {
        if (c != '0' && c != '1')
            return bad(scan, "the request line does not end in HTTP/1.1 or HTTP/1.0");
        scan->minor_version_1 = c == '1';
    } else {
        if (c != '\r')
            return bad(scan, "a line of the head does not end in CR LF");
        scan->state = STATE_LINE_LF;
    }
    return true;
}

static bool step_request_line(struct head_scan *scan, unsigned char c)
{
    switch (scan->state) {
    case STATE_START:
        if (c == '\r') {
            scan->state = STATE_START_LF;
            return true;
        }
        scan->state = STATE_METHOD;
        scan->token_start = scan->position;
        return head_is_token_char(c) || bad(scan, "the method is not a word");
    case STATE_METHOD:
        if (c == ' ' && scan->position > scan->token_start) {
            scan->method = (struct head_value){scan->token_start, scan->position};
            scan->state = STATE_TARGET;
            scan->token_start = scan->position + 1;
            return true;
        }
        return head_is_token_char(c) || bad(scan, "the method is not a word");
    case STATE_TARGET:
        if (c == ' ' && scan->position > scan->token_start) {
            scan->target = (struct head_value){scan->token_start, scan->position};
            scan->state = STATE_VERSION;
            scan->token_start = scan->position + 1;
            return true;
        }
        return (c > 0x20 && c != 0x7f) ||
               bad(scan, "the request's target holds a control character");
    default:
        return step_version(scan, c);
    }
}

static bool step_line_start(struct head_scan *scan, unsigned char c)
{
    if (c == '\r') {
        scan->state = STATE_END_LF;
        return true;
    }
    if (is_space((char)c))
        return bad(scan, "a header is folded over two lines");
    scan->state = STATE_NAME;
    scan->name_start = scan->position;
    return head_is_token_char(c) ||
           bad(scan, "a header's name holds a character that names cannot hold");
}

static bool step_header(struct head_scan *scan, char *bytes, unsigned char c)
{
    switch (scan->state) {
    case STATE_NAME:
        if (c == ':') {
            scan->name_end = scan->position;
            scan->state = STATE_VALUE_SPACE;
            return true;
        }
        return head_is_token_char(c) ||
               bad(scan, "a header's name holds a character that names cannot hold");
    case STATE_VALUE_SPACE:
        if (is_space((char)c))
            return true;
        scan->token_start = scan->position;
        scan->state = STATE_VALUE;
        /* fall through */
    default:
        if (c == '\r') {
            scan->state = STATE_LINE_LF;
            return take_header(scan, bytes);
        }
        return head_is_value_char(c) || bad(scan, "a header's value holds a control character");
    }
}

static bool step_line_feed(struct head_scan *scan, unsigned char c)
{
    if (c != '\n')
        return bad(scan, "a line of the head does not end in CR LF");
    if (scan->state == STATE_START_LF) {
        scan->state = STATE_METHOD;
        scan->token_start = scan->position + 1;
        return true;
    }
    if (scan->state == STATE_LINE_LF) {
        scan->state = STATE_LINE_START;
        return true;
    }
    scan->state = STATE_DONE;
    return finish(scan);
}

static bool step(struct head_scan *scan, char *bytes, unsigned char c)
{
    switch (scan->state) {
    case STATE_START:
    case STATE_METHOD:
    case STATE_TARGET:
    case STATE_VERSION:
        return step_request_line(scan, c);
    case STATE_LINE_START:
        return step_line_start(scan, c);
    case STATE_NAME:
    case STATE_VALUE_SPACE:
    case STATE_VALUE:
        return step_header(scan, bytes, c);
    default:
        return step_line_feed(scan, c);
    }
}

enum head_verdict head_scan(struct head_scan *scan, char *bytes, size_t size)
{
    if (scan->problem != NULL)
        return HEAD_BAD;
    while (scan->state != STATE_DONE && scan->position < size) {
        if (scan->position == HEAD_BYTES_MAX) {
            bad(scan, "the request's head is larger than 65536 bytes");
            return HEAD_BAD;
        }
        if (!step(scan, bytes, (unsigned char)bytes[scan->position]))
            return HEAD_BAD;
        scan->position++;
    }
    return scan->state == STATE_DONE ? HEAD_OK : HEAD_INCOMPLETE;
}

bool head_is_http2_preface(const char *bytes, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n";
    return size >= sizeof(preface) - 1 && memcmp(bytes, preface, sizeof(preface) - 1) == 0;
}
