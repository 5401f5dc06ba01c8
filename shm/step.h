/* Crash points: where a test may stop, or kill, the process between two shared stores.
 *
 * SHM_STEP() stands before every store to shared memory that another process could see half of an
 * operation by. The library compiles it to nothing; tests/shm builds the library a second time with
 * WEIR_SHM_STEPS and supplies the two functions below. */
#ifndef WEIR_SHM_STEP_H
#define WEIR_SHM_STEP_H

#include <stdatomic.h>
#include <stdint.h>

#ifdef WEIR_SHM_STEPS

/* May not return: the test leaves by longjmp, a context switch or SIGKILL. */
void shm_step(const char *file, int line);
/* Stands in for futex(FUTEX_WAIT): returns when the word is no longer `expected`, or time is up. */
void shm_step_sleep(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
/* Stands in for futex(FUTEX_WAKE). */
void shm_step_wake(_Atomic uint32_t *word);

#define SHM_STEP() shm_step(__FILE__, __LINE__)

#else
#define SHM_STEP() ((void)0)
#endif

#endif
