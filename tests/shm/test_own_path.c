/* The files of a test are gone soon after it, however it ends. */
#include "shm/base.h"
#include "tests/shm/own_path.h"
#include "tests/test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_NS (20 * NS_PER_S)

static void die_of_a_signal(void)
{
    raise(SIGKILL);
}

static void fail(void)
{
    exit(1);
}

/* Forked before this process has asked for a name: the child is a test of its own. */
static void expect_nothing_left(void (*end)(void))
{
    char paths[2][64];
    int pipe_ends[2];
    EXPECT(pipe(pipe_ends) == 0);
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 2; i++) {
            own_path(paths[i]);
            close(open(paths[i], O_CREAT | O_EXCL, 0600));
        }
        EXPECT(write(pipe_ends[1], paths, sizeof(paths)) == (ssize_t)sizeof(paths));
        end();
    }
    EXPECT(read(pipe_ends[0], paths, sizeof(paths)) == (ssize_t)sizeof(paths));
    EXPECT(waitpid(child, NULL, 0) == child);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    EXPECT(strcmp(paths[0], paths[1]) != 0);
    uint64_t end_ns = clock_now_ns() + PATIENCE_NS;
    while (access(paths[0], F_OK) == 0 || access(paths[1], F_OK) == 0) {
        EXPECT(clock_now_ns() < end_ns);
        usleep(1000);
    }
}

static void a_test_that_dies_of_a_signal_leaves_no_file(void)
{
    expect_nothing_left(die_of_a_signal);
}

static void a_test_that_fails_leaves_no_file(void)
{
    expect_nothing_left(fail);
}

int main(void)
{
    RUN(a_test_that_dies_of_a_signal_leaves_no_file);
    RUN(a_test_that_fails_leaves_no_file);
    return 0;
}
