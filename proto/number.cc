// std::to_chars finds the shortest digits (Ryu, no allocation, no locale); C has nothing like it.
// The layout around the digits is Python's float_repr_style "short" (Objects/floatobject.c's rule:
// repr uses format code 'r', which switches to an exponent below 1e-4 and from 1e16 on).
#include "proto/number.h"

#include <charconv>
#include <cstring>

namespace
{

constexpr int EXPONENT_MIN = -4; // positional from 0.0001 ...
constexpr int EXPONENT_MAX = 15; // ... to 9999999999999999.0

struct decimal {
    char digits[NUMBER_BYTES]; // d1 d2 d3 ... of d1.d2d3... * 10^exponent
    int n_digits;
    int exponent;
};

// "9.998e-01" taken apart.
decimal shortest(double magnitude)
{
    char text[NUMBER_BYTES];
    decimal result{};
    const char *end =
        std::to_chars(text, text + NUMBER_BYTES, magnitude, std::chars_format::scientific).ptr;
    const char *next = text;

    for (; *next != 'e'; next++)
        if (*next != '.')
            result.digits[result.n_digits++] = *next;
    bool is_negative = *++next == '-';
    for (next++; next < end; next++)
        result.exponent = result.exponent * 10 + (*next - '0');
    if (is_negative)
        result.exponent = -result.exponent;
    return result;
}

char *write_bytes(char *out, const char *bytes, int n_bytes)
{
    std::memcpy(out, bytes, static_cast<size_t>(n_bytes));
    return out + n_bytes;
}

char *write_zeros(char *out, int n_zeros)
{
    std::memset(out, '0', static_cast<size_t>(n_zeros));
    return out + n_zeros;
}

char *write_positional(char *out, const decimal &number)
{
    int n_integral = number.exponent + 1; // digits before the point

    if (n_integral <= 0) {
        out = write_bytes(out, "0.", 2);
        out = write_zeros(out, -n_integral);
        return write_bytes(out, number.digits, number.n_digits);
    }
    if (n_integral >= number.n_digits) {
        out = write_bytes(out, number.digits, number.n_digits);
        out = write_zeros(out, n_integral - number.n_digits);
        return write_bytes(out, ".0", 2);
    }
    out = write_bytes(out, number.digits, n_integral);
    *out++ = '.';
    return write_bytes(out, number.digits + n_integral, number.n_digits - n_integral);
}

char *write_scientific(char *out, const decimal &number)
{
    int exponent = number.exponent < 0 ? -number.exponent : number.exponent;

    *out++ = number.digits[0];
    if (number.n_digits > 1) {
        *out++ = '.';
        out = write_bytes(out, number.digits + 1, number.n_digits - 1);
    }
    *out++ = 'e';
    *out++ = number.exponent < 0 ? '-' : '+';
    if (exponent < 10)
        *out++ = '0';
    return std::to_chars(out, out + 3, exponent).ptr;
}

} // namespace

size_t number_write(char text[NUMBER_BYTES], double value)
{
    char *out = text;

    if (__builtin_signbit(value)) {
        *out++ = '-';
        value = -value;
    }
    decimal number = shortest(value);
    bool is_positional = number.exponent >= EXPONENT_MIN && number.exponent <= EXPONENT_MAX;
    out = is_positional ? write_positional(out, number) : write_scientific(out, number);
    return static_cast<size_t>(out - text);
}
