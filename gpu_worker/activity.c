/* A few numbers that a signal handler of this process may read at any moment. */
#include "gpu_worker/activity.h"

#include <stdatomic.h>

static struct {
    _Atomic uint32_t n_batches, n_sequences, n_tokens;
} running;

void activity_running(uint32_t n_batches, uint32_t n_sequences, uint32_t n_tokens)
{
    /* Relaxed: for a sentence. */
    atomic_store_explicit(&running.n_batches, n_batches, memory_order_relaxed);
    atomic_store_explicit(&running.n_tokens, n_tokens, memory_order_relaxed);
    atomic_store_explicit(&running.n_sequences, n_sequences, memory_order_relaxed);
}

void activity_describe(struct last_words_sentence *sentence)
{
    uint32_t n_batches = atomic_load_explicit(&running.n_batches, memory_order_relaxed);
    uint32_t n_sequences = atomic_load_explicit(&running.n_sequences, memory_order_relaxed);
    uint32_t n_tokens = atomic_load_explicit(&running.n_tokens, memory_order_relaxed);

    if (n_batches == 0) {
        last_words_append(sentence, ", between batches");
        return;
    }
    last_words_append(sentence, n_batches == 1 ? ", in a batch of " : ", in two batches of ");
    last_words_append_number(sentence, n_sequences, 10);
    last_words_append(sentence, " texts, ");
    last_words_append_number(sentence, n_tokens, 10);
    last_words_append(sentence, " tokens");
}
