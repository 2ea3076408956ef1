// What a quotient leaves: `fmod`, `remainder` and `floor_divide`, exact (kernels/src/cpu/math/quotient.rs).
#pragma once

namespace math {

// The exact remainder of x / y, both not negative (or NaN), digit by digit.
CALL f64 by_division(f64 x, f64 y) {
    const f64 inf = infinity<f64>();
    if (!(x < inf) || !(y > 0.0)) return not_a_number<f64>();
    if (x < y) return x;
    u64 a = bits_of(x), b = bits_of(y);
    i32 a_exponent = i32(a >> 52), b_exponent = i32(b >> 52);
    const u64 fraction = (1ull << 52) - 1;
    // Subnormal numbers have the exponent of the smallest normal ones, and no leading digit.
    a = a_exponent == 0 ? a : (a & fraction) | 1ull << 52;
    b = b_exponent == 0 ? b : (b & fraction) | 1ull << 52;
    a_exponent = a_exponent == 0 ? 1 : a_exponent;
    b_exponent = b_exponent == 0 ? 1 : b_exponent;
    // A subnormal divisor is shorter than 53 bits.
    const i32 shift = leading_zeros(b) - 11;
    b <<= shift;
    b_exponent -= shift;
    if (a_exponent == 1) {
        const i32 up = leading_zeros(a) - 11;
        a <<= up;
        a_exponent -= up;
    }
    for (i32 left = a_exponent - b_exponent; left > 0; --left) {
        a = a >= b ? a - b : a;
        a <<= 1;
    }
    a = a >= b ? a - b : a;
    if (a == 0) return 0.0;
    // a * 2^(b_exponent - 1075): back to a leading digit, or to a subnormal.
    i32 up = leading_zeros(a) - 11;
    up = up < b_exponent ? up : b_exponent - 1;
    if (up >= 0) {
        a <<= up;
    } else {
        a >>= -up;
    }
    const i32 exponent = b_exponent - up;
    return float_of(a >> 52 == 0 ? a : (a & fraction) | (u64)exponent << 52);
}

// a - b trunc(a / b), exact, with the sign of a: C's `fmod`.
DEVICE f64 fmod(f64 a, f64 b) {
    const f64 x = abs(a), y = abs(b);
    const f64 q = trunc(x / y);
    // A quotient that was rounded up leaves one divisor too little. Both steps are exact: what they leave is a multiple
    // of the operands' last places, and no larger than the divisor.
    f64 rest = fnma(q, y, x);
    rest = rest < 0.0 ? rest + y : rest;
    // Far or not finite, which is rare.
    if (!(q < 4503599627370496.0 && y < infinity<f64>())) rest = by_division(x, y);
    return copysign(rest, a);
}

// What `fmod` leaves, one divisor further where its sign is not the divisor's.
DEVICE bool strays(f64 rest, f64 b) {
    const bool opposite = copysign(1.0, rest) * copysign(1.0, b) < 0.0;
    return !(rest == 0.0) && opposite;
}

// a - b floor(a / b), with the sign of b: Python's `%`.
DEVICE f64 remainder(f64 a, f64 b) {
    const f64 rest = fmod(a, b);
    return strays(rest, b) ? rest + b : rest;
}

// floor(a / b) of the exact quotient, as PyTorch and Python: the quotient itself where b is 0.
DEVICE f64 floor_divide(f64 a, f64 b) {
    const f64 rest = fmod(a, b);
    f64 whole = (a - rest) / b;
    whole = strays(rest, b) ? whole - 1.0 : whole;
    const f64 quotient = a / b;
    // Whole but for the rounding of quotients beyond 2^51.
    const f64 below = floor(whole);
    const f64 nearest = 0.5 < whole - below ? below + 1.0 : below;
    whole = whole == 0.0 ? copysign(0.0, quotient) : nearest;
    return b == 0.0 ? quotient : whole;
}

} // namespace math
