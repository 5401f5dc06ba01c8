/* A doorbell: how one process sleeps until another has put something somewhere.
 *
 *     sleeper                                  ringer
 *     seen = doorbell_rings(bell)              store the work          (seq_cst)
 *     doorbell_announce(bell)   (seq_cst)      doorbell_ring(bell)     (seq_cst load)
 *     look for work             (seq_cst)
 *     none: doorbell_sleep(bell, seen, ...)
 *     doorbell_withdraw(bell)
 *
 * No system call while the other side is awake: the ringer calls the kernel only when it takes
 * `sleeping` from 1 to 0.
 *
 * Why no wake-up is lost. Four accesses are sequentially consistent: the ringer's store of the work
 * (W) and load of `sleeping` (L), the sleeper's store of `sleeping` (S) and load of the work (R).
 * They stand in one total order. If W comes before R, the sleeper sees the work and does not sleep.
 * Else R comes before W, so S < R < W < L: the ringer sees that somebody sleeps, takes the flag,
 * adds one to `rings` and wakes. The sleeper read `rings` before S, so the kernel either finds it
 * changed and returns at once or has the sleeper on its list when the wake comes. With release and
 * acquire alone both loads may pass the stores before them, in the store buffer of any x86, and a
 * wake-up is lost about once in 50,000 requests. tests/shm/doorbell.pml proves the first and finds
 * the second.
 *
 * A ringer that dies between taking the flag and waking leaves the sleeper to his time-out: every
 * sleep has one. One sleeper a bell; ringers may be many. The futex is never FUTEX_PRIVATE: a
 * private one does not wake across processes, silently. */
#ifndef WEIR_SHM_DOORBELL_H
#define WEIR_SHM_DOORBELL_H

#include "shm/base.h"

struct doorbell; /* shm/layout.h */

/* Wakes the sleeper if there is one. True when the kernel was called. */
bool doorbell_ring(struct doorbell *bell);

/* Ends the current or the next sleep, whether announced or not. Async-signal-safe. */
void doorbell_ring_always(struct doorbell *bell);

/* The count that doorbell_sleep() compares; read it before doorbell_announce(). */
uint32_t doorbell_rings(const struct doorbell *bell);

void doorbell_announce(struct doorbell *bell);
void doorbell_withdraw(struct doorbell *bell);

/* Sleeps while the count is still `rings_seen`, for at most `timeout_ns`. May return early. */
void doorbell_sleep(struct doorbell *bell, uint32_t rings_seen, uint64_t timeout_ns);

/* One turn of a spin loop: tells the core that it waits. */
static inline void doorbell_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
