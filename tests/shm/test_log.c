/* Log lines, read back from the descriptor they were written to. */
#include "shm/base.h"
#include "shm/log.h"
#include "tests/test.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int ends[2], saved_stderr;
static char text[1 << 16];

/* What the log wrote since the last call. */
static const char *written(void)
{
    ssize_t got = read(ends[0], text, sizeof(text) - 1);
    text[got < 0 ? 0 : got] = 0;
    return text;
}

/* Behind the time, which changes. */
static const char *after(const char *line, const char *mark)
{
    const char *at = strstr(line, mark);
    EXPECT(at);
    return at + strlen(mark);
}

static void a_line_for_people_has_time_severity_and_process(void)
{
    log_init("worker", false, LOG_SEVERITY_INFO);
    log_warning("cannot open %s: %d", "x", 7);
    const char *line = written();
    EXPECT(line[4] == '-' && line[10] == 'T' && line[26] == 'Z');
    EXPECT_STRING(line + 27, " WARNING worker: cannot open x: 7\n");
}

static void lines_below_the_threshold_are_dropped(void)
{
    log_init("worker", false, LOG_SEVERITY_WARNING);
    log_debug("no");
    log_info("no");
    EXPECT_STRING(written(), "");
    log_error("yes");
    EXPECT_STRING(after(written(), "Z "), "ERROR worker: yes\n");
}

static void every_word_of_the_flag_is_a_severity(void)
{
    EXPECT_EQUAL(log_severity_of("debug"), LOG_SEVERITY_DEBUG);
    EXPECT_EQUAL(log_severity_of("info"), LOG_SEVERITY_INFO);
    EXPECT_EQUAL(log_severity_of("warning"), LOG_SEVERITY_WARNING);
    EXPECT_EQUAL(log_severity_of("error"), LOG_SEVERITY_ERROR);
}

static void a_json_line_escapes_what_json_must(void)
{
    log_init("front\"end", true, LOG_SEVERITY_DEBUG);
    log_debug("a\"b\\c\n\t\x01\x7f d");
    const char *line = written();
    EXPECT(strncmp(line, "{\"severity\":\"DEBUG\",\"time\":\"20", 30) == 0);
    EXPECT_STRING(after(line, "Z\","), "\"process\":\"front\\u0022end\",\"message\":"
                                       "\"a\\u0022b\\u005cc\\u000a\\u0009\\u0001\\u007f d\"}\n");
}

static void json_keeps_utf8_and_replaces_what_is_none(void)
{
    static const struct {
        const char *message, *expected;
    } cases[] = {
        {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\x80", "\\ufffd"},
        {"\xc3", "\\ufffd"},
        {"\xc3x", "\\ufffdx"},
        {"\xc0\xaf", "\\ufffd\\ufffd"},
        {"\xe0\x80\x80", "\\ufffd\\ufffd\\ufffd"},
        {"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"},
        {"\xf0\x8f\xbf\xbf", "\\ufffd\\ufffd\\ufffd\\ufffd"},
        {"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"},
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
        {"\xf8", "\\ufffd"},
        {"\xe2\x82", "\\ufffd\\ufffd"},
    };
    log_init("p", true, LOG_SEVERITY_DEBUG);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char expected[128];
        snprintf(expected, sizeof(expected), "%s\"}\n", cases[i].expected);
        log_info("%s", cases[i].message);
        EXPECT_STRING(after(written(), "\"message\":\""), expected);
    }
}

static void a_message_cannot_fake_a_second_line(void)
{
    log_init("p", false, LOG_SEVERITY_DEBUG);
    log_info("one\r\ntwo\x1b[31m");
    EXPECT_STRING(after(written(), "p: "), "one  two [31m\n");
}

static void a_long_message_is_cut_and_still_one_line(void)
{
    static char message[10000];
    memset(message, '"', sizeof(message) - 1); /* the worst for JSON: six bytes each */
    for (int as_json = 0; as_json <= 1; as_json++) {
        log_init("p", as_json, LOG_SEVERITY_DEBUG);
        log_info("%s", message);
        const char *line = written();
        EXPECT(strlen(line) < sizeof(text) - 1 && strchr(line, '\n')[1] == 0);
        EXPECT(!as_json || strcmp(line + strlen(line) - 3, "\"}\n") == 0);
    }
}

/* But for the digits of the time. */
static void expect_same_shape(const char *line, const char *head)
{
    for (size_t i = 0; head[i]; i++)
        EXPECT(line[i] == head[i] || (isdigit((unsigned char)line[i]) && isdigit(head[i])));
}

static void a_head_is_what_lines_begin_with(void)
{
    char longest[LOG_PROCESS_BYTES_MAX + 1] = "";
    memset(longest, '"', LOG_PROCESS_BYTES_MAX); /* six bytes each, as JSON */
    for (int as_json = 0; as_json <= 1; as_json++) {
        const char *const processes[] = {"frontend 3", longest};
        for (size_t i = 0; i < ARRAY_COUNT(processes); i++) {
            char head[LOG_HEAD_BYTES];
            log_init(processes[i], as_json, LOG_SEVERITY_DEBUG);
            EXPECT_EQUAL(log_head(LOG_SEVERITY_WARNING, head), strlen(head));
            log_warning("x");
            const char *line = written();
            expect_same_shape(line, head);
            EXPECT_STRING(line + strlen(head), as_json ? "\"x\"}\n" : "x\n");
        }
    }
}

/* The C library's calendar is the judge: each day to 2410, then every 97th to the year 9999. */
static void times_are_those_of_the_calendar(void)
{
    for (time_t day = 0; day <= 2932896; day += day < 160800 ? 1 : 97) {
        const struct timespec time = {day * 86400 + day * 7919 % 86400, day * 104729 % 1000000000};
        struct tm parts;
        char seconds[32], expected[64], got[LOG_TIME_BYTES];
        gmtime_r(&time.tv_sec, &parts);
        strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &parts);
        snprintf(expected, sizeof(expected), "%s.%06ldZ", seconds, time.tv_nsec / 1000);
        log_time(time, got);
        EXPECT_STRING(got, expected);
    }
}

static void a_broken_check_is_a_line_of_the_log(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        signal(SIGABRT, SIG_DFL);
        log_init("worker", true, LOG_SEVERITY_ERROR);
        check_failed("a.c", 7, "strcmp(word, \"x\") == 0");
    }
    int status;
    EXPECT_EQUAL(waitpid(child, &status, 0), child);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    const char *line = written();
    EXPECT(strncmp(line, "{\"severity\":\"ERROR\",\"time\":\"20", 30) == 0);
    EXPECT_STRING(after(line, "Z\","), "\"process\":\"worker\",\"message\":\"CHECK failed: "
                                       "strcmp(word, \\u0022x\\u0022) == 0 at a.c:7\"}\n");
}

static void errno_survives(void)
{
    errno = ENOSPC;
    log_info("x");
    EXPECT_EQUAL(errno, ENOSPC);
    written();
}

static void *write_lines(void *argument)
{
    for (int i = 0; i < 200; i++)
        log_info("%s", (const char *)argument);
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void)
{
    pthread_t threads[2];
    log_init("p", false, LOG_SEVERITY_DEBUG);
    pthread_create(&threads[0], NULL, write_lines, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    pthread_create(&threads[1], NULL, write_lines, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    int n_lines = 0;
    for (char *line = strtok((char *)written(), "\n"); line; line = strtok(NULL, "\n"), n_lines++)
        EXPECT(strstr(line, "p: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") ||
               strstr(line, "p: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"));
    EXPECT_EQUAL(n_lines, 400);
}

/* What a failed EXPECT said went into our pipe. */
static void show_rest(void)
{
    const char *rest = written();
    if (write(saved_stderr, rest, strlen(rest)) < 0)
        _exit(1);
}

int main(void)
{
    saved_stderr = dup(STDERR_FILENO);
    atexit(show_rest);
    EXPECT_EQUAL(pipe2(ends, O_CLOEXEC), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    dup2(ends[1], STDERR_FILENO);
    RUN(a_line_for_people_has_time_severity_and_process);
    RUN(lines_below_the_threshold_are_dropped);
    RUN(every_word_of_the_flag_is_a_severity);
    RUN(a_json_line_escapes_what_json_must);
    RUN(json_keeps_utf8_and_replaces_what_is_none);
    RUN(a_message_cannot_fake_a_second_line);
    RUN(a_long_message_is_cut_and_still_one_line);
    RUN(a_head_is_what_lines_begin_with);
    RUN(times_are_those_of_the_calendar);
    RUN(a_broken_check_is_a_line_of_the_log);
    RUN(errno_survives);
    RUN(lines_of_several_threads_do_not_mix);
    return 0;
}
