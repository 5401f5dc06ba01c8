/* The arithmetic of admission.h. */
#include "frontend/admission.h"

#include <math.h>

/* Lets time pass: both sums fade, and the busy one grows where there is a backlog. */
static void pass_time(struct admission *admission, uint64_t now_ns)
{
    if (now_ns <= admission->updated_ns)
        return;
    uint64_t elapsed_ns = now_ns - admission->updated_ns;
    admission->updated_ns = now_ns;
    if (admission->backlog_tokens == 0)
        return; /* an idle hour says nothing about the rate */
    double kept = exp(-(double)elapsed_ns / (double)ADMISSION_MEMORY_NS);
    admission->drained_tokens *= kept;
    admission->busy_ns = admission->busy_ns * kept + (1 - kept) * (double)ADMISSION_MEMORY_NS;
}

static void shrink_backlog(struct admission *admission, uint32_t tokens)
{
    CHECK(admission->backlog_tokens >= tokens);
    admission->backlog_tokens -= tokens;
}

void admission_submitted(struct admission *admission, uint32_t tokens, uint64_t now_ns)
{
    pass_time(admission, now_ns);
    admission->backlog_tokens += tokens;
}

void admission_completed(struct admission *admission, uint32_t tokens, uint32_t worker_epoch,
                         uint64_t now_ns)
{
    pass_time(admission, now_ns);
    if (admission->worker_epoch != worker_epoch) {
        admission->drained_tokens = admission->busy_ns = 0;
        admission->worker_epoch = worker_epoch;
    }
    admission->drained_tokens += tokens;
    shrink_backlog(admission, tokens);
}

void admission_withdrawn(struct admission *admission, uint32_t tokens, uint64_t now_ns)
{
    pass_time(admission, now_ns);
    shrink_backlog(admission, tokens);
}

uint64_t admission_wait_ns(struct admission *admission, uint64_t now_ns)
{
    pass_time(admission, now_ns);
    if (admission->backlog_tokens == 0 || admission->drained_tokens <= 0)
        return 0;
    double wait_ns =
        (double)admission->backlog_tokens * admission->busy_ns / admission->drained_tokens;
    return wait_ns < 1e18 ? (uint64_t)wait_ns : UINT64_C(1000000000000000000);
}

enum admission_verdict admission_decide(struct admission *admission, uint32_t n_free_slots,
                                        uint32_t n_texts, uint64_t now_ns, uint64_t deadline_ns)
{
    if (n_free_slots < n_texts)
        return ADMISSION_NO_SLOTS;
    if (now_ns + admission_wait_ns(admission, now_ns) > deadline_ns)
        return ADMISSION_TOO_LATE;
    return ADMISSION_YES;
}

uint32_t admission_retry_after_s(struct admission *admission, uint64_t now_ns)
{
    uint64_t wait_s = (admission_wait_ns(admission, now_ns) + NS_PER_S - 1) / NS_PER_S;
    return (uint32_t)min_u64(max_u64(wait_s, 1), ADMISSION_RETRY_AFTER_MAX_S);
}
