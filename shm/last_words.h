/* What a process leaves in its row of the process table when it dies: the broken CHECK, or the
 * signal that killed it and what it was doing. The supervisor and shm_inspect read it.
 *
 * Handlers get no argument of ours, so a process has one set of last words. */
#ifndef WEIR_SHM_LAST_WORDS_H
#define WEIR_SHM_LAST_WORDS_H

#include "shm/process.h"

/* A sentence put together by hand, for signal handlers; cut at PROCESS_LAST_WORDS_SIZE - 1. */
struct last_words_sentence {
    char bytes[PROCESS_LAST_WORDS_SIZE];
    uint32_t size;
};

/* Both async-signal-safe. */
void last_words_append(struct last_words_sentence *sentence, const char *text);
void last_words_append_number(struct last_words_sentence *sentence, uint64_t value, uint32_t base);

/* `index` as in shm/process.h. `activity`, if given, appends what the process is doing; it must be
 * async-signal-safe. The segment must stay mapped until last_words_remove().
 *
 * Gives the calling thread, of which there must be one only, a stack for its signal handlers, and
 * keeps it; another thread that computes must bring its own (cpu_pool.c does). Every handler of a
 * worker must be set with SA_ONSTACK: oneDNN 2.6's matrix products use
 * the stack pointer as a pointer into their workspace for a while, and the frame of a signal that
 * came just then would be written over the heap. It also lets a stack overflow say its last words.
 */
void last_words_install(struct segment *segment, uint32_t index,
                        void (*activity)(struct last_words_sentence *sentence));
void last_words_remove(void);

/* For a death that is announced: keeps later handlers from overwriting it. */
void last_words_say(const char *sentence);

#endif
