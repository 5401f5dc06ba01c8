/* Is it UTF-8, and if not, where does it stop being UTF-8? */
#ifndef WEIR_PROTO_UTF8_H
#define WEIR_PROTO_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Reads exactly `size` bytes. Surrogates, overlong forms and code points above 10FFFF are refused.
 */
bool utf8_is_valid(const char *bytes, size_t size);

/* Offset of the first byte of the first ill-formed sequence; `size` where there is none. Slow: for
 * sentences. */
size_t utf8_find_invalid(const char *bytes, size_t size);

/* The longest prefix of at most `limit` bytes that does not cut a character in two. */
size_t utf8_prefix(const char *bytes, size_t size, size_t limit);

#ifdef __cplusplus
}
#endif

#endif
