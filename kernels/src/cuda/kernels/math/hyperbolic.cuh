// `sinh`, `cosh` and their inverses; `exp2`, `log2`, `log10` (kernels/src/cpu/math/hyperbolic.rs).
#pragma once

namespace math {

// (e^a + sign e^-a) / 2 for a of at least 1 (with +: of at least 0).
DEVICE f64 half_sum(f64 a, f64 sign) {
    f64 n;
    const Pair<f64> power = exp_pair(a, 0.0, n);
    const Pair<f64> inverse = divide(Pair<f64>{sign, 0.0}, power);
    const f64 twice = max_second(-1900.0, n * -2.0);
    const Pair<f64> sum = fast_two_sum(power.high, scale(inverse.high, twice));
    const f64 rest = (power.low + scale(inverse.low, twice)) + sum.low;
    return scale(sum.high + rest, n - 1.0);
}

DEVICE f64 cosh(f64 x) { return half_sum(min_second(720.0, abs(x)), 1.0); }

// Its series below 1.
DEVICE f64 sinh(f64 x) {
    const f64 a = min_second(720.0, abs(x));
    if (a < 1.0) {
        const f64 z = x * x;
        const f64 series = polynomial(z, 0.16666666666666666, 0.008333333333333333, 0.0001984126984126984,
                                         2.7557319223985893e-06, 2.505210838544172e-08, 1.6059043836821613e-10,
                                         7.647163731819816e-13, 2.8114572543455206e-15, 8.22063524662433e-18);
        return fma(x * z, series, x);
    }
    return copysign(half_sum(max_second(1.0, a), -1.0), x);
}

// The sum of a pair and a number, for `log_of_sum`.
DEVICE Pair<f64> plus(Pair<f64> x, f64 y) {
    const Pair<f64> sum = two_sum(y, x.high);
    return fast_two_sum(sum.high, sum.low + x.low);
}

// Where squares would overflow and x^2 + 1 is x^2.
constexpr f64 LARGE = 1e10;

// log(1 + (|x| + sqrt(x^2 + 1) - 1)).
DEVICE f64 asinh(f64 x) {
    const f64 a = abs(x);
    const f64 held = min_second(LARGE, a);
    const Pair<f64> root = square_root(square_and_one(held, 1.0, 1.0));
    const Pair<f64> u = plus(plus(root, -1.0), held);
    f64 value = LARGE < a ? log_shifted(a, 1.0) : log_of_sum(u);
    // The root is exactly 1 here, and denormals survive.
    value = a < 1e-9 ? a : value;
    return copysign(value, x);
}

// log(1 + (x - 1 + sqrt(x^2 - 1))); NaN below 1.
DEVICE f64 acosh(f64 x) {
    const f64 held = min_second(LARGE, x);
    const Pair<f64> root = square_root(square_and_one(held, 1.0, -1.0));
    const Pair<f64> above = two_sum(held, -1.0);
    const Pair<f64> u = plus(Pair<f64>{root.high, root.low + above.low}, above.high);
    const f64 value = LARGE < x ? log_shifted(x, 1.0) : log_of_sum(u);
    return x < 1.0 ? not_a_number<f64>() : value;
}

// log(1 + 2x / (1 - x)) / 2; infinite at 1, NaN beyond.
DEVICE f64 atanh(f64 x) {
    const f64 a = abs(x);
    const Pair<f64> u = divide(Pair<f64>{a + a, 0.0}, two_sum(1.0, -a));
    f64 value = log_of_sum(u) * 0.5;
    // Below it the logarithm's terms lose denormals.
    value = a < 1e-9 ? a : value;
    value = a == 1.0 ? infinity<f64>() : value;
    return copysign(1.0 < a ? not_a_number<f64>() : value, x);
}

DEVICE f64 exp2(f64 x) {
    const f64 held = max_second(-1100.0, min_second(1030.0, x));
    const f64 n = round(held);
    const Pair<f64> r = two_product(held - n, LN_2);
    const f64 low = fma(held - n, 2.3190468138462996e-17, r.low);
    const Pair<f64> value = exp_near(r.high, low);
    return scale(value.high + value.low, n);
}

// log(x) times a constant given as a pair.
DEVICE f64 log_times(f64 x, f64 factor, f64 factor_low) {
    const Pair<f64> log = log_pair(x);
    const Pair<f64> product = two_product(log.high, factor);
    const f64 low = fma(log.low, factor, fma(log.high, factor_low, product.low));
    return special(x, product.high + low);
}

// Exact of powers of 2.
DEVICE f64 log2(f64 x) { return log_times(x, LOG2_E, 2.0355273740931033e-17); }

// Exact of powers of 10.
DEVICE f64 log10(f64 x) { return log_times(x, LOG10_E, 1.098319650216765e-17); }

} // namespace math
