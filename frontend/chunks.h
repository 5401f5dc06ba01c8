/* Our own look at the raw bytes of a chunked body, before libh2o decodes them.
 *
 *     ( HEX+ [ BWS ";" EXTENSION ] CR LF DATA CR LF )* "0"+ [ ... ] CR LF ( TRAILER CR LF )* CR LF
 *
 * libh2o 2.2.5 takes a bare LF for the end of any of these lines and anything at all for an
 * extension or a trailer. A proxy that does not, and forwards them as they are, sees the body end
 * elsewhere: request smuggling. It also waits for the last byte of a chunk that says it has
 * 2^63 of them, and reads trailers for as long as somebody sends some. So here, as in head.h, what
 * two readers could read differently is refused, and sizes when they are announced.
 *
 * Pure: no I/O, no allocation, no pointer kept. */
#ifndef WEIR_FRONTEND_CHUNKS_H
#define WEIR_FRONTEND_CHUNKS_H

#include "shm/base.h"

/* Of all extensions of a body together, and of its trailers: both are thrown away. */
#define CHUNKS_EXTENSION_BYTES_MAX 16384
#define CHUNKS_TRAILER_BYTES_MAX   16384

enum chunks_verdict {
    CHUNKS_INCOMPLETE, /* fine so far; call again with what comes next */
    CHUNKS_OK,         /* the body is complete */
    CHUNKS_BAD,        /* scan.problem says why */
    CHUNKS_TOO_LARGE,  /* more than body_bytes_max, read or announced */
};

struct chunks_scan {
    uint32_t state;      /* of the automaton in chunks.c */
    uint32_t n_digits;   /* of the size being read */
    uint64_t left_bytes; /* of the chunk being read */
    uint64_t body_bytes; /* of the body, as announced so far */
    uint32_t extension_bytes, trailer_bytes;
    const char *problem; /* a sentence, static */
};

/* Reads the next `size` raw bytes of the body. A zeroed scan is a fresh one; after another verdict
 * than CHUNKS_INCOMPLETE it must not be called again. Bytes behind the body are not looked at. */
enum chunks_verdict chunks_scan(struct chunks_scan *scan, const char *bytes, size_t size,
                                uint64_t body_bytes_max);

#endif
