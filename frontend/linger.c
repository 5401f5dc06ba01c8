/* The lingering close of linger.h. */
#include "frontend/linger.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

void linger_add(struct linger_list *linger, int fd, uint64_t now_ns)
{
    if (linger->n == LINGER_MAX) {
        close(fd);
        return;
    }
    shutdown(fd, SHUT_WR);
    linger->entries[linger->n].fd = fd;
    linger->entries[linger->n].until_ns = now_ns + LINGER_NS;
    linger->n++;
}

/* Reads what is there. False when the peer is done or broken. */
static bool discard_input(int fd)
{
    char scrap[LINGER_READ_BYTES];
    for (int i = 0; i < LINGER_READS_SWEEP; i++) {
        ssize_t n = recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT);
        if (n == 0)
            return false;
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
    }
    return true;
}

void linger_sweep(struct linger_list *linger, uint64_t now_ns)
{
    for (uint32_t i = 0; i < linger->n;) {
        bool over = now_ns >= linger->entries[i].until_ns;
        if (over || !discard_input(linger->entries[i].fd)) {
            close(linger->entries[i].fd);
            linger->entries[i] = linger->entries[--linger->n];
        } else {
            i++;
        }
    }
}

void linger_close(struct linger_list *linger)
{
    while (linger->n > 0)
        close(linger->entries[--linger->n].fd);
}
