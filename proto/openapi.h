/* docs/openapi.json as bytes of the program (made at build time by embed.cmake): what GET
 * /openapi.json sends. */
#ifndef WEIR_PROTO_OPENAPI_H
#define WEIR_PROTO_OPENAPI_H

#include <stddef.h>

extern const char openapi_json[]; /* openapi_json_size bytes of UTF-8, and a NUL behind them */
extern const size_t openapi_json_size;

#endif
