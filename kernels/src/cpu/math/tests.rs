//! Every function against std's f64, over all exponents, on every ISA with the same bits.

mod table;

use std::marker::PhantomData;

use crate::cpu::isa::{HasTokens, Isa, Kernel, Tokens, dispatch_on};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::elementwise::{BinaryFormula, UnaryFormula, UnaryOp, binary, unary};
use crate::reference::map as reference;

struct One<'a, T, F>(&'a [T], &'a mut [T], PhantomData<F>);

impl<T: Float, F: UnaryFormula> Kernel<T> for One<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        for (x, y) in self.0.chunks(S::LANES).zip(self.1.chunks_mut(S::LANES)) {
            // SAFETY: both chunks have `x.len() <= LANES` elements.
            unsafe {
                let value = F::apply(s, s.load_first(x.as_ptr(), x.len()));
                s.store_first(y.as_mut_ptr(), value, x.len());
            }
        }
    }
}

struct Two<'a, T, F>(&'a [T], &'a [T], &'a mut [T], PhantomData<F>);

impl<T: Float, F: BinaryFormula> Kernel<T> for Two<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let pairs = self.0.chunks(S::LANES).zip(self.1.chunks(S::LANES));
        for ((a, b), y) in pairs.zip(self.2.chunks_mut(S::LANES)) {
            // SAFETY: the chunks have `a.len() <= LANES` elements.
            unsafe {
                let (x, z) = (s.load_first(a.as_ptr(), a.len()), s.load_first(b.as_ptr(), a.len()));
                s.store_first(y.as_mut_ptr(), F::apply(s, x, z), a.len());
            }
        }
    }
}

/// Equal, or both NaN; -0 is not +0.
fn same<T: Float>(a: T, b: T) -> bool {
    a.is_nan() && b.is_nan() || a == b && (T::ONE / a == T::ONE / b || a != T::ZERO)
}

/// `F` of all `x`, which must be the same on every ISA.
fn apply<T: Float, F: UnaryFormula>(x: &[T]) -> Vec<T>
where
    Tokens: HasTokens<T>,
{
    let run = |isa| {
        let mut y = vec![T::ZERO; x.len()];
        dispatch_on(isa, One::<T, F>(x, &mut y, PhantomData));
        y
    };
    let first = run(Isa::Scalar);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        for ((&x, &a), &b) in x.iter().zip(&first).zip(&run(isa)) {
            assert!(same(a, b), "{}({x:?}): scalar {a:?}, {} {b:?}", name::<F>(), isa.name());
        }
    }
    first
}

fn name<F>() -> &'static str {
    std::any::type_name::<F>().rsplit(':').next().unwrap_or("")
}

/// A unit in the last place of a type with `bits` of mantissa and least exponent `least`, at `x`.
fn unit(x: f64, bits: i32, least: i32) -> f64 {
    let exponent = ((x.abs().to_bits() >> 52) as i32 - 1023).max(least);
    f64::from_bits(match exponent - bits {
        normal if normal >= -1022 => ((normal + 1023) as u64) << 52,
        denormal => 1 << (denormal + 1074),
    })
}

/// Distance of `got` from `want` in units of `want`'s last place; special values must agree.
fn distance<T: Float>(got: T, want: f64) -> f64 {
    let rounded = T::from_f64(want);
    if same(got, rounded) {
        return if rounded.is_finite() && size_of::<T>() == 4 {
            (got.to_f64() - want).abs() / unit(want, 23, -126)
        } else {
            0.0
        };
    }
    if !got.is_finite() || !rounded.is_finite() {
        // Beyond the largest number by the rounding of one unit is still right.
        let largest = if size_of::<T>() == 4 { f32::MAX as f64 } else { f64::MAX };
        let near = got.to_f64().abs().min(largest) == largest && want.abs() >= largest * 0.999999;
        return if near && got.to_f64() * want > 0.0 { 0.0 } else { f64::INFINITY };
    }
    let (bits, least) = if size_of::<T>() == 4 { (23, -126) } else { (52, -1022) };
    (got.to_f64() - want).abs() / unit(want, bits, least)
}

/// All special values and a sample of every exponent, f32.
fn sample_f32() -> Vec<f32> {
    let specials = [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let spread = (0..=u32::MAX).step_by(8191).map(f32::from_bits);
    specials.into_iter().chain(spread).collect()
}

/// A splitmix64 stream.
fn random(count: usize) -> impl Iterator<Item = u64> {
    (1..=count as u64).map(|i| {
        let mut z = i.wrapping_mul(0x9e3779b97f4a7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d049bb133111eb);
        z ^ z >> 31
    })
}

/// Special values, random bits, and a dense sample of -45..45, f64.
fn sample_f64() -> Vec<f64> {
    let specials = [0.0, -0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let spread = random(150_000).map(f64::from_bits);
    let dense = random(300_000).map(|z| (z >> 11) as f64 * 2f64.powi(-53) * 90.0 - 45.0);
    let wide = random(50_000).map(|z| (z >> 11) as f64 * 2f64.powi(-53) * 1500.0 - 750.0);
    specials.into_iter().chain(spread).chain(dense).chain(wide).collect()
}

/// Holds `F` to `bound` units in f32, and in f64 to its bound and what the reference itself may be
/// off.
fn check<F: UnaryFormula>(op: UnaryOp, bound_f32: f64, bound_f64: f64) {
    let x = sample_f32();
    for (&x, &y) in x.iter().zip(&apply::<f32, F>(&x)) {
        let d = distance(y, reference::unary(op, x as f64));
        assert!(d <= bound_f32, "{}({x:?}) = {y:?}: {d} units off", name::<F>());
    }
    let x = sample_f64();
    for (&x, &y) in x.iter().zip(&apply::<f64, F>(&x)) {
        let d = distance(y, reference::unary(op, x));
        assert!(d <= bound_f64, "{}({x:?}) = {y:?}: {d} units off", name::<F>());
    }
}

#[test]
fn exp() {
    check::<unary::Exp>(UnaryOp::Exp, 1.0, 2.0);
}

#[test]
fn expm1() {
    check::<unary::Expm1>(UnaryOp::Expm1, 2.0, 3.0);
}

#[test]
fn log() {
    check::<unary::Log>(UnaryOp::Log, 1.5, 2.0);
}

#[test]
fn log1p() {
    check::<unary::Log1p>(UnaryOp::Log1p, 2.0, 3.0);
}

#[test]
fn sin() {
    check::<unary::Sin>(UnaryOp::Sin, 1.0, 2.0);
}

#[test]
fn cos() {
    check::<unary::Cos>(UnaryOp::Cos, 1.0, 2.0);
}

#[test]
fn tanh() {
    check::<unary::Tanh>(UnaryOp::Tanh, 2.0, 2.5);
}

#[test]
fn sigmoid() {
    check::<unary::Sigmoid>(UnaryOp::Sigmoid, 2.5, 5.0);
}

/// The references of `erf` and `gelu` are series, not correctly rounded.
#[test]
fn erf() {
    check::<unary::Erf>(UnaryOp::Erf, 1.5, 60.0);
}

#[test]
fn gelu() {
    check::<unary::Gelu>(UnaryOp::Gelu, 5.0, 60.0);
}

#[test]
fn every_other_formula_is_exact() {
    check::<unary::Neg>(UnaryOp::Neg, 0.5, 0.0);
    check::<unary::Abs>(UnaryOp::Abs, 0.5, 0.0);
    check::<unary::Sign>(UnaryOp::Sign, 0.5, 0.0);
    check::<unary::Reciprocal>(UnaryOp::Reciprocal, 0.500001, 0.0);
    check::<unary::Square>(UnaryOp::Square, 0.500001, 0.0);
    check::<unary::Sqrt>(UnaryOp::Sqrt, 0.500001, 0.0);
    check::<unary::Rsqrt>(UnaryOp::Rsqrt, 1.5, 0.0);
    check::<unary::Relu>(UnaryOp::Relu, 0.5, 0.0);
    check::<unary::Floor>(UnaryOp::Floor, 0.5, 0.0);
    check::<unary::Ceil>(UnaryOp::Ceil, 0.5, 0.0);
    check::<unary::Round>(UnaryOp::Round, 0.5, 0.0);
    check::<unary::Trunc>(UnaryOp::Trunc, 0.5, 0.0);
}

/// `a^b` of all pairs, the same on every ISA, within `bound` of std's f64.
fn check_pow<T: Float>(a: &[T], b: &[T], bound: f64)
where
    Tokens: HasTokens<T>,
{
    let run = |isa| {
        let mut y = vec![T::ZERO; a.len()];
        dispatch_on(isa, Two::<T, binary::Pow>(a, b, &mut y, PhantomData));
        y
    };
    let first = run(Isa::Scalar);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let y = run(isa);
        for i in 0..a.len() {
            assert!(same(first[i], y[i]), "pow({:?}, {:?}) on {}", a[i], b[i], isa.name());
            let d = distance(y[i], a[i].to_f64().powf(b[i].to_f64()));
            assert!(d <= bound, "pow({:?}, {:?}) = {:?}: {d} units", a[i], b[i], y[i]);
        }
    }
}

#[test]
fn pow_has_the_special_cases_of_ieee() {
    let values = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        2.0,
        -2.0,
        3.0,
        -3.0,
        2.5,
        -2.5,
        1e-40,
        -1e-40,
        1e30,
        -1e30,
        16777215.0,
        16777217.0,
        -16777215.0,
        9007199254740991.0,
        4503599627370497.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        5e-324,
        -5e-324,
        f64::MAX,
        f64::MIN,
    ];
    let pairs: Vec<(f64, f64)> =
        values.iter().flat_map(|&a| values.iter().map(move |&b| (a, b))).collect();
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    check_pow(&a, &b, 2.0);
    let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().map(|p| (p.0 as f32, p.1 as f32)).unzip();
    check_pow(&a, &b, 1.0);
}

#[test]
fn pow_of_every_exponent() {
    let a: Vec<f64> = random(200_000).map(|z| f64::from_bits(z & !(1 << 63))).collect();
    let unit = |z: u64| (z >> 11) as f64 * 2f64.powi(-53);
    // Exponents for which results spread over the whole range.
    let b: Vec<f64> = random(400_000)
        .skip(200_000)
        .zip(&a)
        .map(|(z, a)| (unit(z) * 2.0 - 1.0) * 745.0 / a.ln().abs().max(1e-3))
        .collect();
    check_pow(&a, &b, 2.0);
    let near: Vec<f64> = random(200_000).map(|z| 0.5 + unit(z)).collect();
    let large: Vec<f64> = near
        .iter()
        .zip(&b)
        .map(|(a, b)| b.signum() * 600.0 * unit(b.to_bits() << 12) / a.ln().abs())
        .collect();
    check_pow(&near, &large, 2.0);
    let a: Vec<f32> = random(200_000).map(|z| f32::from_bits(z as u32 & !(1 << 31))).collect();
    let b: Vec<f32> = random(400_000)
        .skip(200_000)
        .zip(&a)
        .map(|(z, a)| ((unit(z) * 2.0 - 1.0) * 104.0 / (*a as f64).ln().abs().max(1e-3)) as f32)
        .collect();
    check_pow(&a, &b, 1.25);
}
