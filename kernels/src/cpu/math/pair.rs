//! Unevaluated sums of two f64, high and low: what the rarer functions need to end within one unit
//! of the last place without formulas of their own.

use crate::cpu::simd::Simd;

/// `high + low`, the low far below the high.
pub(super) type Pair<V> = (V, V);

/// The exact sum of two numbers, as a pair.
#[inline(always)]
pub(super) fn two_sum<S: Simd<f64>>(s: S, a: S::V, b: S::V) -> Pair<S::V> {
    let sum = s.add(a, b);
    let back = s.sub(sum, a);
    (sum, s.add(s.sub(a, s.sub(sum, back)), s.sub(b, back)))
}

/// The exact sum of two numbers of which `a` is the larger (or 0), as a pair.
#[inline(always)]
pub(super) fn fast_two_sum<S: Simd<f64>>(s: S, a: S::V, b: S::V) -> Pair<S::V> {
    let sum = s.add(a, b);
    (sum, s.sub(b, s.sub(sum, a)))
}

/// The exact product of two numbers, as a pair.
#[inline(always)]
pub(super) fn two_product<S: Simd<f64>>(s: S, a: S::V, b: S::V) -> Pair<S::V> {
    let product = s.mul(a, b);
    (product, s.fma(a, b, s.neg(product)))
}

/// `a / b`.
#[inline(always)]
pub(super) fn divide<S: Simd<f64>>(s: S, a: Pair<S::V>, b: Pair<S::V>) -> Pair<S::V> {
    let q = s.div(a.0, b.0);
    let rest = s.fnma(q, b.1, s.add(s.fnma(q, b.0, a.0), a.1));
    (q, s.div(rest, b.0))
}

/// The square root; of 0 it is 0.
#[inline(always)]
pub(super) fn square_root<S: Simd<f64>>(s: S, x: Pair<S::V>) -> Pair<S::V> {
    let root = s.sqrt(x.0);
    let rest = s.add(s.fnma(root, root, x.0), x.1);
    let zero = s.splat(0.0);
    (root, s.select(s.eq(root, zero), zero, s.div(rest, s.add(root, root))))
}

/// `x^2 - 1`, `1 - x^2` or `1 + x^2`: `sign x^2 + one`.
#[inline(always)]
pub(super) fn square_and_one<S: Simd<f64>>(s: S, x: S::V, sign: f64, one: f64) -> Pair<S::V> {
    let (square, low) = two_product(s, s.mul(x, s.splat(sign)), x);
    let (sum, lost) = two_sum(s, s.splat(one), square);
    (sum, s.add(lost, low))
}
