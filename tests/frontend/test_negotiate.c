/* What single headers mean. */
#include "frontend/negotiate.h"
#include "tests/test.h"

static struct header_value value_of(const char *text)
{
    return (struct header_value){text, text == NULL ? 0 : strlen(text)};
}

static void content_types_are_json_msgpack_or_refused(void)
{
    static const struct {
        const char *text;
        int encoding; /* -1: refused */
    } cases[] = {
        {NULL, REQUEST_JSON},
        {"", REQUEST_JSON},
        {"application/json", REQUEST_JSON},
        {"Application/JSON ; Charset=\"utf-8\"", REQUEST_JSON},
        {"text/plain;charset=UTF8", REQUEST_JSON},
        {"application/x-www-form-urlencoded", REQUEST_JSON},
        {"application/ld+json", REQUEST_JSON},
        {"application/msgpack", REQUEST_MSGPACK},
        {"application/x-msgpack", REQUEST_MSGPACK},
        {"application/vnd.msgpack; x=y", REQUEST_MSGPACK},
        {"application/json; charset=latin1", -1},
        {"+json", -1},
        {"application/jsonx", -1},
        {"image/png", -1},
        {"multipart/form-data; boundary=x", -1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        enum request_encoding encoding;
        bool ok = negotiate_content_type(value_of(cases[i].text), &encoding);
        EXPECT_EQUAL(ok ? (int)encoding : -1, cases[i].encoding);
    }
}

static void encoded_bodies_are_refused(void)
{
    EXPECT(negotiate_content_encoding(value_of(NULL)));
    EXPECT(negotiate_content_encoding(value_of("")));
    EXPECT(negotiate_content_encoding(value_of("identity, Identity")));
    EXPECT(!negotiate_content_encoding(value_of("gzip")));
    EXPECT(!negotiate_content_encoding(value_of("identity, gzip")));
}

static void accept_chooses_between_the_two(void)
{
    static const struct {
        const char *text;
        enum request_encoding own, expected;
    } cases[] = {
        {NULL, REQUEST_JSON, REQUEST_JSON},
        {NULL, REQUEST_MSGPACK, REQUEST_MSGPACK},
        {"*/*", REQUEST_MSGPACK, REQUEST_MSGPACK},
        {"text/html, image/*", REQUEST_MSGPACK, REQUEST_MSGPACK},
        {"application/msgpack", REQUEST_JSON, REQUEST_MSGPACK},
        {"application/json", REQUEST_MSGPACK, REQUEST_JSON},
        {"application/json;q=0.5, application/x-msgpack;q=0.8", REQUEST_JSON, REQUEST_MSGPACK},
        {"application/msgpack;q=0.799 , application/json; q=0.8", REQUEST_MSGPACK, REQUEST_JSON},
        {"application/msgpack;q=0", REQUEST_JSON, REQUEST_JSON},
        {"application/msgpack;q=x, application/json;q=0.1", REQUEST_MSGPACK, REQUEST_JSON},
        {"application/msgpack, application/json", REQUEST_JSON, REQUEST_JSON},
        {",,;;,=", REQUEST_JSON, REQUEST_JSON},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        EXPECT_EQUAL(negotiate_accept(value_of(cases[i].text), cases[i].own), cases[i].expected);
}

static void timeouts_have_bounds(void)
{
    uint32_t ms = 0;
    EXPECT(negotiate_timeout_ms(value_of("1"), &ms) && ms == 1);
    EXPECT(negotiate_timeout_ms(value_of(" 250 "), &ms) && ms == 250);
    EXPECT(negotiate_timeout_ms(value_of("3600000"), &ms) && ms == TIMEOUT_MS_MAX);
    static const char *const bad[] = {"", "0", "3600001", "99999999", "-1", "1.5", "1s", " "};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        EXPECT(!negotiate_timeout_ms(value_of(bad[i]), &ms));
}

static void request_ids_are_echoed_when_they_are_harmless(void)
{
    char longest[REQUEST_ID_BYTES_MAX + 2];
    memset(longest, 'a', sizeof(longest));
    EXPECT(negotiate_request_id_is_sane(value_of("a-Z0_.:/+=@9")));
    EXPECT(negotiate_request_id_is_sane((struct header_value){longest, REQUEST_ID_BYTES_MAX}));
    EXPECT(!negotiate_request_id_is_sane((struct header_value){longest, REQUEST_ID_BYTES_MAX + 1}));
    EXPECT(!negotiate_request_id_is_sane((struct header_value){"a\0b", 3}));
    static const char *const bad[] = {NULL, "", "a b", "a\"", "a\n", "\xc3\xa9", "<a>", "a,b"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        EXPECT(!negotiate_request_id_is_sane(value_of(bad[i])));
}

static void traceparents_are_version_00(void)
{
    EXPECT(negotiate_traceparent_is_valid(
        value_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
    static const char *const bad[] = {
        NULL,
        "",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        EXPECT(!negotiate_traceparent_is_valid(value_of(bad[i])));
}

static void a_key_must_match_whole(void)
{
    EXPECT(negotiate_bearer_matches(value_of("Bearer key"), "key"));
    EXPECT(negotiate_bearer_matches(value_of("bearer key"), "key"));
    static const char *const bad[] = {
        NULL,          "",           "key",       "Bearer ",    "Bearer ke",
        "Bearer keyy", "Bearer Key", "Basic key", "Bearer kex", "Bearer  key"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        EXPECT(!negotiate_bearer_matches(value_of(bad[i]), "key"));
}

int main(void)
{
    RUN(content_types_are_json_msgpack_or_refused);
    RUN(encoded_bodies_are_refused);
    RUN(accept_chooses_between_the_two);
    RUN(timeouts_have_bounds);
    RUN(request_ids_are_echoed_when_they_are_harmless);
    RUN(traceparents_are_version_00);
    RUN(a_key_must_match_whole);
    return 0;
}
