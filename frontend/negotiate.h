/* What the headers of a request say about its body, its answer and its deadline. Pure functions
 * over borrowed bytes; no libh2o here, so that tests need none. */
#ifndef WEIR_FRONTEND_NEGOTIATE_H
#define WEIR_FRONTEND_NEGOTIATE_H

#include "proto/request.h"

/* Borrowed bytes of a header's value; bytes == NULL: the header is absent. */
struct header_value {
    const char *bytes;
    size_t size;
};

#define REQUEST_ID_BYTES_MAX 128
#define TIMEOUT_MS_MAX       3600000

/* Which kind of body Content-Type names. A missing one is JSON, and so is what curl -d and naive
 * clients send (form-urlencoded, text/plain): the FastAPI sample reads any of these as JSON. False:
 * neither JSON nor MessagePack, or another charset than UTF-8. */
bool negotiate_content_type(struct header_value content_type, enum request_encoding *encoding);

/* False when the body is encoded (gzip and the like): we do not decode. */
bool negotiate_content_encoding(struct header_value content_encoding);

/* The answer's kind: what Accept prefers of the two; where it has no opinion or wants neither, the
 * request's own kind. */
enum request_encoding negotiate_accept(struct header_value accept, enum request_encoding own);

/* x-request-timeout-ms: 1 .. TIMEOUT_MS_MAX. False when it is not such a number. */
bool negotiate_timeout_ms(struct header_value value, uint32_t *timeout_ms);

/* True when the id may be echoed: 1 .. REQUEST_ID_BYTES_MAX bytes of letters, digits and -_.:/+=@
 */
bool negotiate_request_id_is_sane(struct header_value value);

/* True for a W3C traceparent of version 00: 00-32 hex-16 hex-2 hex, ids not all zero. */
bool negotiate_traceparent_is_valid(struct header_value value);

/* "Bearer KEY" compared in time that depends on the lengths only. */
bool negotiate_bearer_matches(struct header_value authorization, const char *key);

#endif
