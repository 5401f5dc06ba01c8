/* The text of /metrics as a scraper reads it: format, monotonic buckets, sums that add up. */
#include "frontend/metrics.h"
#include "tests/frontend/arena.h"
#include "tests/test.h"

#include <ctype.h>
#include <math.h>

static char *text_of(const struct stats_view *view)
{
    struct response_buffer body = {.allocate = arena_allocate};
    metrics_append_stats(&body, view);
    response_append(&body, "", 1);
    return body.bytes;
}

/* The value of the series, which must be there exactly once. */
static double value_of(const char *text, const char *series)
{
    char pattern[128];
    snprintf(pattern, sizeof(pattern), "\n%s ", series);
    const char *found = strstr(text, pattern);
    EXPECT(found != NULL);
    EXPECT(strstr(found + 1, pattern) == NULL);
    return strtod(found + strlen(pattern), NULL);
}

static void expect_name(const char *line)
{
    EXPECT(isalpha((unsigned char)line[0]));
    size_t n = strspn(line, "abcdefghijklmnopqrstuvwxyz_0123456789");
    EXPECT(line[n] == ' ' || line[n] == '{');
}

/* What `promtool check metrics` wants of the format: each family announced once, by HELP then TYPE,
 * before its samples; each sample a name, labels, one space, a number. */
static void every_line_is_well_formed(void)
{
    static struct stats_view view;
    char *text = text_of(&view);
    char family[64] = "";
    size_t n_families = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char type[16], *end;
        if (strncmp(line, "# HELP ", 7) == 0) {
            EXPECT_EQUAL(sscanf(line, "# HELP %63s", family), 1);
            EXPECT(strlen(line) > 7 + strlen(family) + 1);
            line = strtok(NULL, "\n");
            EXPECT_EQUAL(strncmp(line + 7, family, strlen(family)), 0);
            EXPECT_EQUAL(sscanf(line, "# TYPE %*s %15s", type), 1);
            EXPECT(strcmp(type, "counter") == 0 || strcmp(type, "histogram") == 0);
            n_families++;
            continue;
        }
        expect_name(line);
        EXPECT_EQUAL(strncmp(line, family, strlen(family)), 0);
        char *space = strrchr(line, ' ');
        EXPECT(space != NULL);
        strtod(space + 1, &end);
        EXPECT(*end == '\0' && end > space + 1);
    }
    EXPECT(n_families > STATS_HISTOGRAM_COUNT);
}

static void every_series_is_there_before_the_first_request(void)
{
    static struct stats_view view;
    char *text = text_of(&view);
    EXPECT_EQUAL(value_of(text, "weir_requests_total"), 0);
    EXPECT_EQUAL(value_of(text, "weir_responses_total{code=\"504\"}"), 0);
    EXPECT_EQUAL(value_of(text, "weir_parse_seconds_count"), 0);
    EXPECT_EQUAL(value_of(text, "weir_parse_seconds_bucket{le=\"+Inf\"}"), 0);
}

static void record(struct stats_histogram_view *histogram, uint64_t value)
{
    histogram->buckets[stats_bucket(value)]++;
    histogram->count++;
    histogram->sum += value;
}

static void buckets_are_cumulative_and_exact_at_their_bounds(void)
{
    static struct stats_view view;
    struct stats_histogram_view *total = &view.histograms[STATS_HISTOGRAM_TOTAL];
    record(total, 1023);
    record(total, 1024);
    record(total, 2047);
    record(total, UINT64_C(1) << 39);
    char *text = text_of(&view);
    EXPECT_EQUAL(value_of(text, "weir_request_seconds_bucket{le=\"0.000001023\"}"), 1);
    EXPECT_EQUAL(value_of(text, "weir_request_seconds_bucket{le=\"0.000002047\"}"), 3);
    EXPECT_EQUAL(value_of(text, "weir_request_seconds_bucket{le=\"68.719476735\"}"), 3);
    EXPECT_EQUAL(value_of(text, "weir_request_seconds_bucket{le=\"+Inf\"}"), 4);
    EXPECT_EQUAL(value_of(text, "weir_request_seconds_count"), 4);
    double sum = value_of(text, "weir_request_seconds_sum");
    EXPECT(fabs(sum - (1023 + 1024 + 2047 + 549755813888.0) / 1e9) < 1e-6);
}

static void plain_units_are_not_scaled(void)
{
    static struct stats_view view;
    for (uint64_t tokens = 1; tokens <= 512; tokens++)
        record(&view.histograms[STATS_HISTOGRAM_TEXT_TOKENS], tokens);
    view.counters[STATS_TOKENS] = UINT64_C(1) << 60;
    char *text = text_of(&view);
    EXPECT_EQUAL(value_of(text, "weir_text_tokens_bucket{le=\"1\"}"), 1);
    EXPECT_EQUAL(value_of(text, "weir_text_tokens_bucket{le=\"255\"}"), 255);
    EXPECT_EQUAL(value_of(text, "weir_text_tokens_sum"), 512 * 513 / 2);
    EXPECT_EQUAL(value_of(text, "weir_tokens_total"), INT64_C(1) << 60);
}

int main(void)
{
    RUN(every_line_is_well_formed);
    RUN(every_series_is_there_before_the_first_request);
    RUN(buckets_are_cumulative_and_exact_at_their_bounds);
    RUN(plain_units_are_not_scaled);
    return 0;
}
