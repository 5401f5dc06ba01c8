/* Both halves of utf8.h agree with the definition and with each other. */
#include "proto/utf8.h"
#include "tests/proto/guard.h"

static struct guard guard;

/* The definition, the long way: encode every scalar. */
static size_t encode(uint32_t scalar, unsigned char bytes[4])
{
    if (scalar < 0x80) {
        bytes[0] = (unsigned char)scalar;
        return 1;
    }
    size_t size = scalar < 0x800 ? 2 : scalar < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = size - 1; i > 0; i--, scalar >>= 6)
        bytes[i] = (unsigned char)(0x80 | (scalar & 0x3F));
    bytes[0] = (unsigned char)(leads[size] | scalar);
    return size;
}

static void every_scalar_is_valid_and_no_surrogate_is(void)
{
    unsigned char bytes[4];

    for (uint32_t scalar = 0; scalar < 0x110000; scalar++) {
        size_t size = encode(scalar, bytes);
        bool is_surrogate = scalar >= 0xD800 && scalar < 0xE000;
        EXPECT_EQUAL(utf8_find_invalid((char *)bytes, size), is_surrogate ? 0 : size);
        if (scalar % 16 == 0 || is_surrogate)
            EXPECT_EQUAL(utf8_is_valid((char *)bytes, size), !is_surrogate);
    }
}

/* All strings of 1 to 3 bytes over the bytes where rules change; and both halves agree. */
static void ill_formed_bytes_are_found_at_their_offset(void)
{
    static const unsigned char edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0,
                                          0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xED,
                                          0xEF, 0xF0, 0xF4, 0xF5, 0xFF};
    size_t n = sizeof(edges);

    for (size_t i = 0; i < n * n * n; i++) {
        char bytes[3] = {(char)edges[i % n], (char)edges[i / n % n], (char)edges[i / n / n]};
        for (size_t size = 1; size <= 3; size++) {
            const char *place = guard_place(&guard, bytes, size, 0);
            EXPECT_EQUAL(utf8_is_valid(place, size), utf8_find_invalid(place, size) == size);
        }
    }
    EXPECT_EQUAL(utf8_find_invalid("ab\xC3\xA9\xE2\x82", 6), 4);
    EXPECT_EQUAL(utf8_find_invalid("\xF4\x90\x80\x80", 4), 0);
    EXPECT_EQUAL(utf8_find_invalid("", 0), 0);
}

static void the_fast_half_reads_no_byte_too_many(void)
{
    char text[300];

    memset(text, 'x', sizeof(text));
    for (size_t size = 0; size <= sizeof(text); size++)
        EXPECT(utf8_is_valid(guard_place(&guard, text, size, 0), size));
}

static void a_prefix_cuts_no_character(void)
{
    const char *text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"; /* 1, 2, 3 and 4 bytes */
    static const size_t expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};

    for (size_t limit = 0; limit < sizeof(expected) / sizeof(expected[0]); limit++)
        EXPECT_EQUAL(utf8_prefix(text, 10, limit), expected[limit]);
}

int main(void)
{
    guard = guard_open(4096);
    RUN(every_scalar_is_valid_and_no_surrogate_is);
    RUN(ill_formed_bytes_are_found_at_their_offset);
    RUN(the_fast_half_reads_no_byte_too_many);
    RUN(a_prefix_cuts_no_character);
    guard_close(&guard);
    return 0;
}
