/* Log lines: built in one buffer, written by one write(2). */
#include "shm/log.h"
#include "shm/base.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_MESSAGE_BYTES 2048
/* Every byte of a message may become \u00XX, and the frame around it is short. */
#define LOG_LINE_BYTES (6 * LOG_MESSAGE_BYTES + LOG_HEAD_BYTES + 8)
/* Nor does the head of the process' name alone overflow its room. */
_Static_assert(6 * LOG_PROCESS_BYTES_MAX + 128 < LOG_HEAD_BYTES, "a head fits");

/* The one piece of state a process' log has; set once by log_init(), before threads. */
static struct log_settings settings = {.process = "weir", .threshold = LOG_SEVERITY_INFO};

#define SEVERITY_NAME(identifier, word) #identifier,
#define SEVERITY_WORD(identifier, word) word,
static const char *const severity_names[] = {LOG_SEVERITIES(SEVERITY_NAME)};
static const char *const severity_words[] = {LOG_SEVERITIES(SEVERITY_WORD)};

enum log_severity log_severity_of(const char *word)
{
    uint32_t severity = 0;
    while (severity < LOG_SEVERITY_COUNT && strcmp(severity_words[severity], word) != 0)
        severity++;
    CHECK(severity < LOG_SEVERITY_COUNT);
    return (enum log_severity)severity;
}

void log_init(const char *process, bool as_json, enum log_severity threshold)
{
    CHECK(process && strlen(process) <= LOG_PROCESS_BYTES_MAX && threshold < LOG_SEVERITY_COUNT);
    settings.process = process;
    settings.as_json = as_json;
    settings.threshold = threshold;
}

struct log_settings log_told(void)
{
    return settings;
}

struct line {
    size_t size;
    char bytes[LOG_LINE_BYTES];
};

static void line_add(struct line *line, const char *bytes, size_t size)
{
    if (size > LOG_LINE_BYTES - 1 - line->size) /* the last byte is the newline's */
        size = LOG_LINE_BYTES - 1 - line->size;
    memcpy(line->bytes + line->size, bytes, size);
    line->size += size;
}

static void line_add_text(struct line *line, const char *text)
{
    line_add(line, text, strlen(text));
}

/* Bytes of the well-formed UTF-8 character that begins at `text` (RFC 3629), or 0. */
static size_t utf8_character_bytes(const unsigned char *text)
{
    unsigned char a = text[0];
    size_t size = a < 0x80 ? 1 : a >= 0xc2 && a <= 0xdf ? 2 : (a & 0xf0) == 0xe0 ? 3 : 4;
    if (size == 4 && (a < 0xf0 || a > 0xf4))
        return 0;
    for (size_t i = 1; i < size; i++) /* stops at the terminator: 0 continues nothing */
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (a == 0xe0 && text[1] < 0xa0) || (a == 0xf0 && text[1] < 0x90);
    bool surrogate = a == 0xed && text[1] > 0x9f;
    bool beyond = a == 0xf4 && text[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : size;
}

/* A JSON string. What is not UTF-8 becomes U+FFFD, so that one odd byte does not cost the line. */
static void line_add_json_string(struct line *line, const char *text)
{
    line_add(line, "\"", 1);
    while (*text) {
        unsigned char byte = (unsigned char)*text;
        size_t size = utf8_character_bytes((const unsigned char *)text);
        char escape[8];
        if (size == 0) {
            line_add_text(line, "\\ufffd");
            size = 1;
        } else if (byte < 0x20 || byte == '"' || byte == '\\' || byte == 0x7f) {
            snprintf(escape, sizeof(escape), "\\u%04x", byte);
            line_add_text(line, escape);
        } else {
            line_add(line, text, size);
        }
        text += size;
    }
    line_add(line, "\"", 1);
}

/* For people: control characters would let a message fake a second line. */
static void line_add_printable(struct line *line, const char *text)
{
    for (; *text; text++)
        line_add(line, (unsigned char)*text < 0x20 || *text == 0x7f ? " " : text, 1);
}

static void time_text(char *text, size_t size)
{
    struct timespec now;
    struct tm parts;
    char seconds[32]; /* 19 letters until the year 9999 */
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, size, "%s.%06ldZ", seconds, now.tv_nsec / 1000);
}

static void line_add_head(struct line *line, enum log_severity severity)
{
    char time[64];
    time_text(time, sizeof(time));
    if (settings.as_json) {
        line_add_text(line, "{\"severity\":\"");
        line_add_text(line, severity_names[severity]);
        line_add_text(line, "\",\"time\":\"");
        line_add_text(line, time);
        line_add_text(line, "\",\"process\":");
        line_add_json_string(line, settings.process);
        line_add_text(line, ",\"message\":");
    } else {
        line_add_text(line, time);
        line_add_text(line, " ");
        line_add_text(line, severity_names[severity]);
        line_add_text(line, " ");
        line_add_text(line, settings.process);
        line_add_text(line, ": ");
    }
}

static void line_build(struct line *line, enum log_severity severity, const char *message)
{
    line_add_head(line, severity);
    if (settings.as_json) {
        line_add_json_string(line, message);
        line_add_text(line, "}");
    } else {
        line_add_printable(line, message);
    }
    line->bytes[line->size++] = '\n';
}

size_t log_head(enum log_severity severity, char head[LOG_HEAD_BYTES])
{
    CHECK(severity < LOG_SEVERITY_COUNT);
    struct line line = {.size = 0};
    line_add_head(&line, severity);
    CHECK(line.size < LOG_HEAD_BYTES);
    memcpy(head, line.bytes, line.size);
    head[line.size] = 0;
    return line.size;
}

void log_write(enum log_severity severity, const char *format, ...)
{
    if (severity < settings.threshold)
        return;
    CHECK(severity < LOG_SEVERITY_COUNT);
    int saved_errno = errno;
    char message[LOG_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    struct line line = {.size = 0};
    line_build(&line, severity, message);
    ssize_t written;
    do
        written = write(STDERR_FILENO, line.bytes, line.size);
    while (written < 0 && errno == EINTR);
    errno = saved_errno;
}
