/* What a broken CHECK does: say it on stderr, leave last words, abort. Only async-signal-safe
 * calls, because a CHECK may break inside a signal handler. */
#include "shm/base.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic(void (*)(const char *)) failed_hook;

void check_failed_hook(void (*hook)(const char *sentence))
{
    atomic_store_explicit(&failed_hook, hook, memory_order_release);
}

/* Appends what fits and keeps the end terminated; returns the new end. */
static size_t append(char *text, size_t size, size_t at, const char *more)
{
    size_t length = strlen(more);
    if (length > size - 1 - at)
        length = size - 1 - at;
    memcpy(text + at, more, length);
    text[at + length] = 0;
    return at + length;
}

static const char *decimal(char digits[12], int number)
{
    char *at = digits + 11;
    *at = 0;
    do
        *--at = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return at;
}

_Noreturn void check_failed(const char *file, int line, const char *condition)
{
    char sentence[ERROR_BYTES], digits[12];
    size_t end = append(sentence, sizeof(sentence), 0, "CHECK failed: ");
    end = append(sentence, sizeof(sentence), end, condition);
    end = append(sentence, sizeof(sentence), end, " at ");
    end = append(sentence, sizeof(sentence), end, file);
    end = append(sentence, sizeof(sentence), end, ":");
    end = append(sentence, sizeof(sentence), end, decimal(digits, line));
    /* Taken out before it runs: a hook that breaks a CHECK itself must not come back here for ever.
     */
    void (*hook)(const char *) = atomic_exchange_explicit(&failed_hook, NULL, memory_order_acq_rel);
    if (hook)
        hook(sentence);
    sentence[end] = '\n'; /* over the terminator: from here on it is bytes */
    ssize_t ignored = write(STDERR_FILENO, sentence, end + 1);
    (void)ignored;
    abort();
}
