// What a quotient leaves: `fmod`, `remainder` and `floor_divide`, exact (kernels/src/cpu/math/quotient.rs).
#pragma once

namespace math {

// The exact remainder of x / y, both not negative (or NaN), digit by digit.
MATH_CALL double by_division(double x, double y) {
    const double inf = infinity<double>();
    if (!(x < inf) || !(y > 0.0)) return not_a_number<double>();
    if (x < y) return x;
    unsigned long long a = bits(x), b = bits(y);
    int a_exponent = int(a >> 52), b_exponent = int(b >> 52);
    const unsigned long long fraction = (1ull << 52) - 1;
    // Subnormal numbers have the exponent of the smallest normal ones, and no leading digit.
    a = a_exponent == 0 ? a : (a & fraction) | 1ull << 52;
    b = b_exponent == 0 ? b : (b & fraction) | 1ull << 52;
    a_exponent = a_exponent == 0 ? 1 : a_exponent;
    b_exponent = b_exponent == 0 ? 1 : b_exponent;
    // A subnormal divisor is shorter than 53 bits.
    const int shift = leading_zeros(b) - 11;
    b <<= shift;
    b_exponent -= shift;
    if (a_exponent == 1) {
        const int up = leading_zeros(a) - 11;
        a <<= up;
        a_exponent -= up;
    }
    for (int left = a_exponent - b_exponent; left > 0; --left) {
        a = a >= b ? a - b : a;
        a <<= 1;
    }
    a = a >= b ? a - b : a;
    if (a == 0) return 0.0;
    // a * 2^(b_exponent - 1075): back to a leading digit, or to a subnormal.
    int up = leading_zeros(a) - 11;
    up = up < b_exponent ? up : b_exponent - 1;
    if (up >= 0) {
        a <<= up;
    } else {
        a >>= -up;
    }
    const int exponent = b_exponent - up;
    return from_bits(a >> 52 == 0 ? a : (a & fraction) | (unsigned long long)exponent << 52);
}

// a - b trunc(a / b), exact, with the sign of a: C's `fmod`.
MATH double fmod(double a, double b) {
    const double x = abs(a), y = abs(b);
    const double q = trunc(x / y);
    // A quotient that was rounded up leaves one divisor too little. Both steps are exact: what they leave is a multiple
    // of the operands' last places, and no larger than the divisor.
    double rest = fnma(q, y, x);
    rest = rest < 0.0 ? rest + y : rest;
    // Far or not finite, which is rare.
    if (!(q < 4503599627370496.0 && y < infinity<double>())) rest = by_division(x, y);
    return copysign(rest, a);
}

// What `fmod` leaves, one divisor further where its sign is not the divisor's.
MATH bool strays(double rest, double b) {
    const bool opposite = copysign(1.0, rest) * copysign(1.0, b) < 0.0;
    return !(rest == 0.0) && opposite;
}

// a - b floor(a / b), with the sign of b: Python's `%`.
MATH double remainder(double a, double b) {
    const double rest = fmod(a, b);
    return strays(rest, b) ? rest + b : rest;
}

// floor(a / b) of the exact quotient, as PyTorch and Python: the quotient itself where b is 0.
MATH double floor_divide(double a, double b) {
    const double rest = fmod(a, b);
    double whole = (a - rest) / b;
    whole = strays(rest, b) ? whole - 1.0 : whole;
    const double quotient = a / b;
    // Whole but for the rounding of quotients beyond 2^51.
    const double below = floor(whole);
    const double nearest = 0.5 < whole - below ? below + 1.0 : below;
    whole = whole == 0.0 ? copysign(0.0, quotient) : nearest;
    return b == 0.0 ? quotient : whole;
}

} // namespace math
