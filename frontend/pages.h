/* The two HTML pages as bytes of the program (made at build time by proto/embed.cmake from
 * frontend/pages/). */
#ifndef WEIR_FRONTEND_PAGES_H
#define WEIR_FRONTEND_PAGES_H

#include <stddef.h>

extern const char page_docs[], page_playground[];
extern const size_t page_docs_size, page_playground_size;

#endif
