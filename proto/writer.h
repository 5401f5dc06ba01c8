/* One way to say a tree of values, whatever the answer's encoding: compact JSON (as FastAPI's
 * JSONResponse prints it) or MessagePack. The caller opens, fills and closes in order; counts are
 * given when opening, because MessagePack wants them first.
 *
 *     writer_map(w, 1); writer_key(w, "prediction"); writer_list(w, 0); writer_list_end(w);
 *     writer_map_end(w);                                              {"prediction":[]}
 */
#ifndef WEIR_PROTO_WRITER_H
#define WEIR_PROTO_WRITER_H

#include "proto/response.h"

struct writer {
    struct response_buffer *buffer;
    enum request_encoding encoding;
    bool needs_comma; /* JSON: something stands before in this container */
};

/* Opens an object of `n_pairs`, each a writer_key() and then one value. */
void writer_map(struct writer *writer, uint32_t n_pairs);
void writer_map_end(struct writer *writer);
/* Opens a list of `n_items` values. */
void writer_list(struct writer *writer, uint32_t n_items);
void writer_list_end(struct writer *writer);
/* Strings are UTF-8 and end with NUL. */
void writer_key(struct writer *writer, const char *name);
void writer_string(struct writer *writer, const char *string);
/* A whole number of 64 bits, given by its decimal digits. */
void writer_integer(struct writer *writer, const char *digits);
/* JSON: as response_append_float(). MessagePack: float 64 of the widened value, nil for NaN and
 * infinities. */
void writer_float(struct writer *writer, float value);

#endif
