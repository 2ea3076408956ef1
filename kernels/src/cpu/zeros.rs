//! Whether zeros may be left out of sums of products without changing a bit.

use super::gemm::Dispatch;
use super::isa::Kernel;
use super::simd::Simd;
use crate::element::Float;

/// True if no sum of products of these numbers that starts at +0 can be -0, so that adding `a * 0` to it changes nothing: all are
/// finite, and no product is so small that a sum is rounded to -0.
pub(super) fn skips_zeros<T: Float>(d: Dispatch, a: &[T], b: &[T]) -> bool {
    matches!([a, b].map(|x| least(d, x)), [Some(a), Some(b)] if may_be_skipped(a, b))
}

/// [`skips_zeros`] of numbers of which these are the [least](least).
///
/// With `|a| >= 2^i` and `|b| >= 2^j` a product is a multiple of `2^(i + j - 2 * mantissa)`. If that is no less than the smallest
/// number above 0, a sum of products that is not 0 is no less either, and one that is exactly 0 is +0.
pub(super) fn may_be_skipped<T: Float>(a: T, b: T) -> bool {
    let smallest = a.to_f64() * b.to_f64();
    // 2^(46 - 149), 2^(104 - 1074), and a factor of 2^3: a number is up to twice its power of two, the product is rounded.
    smallest >= if size_of::<T>() == 4 { 2f64.powi(-100) } else { 2f64.powi(-967) }
}

/// The smallest magnitude but 0, at most 1; `None` if a number is not finite.
pub(super) fn least<T: Float>(d: Dispatch, x: &[T]) -> Option<T> {
    d.call::<T, _>(Smallest(x))
}

/// [`least`].
struct Smallest<'a, T>(&'a [T]);

impl<T: Float> Kernel<T> for Smallest<'_, T> {
    type Output = Option<T>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, _s: S) -> Option<T> {
        // Vectorized as it is, with the instructions that are allowed here.
        T::least_magnitude(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::Isa;

    #[test]
    fn least_magnitudes() {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let d = Dispatch::forced(isa, false);
            let least = |x: &[f32]| super::least(d, x);
            assert_eq!(
                (least(&[]), least(&[0.0, -0.0]), least(&[-7.0])),
                (Some(1.0), Some(1.0), Some(1.0))
            );
            assert_eq!(least(&[f32::MAX, -0.0, f32::MIN]), Some(1.0));
            for len in [1, 15, 16, 17, 64, 65, 200] {
                for place in [0, len / 2, len - 1] {
                    let mut x = vec![0.0; len];
                    for (small, want) in [(-0.25, 0.25), (f32::from_bits(1), f32::from_bits(1))] {
                        x[place] = small;
                        assert_eq!(least(&x), Some(want), "{isa:?} {len} {place}");
                    }
                    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                        x[place] = bad;
                        assert_eq!(least(&x), None, "{isa:?} {len} {place} {bad}");
                    }
                    let mut x = vec![2.0; len];
                    x[place] = -1e-310;
                    assert_eq!(super::least(d, &x), Some(1e-310), "{isa:?} {len} {place}");
                    x[place] = -f64::NAN;
                    assert_eq!(super::least(d, &x), None, "{isa:?} {len} {place}");
                }
            }
        }
    }

    #[test]
    fn skips_only_what_changes_nothing() {
        let d = Dispatch::in_force();
        let skips = |a: f32, b: f32| skips_zeros(d, &[0.0, a, 1.0], &[b]);
        assert!(skips(1.0, 1.0) && skips(0.0, -0.0) && skips(2f32.powi(-60), -(2f32.powi(-40))));
        assert!(!skips(2f32.powi(-60), 2f32.powi(-41)) && !skips(f32::NAN, 1.0));
        assert!(!skips(1.0, f32::INFINITY) && !skips(f32::from_bits(1), 1.0));
        assert!(skips_zeros(d, &[2f64.powi(-500); 21], &[2f64.powi(-467)]));
        assert!(!skips_zeros(d, &[2f64.powi(-500); 21], &[2f64.powi(-468)]));
    }
}
