/* Prints the table of settings.h for people: --help, and docs/flags.md.
 *
 * A help text is wrapped at the last space that fits into HELP_COLUMNS; its note ("[PORT; default
 * 8080; 0 to 65535]") stands on a line of its own. */
#include "proto/settings.h"
#include "proto/settings_table.h"

#include <stdio.h>
#include <string.h>

#define HELP_COLUMNS 100
#define HELP_INDENT  34  /* column of the descriptions */
#define TEXT_BYTES   128 /* room for an environment name, a default or a range */

/* "A,B" as "A or B". */
static void write_environment(char *text, size_t text_bytes, const char *environment)
{
    const char *comma = strchr(environment, ',');

    if (comma == NULL)
        snprintf(text, text_bytes, "%s", environment);
    else
        snprintf(text, text_bytes, "%.*s or %s", (int)(comma - environment), environment,
                 comma + 1);
}

/* What stands behind the flag: "--port NUMBER". */
static const char *placeholder(const struct setting *setting)
{
    switch (setting->kind) {
    case SETTING_NUMBER:
        return " NUMBER";
    case SETTING_CHOICE:
        return " NAME";
    case SETTING_STRING:
        return " TEXT";
    default:
        return "";
    }
}

static void write_default(char *text, size_t text_bytes, const struct setting *setting)
{
    if (setting->kind == SETTING_NUMBER)
        snprintf(text, text_bytes, "%u", setting->number);
    else if (setting->kind == SETTING_SWITCH)
        snprintf(text, text_bytes, "%s", setting->number != 0 ? "true" : "false");
    else
        snprintf(text, text_bytes, "%s", setting->text);
}

static void write_allowed(char *text, size_t text_bytes, const struct setting *setting)
{
    text[0] = '\0';
    if (setting->kind == SETTING_NUMBER)
        snprintf(text, text_bytes, "%u to %u", setting->minimum, setting->maximum);
    else if (setting->kind == SETTING_CHOICE)
        snprintf(text, text_bytes, "%s", setting->choices);
}

/* The words behind `used` columns of a line, continued at HELP_INDENT. */
static void print_wrapped(const char *text, int used)
{
    int column = used;

    for (const char *word = text; *word != '\0';) {
        int bytes = (int)strcspn(word, " ");
        if (column > HELP_INDENT && column + 1 + bytes > HELP_COLUMNS) {
            putchar('\n');
            column = 0;
        }
        int gap = column < HELP_INDENT ? HELP_INDENT - column : 1;
        printf("%*s%.*s", gap, "", bytes, word);
        column += gap + bytes;
        word += bytes;
        word += strspn(word, " ");
    }
    putchar('\n');
}

static void print_help_row(const struct setting *setting)
{
    char environment[TEXT_BYTES], fallback[TEXT_BYTES], range[TEXT_BYTES];
    int used = printf("  --%s%s", setting->flag, placeholder(setting));

    write_environment(environment, sizeof(environment), setting->environment);
    write_default(fallback, sizeof(fallback), setting);
    write_allowed(range, sizeof(range), setting);
    if (used >= HELP_INDENT) {
        putchar('\n');
        used = 0;
    }
    print_wrapped(setting->help, used);
    printf("%*s[%s%s%s%s%s]\n", HELP_INDENT, "", environment,
           fallback[0] != '\0' ? "; default " : "", fallback, range[0] != '\0' ? "; " : "", range);
}

void settings_print_help(const char *program)
{
    printf(
        "Usage: %s [flags]\n\n"
        "A flag is written --flag value or --flag=value; a switch --flag, --no-flag or\n"
        "--flag=false. The name in [brackets] is the environment variable that sets the same; a\n"
        "flag beats it, and an empty one counts as unset. --help or -h prints this.\n",
        program);
    for (size_t i = 0; i < settings_table_count; i++) {
        if (settings_table[i].kind == SETTING_GROUP)
            printf("\n%s\n", settings_table[i].help);
        else
            print_help_row(&settings_table[i]);
    }
}

static void print_code(const char *text)
{
    if (text[0] == '\0')
        printf(" |");
    else
        printf(" `%s` |", text);
}

static void print_markdown_row(const struct setting *setting)
{
    char environment[TEXT_BYTES], fallback[TEXT_BYTES], range[TEXT_BYTES];

    write_environment(environment, sizeof(environment), setting->environment);
    write_default(fallback, sizeof(fallback), setting);
    write_allowed(range, sizeof(range), setting);
    printf("| `--%s` | %s |", setting->flag, environment);
    print_code(fallback);
    printf(" %s | %s |\n", range, setting->help);
}

void settings_print_markdown(void)
{
    puts(
        "# Flags\n\n"
        "Made from the table in proto/settings.h by `build/release/tests/test_settings "
        "--markdown`;\n"
        "a test compares the two. All programs take all flags and use what concerns them, so that\n"
        "`scripts/serve` can hand its command line on.\n\n"
        "- `--port 8080`, `--port=8080` or `PORT=8080`: a flag beats the environment, and of a "
        "flag\n"
        "  given twice the last one holds. An empty environment variable counts as unset.\n"
        "- A switch is on as `--h2c` or `--h2c=true`, off as `--no-h2c` or `--h2c=false`.\n"
        "- A wrong flag or value ends the program with status 64 and a sentence that says what is\n"
        "  allowed.");
    for (size_t i = 0; i < settings_table_count; i++) {
        if (settings_table[i].kind == SETTING_GROUP)
            printf("\n## %s\n\n| flag | environment | default | allowed | what it does |\n"
                   "|---|---|---|---|---|\n",
                   settings_table[i].help);
        else
            print_markdown_row(&settings_table[i]);
    }
}
