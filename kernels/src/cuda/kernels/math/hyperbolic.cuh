// `sinh`, `cosh` and their inverses; `exp2`, `log2`, `log10` (kernels/src/cpu/math/hyperbolic.rs).
#pragma once

namespace math {

// (e^a + sign e^-a) / 2 for a of at least 1 (with +: of at least 0).
MATH double half_sum(double a, double sign) {
    double n;
    const Pair<double> power = exp_pair(a, 0.0, n);
    const Pair<double> inverse = divide(Pair<double>{sign, 0.0}, power);
    const double twice = max_second(-1900.0, n * -2.0);
    const Pair<double> sum = fast_two_sum(power.high, scale(inverse.high, twice));
    const double rest = (power.low + scale(inverse.low, twice)) + sum.low;
    return scale(sum.high + rest, n - 1.0);
}

MATH double cosh(double x) { return half_sum(min_second(720.0, abs(x)), 1.0); }

// Its series below 1.
MATH double sinh(double x) {
    const double a = min_second(720.0, abs(x));
    if (a < 1.0) {
        const double z = x * x;
        const double series = polynomial(z, 0.16666666666666666, 0.008333333333333333, 0.0001984126984126984,
                                         2.7557319223985893e-06, 2.505210838544172e-08, 1.6059043836821613e-10,
                                         7.647163731819816e-13, 2.8114572543455206e-15, 8.22063524662433e-18);
        return fma(x * z, series, x);
    }
    return copysign(half_sum(max_second(1.0, a), -1.0), x);
}

// The sum of a pair and a number, for `log_of_sum`.
MATH Pair<double> plus(Pair<double> x, double y) {
    const Pair<double> sum = two_sum(y, x.high);
    return fast_two_sum(sum.high, sum.low + x.low);
}

// Where squares would overflow and x^2 + 1 is x^2.
constexpr double LARGE = 1e10;

// log(1 + (|x| + sqrt(x^2 + 1) - 1)).
MATH double asinh(double x) {
    const double a = abs(x);
    const double held = min_second(LARGE, a);
    const Pair<double> root = square_root(square_and_one(held, 1.0, 1.0));
    const Pair<double> u = plus(plus(root, -1.0), held);
    double value = LARGE < a ? log_shifted(a, 1.0) : log_of_sum(u);
    // The root is exactly 1 here, and denormals survive.
    value = a < 1e-9 ? a : value;
    return copysign(value, x);
}

// log(1 + (x - 1 + sqrt(x^2 - 1))); NaN below 1.
MATH double acosh(double x) {
    const double held = min_second(LARGE, x);
    const Pair<double> root = square_root(square_and_one(held, 1.0, -1.0));
    const Pair<double> above = two_sum(held, -1.0);
    const Pair<double> u = plus(Pair<double>{root.high, root.low + above.low}, above.high);
    const double value = LARGE < x ? log_shifted(x, 1.0) : log_of_sum(u);
    return x < 1.0 ? not_a_number<double>() : value;
}

// log(1 + 2x / (1 - x)) / 2; infinite at 1, NaN beyond.
MATH double atanh(double x) {
    const double a = abs(x);
    const Pair<double> u = divide(Pair<double>{a + a, 0.0}, two_sum(1.0, -a));
    double value = log_of_sum(u) * 0.5;
    // Below it the logarithm's terms lose denormals.
    value = a < 1e-9 ? a : value;
    value = a == 1.0 ? infinity<double>() : value;
    return copysign(1.0 < a ? not_a_number<double>() : value, x);
}

MATH double exp2(double x) {
    const double held = max_second(-1100.0, min_second(1030.0, x));
    const double n = round(held);
    const Pair<double> r = two_product(held - n, LN_2);
    const double low = fma(held - n, 2.3190468138462996e-17, r.low);
    const Pair<double> value = exp_near(r.high, low);
    return scale(value.high + value.low, n);
}

// log(x) times a constant given as a pair.
MATH double log_times(double x, double factor, double factor_low) {
    const Pair<double> log = log_pair(x);
    const Pair<double> product = two_product(log.high, factor);
    const double low = fma(log.low, factor, fma(log.high, factor_low, product.low));
    return special(x, product.high + low);
}

// Exact of powers of 2.
MATH double log2(double x) { return log_times(x, LOG2_E, 2.0355273740931033e-17); }

// Exact of powers of 10.
MATH double log10(double x) { return log_times(x, LOG10_E, 1.098319650216765e-17); }

} // namespace math
