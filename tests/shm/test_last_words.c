/* The dying speak once, each in its own row, and still die of what killed them. */
#include "shm/last_words.h"
#include "tests/shm/lane_pair.h"
#include "tests/test.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void append_doing(struct last_words_sentence *sentence)
{
    last_words_append(sentence, ", doing ");
    last_words_append_number(sentence, 42, 10);
}

static void die_of_a_signal(void)
{
    raise(SIGFPE);
}

static void die_of_an_address(void)
{
    *(volatile int *)0x1230 = 1;
}

static void die_of_a_check(void)
{
    CHECK(1 == 2);
}

static void die_after_an_announcement(void)
{
    last_words_say("out of paper");
    raise(SIGABRT);
}

static void end_without_a_word(void)
{
    last_words_remove();
    last_words_say("too late");
    raise(SIGFPE);
}

/* Lets a child die; returns the signal, and its last words in `view`. */
static int death(struct lane_pair *pair, void (*die)(void), struct process_view *view)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        process_claim(&pair->frontend, 0);
        last_words_install(&pair->frontend, 0, append_doing);
        die();
        _exit(0);
    }
    EXPECT_EQUAL(waitpid(child, &status, 0), child);
    process_read(&pair->worker, 0, view);
    EXPECT(WIFSIGNALED(status));
    return WTERMSIG(status);
}

static void a_death_is_told_once_and_not_prevented(void)
{
    struct lane_pair pair;
    struct process_view view;
    lane_pair_open(&pair);
    EXPECT_EQUAL(death(&pair, die_of_a_signal, &view), SIGFPE);
    EXPECT_STRING(view.last_words, "killed by SIGFPE, doing 42");
#ifndef __SANITIZE_ADDRESS__ /* which calls this address null and reports it by itself */
    EXPECT_EQUAL(death(&pair, die_of_an_address, &view), SIGSEGV);
    EXPECT_STRING(view.last_words, "killed by SIGSEGV at address 0x1230, doing 42");
#else
    (void)die_of_an_address;
#endif
    EXPECT_EQUAL(death(&pair, die_of_a_check, &view), SIGABRT);
    EXPECT(strstr(view.last_words, "1 == 2") != NULL);
    EXPECT_EQUAL(death(&pair, die_after_an_announcement, &view), SIGABRT);
    EXPECT_STRING(view.last_words, "out of paper");
    EXPECT_EQUAL(death(&pair, end_without_a_word, &view), SIGFPE);
    EXPECT_STRING(view.last_words, "");
    lane_pair_close(&pair);
}

static void a_sentence_is_cut_and_stays_terminated(void)
{
    struct last_words_sentence sentence = {.size = 0};
    for (int i = 0; i < PROCESS_LAST_WORDS_SIZE; i++)
        last_words_append_number(&sentence, UINT64_MAX, 16);
    EXPECT_EQUAL(strlen(sentence.bytes), PROCESS_LAST_WORDS_SIZE - 1);
    EXPECT_EQUAL(sentence.size, PROCESS_LAST_WORDS_SIZE - 1);
}

int main(void)
{
    RUN(a_death_is_told_once_and_not_prevented);
    RUN(a_sentence_is_cut_and_stays_terminated);
    return 0;
}
