/* Flags, their environment twins, their bounds, and the sentences about mistakes. With --markdown
 * it prints docs/flags.md, which the last test compares with the file. */
#include "proto/settings.h"
#include "proto/settings_table.h"
#include "tests/test.h"

#include <unistd.h>

#define ARGUMENTS_MAX 8
#define PAGE_BYTES    65536

static const char *const *environment; /* "NAME", "value", ..., NULL; the fake getenv's */

static char *fake_getenv(const char *name)
{
    for (const char *const *pair = environment; pair != NULL && *pair != NULL; pair += 2)
        if (strcmp(pair[0], name) == 0)
            return (char *)pair[1];
    return NULL;
}

static struct settings settings;
static char error[ERROR_BYTES];

/* Parses the words of `line`, separated by single spaces. They live until the next call. */
static enum settings_result parse(const char *line)
{
    static char copy[1024];
    char *argv[ARGUMENTS_MAX] = {"weir"};
    int argc = 1;

    snprintf(copy, sizeof(copy), "%s", line);
    for (char *rest = copy; rest != NULL && *rest != '\0';)
        argv[argc++] = strsep(&rest, " ");
    return settings_parse(&settings, argc, argv, fake_getenv, error);
}

static void defaults_are_those_of_the_table(void)
{
    EXPECT_EQUAL(parse(""), SETTINGS_OK);
    EXPECT_STRING(error, "");
    EXPECT_STRING(settings.model_id, "models/tiny-sst2");
    EXPECT_STRING(settings.backend, "auto");
    EXPECT_EQUAL(settings.port, 8080);
    EXPECT_EQUAL(settings.payload_limit, 2000000);
    EXPECT_EQUAL(settings.auto_truncate, true);
    EXPECT_EQUAL(settings.h2c, false);
}

static void a_value_follows_a_space_or_an_equals_sign(void)
{
    EXPECT_EQUAL(parse("--port 1 --model-id=a/b=c --api-key="), SETTINGS_OK);
    EXPECT_EQUAL(settings.port, 1);
    EXPECT_STRING(settings.model_id, "a/b=c");
    EXPECT_STRING(settings.api_key, "");
}

static void a_switch_has_four_spellings(void)
{
    EXPECT_EQUAL(parse("--h2c --auto-truncate=false"), SETTINGS_OK);
    EXPECT(settings.h2c && !settings.auto_truncate);
    EXPECT_EQUAL(parse("--h2c=true --no-auto-truncate"), SETTINGS_OK);
    EXPECT(settings.h2c && !settings.auto_truncate);
    EXPECT_EQUAL(parse("--h2c=1 --auto-truncate=0"), SETTINGS_OK);
    EXPECT(settings.h2c && !settings.auto_truncate);
}

static void the_last_of_a_repeated_flag_holds(void)
{
    EXPECT_EQUAL(parse("--port 1 --port 2 --h2c --no-h2c"), SETTINGS_OK);
    EXPECT_EQUAL(settings.port, 2);
    EXPECT_EQUAL(settings.h2c, false);
}

static void the_environment_beats_defaults_and_a_flag_beats_it(void)
{
    environment = (const char *[]){"PORT", "9000", "AUTO_TRUNCATE", "false", "MODEL_ID", "m", NULL};
    EXPECT_EQUAL(parse(""), SETTINGS_OK);
    EXPECT_EQUAL(settings.port, 9000);
    EXPECT_EQUAL(settings.auto_truncate, false);
    EXPECT_STRING(settings.model_id, "m");
    EXPECT_EQUAL(parse("--port 1 --auto-truncate"), SETTINGS_OK);
    EXPECT_EQUAL(settings.port, 1);
    EXPECT_EQUAL(settings.auto_truncate, true);
}

static void aip_http_port_beats_port(void)
{
    environment = (const char *[]){"PORT", "9000", "AIP_HTTP_PORT", "7080", NULL};
    EXPECT_EQUAL(parse(""), SETTINGS_OK);
    EXPECT_EQUAL(settings.port, 7080);
    EXPECT_EQUAL(parse("--port=1"), SETTINGS_OK);
    EXPECT_EQUAL(settings.port, 1);
    environment = (const char *[]){"PORT", "9000", "AIP_HTTP_PORT", "", NULL};
    EXPECT_EQUAL(parse(""), SETTINGS_OK);
    EXPECT_EQUAL(settings.port, 9000);
}

static void an_empty_environment_variable_counts_as_unset(void)
{
    environment = (const char *[]){"PORT", "", "H2C", "", "MODEL_ID", "", NULL};
    EXPECT_EQUAL(parse(""), SETTINGS_OK);
    EXPECT_EQUAL(settings.port, 8080);
    EXPECT_STRING(settings.model_id, "models/tiny-sst2");
}

/* Every NUMBER row at its bounds and one beyond, by flag and by environment. */
static void try_number(const struct setting *setting, long long value, bool is_allowed)
{
    char line[128], text[32], *name = strdup(setting->environment);
    const uint32_t *field = (const uint32_t *)((const char *)&settings + setting->offset);
    enum settings_result expected = is_allowed ? SETTINGS_OK : SETTINGS_BAD;

    snprintf(line, sizeof(line), "--%s=%lld", setting->flag, value);
    EXPECT_EQUAL(parse(line), expected);
    EXPECT(!is_allowed || *field == value);
    EXPECT(is_allowed || (strstr(error, setting->flag) != NULL && strstr(error, "whole number")));

    snprintf(text, sizeof(text), "%lld", value);
    name[strcspn(name, ",")] = '\0';
    environment = (const char *[]){name, text, NULL};
    EXPECT_EQUAL(parse(""), expected);
    EXPECT(!is_allowed || *field == value);
    EXPECT(is_allowed || (strstr(error, name) != NULL && strstr(error, setting->flag) != NULL));
    environment = NULL;
    free(name);
}

static void every_number_is_held_to_its_bounds(void)
{
    for (size_t i = 0; i < settings_table_count; i++) {
        const struct setting *setting = &settings_table[i];
        if (setting->kind != SETTING_NUMBER)
            continue;
        EXPECT(setting->number >= setting->minimum && setting->number <= setting->maximum);
        try_number(setting, (long long)setting->minimum - 1, false);
        try_number(setting, setting->minimum, true);
        try_number(setting, (long long)setting->minimum + 1, true);
        try_number(setting, (long long)setting->maximum - 1, true);
        try_number(setting, setting->maximum, true);
        try_number(setting, (long long)setting->maximum + 1, false);
    }
}

static void every_choice_is_taken_and_nothing_else(void)
{
    EXPECT_EQUAL(parse("--backend cpu --dtype int8 --log-level error"), SETTINGS_OK);
    EXPECT_STRING(settings.dtype, "int8");
    EXPECT_EQUAL(parse("--dtype float"), SETTINGS_BAD);
    EXPECT_STRING(error, "--dtype is \"float\", but it takes one of auto, float32, float16, "
                         "bfloat16, fp8, int8");
    EXPECT_EQUAL(parse("--backend=cpu,"), SETTINGS_BAD);
    EXPECT_EQUAL(parse("--backend=cpu, "), SETTINGS_BAD);
    EXPECT_EQUAL(parse("--backend="), SETTINGS_BAD);
}

static void a_mistake_is_answered_by(const char *line, const char *sentence)
{
    EXPECT_EQUAL(parse(line), SETTINGS_BAD);
    EXPECT_STRING(error, sentence);
}

static void mistakes_are_explained(void)
{
    a_mistake_is_answered_by("--port abc",
                             "--port is \"abc\", but it takes a whole number from 0 to 65535");
    a_mistake_is_answered_by("--port=",
                             "--port is \"\", but it takes a whole number from 0 to 65535");
    a_mistake_is_answered_by("--port=+1",
                             "--port is \"+1\", but it takes a whole number from 0 to 65535");
    a_mistake_is_answered_by("--port=99999999999999999999",
                             "--port is \"99999999999999999999\", but "
                             "it takes a whole number from 0 to "
                             "65535");
    a_mistake_is_answered_by("--port", "--port needs a whole number from 0 to 65535 behind it: "
                                       "write --port=value");
    a_mistake_is_answered_by("--model-id --h2c",
                             "--model-id needs a text behind it: write --model-id=value");
    a_mistake_is_answered_by("--h2c=maybe", "--h2c is \"maybe\", but it takes true or false");
    a_mistake_is_answered_by("--prot 1", "there is no flag --prot: did you mean --port?");
    a_mistake_is_answered_by(
        "--max-batch-token=1",
        "there is no flag --max-batch-token: did you mean --max-batch-tokens?");
    a_mistake_is_answered_by("--something-else=1",
                             "there is no flag --something-else: --help lists all");
    a_mistake_is_answered_by("--no-port",
                             "--no-port: only switches have a --no- form, and it takes no value");
    a_mistake_is_answered_by("--no-h2c=true",
                             "--no-h2c: only switches have a --no- form, and it takes no value");
    a_mistake_is_answered_by("-port=1", "\"-port=1\" is no flag: write --port");
    a_mistake_is_answered_by("8080", "\"8080\" is no flag: write --flag value or --flag=value "
                                     "(see --help)");
    a_mistake_is_answered_by("--", "\"--\" is no flag: write --flag value or --flag=value "
                                   "(see --help)");
}

static void a_wrong_environment_variable_is_named(void)
{
    environment = (const char *[]){"H2C", "maybe", NULL};
    a_mistake_is_answered_by("", "H2C in the environment is \"maybe\", but --h2c takes true or "
                                 "false: change or unset it");
}

static void long_values_are_cut_in_sentences(void)
{
    char line[600] = "--port=";

    memset(line + 7, 'x', 500);
    EXPECT_EQUAL(parse(line), SETTINGS_BAD);
    EXPECT(strlen(error) < 128);
    memset(line + 2, 'y', 500);
    EXPECT_EQUAL(parse(line), SETTINGS_BAD);
    EXPECT(strlen(error) < 128);
}

static void help_is_asked_for_even_beside_mistakes(void)
{
    environment = (const char *[]){"PORT", "abc", NULL};
    EXPECT_EQUAL(parse("--nonsense --help"), SETTINGS_HELP);
    EXPECT_EQUAL(parse("-h"), SETTINGS_HELP);
}

/* What `print` writes to stdout; the caller frees it. */
static char *capture(void (*print)(void))
{
    FILE *file = tmpfile();
    char *page = calloc(1, PAGE_BYTES);
    EXPECT(file != NULL && page != NULL);
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    print();
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    rewind(file);
    EXPECT(fread(page, 1, PAGE_BYTES - 1, file) > 0);
    fclose(file);
    return page;
}

static void print_help(void)
{
    settings_print_help("weir-frontend");
}

/* What is wrong may stand before the flag that says how to log it, or after. */
static void a_complaint_knows_how_it_is_to_be_logged(void)
{
    static const struct {
        const char *line, *environment;
        bool json;
    } cases[] = {
        {"--no-such", "false", false},
        {"--no-such", "1", true},
        {"--no-such --json-output", "", true},
        {"--json-output --no-such", "", true},
        {"--json-output word", "", true},
        {"--port x --json-output=1", "", true},
        {"--no-such --no-json-output", "true", false},
        {"--no-such --json-output --json-output=0", "", false},
        {"--no-such --json-outputs", "", false},
        {"--json-output=maybe", "", false},
        {"--no-such json-output", "", false},
        {"--model-id --json-output", "", true},
        {"", "maybe", false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        environment = (const char *const[]){"JSON_OUTPUT", cases[i].environment, NULL};
        EXPECT_EQUAL(parse(cases[i].line), SETTINGS_BAD);
        EXPECT_EQUAL(settings.json_output, cases[i].json);
    }
}

static void help_fits_100_columns_and_names_every_flag(void)
{
    char *page = capture(print_help), flag[64];

    for (size_t i = 0; i < settings_table_count; i++) {
        if (settings_table[i].kind == SETTING_GROUP)
            continue;
        snprintf(flag, sizeof(flag), "  --%s", settings_table[i].flag);
        EXPECT(strstr(page, flag) != NULL);
    }
    EXPECT(strstr(page, "[AIP_HTTP_PORT or PORT; default 8080; 0 to 65535]") != NULL);
    for (char *rest = page; rest != NULL;)
        EXPECT(strlen(strsep(&rest, "\n")) <= 100);
    free(page);
}

static void docs_flags_md_is_what_the_table_prints(void)
{
    char *page = capture(settings_print_markdown), *stored = calloc(1, PAGE_BYTES);
    FILE *file = fopen("docs/flags.md", "r");

    EXPECT(file != NULL && stored != NULL);
    EXPECT(fread(stored, 1, PAGE_BYTES - 1, file) > 0);
    fclose(file);
    if (strcmp(page, stored) != 0)
        fprintf(stderr, "docs/flags.md is old: write test_settings --markdown into it\n");
    EXPECT(strcmp(page, stored) == 0);
    free(stored);
    free(page);
}

#define RUN_WITHOUT_ENVIRONMENT(test) \
    do {                              \
        environment = NULL;           \
        RUN(test);                    \
    } while (0)

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--markdown") == 0) {
        settings_print_markdown();
        return 0;
    }
    RUN_WITHOUT_ENVIRONMENT(defaults_are_those_of_the_table);
    RUN_WITHOUT_ENVIRONMENT(a_value_follows_a_space_or_an_equals_sign);
    RUN_WITHOUT_ENVIRONMENT(a_switch_has_four_spellings);
    RUN_WITHOUT_ENVIRONMENT(the_last_of_a_repeated_flag_holds);
    RUN_WITHOUT_ENVIRONMENT(the_environment_beats_defaults_and_a_flag_beats_it);
    RUN_WITHOUT_ENVIRONMENT(aip_http_port_beats_port);
    RUN_WITHOUT_ENVIRONMENT(an_empty_environment_variable_counts_as_unset);
    RUN_WITHOUT_ENVIRONMENT(every_number_is_held_to_its_bounds);
    RUN_WITHOUT_ENVIRONMENT(every_choice_is_taken_and_nothing_else);
    RUN_WITHOUT_ENVIRONMENT(mistakes_are_explained);
    RUN_WITHOUT_ENVIRONMENT(a_wrong_environment_variable_is_named);
    RUN_WITHOUT_ENVIRONMENT(long_values_are_cut_in_sentences);
    RUN_WITHOUT_ENVIRONMENT(a_complaint_knows_how_it_is_to_be_logged);
    RUN_WITHOUT_ENVIRONMENT(help_is_asked_for_even_beside_mistakes);
    RUN_WITHOUT_ENVIRONMENT(help_fits_100_columns_and_names_every_flag);
    RUN_WITHOUT_ENVIRONMENT(docs_flags_md_is_what_the_table_prints);
    return 0;
}
