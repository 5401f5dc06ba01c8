/* Says on the log that a hook is set: nobody should meet one by accident. */
#include "gpu_worker/test_hooks.h"

#include "shm/log.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static uint32_t token_from(const char *name)
{
    const char *text = getenv(name);

    if (!text || !*text)
        return UINT32_MAX;
    log_warning("%s is set: a test hook, not for production", name);
    return (uint32_t)strtoul(text, NULL, 10);
}

void test_hooks_init(struct test_hooks *hooks)
{
    hooks->poison_token = token_from("WEIR_TEST_POISON_TOKEN");
    hooks->hang_token = token_from("WEIR_TEST_HANG_TOKEN");
    hooks->kill_token = token_from("WEIR_TEST_KILL_TOKEN");
    hooks->any = hooks->poison_token != UINT32_MAX || hooks->kill_token != UINT32_MAX ||
                 hooks->hang_token != UINT32_MAX;
}

void test_hooks_batch(const struct test_hooks *hooks, const uint32_t *input_ids, uint32_t n_tokens)
{
    if (!hooks->any)
        return;
    for (uint32_t i = 0; i < n_tokens; i++) {
        if (input_ids[i] == hooks->poison_token)
            raise(SIGSEGV);
        if (input_ids[i] == hooks->kill_token)
            raise(SIGKILL);
        while (input_ids[i] == hooks->hang_token)
            pause();
    }
}
