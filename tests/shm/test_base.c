/* The ground: arithmetic, the clock, and what a broken CHECK leaves behind. */
#include "shm/base.h"
#include "tests/test.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char *shared_words; /* what the hook of a dying child wrote */

static void keep_words(const char *sentence)
{
    strncpy(shared_words, sentence, ERROR_BYTES - 1);
}

/* Breaks a CHECK in a child; its stderr comes back in `text`. */
static void die_in_child(void (*hook)(const char *), char *text, size_t size)
{
    int ends[2];
    EXPECT_EQUAL(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        check_failed_hook(hook);
        check_failed("some/file.c", 1234567, "a == b");
    }
    close(ends[1]);
    ssize_t got = read(ends[0], text, size - 1);
    EXPECT(got > 0);
    text[got] = 0;
    close(ends[0]);
    int status;
    EXPECT_EQUAL(waitpid(child, &status, 0), child);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void a_broken_check_says_so_aborts_and_leaves_last_words(void)
{
    char text[512];
    die_in_child(keep_words, text, sizeof(text));
    EXPECT_STRING(text, "CHECK failed: a == b at some/file.c:1234567\n");
    EXPECT_STRING(shared_words, "CHECK failed: a == b at some/file.c:1234567");
}

static void break_another_check(const char *sentence)
{
    (void)sentence;
    check_failed("hook.c", 7, "inner");
}

static void a_hook_that_breaks_a_check_itself_does_not_recurse(void)
{
    char text[512];
    die_in_child(break_another_check, text, sizeof(text));
    EXPECT_STRING(text, "CHECK failed: inner at hook.c:7\n");
}

static void a_long_condition_is_cut(void)
{
    char text[1024];
    int ends[2], status;
    EXPECT_EQUAL(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        char condition[600];
        memset(condition, 'c', sizeof(condition));
        condition[sizeof(condition) - 1] = 0;
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        check_failed("file.c", 1, condition);
    }
    ssize_t got = read(ends[0], text, sizeof(text));
    waitpid(child, &status, 0);
    EXPECT_EQUAL(got, ERROR_BYTES);
    EXPECT(text[ERROR_BYTES - 1] == '\n');
}

static void check_lets_true_conditions_pass(void)
{
    CHECK(1 + 1 == 2);
}

static void the_clock_does_not_go_back(void)
{
    uint64_t before_ns = clock_now_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now_ns = clock_now_ns();
        EXPECT(now_ns >= before_ns);
        before_ns = now_ns;
    }
}

static void alignment_rounds_up_to_a_power_of_two(void)
{
    EXPECT_EQUAL(align_up_u64(0, 64), 0);
    EXPECT_EQUAL(align_up_u64(1, 64), 64);
    EXPECT_EQUAL(align_up_u64(64, 64), 64);
    EXPECT_EQUAL(align_up_u64(65, 64), 128);
    EXPECT_EQUAL(min_u64(2, 3), 2);
    EXPECT_EQUAL(max_u64(2, 3), 3);
}

int main(void)
{
    shared_words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    RUN(a_broken_check_says_so_aborts_and_leaves_last_words);
    RUN(a_hook_that_breaks_a_check_itself_does_not_recurse);
    RUN(a_long_condition_is_cut);
    RUN(check_lets_true_conditions_pass);
    RUN(the_clock_does_not_go_back);
    RUN(alignment_rounds_up_to_a_power_of_two);
    return 0;
}
