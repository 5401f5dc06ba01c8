/* Log lines: built in one buffer, written by one write(2). All but log_write()'s formatting is
 * async-signal-safe, because a broken CHECK, wherever it was met, becomes a line, too. */
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

static void line_add_escape(struct line *line, unsigned char byte)
{
    static const char digits[] = "0123456789abcdef";
    line_add_text(line, "\\u00");
    line_add(line, &digits[byte >> 4], 1);
    line_add(line, &digits[byte & 15], 1);
}

/* A JSON string. What is not UTF-8 becomes U+FFFD, so that one odd byte does not cost the line. */
static void line_add_json_string(struct line *line, const char *text)
{
    line_add(line, "\"", 1);
    while (*text) {
        unsigned char byte = (unsigned char)*text;
        size_t size = utf8_character_bytes((const unsigned char *)text);
        if (size == 0) {
            line_add_text(line, "\\ufffd");
            size = 1;
        } else if (byte < 0x20 || byte == '"' || byte == '\\' || byte == 0x7f) {
            line_add_escape(line, byte);
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

/* `value` with leading zeros, and the sign that follows it; returns where that ends. */
static char *put_number(char *at, uint64_t value, uint32_t n_digits, char sign)
{
    for (uint32_t i = n_digits; i-- > 0; value /= 10)
        at[i] = (char)('0' + value % 10);
    at[n_digits] = sign;
    return at + n_digits + 1;
}

/* The date by Howard Hinnant's days_from_civil, reversed: years begin in March, so that the leap
 * day is their last, and 400 of them have 146097 days. */
static char *put_date(char *at, uint64_t days_since_1970)
{
    const uint64_t days = days_since_1970 + 719468, day_of_era = days % 146097; /* since 0000-03 */
    const uint64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const uint64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const uint64_t month_from_march = (5 * day_of_year + 2) / 153;
    const uint64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    at = put_number(at, days / 146097 * 400 + year_of_era + (month <= 2), 4, '-');
    at = put_number(at, month, 2, '-');
    return put_number(at, day_of_year - (153 * month_from_march + 2) / 5 + 1, 2, 'T');
}

void log_time(struct timespec time, char text[LOG_TIME_BYTES])
{
    const uint64_t seconds = (uint64_t)time.tv_sec;
    char *at = put_date(text, seconds / 86400);
    at = put_number(at, seconds / 3600 % 24, 2, ':');
    at = put_number(at, seconds / 60 % 60, 2, ':');
    at = put_number(at, seconds % 60, 2, '.');
    at = put_number(at, (uint64_t)time.tv_nsec / NS_PER_US, 6, 'Z');
    *at = 0;
}

static void line_add_head(struct line *line, enum log_severity severity)
{
    struct timespec now;
    char time[LOG_TIME_BYTES];
    clock_gettime(CLOCK_REALTIME, &now);
    log_time(now, time);
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

static void line_write(const struct line *line)
{
    ssize_t written;
    do
        written = write(STDERR_FILENO, line->bytes, line->size);
    while (written < 0 && errno == EINTR);
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
    line_write(&line);
    errno = saved_errno;
}

/* check_failed()'s voice. */
static void say_broken(const char *sentence)
{
    struct line line = {.size = 0};
    line_build(&line, LOG_SEVERITY_ERROR, sentence);
    line_write(&line);
}

void log_init(const char *process, bool as_json, enum log_severity threshold)
{
    CHECK(process && strlen(process) <= LOG_PROCESS_BYTES_MAX && threshold < LOG_SEVERITY_COUNT);
    settings.process = process;
    settings.as_json = as_json;
    settings.threshold = threshold;
    check_failed_voice(say_broken);
}

struct log_settings log_told(void)
{
    return settings;
}
