/* May this request come in? Decided before any work is spent on it, from two facts: the number of
 * free slots, and the rate at which the lane has drained lately.
 *
 *     predicted wait = tokens waiting in the lane / rate
 *     rate           = tokens that came back while any waited, a nanosecond
 *
 * Both sums fade with ADMISSION_MEMORY_NS, so the rate follows the worker, and falls while it is
 * away. The first text that comes back from another worker starts both anew: a second in which the
 * card hung, right after the start, would else make some 16 waiting texts a queue of 40 s. Pure
 * functions of the clock handed in. */
#ifndef WEIR_FRONTEND_ADMISSION_H
#define WEIR_FRONTEND_ADMISSION_H

#include "shm/base.h"

#define ADMISSION_MEMORY_NS         (5 * NS_PER_S)
#define ADMISSION_RETRY_AFTER_MAX_S 60

struct admission {
    uint64_t updated_ns;
    uint64_t backlog_tokens; /* submitted and not yet back */
    double drained_tokens;   /* faded sum of what came back */
    double busy_ns;          /* faded sum of the time in which there was a backlog */
    uint32_t worker_epoch;   /* of whom both sums tell; 0: of nobody yet */
};

/* Book-keeping: what went in, what came back (and from which worker, as segment_worker_epoch()
 * counts them), what was withdrawn before the worker saw it. */
void admission_submitted(struct admission *admission, uint32_t tokens, uint64_t now_ns);
void admission_completed(struct admission *admission, uint32_t tokens, uint32_t worker_epoch,
                         uint64_t now_ns);
void admission_withdrawn(struct admission *admission, uint32_t tokens, uint64_t now_ns);

/* How long a text submitted now would wait for those before it; 0 as long as nothing is known. */
uint64_t admission_wait_ns(struct admission *admission, uint64_t now_ns);

enum admission_verdict {
    ADMISSION_YES,
    ADMISSION_NO_SLOTS, /* fewer free slots than texts */
    ADMISSION_TOO_LATE, /* the predicted wait ends after the deadline */
};

enum admission_verdict admission_decide(struct admission *admission, uint32_t n_free_slots,
                                        uint32_t n_texts, uint64_t now_ns, uint64_t deadline_ns);

/* Whole seconds for a Retry-After header, 1 .. ADMISSION_RETRY_AFTER_MAX_S: until what waits now is
 * expected to be done. */
uint32_t admission_retry_after_s(struct admission *admission, uint64_t now_ns);

#endif
