//! `log` and `log1p`.

use super::{constant, either, ln2_head, ln2_tail, polynomial, single};
use crate::cpu::simd::Simd;
use crate::element::Float;

/// `e ln 2 + log(1 + f) + correction` for `f` in `[-0.25, 0.5)` and a correction far below the
/// rest.
#[inline(always)]
fn assemble<T: Float, S: Simd<T>>(s: S, e: S::V, f: S::V, correction: S::V) -> S::V {
    let half = constant(s, 0.5);
    if single::<T>() {
        let square = s.mul(f, f);
        let p = polynomial(
            s,
            f,
            [0.33333471, -0.24996369, 0.19982316, -0.1678858, 0.14902726, -0.1211258, 0.05561979],
        );
        let tail = s.add(s.mul(s.mul(f, square), p), correction);
        let tail = s.fnma(half, square, s.fma(e, ln2_tail(s), tail));
        s.fma(e, ln2_head(s), s.add(f, tail))
    } else {
        // With g = f / (2 + f): log(1 + f) = 2 atanh(g) = f - (f^2/2 - g (f^2/2 + R)).
        let g = s.div(f, s.add(constant(s, 2.0), f));
        let z = s.mul(g, g);
        let series = polynomial(
            s,
            z,
            [
                0.6666666666666666,
                0.4000000000000794,
                0.28571428567275936,
                0.2222222304835159,
                0.18181737626302938,
                0.15388867805613718,
                0.13209708242059462,
                0.13609030262858499,
            ],
        );
        let half_square = s.mul(half, s.mul(f, f));
        let tail = s.fma(e, ln2_tail(s), correction);
        let tail = s.fma(g, s.fma(z, series, half_square), tail);
        s.fma(e, ln2_head(s), s.sub(f, s.sub(half_square, tail)))
    }
}

/// `value` where `x` is positive and finite, else log's special value: `-inf` at 0, `inf` at `inf`,
/// NaN below 0.
#[inline(always)]
pub(super) fn special<T: Float, S: Simd<T>>(s: S, x: S::V, value: S::V) -> S::V {
    let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
    let value = s.select(s.eq(x, infinity), infinity, value);
    let value = s.select(s.eq(x, zero), s.splat(T::NEG_INFINITY), value);
    s.select(s.le(zero, x), value, s.splat(T::NAN))
}

/// Natural logarithm.
#[inline(always)]
pub fn log<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    log_shifted(s, x, 0.0)
}

/// `log(1 + x)`.
#[inline(always)]
pub fn log1p<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let value = log_of_sum(s, (x, s.splat(T::ZERO)));
    let tiny = s.lt(s.abs(x), either(s, 3e-8, 5e-17));
    s.select(tiny, x, value)
}

/// `log(1 + x + low)` of a normal `x` and a `low` far below it.
#[inline(always)]
pub(super) fn log_of_sum<T: Float, S: Simd<T>>(s: S, (x, low): (S::V, S::V)) -> S::V {
    let one = s.splat(T::ONE);
    let sum = s.add(one, x);
    // What rounding took from 1 + x (two-sum), as a share of it: log(sum + lost) = log(sum) + lost
    // / sum.
    let back = s.sub(sum, one);
    let lost = s.add(s.sub(one, s.sub(sum, back)), s.sub(x, back));
    let (m, e) = s.split_exponent(sum);
    let near = s.eq(e, s.splat(T::ZERO));
    let f = s.select(near, x, s.sub(m, one));
    let correction = s.div(s.select(near, low, s.add(lost, low)), sum);
    special(s, sum, assemble(s, e, f, correction))
}

/// `log(2^shift x)` of a positive `x`, even where the product is beyond the largest number.
#[inline(always)]
pub(super) fn log_shifted<T: Float, S: Simd<T>>(s: S, x: S::V, shift: f64) -> S::V {
    let (m, e) = s.split_exponent(x);
    let f = s.sub(m, s.splat(T::ONE));
    special(s, x, assemble(s, s.add(e, constant(s, shift)), f, s.splat(T::ZERO)))
}
