/* The table of statuses: see status.h. */
#include "frontend/status.h"

#define HTTP_STATUS_ROW(identifier, code, reason, type, counter) \
    {code, reason, type, STATS_##counter},

static const struct http_status_words words[] = {HTTP_STATUSES(HTTP_STATUS_ROW)};

const struct http_status_words *http_status_words(int code)
{
    const struct http_status_words *internal = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (words[i].code == code)
            return &words[i];
        if (words[i].code == HTTP_INTERNAL)
            internal = &words[i];
    }
    return internal;
}
