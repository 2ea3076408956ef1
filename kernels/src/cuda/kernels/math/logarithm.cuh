// `log` and `log1p` (kernels/src/cpu/math/logarithm.rs).
#pragma once

namespace math {

// e ln 2 + log(1 + f) + correction for f in [-0.25, 0.5).
template <class T> DEVICE T assemble(T e, T f, T correction) {
    const T half = T(0.5);
    if (single<T>()) {
        const T square = f * f;
        const T p = polynomial(f, 0.33333471, -0.24996369, 0.19982316, -0.1678858, 0.14902726, -0.1211258, 0.05561979);
        const T tail = (f * square) * p + correction;
        const T rest = fnma(half, square, fma(e, ln2_tail<T>(), tail));
        return fma(e, ln2_head<T>(), f + rest);
    }
    // With g = f / (2 + f): log(1 + f) = 2 atanh(g) = f - (f^2/2 - g (f^2/2 + R)).
    const T g = f / (T(2) + f);
    const T z = g * g;
    const T series = polynomial(z, 0.6666666666666666, 0.4000000000000794, 0.28571428567275936, 0.2222222304835159,
                                0.18181737626302938, 0.15388867805613718, 0.13209708242059462, 0.13609030262858499);
    const T half_square = half * (f * f);
    const T tail = fma(e, ln2_tail<T>(), correction);
    const T rest = fma(g, fma(z, series, half_square), tail);
    return fma(e, ln2_head<T>(), f - (half_square - rest));
}

// `value` where x is positive and finite, else log's special value.
template <class T> DEVICE T special(T x, T value) {
    value = x == infinity<T>() ? infinity<T>() : value;
    value = x == T(0) ? -infinity<T>() : value;
    return T(0) <= x ? value : not_a_number<T>();
}

// log(2^shift x) of a positive x, even where the product is beyond the largest number.
template <class T> DEVICE T log_shifted(T x, f64 shift) {
    T m, e;
    split_exponent(x, m, e);
    return special(x, assemble(e + T(shift), m - T(1), T(0)));
}

template <class T> DEVICE T log(T x) { return log_shifted(x, 0.0); }

// log(1 + x.high + x.low).
template <class T> DEVICE T log_of_sum(Pair<T> x) {
    const T one = T(1);
    const T sum = one + x.high;
    // What rounding took from 1 + x (two-sum), as a share of it.
    const T back = sum - one;
    const T lost = (one - (sum - back)) + (x.high - back);
    T m, e;
    split_exponent(sum, m, e);
    const bool near = e == T(0);
    const T f = near ? x.high : m - one;
    const T correction = (near ? x.low : lost + x.low) / sum;
    return special(sum, assemble(e, f, correction));
}

template <class T> DEVICE T log1p(T x) {
    const T value = log_of_sum(Pair<T>{x, T(0)});
    return abs(x) < either<T>(3e-8, 5e-17) ? x : value;
}

} // namespace math
