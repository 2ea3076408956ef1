//! `pow`: the logarithm as an unevaluated sum of two, so that its product with a large exponent
//! keeps its digits.

use super::exponential::{clamp_exponent, expm1_reduced, quotient};
use super::{constant, either, ln2_head, ln2_tail, polynomial, single};
use crate::cpu::simd::Simd;
use crate::element::Float;

/// `log(x)` of a positive finite `x` as `(high, low)`, good to about 20 (f32: 10) bits beyond the
/// type.
#[inline(always)]
pub(super) fn log_pair<T: Float, S: Simd<T>>(s: S, x: S::V) -> (S::V, S::V) {
    let one = s.splat(T::ONE);
    let (m, e) = s.split_exponent(x);
    // g = (m - 1) / (m + 1) as a pair: the denominator's rounding error goes into the remainder.
    let f = s.sub(m, one);
    let d = s.add(m, one);
    let d_low = s.sub(m, s.sub(d, one));
    let g = s.div(f, d);
    let g_low = s.div(s.fnma(g, d_low, s.fnma(g, d, f)), d);
    let two_g = s.add(g, g);
    let z = s.mul(g, g);
    let z_low = s.fma(two_g, g_low, s.fma(g, g, s.neg(z)));
    // log(m) = 2g + g z (2/3 + z tail(z)).
    let tail = if single::<T>() {
        polynomial(
            s,
            z,
            [0.3999999966652055, 0.28571694400304304, 0.22189271069711006, 0.194771907],
        )
    } else {
        polynomial(
            s,
            z,
            [
                0.4,
                0.28571428571428487,
                0.22222222222278695,
                0.18181818167391273,
                0.15384617228261813,
                0.1333320125384769,
                0.11770245498984806,
                0.10391790132801734,
                0.11256990431013299,
            ],
        )
    };
    let tail = s.mul(z, tail);
    let third = either(s, 0.6666666865348816, 0.6666666666666666);
    let third_low = either(s, -1.9868214925130207e-8, 3.700743415417188e-17);
    let q = s.add(third, tail);
    let q_low = s.add(s.sub(tail, s.sub(q, third)), third_low);
    let w = s.mul(z, q);
    let w_low = s.add(s.fma(z, q, s.neg(w)), s.fma(z, q_low, s.mul(z_low, q)));
    let cubic = s.mul(g, w);
    let cubic_low = s.add(s.fma(g, w, s.neg(cubic)), s.fma(g, w_low, s.mul(g_low, w)));
    // Descending magnitudes: each error term is exact.
    let start = s.mul(e, ln2_head(s));
    let first = s.add(start, two_g);
    let first_low = s.sub(two_g, s.sub(first, start));
    let second = s.add(first, cubic);
    let second_low = s.sub(cubic, s.sub(second, first));
    let rest = s.fma(e, ln2_tail(s), s.fma(constant(s, 2.0), g_low, cubic_low));
    let low = s.add(s.add(first_low, second_low), rest);
    let high = s.add(second, low);
    (high, s.sub(low, s.sub(high, second)))
}

/// `|x|^y` of finite or infinite `|x|`, without the cases that are 1 by definition.
#[inline(always)]
fn magnitude<T: Float, S: Simd<T>>(s: S, a: S::V, y: S::V) -> S::V {
    let (high, low) = log_pair(s, a);
    let infinity = s.splat(T::INFINITY);
    let high = s.select(s.eq(a, infinity), infinity, high);
    let high = s.select(s.eq(a, s.splat(T::ZERO)), s.splat(T::NEG_INFINITY), high);
    let p = s.mul(y, high);
    let p_low = s.fma(y, low, s.fma(y, high, s.neg(p)));
    // Out of range the low part is meaningless (or NaN) and the clamp decides.
    let inside = s.lt(s.abs(p), either(s, 110.0, 750.0));
    let p_low = s.select(inside, p_low, s.splat(T::ZERO));
    let p = clamp_exponent(s, p);
    let n = quotient(s, p);
    let r = s.add(s.fnma(n, ln2_head(s), p), s.fnma(n, ln2_tail(s), p_low));
    s.scale(s.add(s.splat(T::ONE), expm1_reduced(s, r)), n)
}

/// `x^y` with the signs and special cases of IEEE 754 `pow`.
#[inline(always)]
pub fn pow<T: Float, S: Simd<T>>(s: S, x: S::V, y: S::V) -> S::V {
    let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
    let a = s.abs(x);
    let value = magnitude(s, a, y);
    // |x| = 1 to any power but NaN.
    let value = s.select(s.mask_and(s.eq(a, one), s.le(y, y)), one, value);
    let half_y = s.mul(y, constant(s, 0.5));
    let whole = s.eq(s.floor(y), y);
    let odd = s.mask_and(whole, s.mask_not(s.eq(s.floor(half_y), half_y)));
    let value = s.select(odd, s.copysign(value, x), value);
    let negative = s.mask_and(s.lt(x, zero), s.lt(s.splat(T::NEG_INFINITY), x));
    let undefined = s.mask_and(negative, s.mask_not(whole));
    let value = s.select(undefined, s.splat(T::NAN), value);
    let value = s.select(s.is_nan(x), x, value);
    let value = s.select(s.is_nan(y), y, value);
    s.select(s.mask_or(s.eq(x, one), s.eq(y, zero)), one, value)
}
