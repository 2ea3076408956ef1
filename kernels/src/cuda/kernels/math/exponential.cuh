// `exp`, `expm1`, `tanh`, `sigmoid` (kernels/src/cpu/math/exponential.rs).
#pragma once

namespace math {

// `step P(step r)` for P(r) = (e^r - 1 - r) / r^2, |step r| <= ln(2) / 2; step is 1 or 2.
template <class T> DEVICE T expm1_tail(T r, f64 step) {
    const f64 s1 = step, s2 = s1 * step, s3 = s2 * step, s4 = s3 * step, s5 = s4 * step;
    if (single<T>()) {
        return polynomial(r, s1 * 0.4999999701976776, s2 * 0.16666537523269653, s3 * 0.041667740792036057,
                          s4 * 0.008367317728698254, s5 * 0.0013837877195328474);
    }
    const f64 s6 = s5 * step, s7 = s6 * step, s8 = s7 * step, s9 = s8 * step, s10 = s9 * step, s11 = s10 * step;
    return polynomial(r, s1 * 0.5, s2 * 0.1666666666666667, s3 * 0.04166666666666667, s4 * 0.0083333333333259,
                      s5 * 0.0013888888888883581, s6 * 0.00019841269875637497, s7 * 2.4801587326131077e-05,
                      s8 * 2.755725436822675e-06, s9 * 2.755727290616548e-07, s10 * 2.510564479145537e-08,
                      s11 * 2.091499245327924e-09);
}

// e^r - 1 for |r| <= ln(2) / 2.
template <class T> DEVICE T expm1_reduced(T r) { return fma(r * r, expm1_tail(r, 1.0), r); }

// e^r for |r| <= ln(2) / 2.
template <class T> DEVICE T exp_reduced(T r) {
    if (single<T>()) {
        return polynomial(r, 1.0, 1.0, 0.4999999403953552, 0.16666515171527863, 0.041668083518743515,
                          0.008369348011910915, 0.0013840367319062352);
    }
    return T(1) + expm1_reduced(r);
}

// The nearest integer to x / ln 2.
template <class T> DEVICE T quotient(T x) { return fma(x, T(LOG2_E), magic<T>()) - magic<T>(); }

// x - n ln 2.
template <class T> DEVICE T reduce(T x, T n) { return fnma(n, ln2_tail<T>(), fnma(n, ln2_head<T>(), x)); }

// e^(r + low) for |r| <= ln(2) / 2, f64.
template <class T> DEVICE Pair<T> exp_near(T r, T low) {
    const T tail = expm1_tail(r, 1.0);
    const Pair<T> sum = fast_two_sum(T(1), r);
    return fast_two_sum(sum.high, sum.low + fma(r * r, tail, fma(r, low, low)));
}

// e^(x + low) as a pair times 2^n, for |x| up to 1500, f64.
template <class T> DEVICE Pair<T> exp_pair(T x, T low, T& n) {
    n = quotient(x);
    const T exact = fnma(n, ln2_head<T>(), x);
    const T r = fnma(n, ln2_tail<T>(), exact);
    const T lost = fnma(n, ln2_tail<T>(), exact - r);
    // The low part of a large x may be no smaller than r's last places: into r with it.
    const Pair<T> both = two_sum(r, lost + low);
    return exp_near(both.high, both.low);
}

// x held inside the range where e^x is neither 0 nor infinite, and one step beyond; NaN stays.
template <class T> DEVICE T clamp_exponent(T x) {
    return max_second(either<T>(-105.0, -746.0), min_second(either<T>(89.0, 710.0), x));
}

template <class T> DEVICE T exp(T x) {
    const T held = clamp_exponent(x);
    const T n = quotient(held);
    return scale(exp_reduced(reduce(held, n)), n);
}

template <class T> DEVICE T expm1(T x) {
    const T held = max_second(either<T>(-20.0, -40.0), min_second(either<T>(89.0, 710.0), x));
    // The magic number carries the exponent's bias less one: its low bits are the exponent field of 2^n / 2.
    const T biased = magic<T>() + either<T>(126.0, 1022.0);
    const T t = fma(held, T(LOG2_E), biased);
    const T n = t - biased;
    const T half_power = low_bits_to_exponent(t);
    const T q = expm1_reduced(reduce(held, n));
    const T half = fma(half_power, q, half_power - T(0.5));
    // Halving a denormal would round it.
    return abs(x) < either<T>(3e-8, 5e-17) ? x : half + half;
}

template <class T> DEVICE T tanh(T x) {
    const T a = min_second(either<T>(10.0, 22.0), abs(x));
    const T biased = magic<T>() + either<T>(127.0, 1023.0);
    const T t = fma(a, T(-2.0 * LOG2_E), biased);
    const T n = t - biased;
    const T power = low_bits_to_exponent(t);
    // h = (-2a - n ln 2) / 2; q = expm1(2h) / 2. The sign keeps the numerator below 1/2.
    const T half = T(0.5), one = T(1);
    const T half_n = n * half;
    const T h = fnma(half_n, ln2_tail<T>(), fnma(half_n, ln2_head<T>(), -a));
    const T tail = expm1_tail(h, 2.0);
    const T q = fma(h * h, tail, h);
    if (single<T>()) {
        const T start = (one - power) * half, end = (one + power) * half;
        return copysign(fnma(power, q, start) / fma(power, q, end), x);
    }
    // With what q and all sums were rounded by.
    const T q_low = fma(h * h, tail, h - q);
    const T shift = power * q, shift_low = power * q_low;
    const Pair<T> start = fast_two_sum(half, -(power * half)), end = fast_two_sum(half, power * half);
    const Pair<T> above = two_sum(start.high, -shift), below = two_sum(end.high, shift);
    const Pair<T> value = divide(Pair<T>{above.high, (above.low - shift_low) + start.low},
                                 Pair<T>{below.high, (below.low + shift_low) + end.low});
    return copysign(value.high + value.low, x);
}

// 1 / (1 + e^-x), right down to denormal results.
template <class T> DEVICE T sigmoid(T x) {
    const T one = T(1);
    const T e = exp(-abs(x));
    const T numerator = x < T(0) ? e : one;
    if (single<T>()) return numerator / (one + e);
    const Pair<T> value = divide(Pair<T>{numerator, T(0)}, fast_two_sum(one, e));
    return value.high + value.low;
}

} // namespace math
