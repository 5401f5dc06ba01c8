/* gpu_check's reference where there is no oneDNN: plain loops in double, a thread for each core. */
#include <pthread.h>
#include <unistd.h>

#include "tests/cuda/gpu_check.h"
#include "tests/gpu_worker/reference_encoder.h"

#define THREADS_MAX 64

const char *const check_reference_name = "plain loops in double";

struct shared {
    struct check *check;
    uint64_t end_ns;
    uint32_t next; /* atomic: texts are taken in order, so those done are the first ones */
};

static void *work(void *argument)
{
    struct shared *shared = argument;
    struct check *check = shared->check;
    while (clock_now_ns() < shared->end_ns) {
        const uint32_t i = __atomic_fetch_add(&shared->next, 1, __ATOMIC_RELAXED);
        if (i >= check->n_texts)
            break;
        double logits[CHECK_LABELS];
        reference_logits(&check->random.model, check->ids + check->texts[i].first,
                         check->texts[i].length, check->texts[i].length, logits);
        for (uint32_t label = 0; label < CHECK_LABELS; label++)
            check->expected[i * CHECK_LABELS + label] = (float)logits[label];
    }
    return NULL;
}

void check_reference_run(struct check *check, uint64_t end_ns)
{
    struct shared shared = {.check = check, .end_ns = end_ns};
    pthread_t threads[THREADS_MAX];
    long n_threads = sysconf(_SC_NPROCESSORS_ONLN);
    if (n_threads > THREADS_MAX)
        n_threads = THREADS_MAX;
    for (long i = 0; i < n_threads; i++)
        EXPECT_EQUAL(pthread_create(&threads[i], NULL, work, &shared), 0);
    for (long i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    check->n_expected = shared.next < check->n_texts ? shared.next : check->n_texts;
}
