//! Many quotients with one divisor, without divisions.

use crate::cpu::simd::Simd;
use crate::element::Float;

/// Vectors that are divided together.
const TOGETHER: usize = 4;

/// The least dividend but 0, and the greatest divisor, of which this is shown: no remainder of theirs is denormal.
const LEAST: f64 = 1.0 / (1u64 << 63) as f64;
const GREATEST: f64 = (1u64 << 24) as f64;

/// Divides what is from 0 to 1 by `s`, correctly rounded: a division's own bits, without its wait.
///
/// With `y = RN(1 / s)`, `q = RN(e y)` is wrong by less than 1.5 units in the last place, `q' = RN(q + y (e - s q))` by less than one
/// (that remainder may be rounded once); the remainder of `q'` is exact, and `RN(q' + y (e - s q'))` is `RN(e / s)`: Markstein, Computation of elementary
/// functions on the IBM RISC System/6000 processor, IBM J. Res. Dev. 34 (1990), theorem 2.
#[derive(Clone, Copy)]
pub(super) struct Divisor<T: Float, S: Simd<T>> {
    s: S::V,
    /// Its reciprocal, rounded.
    y: S::V,
    /// Is every lane of `s` one of which this was shown?
    shown: bool,
}

impl<T: Float, S: Simd<T>> Divisor<T, S> {
    #[inline(always)]
    pub(super) fn new(simd: S, s: S::V) -> Self {
        let one = simd.splat(T::ONE);
        let (least, greatest) = (simd.le(one, s), simd.le(s, simd.splat(T::from_f64(GREATEST))));
        let outside = simd.mask_bits(simd.mask_not(simd.mask_and(least, greatest)));
        let lanes = u64::MAX >> (64 - S::LANES);
        // One lane divides as fast, and its fused operations may be calls.
        let shown = const { S::LANES > 1 } && outside & lanes == 0;
        Divisor { s, y: simd.div(one, s), shown }
    }

    /// `e / s`.
    #[inline(always)]
    pub(super) fn divide<const N: usize>(self, simd: S, e: [S::V; N]) -> [S::V; N] {
        let (zero, least) = (simd.splat(T::ZERO), simd.splat(T::from_f64(LEAST)));
        let mut q = e;
        if self.shown {
            // Zeros have a remainder of zero. There is no NaN where the sum is a number.
            let mut tiny = 0;
            for e in e {
                tiny |= simd.mask_bits(simd.mask_and(simd.lt(zero, e), simd.lt(e, least)));
            }
            if tiny == 0 {
                for q in &mut q {
                    let e = *q;
                    let near = simd.mul(e, self.y);
                    let near = simd.fma(simd.fnma(self.s, near, e), self.y, near);
                    *q = simd.fma(simd.fnma(self.s, near, e), self.y, near);
                }
                return q;
            }
        }
        for q in &mut q {
            *q = simd.div(*q, self.s);
        }
        q
    }
}

/// `f(e / s)` of every element.
#[inline(always)]
pub(super) fn divide_all<T: Float, S: Simd<T>>(
    simd: S,
    out: &mut [T],
    s: S::V,
    f: impl Fn(S::V) -> S::V,
) {
    let (n, to) = (out.len(), out.as_mut_ptr());
    let divisor = Divisor::new(simd, s);
    let mut k = 0;
    while k + TOGETHER * S::LANES <= n {
        let mut e = [s; TOGETHER];
        for (i, e) in e.iter_mut().enumerate() {
            // SAFETY: vectors of `out`.
            *e = unsafe { simd.load(to.add(k + i * S::LANES)) };
        }
        for (i, q) in divisor.divide(simd, e).into_iter().enumerate() {
            // SAFETY: vectors of `out`.
            unsafe { simd.store(to.add(k + i * S::LANES), f(q)) };
        }
        k += TOGETHER * S::LANES;
    }
    while k < n {
        let width = S::LANES.min(n - k);
        // SAFETY: `k + width <= n`.
        unsafe {
            let [q] = divisor.divide(simd, [simd.load_first(to.add(k), width)]);
            simd.store_first(to.add(k), f(q), width);
        }
        k += width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::{HasTokens, Isa, Kernel, Tokens, dispatch_on};

    /// Divides in place, by one divisor.
    struct DivideAll<'a, T>(&'a mut [T], T);

    impl<T: Float> Kernel<T> for DivideAll<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd<T>>(self, simd: S) {
            divide_all(simd, self.0, simd.splat(self.1), |q| q);
        }
    }

    /// Bits that look like chance.
    fn chance(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (*seed >> 33) ^ (*seed << 20)
    }

    /// Divisors and dividends of few and of many bits, powers of two and their neighbours; dividends whose quotients lie next to the middle
    /// of two numbers; tiny ones, zeros, and sums that are none.
    fn check<T: Float>(bits: u32, next: impl Fn(T, i64) -> T, same: impl Fn(T, T) -> bool)
    where
        Tokens: HasTokens<T>,
    {
        let mut seed = 1;
        for round in 0..600 {
            let s = match round % 6 {
                0 => (1u64 << (round % 30)) as f64,
                1 => 1.0 + (chance(&mut seed) % 1000) as f64,
                _ => {
                    1.0 + (chance(&mut seed) % (1 << 52)) as f64
                        / (1u64 << (28 + round % 24)) as f64
                }
            };
            let s = match round {
                597 => T::NAN,
                598 => T::from_f64(f64::INFINITY),
                599 => T::from_f64(0.75),
                _ => next(T::from_f64(s), round % 5 - 2),
            };
            let mut e: Vec<T> = (0..531)
                .map(|i| {
                    let x = (chance(&mut seed) >> 11) as f64 / (1u64 << 53) as f64;
                    let middle = ((chance(&mut seed) >> (64 - bits)) | 1) as f64;
                    let tiny = 2f64.powi(-(chance(&mut seed) as i32 & 127));
                    match i % 8 {
                        0 | 1 => T::from_f64(x),
                        // A number of one bit more than fits, times s.
                        2..=5 => {
                            let near = middle / 2f64.powi(bits as i32 + 2) * s.to_f64();
                            next(T::from_f64(near / 2f64.powi(24)), i % 3 - 1)
                        }
                        6 if i > 300 => T::from_f64(x * tiny),
                        _ if i > 400 => T::ZERO,
                        _ => T::ONE,
                    }
                })
                .collect();
            let expected: Vec<T> = e.iter().map(|e| *e / s).collect();
            let given = e.clone();
            for isa in Isa::ALL {
                e.copy_from_slice(&given);
                dispatch_on(isa, DivideAll(&mut e, s));
                for ((q, expected), e) in e.iter().zip(&expected).zip(&given) {
                    assert!(
                        same(*q, *expected),
                        "{isa:?}: {e:?} / {s:?} = {q:?}, not {expected:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn quotients_are_rounded_correctly() {
        let next = |x: f32, by: i64| f32::from_bits((i64::from(x.to_bits()) + by).max(0) as u32);
        check::<f32>(25, next, |a, b| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()));
        let next = |x: f64, by: i64| f64::from_bits((x.to_bits() as i64 + by).max(0) as u64);
        check::<f64>(54, next, |a, b| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()));
    }
}
