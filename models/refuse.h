/* How the readers of this folder say no: the file's name, a colon, a sentence. */
#ifndef WEIR_MODELS_REFUSE_H
#define WEIR_MODELS_REFUSE_H

#include "shm/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* Always -EINVAL, so that a reader can return what it refused. */
__attribute__((format(printf, 3, 4))) static inline int
refuse(char error[ERROR_BYTES], const char *file_name, const char *format, ...)
{
    va_list arguments;
    int length = snprintf(error, ERROR_BYTES, "%s: ", file_name);

    va_start(arguments, format);
    if (length >= 0 && length < ERROR_BYTES)
        vsnprintf(error + length, ERROR_BYTES - (size_t)length, format, arguments);
    va_end(arguments);
    return -EINVAL;
}

#endif
