/* Hooks for integration tests, off unless the environment sets them: a batch that holds a token
 * kills or hangs this worker, as a poisonous text or a stuck card would.
 *
 *     WEIR_TEST_POISON_TOKEN=<id>   SIGSEGV to itself: leaves last words
 *     WEIR_TEST_KILL_TOKEN=<id>     SIGKILL to itself: leaves none
 *     WEIR_TEST_HANG_TOKEN=<id>     sleeps for ever, heartbeat and all
 *
 * One branch for each batch when unset. */
#ifndef WEIR_GPU_WORKER_TEST_HOOKS_H
#define WEIR_GPU_WORKER_TEST_HOOKS_H

#include <stdbool.h>
#include <stdint.h>

struct test_hooks {
    bool any;
    uint32_t poison_token, kill_token, hang_token; /* UINT32_MAX: unset */
};

/* From the environment. */
void test_hooks_init(struct test_hooks *hooks);
void test_hooks_batch(const struct test_hooks *hooks, const uint32_t *input_ids, uint32_t n_tokens);

#endif
