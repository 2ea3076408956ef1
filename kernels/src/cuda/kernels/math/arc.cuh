// Angles: `atan`, `asin`, `acos`, `atan2`; and `hypot` (kernels/src/cpu/math/arc.rs).
#pragma once

namespace math {

// The angle of the point (+-x, y), x and y not negative and not both 0; x counts as negative where `left` says so.
DEVICE f64 angle(Pair<f64> y, Pair<f64> x, bool left) {
    // Mirrored at pi/4 and turned back by it, the angle is within pi/8 of 0.
    const bool steep = x.high < y.high;
    const Pair<f64> side = {steep ? x.high : y.high, steep ? x.low : y.low};
    const Pair<f64> along = {steep ? y.high : x.high, steep ? y.low : x.low};
    const bool turned = along.high * (SQRT_2 - 1.0) < side.high;
    Pair<f64> difference = two_sum(side.high, -along.high), sum = two_sum(side.high, along.high);
    difference.low = difference.low + (side.low - along.low);
    sum.low = sum.low + (side.low + along.low);
    const Pair<f64> over = {turned ? difference.high : side.high, turned ? difference.low : side.low};
    const Pair<f64> under = {turned ? sum.high : along.high, turned ? sum.low : along.low};
    const Pair<f64> t = divide(over, under);
    const f64 z = t.high * t.high;
    const f64 p = polynomial(z, -0.3333333333333333, 0.19999999999995516, -0.14285714284665682, 0.11111111015187018,
                                -0.0909090457530649, 0.07692183125376892, -0.06664510525508936, 0.05858140904866328,
                                -0.050854078345894844, 0.03923044778479309, -0.019175404711104935);
    const f64 low = fma(t.high * z, p, fnma(t.low, z, t.low));
    // Quarters of pi to add it to, and its sign: of the mirrored, of the left half.
    f64 quarters = turned ? 1.0 : 0.0;
    quarters = steep ? 2.0 - quarters : quarters;
    quarters = left ? 4.0 - quarters : quarters;
    f64 sign = steep ? -1.0 : 1.0;
    sign = left ? -sign : sign;
    // pi/4 cut so that its multiples are exact.
    const f64 whole = quarters * 0.7853981633974456;
    const Pair<f64> value = two_sum(whole, sign * t.high);
    const f64 rest = fma(quarters, 2.6951514290790595e-15, fma(sign, low, value.low));
    return value.high + rest;
}

DEVICE f64 atan(f64 x) {
    // Beyond it the angle is pi/2, and the quotient's remainder would overflow.
    const f64 a = min_second(1e300, abs(x));
    return copysign(angle(Pair<f64>{a, 0.0}, Pair<f64>{1.0, 0.0}, false), x);
}

// The angle of x over sqrt(1 - x^2).
DEVICE f64 asin(f64 x) {
    const Pair<f64> root = square_root(square_and_one(x, -1.0, 1.0));
    return copysign(angle(Pair<f64>{abs(x), 0.0}, root, false), x);
}

// The angle of sqrt(1 - x^2) over x.
DEVICE f64 acos(f64 x) {
    const Pair<f64> root = square_root(square_and_one(x, -1.0, 1.0));
    return angle(root, Pair<f64>{abs(x), 0.0}, x < 0.0);
}

// The angle of the point (x, y), with the special cases of IEEE 754 `atan2`.
DEVICE f64 atan2(f64 y, f64 x) {
    const f64 inf = infinity<f64>();
    f64 a = abs(y), b = abs(x);
    const bool negative = copysign(1.0, x) < 0.0;
    // Towards infinity only the direction counts; the angle of nothing is that of (1, 0).
    const bool infinite = a == inf || b == inf;
    a = infinite ? (a == inf ? 1.0 : 0.0) : a;
    b = infinite ? (b == inf ? 1.0 : 0.0) : b;
    b = a == 0.0 && b == 0.0 ? 1.0 : b;
    // Sums must not overflow, remainders not vanish.
    const f64 larger = max_second(a, b);
    const f64 down = 1e300 < larger ? 0.25 : 1.0;
    const f64 factor = larger < 1e-270 ? 0x1p100 : down;
    f64 value = angle(Pair<f64>{a * factor, 0.0}, Pair<f64>{b * factor, 0.0}, negative);
    value = copysign(value, y);
    return is_nan(x) ? x : is_nan(y) ? y : value;
}

// sqrt(a^2 + b^2); infinite if either is.
DEVICE f64 hypot(f64 x, f64 y) {
    const f64 inf = infinity<f64>();
    const f64 a = abs(x), b = abs(y);
    f64 larger = max_second(a, b), smaller = min_second(b, a);
    // Squares must neither overflow nor vanish: by powers of two, which are exact.
    const bool huge = 1e150 < larger, tiny = larger < 1e-140;
    const f64 down = tiny ? 0x1p600 : huge ? 0x1p-600 : 1.0;
    const f64 up = tiny ? 0x1p-600 : huge ? 0x1p600 : 1.0;
    larger = larger * down;
    smaller = smaller * down;
    const Pair<f64> square = two_product(larger, larger), other = two_product(smaller, smaller);
    const Pair<f64> sum = fast_two_sum(square.high, other.high);
    const Pair<f64> root = square_root(Pair<f64>{sum.high, sum.low + (square.low + other.low)});
    f64 value = (root.high + root.low) * up;
    value = is_nan(b) ? b : is_nan(a) ? a : value;
    return a == inf || b == inf ? inf : value;
}

} // namespace math
