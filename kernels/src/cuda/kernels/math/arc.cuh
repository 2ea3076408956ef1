// Angles: `atan`, `asin`, `acos`, `atan2`; and `hypot` (kernels/src/cpu/math/arc.rs).
#pragma once

namespace math {

// The angle of the point (+-x, y), x and y not negative and not both 0; x counts as negative where `left` says so.
MATH double angle(Pair<double> y, Pair<double> x, bool left) {
    // Mirrored at pi/4 and turned back by it, the angle is within pi/8 of 0.
    const bool steep = x.high < y.high;
    const Pair<double> side = {steep ? x.high : y.high, steep ? x.low : y.low};
    const Pair<double> along = {steep ? y.high : x.high, steep ? y.low : x.low};
    const bool turned = along.high * (SQRT_2 - 1.0) < side.high;
    Pair<double> difference = two_sum(side.high, -along.high), sum = two_sum(side.high, along.high);
    difference.low = difference.low + (side.low - along.low);
    sum.low = sum.low + (side.low + along.low);
    const Pair<double> over = {turned ? difference.high : side.high, turned ? difference.low : side.low};
    const Pair<double> under = {turned ? sum.high : along.high, turned ? sum.low : along.low};
    const Pair<double> t = divide(over, under);
    const double z = t.high * t.high;
    const double p = polynomial(z, -0.3333333333333333, 0.19999999999995516, -0.14285714284665682, 0.11111111015187018,
                                -0.0909090457530649, 0.07692183125376892, -0.06664510525508936, 0.05858140904866328,
                                -0.050854078345894844, 0.03923044778479309, -0.019175404711104935);
    const double low = fma(t.high * z, p, fnma(t.low, z, t.low));
    // Quarters of pi to add it to, and its sign: of the mirrored, of the left half.
    double quarters = turned ? 1.0 : 0.0;
    quarters = steep ? 2.0 - quarters : quarters;
    quarters = left ? 4.0 - quarters : quarters;
    double sign = steep ? -1.0 : 1.0;
    sign = left ? -sign : sign;
    // pi/4 cut so that its multiples are exact.
    const double whole = quarters * 0.7853981633974456;
    const Pair<double> value = two_sum(whole, sign * t.high);
    const double rest = fma(quarters, 2.6951514290790595e-15, fma(sign, low, value.low));
    return value.high + rest;
}

MATH double atan(double x) {
    // Beyond it the angle is pi/2, and the quotient's remainder would overflow.
    const double a = min_second(1e300, abs(x));
    return copysign(angle(Pair<double>{a, 0.0}, Pair<double>{1.0, 0.0}, false), x);
}

// The angle of x over sqrt(1 - x^2).
MATH double asin(double x) {
    const Pair<double> root = square_root(square_and_one(x, -1.0, 1.0));
    return copysign(angle(Pair<double>{abs(x), 0.0}, root, false), x);
}

// The angle of sqrt(1 - x^2) over x.
MATH double acos(double x) {
    const Pair<double> root = square_root(square_and_one(x, -1.0, 1.0));
    return angle(root, Pair<double>{abs(x), 0.0}, x < 0.0);
}

// The angle of the point (x, y), with the special cases of IEEE 754 `atan2`.
MATH double atan2(double y, double x) {
    const double inf = infinity<double>();
    double a = abs(y), b = abs(x);
    const bool negative = copysign(1.0, x) < 0.0;
    // Towards infinity only the direction counts; the angle of nothing is that of (1, 0).
    const bool infinite = a == inf || b == inf;
    a = infinite ? (a == inf ? 1.0 : 0.0) : a;
    b = infinite ? (b == inf ? 1.0 : 0.0) : b;
    b = a == 0.0 && b == 0.0 ? 1.0 : b;
    // Sums must not overflow, remainders not vanish.
    const double larger = max_second(a, b);
    const double down = 1e300 < larger ? 0.25 : 1.0;
    const double factor = larger < 1e-270 ? 0x1p100 : down;
    double value = angle(Pair<double>{a * factor, 0.0}, Pair<double>{b * factor, 0.0}, negative);
    value = copysign(value, y);
    return is_nan(x) ? x : is_nan(y) ? y : value;
}

// sqrt(a^2 + b^2); infinite if either is.
MATH double hypot(double x, double y) {
    const double inf = infinity<double>();
    const double a = abs(x), b = abs(y);
    double larger = max_second(a, b), smaller = min_second(b, a);
    // Squares must neither overflow nor vanish: by powers of two, which are exact.
    const bool huge = 1e150 < larger, tiny = larger < 1e-140;
    const double down = tiny ? 0x1p600 : huge ? 0x1p-600 : 1.0;
    const double up = tiny ? 0x1p-600 : huge ? 0x1p600 : 1.0;
    larger = larger * down;
    smaller = smaller * down;
    const Pair<double> square = two_product(larger, larger), other = two_product(smaller, smaller);
    const Pair<double> sum = fast_two_sum(square.high, other.high);
    const Pair<double> root = square_root(Pair<double>{sum.high, sum.low + (square.low + other.low)});
    double value = (root.high + root.low) * up;
    value = is_nan(b) ? b : is_nan(a) ? a : value;
    return a == inf || b == inf ? inf : value;
}

} // namespace math
