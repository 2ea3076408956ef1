//! What both gradients share: where the map's zeros are not, and channels side by side.

use super::PooledShape;
use crate::buffer::List;
use crate::cpu::gemm::Dispatch;
use crate::cpu::isa::Kernel;
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::Result;

/// Elements of the vectors that these kernels take.
pub(super) struct Lanes;

impl<T: Float> Kernel<T> for Lanes {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) -> usize {
        S::LANES
    }
}

/// Bit `i` is set where `from[i]` is not 0, for `n <= 64` elements.
///
/// # Safety
/// - `from .. from + n` must be readable.
#[inline(always)]
pub(super) unsafe fn not_zero<T: Float, S: Simd<T>>(s: S, from: *const T, n: usize) -> u64 {
    let zero = s.splat(T::ZERO);
    let mut mask = 0;
    let mut done = 0;
    while done < n {
        let len = (n - done).min(S::LANES);
        // SAFETY: elements of the run.
        let x = unsafe {
            let from = from.add(done);
            if len == S::LANES { s.load(from) } else { s.load_first(from, len) }
        };
        mask |= s.mask_bits(s.mask_not(s.eq(x, zero))) << done;
        done += len;
    }
    // The lanes beyond the last element are 0.
    mask
}

/// Where up to a vector's sources start.
pub(super) struct Sources<T> {
    starts: [*const T; 16],
    count: usize,
}

impl<T> Sources<T> {
    /// The first 16 of them.
    pub(super) fn of(from: impl Iterator<Item = *const T>) -> Self {
        let mut sources = Sources { starts: [std::ptr::null(); 16], count: 0 };
        for (to, from) in sources.starts.iter_mut().zip(from) {
            *to = from;
            sources.count += 1;
        }
        sources
    }
}

/// Lines of up to a vector's sources side by side: `to[line * to_stride + j * lanes + i] = sources[i][line * from_stride + j]`. Lanes
/// without a source hold another's elements.
pub(super) struct Interleave<'a, T> {
    pub(super) sources: &'a Sources<T>,
    pub(super) lines: usize,
    /// Elements of a line.
    pub(super) len: usize,
    pub(super) from_stride: usize,
    pub(super) to: *mut T,
    pub(super) to_stride: usize,
}

impl<T: Float> Interleave<'_, T> {
    /// Computes it.
    ///
    /// # Safety
    /// - There must be a source; every line of them must be readable, and those of `to` writable.
    pub(super) unsafe fn compute(self, d: Dispatch) {
        d.call::<T, _>(self);
    }
}

impl<T: Float> Kernel<T> for Interleave<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let last = self.sources.count - 1;
        for first in (0..S::LANES).step_by(S::BLOCK) {
            let sources = &self.sources.starts;
            let mut rows = [sources[last]; 8];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = sources[(first + i).min(last)];
            }
            for line in 0..self.lines {
                let from = rows.map(|row| row.wrapping_add(line * self.from_stride));
                let to = self.to.wrapping_add(line * self.to_stride + first);
                // SAFETY: by the contract of `compute`, the only one that makes a kernel of it.
                unsafe { self.line(s, &from, to) };
            }
        }
    }
}

impl<T: Float> Interleave<'_, T> {
    /// One line of a block of sources.
    ///
    /// # Safety
    /// - The line must be readable in each row, and writable.
    #[inline(always)]
    unsafe fn line<S: Simd<T>>(&self, s: S, rows: &[*const T; 8], to: *mut T) {
        let mut j = 0;
        while j < self.len {
            // SAFETY: elements of the line; the last block is laid over the one before.
            unsafe {
                if self.len < S::BLOCK {
                    for (i, row) in rows.iter().enumerate().take(S::BLOCK) {
                        *to.add(j * S::LANES + i) = *row.add(j);
                    }
                    j += 1;
                } else {
                    let at = j.min(self.len - S::BLOCK);
                    let rows = rows.map(|row| row.wrapping_add(at));
                    s.transpose(&rows, to.add(at * S::LANES), S::LANES);
                    j += S::BLOCK;
                }
            }
        }
    }
}

/// How images lie with a vector of channels side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// Places of the map, and of an image with all of its padding.
    pub(super) places: [usize; 2],
    pub(super) padded: [usize; 2],
    /// Channels of a vector, and how many vectors all of them are.
    pub(super) lanes: usize,
    pub(super) chunks: usize,
}

impl Grid {
    /// `None` if skipping zeros gains nothing, or has no kernel.
    pub(super) fn new<T: Float>(d: Dispatch, shape: &PooledShape, channels: usize) -> Option<Grid> {
        let (conv, pool) = (&shape.conv, &shape.pool);
        let [oh, ow] = pool.output()?;
        let places = pool.input[0].checked_mul(pool.input[1])?;
        // Every skipped product is worth half of one that is made.
        let sparse = oh.checked_mul(ow)?.checked_mul(3)? <= places;
        let apart = conv.groups == 1 && conv.out_channels > 1 && places > 1 && conv.batch > 0;
        let lanes = d.call::<T, _>(Lanes);
        let chunks = channels.div_ceil(lanes);
        if !sparse || !apart || channels == 0 || 2 * channels < chunks * lanes {
            return None;
        }
        let padded = [0, 1].map(|i| conv.input[i] + 2 * conv.padding[i]);
        // Places are kept in 32 bits.
        let fits = padded[0].checked_mul(padded[1])?.checked_mul(lanes)? < 1 << 31;
        fits.then_some(Grid { places: pool.input, padded, lanes, chunks })
    }

    /// Elements of a vector of channels of an image.
    pub(super) fn chunk(&self) -> usize {
        self.padded[0] * self.padded[1] * self.lanes
    }

    /// Where the window of each place of the map starts in a chunk.
    pub(super) fn offsets(&self, stride: [usize; 2]) -> Result<List<u32>> {
        let [rows, columns] = self.places;
        let place =
            |y: usize, x: usize| (y * stride[0] * self.padded[1] + x * stride[1]) * self.lanes;
        let places = (0..rows).flat_map(|y| (0..columns).map(move |x| place(y, x) as u32));
        List::of(rows * columns, places)
    }
}
