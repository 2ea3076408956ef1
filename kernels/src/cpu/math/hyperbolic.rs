//! `sinh`, `cosh` and their inverses; `exp2`, `log2`, `log10`: exponentials and logarithms in pairs.

use super::exponential::{TAIL_F64, quotient};
use super::logarithm::{log_of_sum, log_shifted, special};
use super::pair::{Pair, divide, fast_two_sum, square_and_one, square_root, two_product, two_sum};
use super::power::log_pair;
use super::{ln2_head, ln2_tail, polynomial};
use crate::cpu::simd::Simd;

/// `e^(r + low)` for `|r| <= ln(2) / 2`.
#[inline(always)]
fn exp_near<S: Simd<f64>>(s: S, r: S::V, low: S::V) -> Pair<S::V> {
    let tail = polynomial(s, r, TAIL_F64);
    let (high, lost) = fast_two_sum(s, s.splat(1.0), r);
    fast_two_sum(s, high, s.add(lost, s.fma(s.mul(r, r), tail, s.fma(r, low, low))))
}

/// `e^(x + low)` as a pair times `2^n`, for `|x|` up to 1500.
#[inline(always)]
pub(super) fn exp_pair<S: Simd<f64>>(s: S, x: S::V, low: S::V) -> (Pair<S::V>, S::V) {
    let n = quotient(s, x);
    let exact = s.fnma(n, ln2_head(s), x);
    let r = s.fnma(n, ln2_tail(s), exact);
    let lost = s.fnma(n, ln2_tail(s), s.sub(exact, r));
    (exp_near(s, r, s.add(lost, low)), n)
}

/// `(e^a + sign e^-a) / 2` for `a` of at least 1 (with `+`: of at least 0).
#[inline(always)]
fn half_sum<S: Simd<f64>>(s: S, a: S::V, sign: f64) -> S::V {
    let (one, zero) = (s.splat(1.0), s.splat(0.0));
    let (power, n) = exp_pair(s, a, zero);
    let inverse = divide(s, (s.splat(sign), zero), power);
    let twice = s.max_second(s.splat(-1900.0), s.mul(n, s.splat(-2.0)));
    let (sum, lost) = fast_two_sum(s, power.0, s.scale(inverse.0, twice));
    let rest = s.add(s.add(power.1, s.scale(inverse.1, twice)), lost);
    s.scale(s.add(sum, rest), s.sub(n, one))
}

/// Hyperbolic cosine.
#[inline(always)]
pub fn cosh<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    half_sum(s, s.min_second(s.splat(720.0), s.abs(x)), 1.0)
}

/// Hyperbolic sine: its series below 1.
#[inline(always)]
pub fn sinh<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    let a = s.min_second(s.splat(720.0), s.abs(x));
    let z = s.mul(x, x);
    let series = polynomial(
        s,
        z,
        [
            0.16666666666666666,
            0.008333333333333333,
            0.0001984126984126984,
            2.7557319223985893e-06,
            2.505210838544172e-08,
            1.6059043836821613e-10,
            7.647163731819816e-13,
            2.8114572543455206e-15,
            8.22063524662433e-18,
        ],
    );
    let near = s.fma(s.mul(x, z), series, x);
    let one = s.splat(1.0);
    let far = half_sum(s, s.max_second(one, a), -1.0);
    s.select(s.lt(a, one), near, s.copysign(far, x))
}

/// The sum of a pair and a number, for `log_of_sum`.
#[inline(always)]
fn plus<S: Simd<f64>>(s: S, x: Pair<S::V>, y: S::V) -> Pair<S::V> {
    let (sum, lost) = two_sum(s, y, x.0);
    fast_two_sum(s, sum, s.add(lost, x.1))
}

/// Where squares would overflow and `x^2 + 1` is `x^2`.
const LARGE: f64 = 1e10;

/// Inverse hyperbolic sine: `log(1 + (|x| + sqrt(x^2 + 1) - 1))`.
#[inline(always)]
pub fn asinh<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    let a = s.abs(x);
    let large = s.lt(s.splat(LARGE), a);
    let held = s.min_second(s.splat(LARGE), a);
    let root = square_root(s, square_and_one(s, held, 1.0, 1.0));
    let u = plus(s, plus(s, root, s.splat(-1.0)), held);
    let value = s.select(large, log_shifted(s, a, 1.0), log_of_sum(s, u));
    // The root is exactly 1 here, and denormals survive.
    let value = s.select(s.lt(a, s.splat(1e-9)), a, value);
    s.copysign(value, x)
}

/// Inverse hyperbolic cosine: `log(1 + (x - 1 + sqrt(x^2 - 1)))`; NaN below 1.
#[inline(always)]
pub fn acosh<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    let large = s.lt(s.splat(LARGE), x);
    let held = s.min_second(s.splat(LARGE), x);
    let root = square_root(s, square_and_one(s, held, 1.0, -1.0));
    let (above, lost) = two_sum(s, held, s.splat(-1.0));
    let u = plus(s, (root.0, s.add(root.1, lost)), above);
    let value = s.select(large, log_shifted(s, x, 1.0), log_of_sum(s, u));
    s.select(s.lt(x, s.splat(1.0)), s.splat(f64::NAN), value)
}

/// Inverse hyperbolic tangent: `log(1 + 2x / (1 - x)) / 2`; infinite at 1, NaN beyond.
#[inline(always)]
pub fn atanh<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    let (one, zero) = (s.splat(1.0), s.splat(0.0));
    let a = s.abs(x);
    let u = divide(s, (s.add(a, a), zero), two_sum(s, one, s.neg(a)));
    let value = s.mul(log_of_sum(s, u), s.splat(0.5));
    // Below it the logarithm's terms lose denormals.
    let value = s.select(s.lt(a, s.splat(1e-9)), a, value);
    let value = s.select(s.eq(a, one), s.splat(f64::INFINITY), value);
    s.copysign(s.select(s.lt(one, a), s.splat(f64::NAN), value), x)
}

/// `2^x`.
#[inline(always)]
pub fn exp2<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    let x = s.max_second(s.splat(-1100.0), s.min_second(s.splat(1030.0), x));
    let n = s.round(x);
    let (r, lost) = two_product(s, s.sub(x, n), s.splat(std::f64::consts::LN_2));
    let low = s.fma(s.sub(x, n), s.splat(2.3190468138462996e-17), lost);
    let (high, low) = exp_near(s, r, low);
    s.scale(s.add(high, low), n)
}

/// `log(x)` times a constant given as a pair.
#[inline(always)]
fn log_times<S: Simd<f64>>(s: S, x: S::V, (factor, factor_low): (f64, f64)) -> S::V {
    let log = log_pair(s, x);
    let (product, lost) = two_product(s, log.0, s.splat(factor));
    let low = s.fma(log.1, s.splat(factor), s.fma(log.0, s.splat(factor_low), lost));
    special(s, x, s.add(product, low))
}

/// Logarithm to base 2, exact of powers of 2.
#[inline(always)]
pub fn log2<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    log_times(s, x, (std::f64::consts::LOG2_E, 2.0355273740931033e-17))
}

/// Logarithm to base 10, exact of powers of 10.
#[inline(always)]
pub fn log10<S: Simd<f64>>(s: S, x: S::V) -> S::V {
    log_times(s, x, (std::f64::consts::LOG10_E, 1.098319650216765e-17))
}
