/* Runs a program and keeps what it says. */
#ifndef WEIR_TESTS_SHM_RUN_PROGRAM_H
#define WEIR_TESTS_SHM_RUN_PROGRAM_H

#include <stddef.h>

/* argv as for execv, NULL last. `output` gets stdout and stderr together, terminated, cut at
 * `size`. Returns the exit status; 1000 + the signal's number when it was killed by one. */
int run_program(char *const *argv, char *output, size_t size);

#endif
