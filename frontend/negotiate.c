/* Readers of single headers: see negotiate.h. The grammar is RFC 9110's: elements divided by
 * commas, parameters by semicolons, optional white space around both. */
#include "frontend/negotiate.h"

#include <string.h>
#include <strings.h>

static struct header_value trim(struct header_value value)
{
    while (value.size > 0 && (value.bytes[0] == ' ' || value.bytes[0] == '\t')) {
        value.bytes++;
        value.size--;
    }
    while (value.size > 0 &&
           (value.bytes[value.size - 1] == ' ' || value.bytes[value.size - 1] == '\t'))
        value.size--;
    return value;
}

/* Cuts the part before `divider` off the front of *rest. False when nothing is left. */
static bool next_part(struct header_value *rest, char divider, struct header_value *part)
{
    if (rest->bytes == NULL)
        return false;
    const char *end = memchr(rest->bytes, divider, rest->size);
    size_t size = end == NULL ? rest->size : (size_t)(end - rest->bytes);
    *part = trim((struct header_value){rest->bytes, size});
    if (end == NULL)
        *rest = (struct header_value){NULL, 0};
    else
        *rest = (struct header_value){end + 1, rest->size - size - 1};
    return true;
}

static bool is(struct header_value value, const char *word)
{
    return value.size == strlen(word) && strncasecmp(value.bytes, word, value.size) == 0;
}

static bool ends_with(struct header_value value, const char *word)
{
    size_t size = strlen(word);
    return value.size > size && strncasecmp(value.bytes + value.size - size, word, size) == 0;
}

static bool is_json(struct header_value type)
{
    return is(type, "application/json") || is(type, "text/json") || is(type, "text/plain") ||
           is(type, "application/x-www-form-urlencoded") || ends_with(type, "+json");
}

static bool is_msgpack(struct header_value type)
{
    return is(type, "application/msgpack") || is(type, "application/x-msgpack") ||
           is(type, "application/vnd.msgpack");
}

/* Splits "name=value", quotes removed. */
static struct header_value parameter_value(struct header_value parameter, const char *name)
{
    size_t size = strlen(name);
    if (parameter.size <= size || parameter.bytes[size] != '=' ||
        strncasecmp(parameter.bytes, name, size) != 0)
        return (struct header_value){NULL, 0};
    struct header_value value = {parameter.bytes + size + 1, parameter.size - size - 1};
    if (value.size >= 2 && value.bytes[0] == '"' && value.bytes[value.size - 1] == '"')
        value = (struct header_value){value.bytes + 1, value.size - 2};
    return value;
}

bool negotiate_content_type(struct header_value content_type, enum request_encoding *encoding)
{
    *encoding = REQUEST_JSON;
    struct header_value type, parameter;
    if (!next_part(&content_type, ';', &type) || type.size == 0)
        return true;
    if (is_msgpack(type))
        *encoding = REQUEST_MSGPACK;
    else if (!is_json(type))
        return false;
    while (next_part(&content_type, ';', &parameter)) {
        struct header_value charset = parameter_value(parameter, "charset");
        if (charset.bytes != NULL && !is(charset, "utf-8") && !is(charset, "utf8") &&
            !is(charset, "us-ascii"))
            return false;
    }
    return true;
}

bool negotiate_content_encoding(struct header_value content_encoding)
{
    struct header_value coding;
    while (next_part(&content_encoding, ',', &coding))
        if (coding.size > 0 && !is(coding, "identity"))
            return false;
    return true;
}

/* A quality in thousandths: "0.5" is 500. Malformed ones count as 0. */
static int quality(struct header_value parameter)
{
    struct header_value value = parameter_value(parameter, "q");
    if (value.bytes == NULL)
        return -1;
    if (value.size == 0 || value.size > 5 || (value.bytes[0] != '0' && value.bytes[0] != '1'))
        return 0;
    int thousandths = (value.bytes[0] - '0') * 1000, scale = 100;
    for (size_t i = 2; i < value.size; i++, scale /= 10) {
        if (value.bytes[i] < '0' || value.bytes[i] > '9')
            return 0;
        thousandths += (value.bytes[i] - '0') * scale;
    }
    return thousandths > 1000 ? 1000 : thousandths;
}

enum request_encoding negotiate_accept(struct header_value accept, enum request_encoding own)
{
    int json = 0, msgpack = 0;
    struct header_value range, type, parameter;
    while (next_part(&accept, ',', &range)) {
        int weight = 1000;
        next_part(&range, ';', &type);
        while (next_part(&range, ';', &parameter))
            if (quality(parameter) >= 0)
                weight = quality(parameter);
        if (is(type, "application/json") || is(type, "text/json"))
            json = weight > json ? weight : json;
        else if (is_msgpack(type))
            msgpack = weight > msgpack ? weight : msgpack;
    }
    if (json == msgpack)
        return own;
    return json > msgpack ? REQUEST_JSON : REQUEST_MSGPACK;
}

bool negotiate_timeout_ms(struct header_value value, uint32_t *timeout_ms)
{
    value = trim(value);
    if (value.size == 0 || value.size > 7)
        return false;
    uint32_t number = 0;
    for (size_t i = 0; i < value.size; i++) {
        if (value.bytes[i] < '0' || value.bytes[i] > '9')
            return false;
        number = number * 10 + (uint32_t)(value.bytes[i] - '0');
    }
    *timeout_ms = number;
    return number >= 1 && number <= TIMEOUT_MS_MAX;
}

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool negotiate_request_id_is_sane(struct header_value value)
{
    if (value.size == 0 || value.size > REQUEST_ID_BYTES_MAX)
        return false;
    for (size_t i = 0; i < value.size; i++)
        if (!is_alphanumeric(value.bytes[i]) &&
            (value.bytes[i] == '\0' || strchr("-_.:/+=@", value.bytes[i]) == NULL))
            return false;
    return true;
}

/* True when the next `size` bytes are lower-case hex and not all zero (where `not_zero`). */
static bool is_hex(const char *bytes, size_t size, bool not_zero)
{
    bool any = false;
    for (size_t i = 0; i < size; i++) {
        if (!((bytes[i] >= '0' && bytes[i] <= '9') || (bytes[i] >= 'a' && bytes[i] <= 'f')))
            return false;
        any |= bytes[i] != '0';
    }
    return any || !not_zero;
}

bool negotiate_traceparent_is_valid(struct header_value value)
{
    return value.size == 55 && memcmp(value.bytes, "00-", 3) == 0 &&
           is_hex(value.bytes + 3, 32, true) && value.bytes[35] == '-' &&
           is_hex(value.bytes + 36, 16, true) && value.bytes[52] == '-' &&
           is_hex(value.bytes + 53, 2, false);
}

bool negotiate_bearer_matches(struct header_value authorization, const char *key)
{
    static const char scheme[] = "Bearer ";
    size_t scheme_size = sizeof(scheme) - 1, key_size = strlen(key);
    if (authorization.size != scheme_size + key_size ||
        strncasecmp(authorization.bytes, scheme, scheme_size) != 0)
        return false;
    /* No early exit: how much of the key was right must not show in the time taken. */
    unsigned char difference = 0;
    for (size_t i = 0; i < key_size; i++)
        difference |= (unsigned char)(authorization.bytes[scheme_size + i] ^ key[i]);
    return difference == 0;
}
