/* See text.h. */
#include "frontend/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/utf8.h"

void text_append(struct response_buffer *buffer, const char *text)
{
    response_append(buffer, text, strlen(text));
}

void text_append_format(struct response_buffer *buffer, const char *format, ...)
{
    char piece[TEXT_PIECE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(piece, sizeof(piece), format, arguments);
    va_end(arguments);
    CHECK(size >= 0 && (size_t)size < sizeof(piece));
    response_append(buffer, piece, (size_t)size);
}

void text_append_json(struct response_buffer *buffer, const char *text)
{
    text_append_json_bytes(buffer, text, strlen(text));
}

void text_append_json_bytes(struct response_buffer *buffer, const char *bytes, size_t size)
{
    if (utf8_is_valid(bytes, size)) {
        response_append_json_string(buffer, bytes, size);
        return;
    }
    char *ascii = buffer->allocate(buffer->context, size);
    for (size_t i = 0; i < size; i++)
        ascii[i] = (unsigned char)bytes[i] < 0x80 ? bytes[i] : '?';
    response_append_json_string(buffer, ascii, size);
}
