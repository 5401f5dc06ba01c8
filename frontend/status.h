/* The HTTP statuses this server answers with: code, reason, the `error_type` of the error body and
 * the counter that counts them. One table; a status that is not in it is not sent. */
#ifndef WEIR_FRONTEND_STATUS_H
#define WEIR_FRONTEND_STATUS_H

#include "shm/stats.h"

/* X(identifier, code, reason, error_type, counter). error_type as in Text Embeddings Inference
 * where it has one. */
#define HTTP_STATUSES(X)                                                                      \
    X(OK, 200, "OK", "", RESPONSES_OK)                                                        \
    X(BAD_REQUEST, 400, "Bad Request", "Validation", RESPONSES_MALFORMED)                     \
    X(UNAUTHORIZED, 401, "Unauthorized", "Unauthorized", RESPONSES_UNAUTHORIZED)              \
    X(NOT_FOUND, 404, "Not Found", "NotFound", RESPONSES_NO_ROUTE)                            \
    X(METHOD_NOT_ALLOWED, 405, "Method Not Allowed", "MethodNotAllowed", RESPONSES_NO_METHOD) \
    X(REQUEST_TIMEOUT, 408, "Request Timeout", "Timeout", RESPONSES_SLOW_CLIENT)              \
    X(TOO_LARGE, 413, "Content Too Large", "Validation", RESPONSES_TOO_LARGE)                 \
    X(MEDIA_TYPE, 415, "Unsupported Media Type", "Validation", RESPONSES_MEDIA_TYPE)          \
    X(EXPECTATION, 417, "Expectation Failed", "Validation", RESPONSES_MALFORMED)              \
    X(INVALID, 422, "Unprocessable Content", "Validation", RESPONSES_INVALID)                 \
    X(OVERLOADED, 429, "Too Many Requests", "Overloaded", RESPONSES_OVERLOADED)               \
    X(CLIENT_GONE, 499, "Client Closed Request", "ClientGone", RESPONSES_CLIENT_GONE)         \
    X(INTERNAL, 500, "Internal Server Error", "Backend", RESPONSES_FAILED)                    \
    X(UNAVAILABLE, 503, "Service Unavailable", "Unhealthy", RESPONSES_UNAVAILABLE)            \
    X(DEADLINE, 504, "Gateway Timeout", "Timeout", RESPONSES_DEADLINE)

#define HTTP_STATUS_ENUM(identifier, code, reason, type, counter) HTTP_##identifier = code,
enum http_status { HTTP_STATUSES(HTTP_STATUS_ENUM) };

struct http_status_words {
    int code;
    const char *reason;
    const char *error_type;
    enum stats_counter counter;
};

/* Never NULL: a code outside the table is treated as 500. */
const struct http_status_words *http_status_words(int code);

#endif
