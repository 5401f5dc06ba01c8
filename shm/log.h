/* One line per event on stderr, as text for people or as JSON for Cloud Logging (`severity`,
 * `time`, `process`, `message`, in this order). A line is written by one write(2), so that lines of
 * several processes never mix. Nothing on a request's path logs. */
#ifndef WEIR_SHM_LOG_H
#define WEIR_SHM_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

/* X(identifier as in a line, word as --log-level takes it), the least first. */
#define LOG_SEVERITIES(X) \
    X(DEBUG, "debug")     \
    X(INFO, "info")       \
    X(WARNING, "warning") \
    X(ERROR, "error")

#define LOG_SEVERITY_ENUM(identifier, word) LOG_SEVERITY_##identifier,
enum log_severity { LOG_SEVERITIES(LOG_SEVERITY_ENUM) LOG_SEVERITY_COUNT };

/* `word` must be one of those above: proto/settings.h lets no other one through. */
enum log_severity log_severity_of(const char *word);

#define LOG_PROCESS_BYTES_MAX 63
#define LOG_HEAD_BYTES        512
#define LOG_TIME_BYTES        28

/* `process` ("worker", "frontend 0") must outlive the process; lines below `threshold` are dropped.
 * A broken CHECK is a line of this log from then on, ERROR. */
void log_init(const char *process, bool as_json, enum log_severity threshold);

/* What log_init() was told. For a module that is opened at run time: it has a log of its own, and
 * speaks as the program does only when it is told the same. */
struct log_settings {
    const char *process;
    bool as_json;
    enum log_severity threshold;
};
struct log_settings log_told(void);

/* Longer messages are cut at 2 KiB. Keeps errno. */
void log_write(enum log_severity severity, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What a line of this process begins with, for who writes lines of more than a message (the access
 * log): `time INFO frontend 0: `, or as JSON `{"severity":"INFO",...,"message":`. Returns its
 * length; it is terminated, too. */
size_t log_head(enum log_severity severity, char head[LOG_HEAD_BYTES]);

/* UTC as in a line, 2026-11-24T17:05:00.000001Z, from 1970 to 9999. Async-signal-safe, which
 * gmtime_r() is not: it takes a lock. */
void log_time(struct timespec time, char text[LOG_TIME_BYTES]);

#define log_debug(...)   log_write(LOG_SEVERITY_DEBUG, __VA_ARGS__)
#define log_info(...)    log_write(LOG_SEVERITY_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LOG_SEVERITY_WARNING, __VA_ARGS__)
#define log_error(...)   log_write(LOG_SEVERITY_ERROR, __VA_ARGS__)

#endif
