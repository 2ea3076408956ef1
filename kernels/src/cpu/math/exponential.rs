//! `exp` and what is built on it: `expm1`, `tanh`, `sigmoid`.

use super::pair::{Pair, divide, fast_two_sum, two_sum};
use super::{LOG2_E, constant, either, ln2_head, ln2_tail, magic, polynomial, single};
use crate::cpu::simd::Simd;
use crate::element::Float;

/// `(e^r - 1 - r) / r^2` for `|r| <= ln(2) / 2`, as coefficients of f32 and f64.
const TAIL_F32: [f64; 5] = [
    0.4999999701976776,
    0.16666537523269653,
    0.041667740792036057,
    0.008367317728698254,
    0.0013837877195328474,
];
const TAIL_F64: [f64; 11] = [
    0.5,
    0.1666666666666667,
    0.04166666666666667,
    0.0083333333333259,
    0.0013888888888883581,
    0.00019841269875637497,
    2.4801587326131077e-05,
    2.755725436822675e-06,
    2.755727290616548e-07,
    2.510564479145537e-08,
    2.091499245327924e-09,
];

/// `e^r` for `|r| <= ln(2) / 2`, f32.
pub(super) const EXP_F32: [f64; 7] = [
    1.0,
    1.0,
    0.4999999403953552,
    0.16666515171527863,
    0.041668083518743515,
    0.008369348011910915,
    0.0013840367319062352,
];

/// The coefficients of `scale p(factor x)` for those of `p(x)`. If both are powers of two it gives the same bits.
pub(super) const fn stretched<const N: usize>(
    mut c: [f64; N],
    mut scale: f64,
    factor: f64,
) -> [f64; N] {
    let mut i = 0;
    while i < N {
        c[i] *= scale;
        scale *= factor;
        i += 1;
    }
    c
}

/// `e^r - 1` for `|r| <= ln(2) / 2`, to the relative precision of `T`.
#[inline(always)]
pub(super) fn expm1_reduced<T: Float, S: Simd<T>>(s: S, r: S::V) -> S::V {
    let tail = if single::<T>() { polynomial(s, r, TAIL_F32) } else { polynomial(s, r, TAIL_F64) };
    s.fma(s.mul(r, r), tail, r)
}

/// `e^r` for `|r| <= ln(2) / 2`.
#[inline(always)]
pub(super) fn exp_reduced<T: Float, S: Simd<T>>(s: S, r: S::V) -> S::V {
    if single::<T>() {
        polynomial(s, r, EXP_F32)
    } else {
        s.add(s.splat(T::ONE), expm1_reduced(s, r))
    }
}

/// `e^(r + low)` for `|r| <= ln(2) / 2`, f64.
#[inline(always)]
pub(super) fn exp_near<T: Float, S: Simd<T>>(s: S, r: S::V, low: S::V) -> Pair<S::V> {
    let tail = polynomial(s, r, TAIL_F64);
    let (high, lost) = fast_two_sum(s, s.splat(T::ONE), r);
    fast_two_sum(s, high, s.add(lost, s.fma(s.mul(r, r), tail, s.fma(r, low, low))))
}

/// `e^(x + low)` as a pair times `2^n`, for `|x|` up to 1500, f64.
#[inline(always)]
pub(super) fn exp_pair<T: Float, S: Simd<T>>(s: S, x: S::V, low: S::V) -> (Pair<S::V>, S::V) {
    let n = quotient(s, x);
    let exact = s.fnma(n, ln2_head(s), x);
    let r = s.fnma(n, ln2_tail(s), exact);
    let lost = s.fnma(n, ln2_tail(s), s.sub(exact, r));
    // The low part of a large x may be no smaller than r's last places: into r with it.
    let (r, low) = two_sum(s, r, s.add(lost, low));
    (exp_near(s, r, low), n)
}

/// `x - n ln 2`.
#[inline(always)]
pub(super) fn reduce<T: Float, S: Simd<T>>(s: S, x: S::V, n: S::V) -> S::V {
    s.fnma(n, ln2_tail(s), s.fnma(n, ln2_head(s), x))
}

/// The nearest integer to `x / ln 2`.
#[inline(always)]
pub(super) fn quotient<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    s.sub(s.fma(x, constant(s, LOG2_E), magic(s)), magic(s))
}

/// `x` held inside the range where `e^x` is neither 0 nor infinite, and one step beyond; NaN stays.
#[inline(always)]
pub(super) fn clamp_exponent<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    s.max_second(either(s, -105.0, -746.0), s.min_second(either(s, 89.0, 710.0), x))
}

/// `e^x`.
#[inline(always)]
pub fn exp<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    if const { !S::ANY_SCALE } {
        return exp_held(s, clamp_exponent(s, x));
    }
    // An x out of range has an n that is, or is NaN, and decides alone: any r will do that keeps e^r
    // finite.
    let n = quotient(s, x);
    let r = s.within(reduce(s, x, n), constant(s, 0.5));
    s.scale(exp_reduced(s, r), n)
}

/// `e^x` of what [`clamp_exponent`] would leave alone.
#[inline(always)]
fn exp_held<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let n = quotient(s, x);
    s.scale(exp_reduced(s, reduce(s, x, n)), n)
}

/// `e^x - 1`.
#[inline(always)]
pub fn expm1<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let held = s.max_second(either(s, -20.0, -40.0), s.min_second(either(s, 89.0, 710.0), x));
    // The magic number carries the exponent's bias less one: its low bits are the exponent field of
    // 2^n / 2, which, unlike 2^n, is finite for the largest n.
    let biased = s.add(magic(s), either(s, 126.0, 1022.0));
    let t = s.fma(held, constant(s, LOG2_E), biased);
    let n = s.sub(t, biased);
    let half_power = s.low_bits_to_exponent(t);
    let q = expm1_reduced(s, reduce(s, held, n));
    let half = s.fma(half_power, q, s.sub(half_power, constant(s, 0.5)));
    // Halving a denormal would round it.
    let tiny = s.lt(s.abs(x), either(s, 3e-8, 5e-17));
    s.select(tiny, x, s.add(half, half))
}

/// Hyperbolic tangent: `-expm1(-2|x|)` over `1 + e^(-2|x|)`, both from the same parts.
#[inline(always)]
pub fn tanh<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let a = s.min_second(either(s, 10.0, 22.0), s.abs(x));
    let value = if single::<T>() { tanh_single(s, a) } else { tanh_double(s, a) };
    s.copysign(value, x)
}

/// `tanh(a)` of f32 for `a` of 0 to 10. The parts are halved, which changes no bit of their quotient; half the power
/// of two is added, not multiplied, since some machines add beside their multiplications (Zen 4).
#[inline(always)]
fn tanh_single<T: Float, S: Simd<T>>(s: S, a: S::V) -> S::V {
    let half = constant(s, 0.5);
    let biased = s.add(magic(s), s.splat(T::from_f64(126.0)));
    let t = s.fma(a, constant(s, -2.0 * LOG2_E), biased);
    let n = s.sub(t, biased);
    let half_power = s.low_bits_to_exponent(t);
    // r = 2a + n ln 2; q = -expm1(-r). The sign of -2a keeps the numerator below 1/2.
    let r = s.fma(n, ln2_tail(s), s.fma(n, ln2_head(s), s.add(a, a)));
    let tail = polynomial(s, r, const { stretched(TAIL_F32, -1.0, -1.0) });
    let q = s.fma(s.mul(r, r), tail, r);
    let (start, end) = (s.sub(half, half_power), s.add(half, half_power));
    s.div(s.fma(half_power, q, start), s.fnma(half_power, q, end))
}

/// `tanh(a)` of f64 for `a` of 0 to 22.
#[inline(always)]
fn tanh_double<T: Float, S: Simd<T>>(s: S, a: S::V) -> S::V {
    let biased = s.add(magic(s), s.splat(T::from_f64(1023.0)));
    let t = s.fma(a, constant(s, -2.0 * LOG2_E), biased);
    let n = s.sub(t, biased);
    let power = s.low_bits_to_exponent(t);
    // h = (-2a - n ln 2) / 2; q = expm1(2h) / 2.
    let half = constant(s, 0.5);
    let half_n = s.mul(n, half);
    let h = s.fnma(half_n, ln2_tail(s), s.fnma(half_n, ln2_head(s), s.neg(a)));
    let tail = polynomial(s, h, const { stretched(TAIL_F64, 2.0, 2.0) });
    let q = s.fma(s.mul(h, h), tail, h);
    // With what q and all sums were rounded by: without it, 2.0 units.
    let q_low = s.fma(s.mul(h, h), tail, s.sub(h, q));
    let (shift, shift_low) = (s.mul(power, q), s.mul(power, q_low));
    let (start, start_low) = fast_two_sum(s, half, s.neg(s.mul(power, half)));
    let (end, end_low) = fast_two_sum(s, half, s.mul(power, half));
    let (above, above_low) = two_sum(s, start, s.neg(shift));
    let (below, below_low) = two_sum(s, end, shift);
    let above = (above, s.add(s.sub(above_low, shift_low), start_low));
    let below = (below, s.add(s.add(below_low, shift_low), end_low));
    let (value, low) = divide(s, above, below);
    s.add(value, low)
}

/// `1 / (1 + e^-x)`, right down to denormal results.
#[inline(always)]
pub fn sigmoid<T: Float, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let one = s.splat(T::ONE);
    if single::<T>() {
        let e = exp_minus(s, s.abs_within(x, constant(s, 105.0)));
        return s.div(s.one_unless_negative(x, e), s.add(one, e));
    }
    let e = exp_held(s, s.max_second(constant(s, -746.0), s.neg(s.abs(x))));
    let zero = s.splat(T::ZERO);
    let numerator = s.select(s.lt(x, zero), e, one);
    let (value, low) = divide(s, (numerator, zero), fast_two_sum(s, one, e));
    s.add(value, low)
}

/// `e^-a` of f32 for `a` of 0 to 105. The sign is moved into the coefficients.
#[inline(always)]
fn exp_minus<T: Float, S: Simd<T>>(s: S, a: S::V) -> S::V {
    let n = s.sub(s.fma(a, constant(s, -LOG2_E), magic(s)), magic(s));
    let r = s.fma(n, ln2_tail(s), s.fma(n, ln2_head(s), a));
    s.scale(polynomial(s, r, const { stretched(EXP_F32, 1.0, -1.0) }), n)
}
