// Unevaluated sums of two numbers, high and low (kernels/src/cpu/math/pair.rs).
#pragma once

namespace math {

template <class T> struct Pair { T high, low; };

// The exact sum of two numbers.
template <class T> DEVICE Pair<T> two_sum(T a, T b) {
    const T sum = a + b, back = sum - a;
    return {sum, (a - (sum - back)) + (b - back)};
}

// The exact sum of two numbers of which `a` is the larger (or 0).
template <class T> DEVICE Pair<T> fast_two_sum(T a, T b) {
    const T sum = a + b;
    return {sum, b - (sum - a)};
}

// The exact product of two numbers.
template <class T> DEVICE Pair<T> two_product(T a, T b) {
    const T product = a * b;
    return {product, fma(a, b, -product)};
}

template <class T> DEVICE Pair<T> divide(Pair<T> a, Pair<T> b) {
    const T q = a.high / b.high;
    const T rest = fnma(q, b.low, fnma(q, b.high, a.high) + a.low);
    return {q, rest / b.high};
}

// The square root; of 0 it is 0.
template <class T> DEVICE Pair<T> square_root(Pair<T> x) {
    const T above = root(x.high);
    const T rest = fnma(above, above, x.high) + x.low;
    return {above, above == T(0) ? T(0) : rest / (above + above)};
}

// `sign x^2 + one`.
template <class T> DEVICE Pair<T> square_and_one(T x, f64 sign, f64 one) {
    const Pair<T> square = two_product(x * T(sign), x);
    const Pair<T> sum = two_sum(T(one), square.high);
    return {sum.high, sum.low + square.low};
}

} // namespace math
