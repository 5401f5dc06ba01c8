/* Reads flags and their environment twins into struct settings, by the table in settings.h.
 *
 * No getopt: it would want the table a second time, it cannot tell which of two spellings was
 * meant, and it prints its own sentences. Order is defaults, environment, command line; each
 * overwrites the one before, so "a flag beats the environment" and "the last one holds" need no
 * bookkeeping. */
#include "proto/settings.h"
#include "proto/settings_table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What a sentence quotes of a value, and the longest flag worth comparing for a suggestion. */
#define QUOTED_BYTES     64
#define FLAG_BYTES_MAX   48
#define ENVIRONMENT_NAME 64
#define NO_PREFIX        "no-"
#define NO_PREFIX_BYTES  3
#define SUGGESTION_EDITS 3

#define GROUP_ROWS(title, table) \
    {.kind = SETTING_GROUP, .help = title}, table(STRING_ROW, CHOICE_ROW, NUMBER_ROW, SWITCH_ROW)
#define ROW_HEAD(row_kind, field, row_flag, row_environment, row_help)              \
    .kind = row_kind, .offset = offsetof(struct settings, field), .flag = row_flag, \
    .environment = row_environment, .help = row_help
#define STRING_ROW(field, flag, environment, fallback, help) \
    {ROW_HEAD(SETTING_STRING, field, flag, environment, help), .text = fallback},
#define CHOICE_ROW(field, flag, environment, fallback, row_choices, help)        \
    {ROW_HEAD(SETTING_CHOICE, field, flag, environment, help), .text = fallback, \
     .choices = row_choices},
#define NUMBER_ROW(field, flag, environment, fallback, least, most, help)          \
    {ROW_HEAD(SETTING_NUMBER, field, flag, environment, help), .number = fallback, \
     .minimum = least, .maximum = most},
#define SWITCH_ROW(field, flag, environment, fallback, help) \
    {ROW_HEAD(SETTING_SWITCH, field, flag, environment, help), .number = fallback},

const struct setting settings_table[] = {SETTINGS_GROUPS(GROUP_ROWS)};
const size_t settings_table_count = ARRAY_COUNT(settings_table);

/* Fills `error`; false, so that a caller can return it. */
__attribute__((format(printf, 2, 3))) static bool refuse(char error[ERROR_BYTES],
                                                         const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, ERROR_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

static void *field_of(struct settings *settings, const struct setting *setting)
{
    return (char *)settings + setting->offset;
}

static void set_default(struct settings *settings, const struct setting *setting)
{
    switch (setting->kind) {
    case SETTING_GROUP:
        break;
    case SETTING_STRING:
    case SETTING_CHOICE:
        *(const char **)field_of(settings, setting) = setting->text;
        break;
    case SETTING_NUMBER:
        *(uint32_t *)field_of(settings, setting) = setting->number;
        break;
    case SETTING_SWITCH:
        *(bool *)field_of(settings, setting) = setting->number != 0;
        break;
    }
}

/* Digits only: no sign, no space, no 0x. */
static bool read_number(const char *text, uint32_t *number)
{
    uint64_t value = 0;

    for (const char *digit = text; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        value = value * 10 + (uint64_t)(*digit - '0');
        if (value > UINT32_MAX)
            return false;
    }
    *number = (uint32_t)value;
    return *text != '\0';
}

static bool read_switch(const char *text, bool *on)
{
    *on = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
    return *on || strcmp(text, "false") == 0 || strcmp(text, "0") == 0;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t text_bytes = strlen(text);

    for (const char *choice = choices; *choice != '\0';) {
        size_t choice_bytes = strcspn(choice, ",");
        if (choice_bytes == text_bytes && memcmp(choice, text, text_bytes) == 0)
            return true;
        choice += choice_bytes;
        choice += strspn(choice, ", ");
    }
    return false;
}

/* False where the row does not allow `text`. */
static bool set_from_text(struct settings *settings, const struct setting *setting,
                          const char *text)
{
    void *field = field_of(settings, setting);
    uint32_t number;

    switch (setting->kind) {
    case SETTING_CHOICE:
        if (!is_choice(setting->choices, text))
            return false;
        *(const char **)field = text;
        return true;
    case SETTING_NUMBER:
        if (!read_number(text, &number) || number < setting->minimum || number > setting->maximum)
            return false;
        *(uint32_t *)field = number;
        return true;
    case SETTING_SWITCH:
        return read_switch(text, field);
    default:
        *(const char **)field = text;
        return true;
    }
}

/* "a whole number from 0 to 65535" and its like, for sentences. */
static const char *allowed(const struct setting *setting, char buffer[ERROR_BYTES])
{
    switch (setting->kind) {
    case SETTING_NUMBER:
        snprintf(buffer, ERROR_BYTES, "a whole number from %u to %u", setting->minimum,
                 setting->maximum);
        return buffer;
    case SETTING_CHOICE:
        snprintf(buffer, ERROR_BYTES, "one of %s", setting->choices);
        return buffer;
    case SETTING_SWITCH:
        return "true or false";
    default:
        return "a text";
    }
}

/* The first of the row's environment variables that is set and not empty; `name` gets its name. */
static const char *environment_value(const struct setting *setting,
                                     char *(*environment_get)(const char *name),
                                     char name[ENVIRONMENT_NAME])
{
    for (const char *next = setting->environment; *next != '\0';) {
        size_t bytes = strcspn(next, ",");
        snprintf(name, ENVIRONMENT_NAME, "%.*s", (int)bytes, next);
        const char *value = environment_get(name);
        if (value != NULL && *value != '\0')
            return value;
        next += bytes + (next[bytes] == ',');
    }
    return NULL;
}

static bool read_environment(struct settings *settings, char *(*environment_get)(const char *name),
                             char error[ERROR_BYTES])
{
    for (size_t i = 0; i < settings_table_count; i++) {
        const struct setting *setting = &settings_table[i];
        char name[ENVIRONMENT_NAME], choices[ERROR_BYTES];
        if (setting->kind == SETTING_GROUP)
            continue;
        const char *value = environment_value(setting, environment_get, name);
        if (value == NULL || set_from_text(settings, setting, value))
            continue;
        return refuse(error,
                      "%s in the environment is \"%.*s\", but --%s takes %s: change or unset it",
                      name, QUOTED_BYTES, value, setting->flag, allowed(setting, choices));
    }
    return true;
}

static const struct setting *find_flag(const char *flag, size_t flag_bytes)
{
    for (size_t i = 0; i < settings_table_count; i++) {
        const struct setting *setting = &settings_table[i];
        if (setting->kind != SETTING_GROUP && strlen(setting->flag) == flag_bytes &&
            memcmp(setting->flag, flag, flag_bytes) == 0)
            return setting;
    }
    return NULL;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein distance; both at most FLAG_BYTES_MAX long. */
static size_t edit_distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    size_t row[FLAG_BYTES_MAX + 1];

    for (size_t j = 0; j <= b_bytes; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_bytes; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_bytes; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = min_size(replaced, 1 + min_size(row[j], row[j - 1]));
        }
    }
    return row[b_bytes];
}

/* The flag that was probably meant, or NULL. */
static const char *nearest_flag(const char *flag, size_t flag_bytes)
{
    const char *nearest = NULL;
    size_t least = SUGGESTION_EDITS + 1;

    if (flag_bytes > FLAG_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < settings_table_count; i++) {
        if (settings_table[i].kind == SETTING_GROUP)
            continue;
        const char *known = settings_table[i].flag;
        size_t edits = edit_distance(flag, flag_bytes, known, strlen(known));
        if (edits < least && edits < flag_bytes) {
            least = edits;
            nearest = known;
        }
    }
    return nearest;
}

/* The switch that "no-NAME" turns off, or whatever else has that NAME. */
static const struct setting *find_negated(const char *flag, size_t flag_bytes)
{
    if (strncmp(flag, NO_PREFIX, NO_PREFIX_BYTES) != 0)
        return NULL;
    return find_flag(flag + NO_PREFIX_BYTES, flag_bytes - NO_PREFIX_BYTES);
}

static bool refuse_unknown(const char *argument, char error[ERROR_BYTES])
{
    const char *flag = argument + strspn(argument, "-");
    size_t flag_bytes = strcspn(flag, "=");
    int quoted = (int)min_size(flag_bytes, QUOTED_BYTES);
    const char *nearest = nearest_flag(flag, flag_bytes);

    if (argument[0] != '-' || flag_bytes == 0)
        return refuse(error, "\"%.*s\" is no flag: write --flag value or --flag=value (see --help)",
                      QUOTED_BYTES, argument);
    if (find_flag(flag, flag_bytes) != NULL)
        return refuse(error, "\"%.*s\" is no flag: write --%.*s", QUOTED_BYTES, argument, quoted,
                      flag);
    if (find_negated(flag, flag_bytes) != NULL)
        return refuse(error, "--%.*s: only switches have a --no- form, and it takes no value",
                      quoted, flag);
    if (nearest != NULL)
        return refuse(error, "there is no flag --%.*s: did you mean --%s?", quoted, flag, nearest);
    return refuse(error, "there is no flag --%.*s: --help lists all", quoted, flag);
}

/* Takes one flag, and its value where that is the next argument. Returns how many arguments it
 * took, 0 with a sentence in `error` if it could not. */
static int read_flag(struct settings *settings, const char *argument, const char *next,
                     char error[ERROR_BYTES])
{
    char buffer[ERROR_BYTES];
    const char *flag = argument + 2;
    size_t flag_bytes = strcspn(flag, "=");
    const char *value = flag[flag_bytes] == '=' ? flag + flag_bytes + 1 : NULL;
    const struct setting *setting = find_flag(flag, flag_bytes);
    bool is_own_argument = false;

    if (setting == NULL && value == NULL) {
        setting = find_negated(flag, flag_bytes);
        value = "false";
        if (setting != NULL && setting->kind != SETTING_SWITCH)
            setting = NULL;
    }
    if (setting == NULL)
        return refuse_unknown(argument, error);
    if (value == NULL && setting->kind == SETTING_SWITCH)
        value = "true";
    if (value == NULL) {
        value = next;
        is_own_argument = true;
    }
    if (value == NULL || (is_own_argument && strncmp(value, "--", 2) == 0))
        return refuse(error, "--%s needs %s behind it: write --%s=value", setting->flag,
                      allowed(setting, buffer), setting->flag);
    if (!set_from_text(settings, setting, value))
        return refuse(error, "--%s is \"%.*s\", but it takes %s", setting->flag, QUOTED_BYTES,
                      value, allowed(setting, buffer));
    return is_own_argument ? 2 : 1;
}

static bool wants_help(int argc, char *const *argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

/* Whether a complaint is to be logged as JSON: by the whole of the environment and the command
 * line, since what they say of it may stand behind what is wrong with them. */
static bool wants_json(int argc, char *const *argv, char *(*environment_get)(const char *name))
{
    static const char flag[] = "json-output";
    const struct setting *setting = find_flag(flag, sizeof(flag) - 1);
    char name[ENVIRONMENT_NAME], ignored[ERROR_BYTES];
    const char *value = environment_value(setting, environment_get, name);
    struct settings said = {.json_output = false};

    if (value != NULL)
        set_from_text(&said, setting, value);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0 && strstr(argv[i], flag) != NULL)
            read_flag(&said, argv[i], NULL, ignored);
    return said.json_output;
}

static bool read_arguments(struct settings *settings, int argc, char *const *argv,
                           char error[ERROR_BYTES])
{
    for (int i = 1; i < argc;) {
        if (strncmp(argv[i], "--", 2) != 0)
            return refuse_unknown(argv[i], error);
        int taken = read_flag(settings, argv[i], i + 1 < argc ? argv[i + 1] : NULL, error);
        if (taken == 0)
            return false;
        i += taken;
    }
    return true;
}

enum settings_result settings_parse(struct settings *settings, int argc, char *const *argv,
                                    char *(*environment_get)(const char *name),
                                    char error[ERROR_BYTES])
{
    error[0] = '\0';
    memset(settings, 0, sizeof(*settings));
    for (size_t i = 0; i < settings_table_count; i++)
        set_default(settings, &settings_table[i]);
    if (wants_help(argc, argv))
        return SETTINGS_HELP;
    if (read_environment(settings, environment_get, error) &&
        read_arguments(settings, argc, argv, error))
        return SETTINGS_OK;
    settings->json_output = wants_json(argc, argv, environment_get);
    return SETTINGS_BAD;
}
