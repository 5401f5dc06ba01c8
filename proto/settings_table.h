/* The rows of SETTINGS as data, for the two files that walk it: settings.c reads values by it,
 * settings_help.c prints it. */
#ifndef WEIR_PROTO_SETTINGS_TABLE_H
#define WEIR_PROTO_SETTINGS_TABLE_H

#include "proto/settings.h"

enum setting_kind {
    SETTING_GROUP, /* a heading: only `help`, its title, is set */
    SETTING_STRING,
    SETTING_CHOICE,
    SETTING_NUMBER,
    SETTING_SWITCH,
};

struct setting {
    enum setting_kind kind;
    size_t offset;           /* of the field in struct settings */
    const char *flag;        /* without the dashes */
    const char *environment; /* "NAME" or "FIRST,SECOND" */
    const char *help;
    const char *text;    /* STRING, CHOICE: the default */
    const char *choices; /* CHOICE: "auto, cpu, cuda" */
    uint32_t number;     /* NUMBER, SWITCH: the default */
    uint32_t minimum, maximum;
};

extern const struct setting settings_table[];
extern const size_t settings_table_count;

#endif
