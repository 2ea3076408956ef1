// `pow` (kernels/src/cpu/math/power.rs).
#pragma once

namespace math {

// log(x) of a positive finite x, good to about 20 (f32: 10) bits beyond the type.
template <class T> DEVICE Pair<T> log_pair(T x) {
    const T one = T(1);
    T m, e;
    split_exponent(x, m, e);
    // g = (m - 1) / (m + 1) as a pair: the denominator's rounding error goes into the remainder.
    const T f = m - one, d = m + one;
    const T d_low = m - (d - one);
    const T g = f / d;
    const T g_low = fnma(g, d_low, fnma(g, d, f)) / d;
    const T two_g = g + g;
    const T z = g * g;
    const T z_low = fma(two_g, g_low, fma(g, g, -z));
    // log(m) = 2g + g z (2/3 + z tail(z)).
    const T tail = z * (single<T>()
        ? polynomial(z, 0.3999999966652055, 0.28571694400304304, 0.22189271069711006, 0.194771907)
        : polynomial(z, 0.4, 0.28571428571428487, 0.22222222222278695, 0.18181818167391273, 0.15384617228261813,
                     0.1333320125384769, 0.11770245498984806, 0.10391790132801734, 0.11256990431013299));
    const T third = either<T>(0.6666666865348816, 0.6666666666666666);
    const T third_low = either<T>(-1.9868214925130207e-8, 3.700743415417188e-17);
    const T q = third + tail;
    const T q_low = (tail - (q - third)) + third_low;
    const T w = z * q;
    const T w_low = fma(z, q, -w) + fma(z, q_low, z_low * q);
    const T cubic = g * w;
    const T cubic_low = fma(g, w, -cubic) + fma(g, w_low, g_low * w);
    // Descending magnitudes: each error term is exact.
    const T start = e * ln2_head<T>();
    const T first = start + two_g;
    const T first_low = two_g - (first - start);
    const T second = first + cubic;
    const T second_low = cubic - (second - first);
    const T rest = fma(e, ln2_tail<T>(), fma(T(2), g_low, cubic_low));
    const T low = (first_low + second_low) + rest;
    const T high = second + low;
    return {high, low - (high - second)};
}

// |x|^y of finite or infinite |x|, without the cases that are 1 by definition.
template <class T> DEVICE T magnitude(T a, T y) {
    const Pair<T> log = log_pair(a);
    T high = a == infinity<T>() ? infinity<T>() : log.high;
    high = a == T(0) ? -infinity<T>() : high;
    T p = y * high;
    T p_low = fma(y, log.low, fma(y, high, -p));
    // Out of range the low part is meaningless (or NaN) and the clamp decides.
    p_low = abs(p) < either<T>(110.0, 750.0) ? p_low : T(0);
    p = clamp_exponent(p);
    const T n = quotient(p);
    const T r = fnma(n, ln2_head<T>(), p) + fnma(n, ln2_tail<T>(), p_low);
    return scale(T(1) + expm1_reduced(r), n);
}

// x^y with the signs and special cases of IEEE 754 `pow`.
template <class T> CALL T pow(T x, T y) {
    const T zero = T(0), one = T(1);
    const T a = abs(x);
    T value = magnitude(a, y);
    // |x| = 1 to any power but NaN.
    value = a == one && y <= y ? one : value;
    const T half_y = y * T(0.5);
    const bool whole = floor(y) == y;
    const bool odd = whole && !(floor(half_y) == half_y);
    value = odd ? copysign(value, x) : value;
    const bool negative = x < zero && -infinity<T>() < x;
    value = negative && !whole ? not_a_number<T>() : value;
    value = is_nan(x) ? x : value;
    value = is_nan(y) ? y : value;
    return x == one || y == zero ? one : value;
}

} // namespace math
