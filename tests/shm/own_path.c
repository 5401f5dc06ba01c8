/* The names of own_path.h, and who removes their files.
 *
 * A test that dies by a signal, be it the SIGKILL of a time-out, cannot clean up. So a child that
 * survives it does: it holds the other end of a pipe, which the kernel closes with the last of the
 * test's processes. It is in a session of its own, so that no signal to the test's group ends it. A
 * test that ends in peace removes the files itself, and the child. */
#include "tests/shm/own_path.h"
#include "tests/test.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define FOLDER "/dev/shm"

static char prefix[48]; /* of all names of this process; empty before the first */
static pid_t owner, survivor;

static void remove_files(void)
{
    DIR *folder = opendir(FOLDER);
    struct dirent *entry;
    if (!folder)
        return;
    while ((entry = readdir(folder)))
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
}

static void survive(const int pipe_ends[2])
{
    char byte;
    ssize_t size;
    setsid();
    close(pipe_ends[1]);
    for (int descriptor = 0; descriptor <= 2; descriptor++)
        close(descriptor); /* who reads the test's output waits for its end */
    do
        size = read(pipe_ends[0], &byte, 1);
    while (size < 0 && errno == EINTR);
    remove_files();
    _exit(0);
}

static void end_in_peace(void)
{
    if (getpid() != owner)
        return; /* a forked child that exits */
    remove_files();
    kill(survivor, SIGKILL);
    waitpid(survivor, NULL, 0);
}

static void start_survivor(void)
{
    int pipe_ends[2];
    EXPECT(pipe2(pipe_ends, O_CLOEXEC) == 0);
    owner = getpid();
    survivor = fork();
    EXPECT(survivor >= 0);
    if (survivor == 0)
        survive(pipe_ends);
    /* The other end stays open as long as we live, below those that a test closes by the range. */
    EXPECT(dup3(pipe_ends[1], pipe_ends[0], O_CLOEXEC) == pipe_ends[0]);
    close(pipe_ends[1]);
    atexit(end_in_peace);
}

void own_path(char path[64])
{
    static int n_paths;
    if (prefix[0] == 0) {
        snprintf(prefix, sizeof(prefix), "weir-test-%.20s-%d-", program_invocation_short_name,
                 (int)getpid());
        start_survivor();
    }
    snprintf(path, 64, FOLDER "/%s%d", prefix, n_paths++);
}
