//! From places as rows to channels as rows.

use crate::cpu::gemm::Dispatch;
use crate::cpu::isa::Kernel;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// Writes sums with places as rows to where channels are rows: `to[j * to_stride + i] = from[i * width + j]`.
#[derive(Clone, Copy)]
pub(super) struct Turn<T> {
    /// `places` rows of `width` columns, a multiple of a vector, of which the first `channels` count.
    pub(super) from: *const T,
    pub(super) width: usize,
    pub(super) places: usize,
    pub(super) channels: usize,
    pub(super) to: *mut T,
    pub(super) to_stride: usize,
}

impl<T: Float> Turn<T> {
    /// Computes it.
    ///
    /// # Safety
    /// - `to` must be writable for `channels` rows of `places` elements, `from` readable for `places` rows.
    pub(super) unsafe fn compute(self, d: Dispatch) {
        d.call::<T, _>(self);
    }
}

impl<T: Float> Kernel<T> for Turn<T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        // SAFETY: the contract of `compute`, the only one that makes a kernel of it.
        unsafe {
            for j in (0..self.channels).step_by(S::BLOCK) {
                for i in (0..self.places).step_by(S::BLOCK) {
                    // The last block reaches back.
                    self.block(s, i.min(self.places.saturating_sub(S::BLOCK)), j);
                }
            }
        }
    }
}

impl<T: Float> Turn<T> {
    /// One block of places and channels, cut at the ends.
    ///
    /// # Safety
    /// - As [`compute`](Self::compute).
    #[inline(always)]
    unsafe fn block<S: Simd<T>>(&self, s: S, i: usize, j: usize) {
        let (places, channels) = (S::BLOCK.min(self.places - i), S::BLOCK.min(self.channels - j));
        let mut rows = [self.from; 8];
        // SAFETY: rows are as wide as whole panels, a multiple of a block; the rest by the caller's contract.
        unsafe {
            let (from, to) =
                (self.from.add(i * self.width + j), self.to.add(j * self.to_stride + i));
            if places == S::BLOCK && channels == S::BLOCK {
                for (p, row) in rows.iter_mut().enumerate() {
                    *row = from.wrapping_add(p * self.width);
                }
                return s.transpose(&rows, to, self.to_stride);
            }
            for (p, row) in rows.iter_mut().enumerate() {
                *row = from.wrapping_add(p.min(places - 1) * self.width);
            }
            let mut block = [T::ZERO; 64];
            s.transpose(&rows, block.as_mut_ptr(), S::BLOCK);
            for c in 0..channels {
                let from = block.as_ptr().add(c * S::BLOCK);
                std::ptr::copy_nonoverlapping(from, to.add(c * self.to_stride), places);
            }
        }
    }
}
