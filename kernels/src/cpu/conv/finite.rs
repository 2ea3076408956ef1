//! Is every number finite?

use crate::cpu::isa::Kernel;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// True if no element is NaN or infinite.
pub(super) struct AllFinite<'a, T>(pub(super) &'a [T]);

impl<T: Float> Kernel<T> for AllFinite<'_, T> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> bool {
        // `x * 0` is a zero exactly for finite x, and a sum of zeros stays one.
        let zero = s.splat(T::ZERO);
        let mut sums = [zero; 4];
        let mut chunks = self.0.chunks_exact(4 * S::LANES);
        for chunk in &mut chunks {
            for (v, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the chunk holds four vectors.
                let x = unsafe { s.load(chunk.as_ptr().add(v * S::LANES)) };
                *sum = s.fma(x, zero, *sum);
            }
        }
        let sum = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
        s.mask_bits(s.is_nan(sum)) == 0 && chunks.remainder().iter().all(|x| x.is_finite())
    }
}
