//! The exponential and the logarithm that softmax is built on.

use crate::cpu::random::transform;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// `e^x` to 1 ULP: `e^x = 2^n e^r` with `|r| <= ln(2) / 2`; NaN stays.
#[inline(always)]
pub(crate) fn exp<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    if size_of::<T>() == 4 { exp_f32(simd, x) } else { exp_f64(simd, x) }
}

/// `log(x)` of a sum of exponentials: at least 1, or NaN. In f64, so that f32 is rounded once.
#[inline(always)]
pub(crate) fn log<T: Float>(x: T) -> T {
    if x.is_finite() { T::from_f64(transform::log(x.to_f64())) } else { x }
}

#[inline(always)]
fn constant<T: Float, S: Simd<T>>(simd: S, x: f64) -> S::V {
    simd.splat(T::from_f64(x))
}

#[inline(always)]
fn horner<T: Float, S: Simd<T>, const N: usize>(simd: S, x: S::V, descending: [f64; N]) -> S::V {
    let mut sum = constant(simd, 0.0);
    for c in descending {
        sum = simd.fma(sum, x, constant(simd, c));
    }
    sum
}

/// `x` as `(n, r)` with `x = n ln(2) + r`; `magic` rounds to an integer, `head * n` is exact.
#[inline(always)]
fn reduce<T: Float, S: Simd<T>>(simd: S, x: S::V, [magic, head, tail]: [f64; 3]) -> (S::V, S::V) {
    let magic = constant(simd, magic);
    let log2_e = constant(simd, std::f64::consts::LOG2_E);
    let n = simd.sub(simd.fma(x, log2_e, magic), magic);
    let r = simd.fnma(n, constant(simd, head), x);
    (n, simd.fnma(n, constant(simd, tail), r))
}

#[inline(always)]
fn exp_f32<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    let x = simd.max_second(constant(simd, -105.0), simd.min_second(constant(simd, 89.0), x));
    let (n, r) = reduce(simd, x, [12_582_912.0, 0.693_145_751_953_125, 1.428_606_77e-6]);
    let p = [
        0.001_384_036_731_906_235_2,
        0.008_369_348_011_910_915,
        0.041_668_083_518_743_515,
        0.166_665_151_715_278_63,
        0.499_999_940_395_355_2,
        1.0,
        1.0,
    ];
    simd.scale(horner(simd, r, p), n)
}

#[inline(always)]
fn exp_f64<T: Float, S: Simd<T>>(simd: S, x: S::V) -> S::V {
    let x = simd.max_second(constant(simd, -746.0), simd.min_second(constant(simd, 710.0), x));
    let parts = [6_755_399_441_055_744.0, 0.693_147_180_559_890_3, 5.497_923_018_708_371e-14];
    let (n, r) = reduce(simd, x, parts);
    // The Taylor coefficients 1/13! to 1/2!: below 0.3466^14 / 14! = 4e-18.
    let mut descending = [0.0; 12];
    let mut factorial = 1.0;
    for k in 2..14 {
        factorial *= k as f64;
        descending[13 - k] = 1.0 / factorial;
    }
    let tail = simd.fma(simd.mul(r, r), horner(simd, r, descending), r);
    simd.scale(simd.add(constant(simd, 1.0), tail), n)
}
