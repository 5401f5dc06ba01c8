/* Counts what a test's process takes from malloc while it is told to, and whether it was our own
 * code that asked: our code is linked in statically, libraries are not. */
#ifndef WEIR_TESTS_GPU_WORKER_COUNT_MALLOC_H
#define WEIR_TESTS_GPU_WORKER_COUNT_MALLOC_H

#include <stdbool.h>

struct malloc_counts {
    long by_us, by_libraries; /* blocks taken */
    long kept;                /* taken less given back */
};

/* False under a sanitizer, which owns malloc: nothing is counted then. */
bool count_malloc_works(void);
void count_malloc_start(void);
struct malloc_counts count_malloc_stop(void);

#endif
