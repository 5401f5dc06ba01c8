/* The lingering close, over socket pairs and a clock turned by hand. */
#include "frontend/linger.h"
#include "tests/test.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

static void the_peer_reads_an_end_and_what_it_still_sends_is_thrown_away(void)
{
    static struct linger_list linger;
    int pair[2];
    char byte;
    static const char data[100000];
    EXPECT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    linger_add(&linger, pair[0], 0);
    EXPECT_EQUAL(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0);
    EXPECT_EQUAL(send(pair[1], data, sizeof(data), MSG_NOSIGNAL), sizeof(data));
    linger_sweep(&linger, 1);
    EXPECT_EQUAL(recv(pair[0], &byte, 1, MSG_DONTWAIT), -1);
    EXPECT_EQUAL(linger.n, 1);
    close(pair[1]);
    linger_sweep(&linger, 2);
    EXPECT_EQUAL(linger.n, 0);
    EXPECT(!is_open(pair[0]));
}

static void it_ends_after_its_time(void)
{
    static struct linger_list linger;
    int first[2], second[2];
    EXPECT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, first), 0);
    EXPECT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, second), 0);
    linger_add(&linger, first[0], 0);
    linger_add(&linger, second[0], 10);
    linger_sweep(&linger, LINGER_NS - 1);
    EXPECT_EQUAL(linger.n, 2);
    linger_sweep(&linger, LINGER_NS);
    EXPECT_EQUAL(linger.n, 1);
    EXPECT(!is_open(first[0]) && is_open(second[0]));
    linger_close(&linger);
    EXPECT(!is_open(second[0]));
    close(first[1]);
    close(second[1]);
}

static void more_than_the_limit_are_closed_at_once(void)
{
    static struct linger_list linger;
    int fds[2];
    EXPECT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    for (int i = 0; i < LINGER_MAX; i++)
        linger_add(&linger, dup(fds[0]), 0);
    int one_more = dup(fds[0]);
    linger_add(&linger, one_more, 0);
    EXPECT(!is_open(one_more));
    EXPECT_EQUAL(linger.n, LINGER_MAX);
    linger_close(&linger);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    RUN(the_peer_reads_an_end_and_what_it_still_sends_is_thrown_away);
    RUN(it_ends_after_its_time);
    RUN(more_than_the_limit_are_closed_at_once);
    return 0;
}
