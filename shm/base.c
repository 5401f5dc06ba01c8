/* What a broken CHECK does: leave last words, say it on stderr, abort. Only async-signal-safe
 * calls, because a CHECK may break inside a signal handler. */
#include "shm/base.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic(void (*)(const char *)) failed_hook, failed_voice;

void check_failed_hook(void (*hook)(const char *sentence))
{
    atomic_store_explicit(&failed_hook, hook, memory_order_release);
}

void check_failed_voice(void (*say)(const char *sentence))
{
    atomic_store_explicit(&failed_voice, say, memory_order_release);
}

static void write_bare(char sentence[ERROR_BYTES], size_t end)
{
    sentence[end] = '\n'; /* over the terminator: from here on it is bytes */
    ssize_t ignored = write(STDERR_FILENO, sentence, end + 1);
    (void)ignored;
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
    /* Each is taken out before it runs: one that breaks a CHECK itself must not come back here for
     * ever. */
    void (*hook)(const char *) = atomic_exchange_explicit(&failed_hook, NULL, memory_order_acq_rel);
    if (hook)
        hook(sentence);
    void (*say)(const char *) = atomic_exchange_explicit(&failed_voice, NULL, memory_order_acq_rel);
    if (say)
        say(sentence);
    else
        write_bare(sentence, end);
    abort();
}
