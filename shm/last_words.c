/* Only async-signal-safe functions are called, and the sentence is put together by hand. */
#include "shm/last_words.h"

#include <signal.h>
#include <stdatomic.h>

static struct {
    struct segment *_Atomic segment; /* NULL: not installed; stored last */
    uint32_t index;
    void (*activity)(struct last_words_sentence *sentence);
    _Atomic bool said;
} dying;

/* See last_words_install(). */
static _Alignas(CACHE_LINE_BYTES) char signal_stack[SIGNAL_STACK_BYTES];

static const struct {
    int number;
    const char *name;
} fatal_signals[] = {
    {SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},   {SIGILL, "SIGILL"},
    {SIGFPE, "SIGFPE"},   {SIGABRT, "SIGABRT"}, {SIGQUIT, "SIGQUIT"},
};

void last_words_append(struct last_words_sentence *sentence, const char *text)
{
    while (*text && sentence->size + 1 < sizeof(sentence->bytes))
        sentence->bytes[sentence->size++] = *text++;
    sentence->bytes[sentence->size] = 0;
}

void last_words_append_number(struct last_words_sentence *sentence, uint64_t value, uint32_t base)
{
    char digits[24], *at = digits + sizeof(digits) - 1;

    CHECK(base == 10 || base == 16);
    *at = 0;
    do {
        *--at = "0123456789abcdef"[value % base];
        value /= base;
    } while (value > 0);
    last_words_append(sentence, at);
}

void last_words_say(const char *sentence)
{
    struct segment *segment = atomic_load(&dying.segment);

    if (segment && !atomic_exchange(&dying.said, true))
        process_last_words(segment, dying.index, sentence);
}

static void die(int signal_number, siginfo_t *info, void *context)
{
    struct last_words_sentence sentence = {.size = 0};

    last_words_append(&sentence, "killed by ");
    for (size_t i = 0; i < ARRAY_COUNT(fatal_signals); i++)
        if (fatal_signals[i].number == signal_number)
            last_words_append(&sentence, fatal_signals[i].name);
    if (signal_number == SIGSEGV || signal_number == SIGBUS) {
        last_words_append(&sentence, " at address 0x");
        last_words_append_number(&sentence, (uintptr_t)info->si_addr, 16);
    }
    if (dying.activity)
        dying.activity(&sentence);
    last_words_say(sentence.bytes);
    /* SA_RESETHAND has put the default back; blocked until we return, then it kills. */
    raise(signal_number);
}

static void set_handlers(bool ours)
{
    struct sigaction action = {.sa_flags =
                                   ours ? (int)(SA_SIGINFO | SA_RESETHAND | SA_ONSTACK) : 0};

    if (ours)
        action.sa_sigaction = die;
    else
        action.sa_handler = SIG_DFL;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_COUNT(fatal_signals); i++)
        sigaction(fatal_signals[i].number, &action, NULL);
}

void last_words_install(struct segment *segment, uint32_t index,
                        void (*activity)(struct last_words_sentence *sentence))
{
    const stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)};

    dying.index = index;
    dying.activity = activity;
    atomic_store(&dying.said, false);
    atomic_store(&dying.segment, segment);
    check_failed_hook(last_words_say);
    CHECK(sigaltstack(&stack, NULL) == 0);
    set_handlers(true);
}

void last_words_remove(void)
{
    set_handlers(false);
    check_failed_hook(NULL);
    atomic_store(&dying.segment, NULL);
}
