/* The slow half of utf8.h: where well-formedness ends, by table 3-7 of the Unicode standard. The
 * fast half, a yes or no, is simdjson's and stands in value_json.cc. */
#include "proto/utf8.h"

#include <stdint.h>

/* Bytes of the well-formed sequence at `bytes`, 0 if there is none. */
static size_t sequence_bytes(const uint8_t *bytes, size_t size)
{
    uint8_t lead = bytes[0], least = 0x80, most = 0xBF;
    size_t length;

    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (lead == 0xE0)
        least = 0xA0; /* shorter forms exist below */
    if (lead == 0xED)
        most = 0x9F; /* surrogates */
    if (lead == 0xF0)
        least = 0x90;
    if (lead == 0xF4)
        most = 0x8F; /* above 10FFFF */
    if (size < length || bytes[1] < least || bytes[1] > most)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (bytes[i] < 0x80 || bytes[i] > 0xBF)
            return 0;
    return length;
}

size_t utf8_find_invalid(const char *bytes, size_t size)
{
    size_t offset = 0;

    while (offset < size) {
        size_t length = sequence_bytes((const uint8_t *)bytes + offset, size - offset);
        if (length == 0)
            break;
        offset += length;
    }
    return offset;
}

size_t utf8_prefix(const char *bytes, size_t size, size_t limit)
{
    if (size <= limit)
        return size;
    while (limit > 0 && ((uint8_t)bytes[limit] & 0xC0) == 0x80)
        limit--;
    return limit;
}
