/* fork, exec and a pipe. */
#include "tests/shm/run_program.h"
#include "tests/test.h"
#include <sys/wait.h>
#include <unistd.h>

int run_program(char *const *argv, char *output, size_t size)
{
    int ends[2];
    EXPECT_EQUAL(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv(argv[0], argv);
        _exit(127);
    }
    close(ends[1]);
    size_t at = 0;
    char rest[4096];
    ssize_t got;
    while ((got = at < size - 1 ? read(ends[0], output + at, size - 1 - at)
                                : read(ends[0], rest, sizeof(rest))) > 0)
        at += at < size - 1 ? (size_t)got : 0;
    output[at] = 0;
    close(ends[0]);
    int status;
    EXPECT_EQUAL(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}
