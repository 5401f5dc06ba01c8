/* Connections that were refused in the middle of their request: libh2o closes them at once, and a
 * close with unread input resets the connection, so that many clients never see the answer that
 * says why. A duplicate of the descriptor keeps the connection alive: its sending side is shut
 * down, what still arrives is thrown away, until the client closes or LINGER_NS is over. */
#ifndef WEIR_FRONTEND_LINGER_H
#define WEIR_FRONTEND_LINGER_H

#include "shm/base.h"

#define LINGER_MAX         256 /* more are closed at once */
#define LINGER_NS          (2 * NS_PER_S)
#define LINGER_READS_SWEEP 64 /* of LINGER_READ_BYTES, for one connection in one sweep */
#define LINGER_READ_BYTES  16384

struct linger_list {
    struct {
        int fd;
        uint64_t until_ns;
    } entries[LINGER_MAX];
    uint32_t n;
};

/* Takes over `fd` (closing it at once when full). */
void linger_add(struct linger_list *linger, int fd, uint64_t now_ns);
/* Throws input away, closes what is done. */
void linger_sweep(struct linger_list *linger, uint64_t now_ns);
void linger_close(struct linger_list *linger);

#endif
