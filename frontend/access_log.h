/* One line for each request, with --access-log: text for people, or with --json-output a JSON
 * object as Cloud Logging reads it (httpRequest, logging.googleapis.com/trace). It begins like
 * every other line of the process and is written with one write(2) to stderr; blocking, which is
 * why it is off by default. */
#ifndef WEIR_FRONTEND_ACCESS_LOG_H
#define WEIR_FRONTEND_ACCESS_LOG_H

struct exchange;

void access_log_write(struct exchange *exchange);

#endif
