/* Our own look at the raw head of an HTTP/1 request, before libh2o acts on it.
 *
 * libh2o 2.2.5 lets conflicting framing through: Content-Length beside Transfer-Encoding, two
 * Content-Lengths (the first wins, the rest of the body becomes the next request), folded lines,
 * bare line feeds. Behind a proxy that reads such a head differently, that is request smuggling. So
 * the head is read here byte by byte, strictly as RFC 9112 writes it, and refused when two readers
 * could disagree about where the request ends. Stricter than libh2o's parser everywhere, so that
 * what passes here parses there.
 *
 * A scan can be resumed as bytes arrive: it keeps offsets, never pointers, so the buffer may move.
 * No I/O, no allocation. */
#ifndef WEIR_FRONTEND_HEAD_H
#define WEIR_FRONTEND_HEAD_H

#include "shm/base.h"

#define HEAD_BYTES_MAX   65536
#define HEAD_HEADERS_MAX 100 /* libh2o's own limit (H2O_MAX_HEADERS) */

enum head_verdict {
    HEAD_INCOMPLETE, /* fine so far; call again with more bytes */
    HEAD_OK,
    HEAD_BAD, /* scan.problem says why */
};

/* A header's value as offsets into the head; end 0: there is none. */
struct head_value {
    uint32_t start, end;
};

struct head_scan {
    uint32_t state;       /* of the automaton in head.c */
    uint32_t position;    /* bytes looked at so far */
    uint32_t token_start; /* offset of the method, name or value being read */
    uint32_t name_start, name_end;
    uint32_t n_headers;
    uint32_t n_hosts;
    struct head_value method, target;
    struct head_value request_id, traceparent, user_agent; /* the first of each */
    bool minor_version_1;
    bool has_length, has_chunked;
    uint64_t content_length;
    const char *problem; /* a sentence, static */
};

/* A zeroed scan is a fresh one. White space behind a header's value is moved in front of it: it is
 * no part of the value (RFC 9110 section 5.5), but libh2o takes it for one. An HTTP/1.0 request's
 * Expect is renamed, so that libh2o ignores it. */
enum head_verdict head_scan(struct head_scan *scan, char *bytes, size_t size);

/* RFC 9110: what a method or a field's name is made of (section 5.6.2), and a field's value. */
bool head_is_token_char(unsigned char c);
bool head_is_value_char(unsigned char c);

/* True when the bytes begin as an HTTP/2 connection does ("PRI * HTTP/2.0"). */
bool head_is_http2_preface(const char *bytes, size_t size);

#endif
