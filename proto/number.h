/* Doubles as Python prints them, so that an answer equals the sample's byte for byte. */
#ifndef WEIR_PROTO_NUMBER_H
#define WEIR_PROTO_NUMBER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "-1.7976931348623157e+308" and some room. */
#define NUMBER_BYTES 32

/* Writes repr(value) without a terminator and returns its length: the shortest decimal that reads
 * back to the same double, positional for exponents -4 to 15, else scientific with at least two
 * digits. `value` is finite. */
size_t number_write(char text[NUMBER_BYTES], double value);

#ifdef __cplusplus
}
#endif

#endif
