/* Counts what proto/ takes from malloc, calloc and operator new, and lets the n-th of them fail.
 * The test that uses it links with --wrap for malloc and calloc. */
#ifndef WEIR_TESTS_PROTO_ALLOCATIONS_H
#define WEIR_TESTS_PROTO_ALLOCATIONS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Since the program began. */
long allocations_count(void);

/* The n-th from now fails, once; 0: none does. */
void allocations_fail(long n);

/* Has the failure been delivered? */
int allocations_have_failed(void);

#ifdef __cplusplus
}
#endif

#endif
