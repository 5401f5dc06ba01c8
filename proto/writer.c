/* JSON and MessagePack side by side: see writer.h. */
#include "proto/writer.h"
#include "proto/number.h"

#include <math.h>
#include <msgpack/pack.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES_MIN 256

void response_append(struct response_buffer *buffer, const void *bytes, size_t size)
{
    if (size == 0) /* `bytes` may be NULL, which memcpy does not take */
        return;
    if (buffer->capacity - buffer->size < size) {
        size_t capacity = max_u64(2 * buffer->capacity, BUFFER_BYTES_MIN);
        while (capacity - buffer->size < size)
            capacity *= 2;
        char *grown = buffer->allocate(buffer->context, capacity);
        if (buffer->size > 0)
            memcpy(grown, buffer->bytes, buffer->size);
        buffer->bytes = grown;
        buffer->capacity = capacity;
    }
    memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
}

static void append_escape(struct response_buffer *buffer, unsigned char byte)
{
    static const char named[] = "\bb\ff\nn\rr\tt\"\"\\\\"; /* pairs: byte, letter */
    static const char hex[] = "0123456789abcdef";
    char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};

    for (const char *pair = named; *pair != '\0'; pair += 2) {
        if ((unsigned char)pair[0] == byte) {
            escape[1] = pair[1];
            response_append(buffer, escape, 2);
            return;
        }
    }
    response_append(buffer, escape, sizeof(escape));
}

void response_append_json_string(struct response_buffer *buffer, const char *bytes, size_t size)
{
    size_t start = 0;

    response_append(buffer, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (byte >= ' ' && byte != '"' && byte != '\\')
            continue;
        response_append(buffer, bytes + start, i - start);
        append_escape(buffer, byte);
        start = i + 1;
    }
    response_append(buffer, bytes + start, size - start);
    response_append(buffer, "\"", 1);
}

void response_append_float(struct response_buffer *buffer, float value)
{
    char text[NUMBER_BYTES];

    if (isfinite(value)) {
        size_t size = number_write(text, value);
        response_append(buffer, text, size);
    } else {
        response_append(buffer, "null", 4);
    }
}

static int pack_bytes(void *buffer, const char *bytes, size_t size)
{
    response_append(buffer, bytes, size);
    return 0;
}

static msgpack_packer packer_of(const struct writer *writer)
{
    return (msgpack_packer){.data = writer->buffer, .callback = pack_bytes};
}

/* JSON: the comma before a value, and the promise of one behind it. */
static void separate(struct writer *writer)
{
    if (writer->needs_comma)
        response_append(writer->buffer, ",", 1);
    writer->needs_comma = true;
}

static void open_json(struct writer *writer, const char *bracket)
{
    separate(writer);
    response_append(writer->buffer, bracket, 1);
    writer->needs_comma = false;
}

static void close_json(struct writer *writer, const char *bracket)
{
    if (writer->encoding != REQUEST_JSON)
        return;
    response_append(writer->buffer, bracket, 1);
    writer->needs_comma = true;
}

void writer_map(struct writer *writer, uint32_t n_pairs)
{
    msgpack_packer packer = packer_of(writer);

    if (writer->encoding == REQUEST_JSON)
        open_json(writer, "{");
    else
        msgpack_pack_map(&packer, n_pairs);
}

void writer_map_end(struct writer *writer)
{
    close_json(writer, "}");
}

void writer_list(struct writer *writer, uint32_t n_items)
{
    msgpack_packer packer = packer_of(writer);

    if (writer->encoding == REQUEST_JSON)
        open_json(writer, "[");
    else
        msgpack_pack_array(&packer, n_items);
}

void writer_list_end(struct writer *writer)
{
    close_json(writer, "]");
}

void writer_string(struct writer *writer, const char *string)
{
    msgpack_packer packer = packer_of(writer);
    size_t size = strlen(string);

    if (writer->encoding == REQUEST_JSON) {
        separate(writer);
        response_append_json_string(writer->buffer, string, size);
    } else {
        msgpack_pack_str(&packer, size);
        msgpack_pack_str_body(&packer, string, size);
    }
}

void writer_key(struct writer *writer, const char *name)
{
    writer_string(writer, name);
    if (writer->encoding == REQUEST_JSON) {
        response_append(writer->buffer, ":", 1);
        writer->needs_comma = false;
    }
}

void writer_integer(struct writer *writer, const char *digits)
{
    msgpack_packer packer = packer_of(writer);

    if (writer->encoding == REQUEST_JSON) {
        separate(writer);
        response_append(writer->buffer, digits, strlen(digits));
    } else {
        msgpack_pack_int64(&packer, strtoll(digits, NULL, 10));
    }
}

void writer_float(struct writer *writer, float value)
{
    msgpack_packer packer = packer_of(writer);

    if (writer->encoding == REQUEST_JSON) {
        separate(writer);
        response_append_float(writer->buffer, value);
    } else if (isfinite(value)) {
        msgpack_pack_double(&packer, value);
    } else {
        msgpack_pack_nil(&packer);
    }
}
