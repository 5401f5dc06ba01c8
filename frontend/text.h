/* Two conveniences over proto's response_buffer, for bodies that are mostly fixed text. */
#ifndef WEIR_FRONTEND_TEXT_H
#define WEIR_FRONTEND_TEXT_H

#include "proto/response.h"

/* One piece of text_append_format() is at most this long. */
#define TEXT_PIECE_BYTES_MAX 1024

void text_append(struct response_buffer *buffer, const char *text);
void text_append_format(struct response_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A JSON string. Bytes that are not UTF-8 (a path, another process' words) become question marks.
 */
void text_append_json(struct response_buffer *buffer, const char *text);
void text_append_json_bytes(struct response_buffer *buffer, const char *bytes, size_t size);

#endif
