/* The automaton behind chunks.h. */
#include "frontend/chunks.h"

#include "frontend/head.h"

enum state {
    STATE_SIZE,
    STATE_SIZE_SPACE,
    STATE_EXTENSION,
    STATE_SIZE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER_START,
    STATE_TRAILER_NAME,
    STATE_TRAILER_VALUE,
    STATE_TRAILER_LF,
    STATE_END_LF,
};

#define SIZE_DIGITS_MAX 16

static enum chunks_verdict bad(struct chunks_scan *scan, const char *problem)
{
    scan->problem = problem;
    return CHUNKS_BAD;
}

static enum chunks_verdict go(struct chunks_scan *scan, enum state state)
{
    scan->state = state;
    return CHUNKS_INCOMPLETE;
}

static int digit_of(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind the digits: the line ends, or white space, or an extension begins. */
static enum chunks_verdict step_size_end(struct chunks_scan *scan, unsigned char c)
{
    if (c == '\r')
        return go(scan, STATE_SIZE_LF);
    if (c == ' ' || c == '\t')
        return go(scan, STATE_SIZE_SPACE);
    if (c == ';')
        return go(scan, STATE_EXTENSION);
    return bad(scan, "the size of a chunk is not a hexadecimal number followed by CR LF");
}

static enum chunks_verdict step_size(struct chunks_scan *scan, unsigned char c)
{
    int digit = digit_of(c);
    if (digit < 0 && scan->n_digits > 0)
        return step_size_end(scan, c);
    if (digit < 0 || scan->n_digits == SIZE_DIGITS_MAX)
        return bad(scan, "the size of a chunk is not a hexadecimal number followed by CR LF");
    scan->n_digits++;
    scan->left_bytes = scan->left_bytes * 16 + (uint64_t)digit;
    return CHUNKS_INCOMPLETE;
}

static enum chunks_verdict step_extension(struct chunks_scan *scan, unsigned char c)
{
    if (c == '\r')
        return go(scan, STATE_SIZE_LF);
    return head_is_value_char(c) ? CHUNKS_INCOMPLETE
                                 : bad(scan, "a chunk's extension holds a control character");
}

/* The line with a chunk's size is complete. */
static enum chunks_verdict begin_chunk(struct chunks_scan *scan, uint64_t body_bytes_max)
{
    scan->n_digits = 0;
    if (scan->left_bytes == 0)
        return go(scan, STATE_TRAILER_START);
    if (scan->left_bytes > body_bytes_max - scan->body_bytes)
        return CHUNKS_TOO_LARGE;
    scan->body_bytes += scan->left_bytes;
    return go(scan, STATE_DATA);
}

static enum chunks_verdict step_trailer(struct chunks_scan *scan, unsigned char c)
{
    if (scan->state == STATE_TRAILER_START && c == '\r')
        return go(scan, STATE_END_LF);
    if (++scan->trailer_bytes > CHUNKS_TRAILER_BYTES_MAX)
        return bad(scan, "the trailers of the body are larger than 16384 bytes");
    if (scan->state == STATE_TRAILER_VALUE)
        return c == '\r'               ? go(scan, STATE_TRAILER_LF)
               : head_is_value_char(c) ? CHUNKS_INCOMPLETE
                                       : bad(scan, "a trailer holds a control character");
    if (scan->state == STATE_TRAILER_NAME && c == ':')
        return go(scan, STATE_TRAILER_VALUE);
    return head_is_token_char(c) ? go(scan, STATE_TRAILER_NAME)
                                 : bad(scan, "a trailer is not written as NAME: VALUE");
}

static enum chunks_verdict step_line_feed(struct chunks_scan *scan, unsigned char c,
                                          uint64_t body_bytes_max)
{
    if (c != '\n')
        return bad(scan, "a line of the chunked body does not end in CR LF");
    switch (scan->state) {
    case STATE_SIZE_LF:
        return begin_chunk(scan, body_bytes_max);
    case STATE_DATA_LF:
        return go(scan, STATE_SIZE);
    case STATE_TRAILER_LF:
        return go(scan, STATE_TRAILER_START);
    default:
        return CHUNKS_OK;
    }
}

static enum chunks_verdict step(struct chunks_scan *scan, unsigned char c, uint64_t body_bytes_max)
{
    switch (scan->state) {
    case STATE_SIZE:
        return step_size(scan, c);
    case STATE_SIZE_SPACE:
    case STATE_EXTENSION:
        if (++scan->extension_bytes > CHUNKS_EXTENSION_BYTES_MAX)
            return bad(scan, "the chunks' extensions are larger than 16384 bytes");
        return scan->state == STATE_EXTENSION ? step_extension(scan, c) : step_size_end(scan, c);
    case STATE_DATA_CR:
        return c == '\r' ? go(scan, STATE_DATA_LF)
                         : bad(scan, "a chunk is longer than the size in front of it says");
    case STATE_TRAILER_START:
    case STATE_TRAILER_NAME:
    case STATE_TRAILER_VALUE:
        return step_trailer(scan, c);
    default:
        return step_line_feed(scan, c, body_bytes_max);
    }
}

enum chunks_verdict chunks_scan(struct chunks_scan *scan, const char *bytes, size_t size,
                                uint64_t body_bytes_max)
{
    size_t i = 0;
    while (i < size) {
        if (scan->state == STATE_DATA) {
            uint64_t n = min_u64(scan->left_bytes, size - i);
            scan->left_bytes -= n;
            i += n;
            if (scan->left_bytes == 0)
                scan->state = STATE_DATA_CR;
            continue;
        }
        enum chunks_verdict verdict = step(scan, (unsigned char)bytes[i++], body_bytes_max);
        if (verdict != CHUNKS_INCOMPLETE)
            return verdict;
    }
    return CHUNKS_INCOMPLETE;
}
