/* number_write() against the definition of repr: reads back to the same double, no shorter decimal
 * does, the closest of that length, and Python's layout. test_against_python.py compares with
 * Python itself. */
#include "proto/number.h"
#include "tests/test.h"

#include <math.h>
#include <stdbool.h>

static const char *written(double value)
{
    static char text[NUMBER_BYTES + 1];

    text[number_write(text, value)] = '\0';
    return text;
}

static void known_numbers_look_like_pythons(void)
{
    EXPECT_STRING(written(0.9998704195022583), "0.9998704195022583");
    EXPECT_STRING(written((double)0.0001246821484528482f), "0.0001246821484528482");
    EXPECT_STRING(written(0.0), "0.0");
    EXPECT_STRING(written(-0.0), "-0.0");
    EXPECT_STRING(written(1.0), "1.0");
    EXPECT_STRING(written(-1.5), "-1.5");
    EXPECT_STRING(written(100.0), "100.0");
    EXPECT_STRING(written(0.0001), "0.0001");
    EXPECT_STRING(written(0.00001), "1e-05");
    EXPECT_STRING(written(1.25e-5), "1.25e-05");
    EXPECT_STRING(written(9999999999999998.0), "9999999999999998.0");
    EXPECT_STRING(written(1e16), "1e+16");
    EXPECT_STRING(written(123456789012345680.0), "1.2345678901234568e+17");
    EXPECT_STRING(written(1e100), "1e+100");
    EXPECT_STRING(written(-1.7976931348623157e308), "-1.7976931348623157e+308");
    EXPECT_STRING(written(5e-324), "5e-324");
    EXPECT_STRING(written((double)1e-45f), "1.401298464324817e-45");
    EXPECT_STRING(written((double)3.4028235e38f), "3.4028234663852886e+38");
}

static int count_digits(const char *text)
{
    int n_digits = 0, n_trailing_zeros = 0;
    bool started = false;

    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (*text == '0' && !started))
            continue;
        started = true;
        n_digits++;
        n_trailing_zeros = *text == '0' ? n_trailing_zeros + 1 : 0;
    }
    return n_digits - n_trailing_zeros;
}

static void check_repr(double value)
{
    char shorter[64];
    const char *text = written(value);
    int n_digits = count_digits(text);

    EXPECT(strtod(text, NULL) == value);
    if (n_digits > 1) {
        snprintf(shorter, sizeof(shorter), "%.*e", n_digits - 2, value);
        EXPECT(strtod(shorter, NULL) != value);
    }
    /* As printf rounds to this many digits, so must we: the closest one. */
    snprintf(shorter, sizeof(shorter), "%.*e", n_digits - 1, value);
    if (strtod(shorter, NULL) == value) {
        char expected[64];
        snprintf(expected, sizeof(expected), "%.*e", n_digits - 1, strtod(text, NULL));
        EXPECT_STRING(shorter, expected);
    }
}

static void widened_floats_are_shortest_and_read_back(void)
{
    uint64_t state = 1;

    for (int i = 0; i < 300000; i++) {
        uint32_t bits;
        float value;
        state = state * 6364136223846793005u + 1442695040888963407u;
        bits = (uint32_t)(state >> 32);
        memcpy(&value, &bits, sizeof(value));
        if (isfinite(value) && value != 0)
            check_repr((double)value);
        if (i % 4 == 0) /* scores */
            check_repr((double)((float)(bits >> 8) / 16777216.0f + 1e-9f));
    }
}

int main(void)
{
    RUN(known_numbers_look_like_pythons);
    RUN(widened_floats_are_shortest_and_read_back);
    return 0;
}
