/* The end of a frontend without a failed request:
 *
 *     SIGTERM ─► not ready; accept what the kernel has queued, close the port
 *             ─► every answer says Connection: close
 *             ─► after DRAIN_IDLE_GRACE_NS, idle connections are told to go
 *             ─► no connection left, or --drain-timeout-ms over ─► exit 0
 *
 * The grace is for keep-alive clients in the middle of sending their next request: closing an idle
 * connection at that moment would cost them that request. A client that sends within the grace is
 * answered, and told that the connection ends. */
#ifndef WEIR_FRONTEND_DRAIN_H
#define WEIR_FRONTEND_DRAIN_H

#include "frontend/server.h"

#define DRAIN_IDLE_GRACE_NS (1 * NS_PER_S)

/* Begins. Again: does nothing. */
void drain_begin(struct server *server);
/* Once a turn while draining. */
void drain_step(struct server *server);
/* True when there is nothing left to wait for, or the time is over. */
bool drain_is_over(const struct server *server);

#endif
