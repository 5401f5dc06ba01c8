/* Futex counters with a "somebody sleeps" word; the argument stands in doorbell.h. */
#include "shm/doorbell.h"
#include "shm/layout.h"
#include "shm/step.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef WEIR_SHM_STEPS
#define futex_wait shm_step_sleep
#define futex_wake shm_step_wake
#else

static void futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / NS_PER_S),
                               .tv_nsec = (long)(timeout_ns % NS_PER_S)};
    /* EAGAIN, EINTR and ETIMEDOUT all mean: look again. Nothing else can come back for an aligned
     * word of mapped memory. */
    syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    /* All of them: an inspector may wait on the same word, and one wake-up must not be spent on it.
     */
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

#endif

bool doorbell_ring(struct doorbell *bell)
{
    /* seq_cst: the load L of the argument. Pairs with the store in doorbell_announce(). */
    if (atomic_load_explicit(&bell->sleeping, memory_order_seq_cst) == 0)
        return false;
    SHM_STEP();
    /* Of several ringers one takes the flag and pays for the system call. */
    if (atomic_exchange_explicit(&bell->sleeping, 0, memory_order_acq_rel) == 0)
        return false;
    doorbell_ring_always(bell);
    return true;
}

void doorbell_ring_always(struct doorbell *bell)
{
    SHM_STEP();
    /* Release: pairs with the acquire in doorbell_rings(), so who sees the ring sees the work. */
    atomic_fetch_add_explicit(&bell->rings, 1, memory_order_release);
    SHM_STEP();
    futex_wake(&bell->rings);
}

uint32_t doorbell_rings(const struct doorbell *bell)
{
    return atomic_load_explicit(&bell->rings, memory_order_acquire);
}

void doorbell_announce(struct doorbell *bell)
{
    SHM_STEP();
    /* seq_cst: the store S of the argument; the caller's next load of the work is R. */
    atomic_store_explicit(&bell->sleeping, 1, memory_order_seq_cst);
    SHM_STEP();
}

void doorbell_withdraw(struct doorbell *bell)
{
    /* Relaxed: a ringer that still sees 1 makes one wake-up too many. */
    atomic_store_explicit(&bell->sleeping, 0, memory_order_relaxed);
}

void doorbell_sleep(struct doorbell *bell, uint32_t rings_seen, uint64_t timeout_ns)
{
    futex_wait(&bell->rings, rings_seen, timeout_ns);
}
