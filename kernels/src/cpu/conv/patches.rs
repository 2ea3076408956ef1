//! Patches of padded images as a GEMM operand that never exists as a whole.
//!
//! In a padded image the address of a patch element is a sum, `tap offset + place offset`: no bounds, no zeros to fill in,
//! and the places of one output row are neighbours.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::cpu::gemm::Panels;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// The `[taps, places]` matrix (or, `BY_PLACES`, its transpose) of elements `images[taps[t] + offset(place)]`.
#[derive(Debug)]
pub(super) struct Patches<'a, T, const BY_PLACES: bool> {
    /// Padded images, from the first channel of the group on.
    pub(super) images: &'a [T],
    /// Offset of each tap.
    pub(super) taps: &'a [usize],
    /// Places of an image: rows, columns.
    pub(super) places: [usize; 2],
    /// Elements from image to image, row to row and column to column of places.
    pub(super) strides: [usize; 3],
    /// The place that lies at offset 0 (of an image that is not the first of the batch).
    pub(super) first: usize,
}

/// Places that follow each other in memory: where they go in a panel's row, how many, and the offset of the first.
#[derive(Debug, Clone, Copy)]
struct Run {
    to: usize,
    len: usize,
    offset: usize,
}

/// The most places that a panel spans: a block of k.
const RUNS: usize = crate::cpu::gemm::KC;

impl<T: Float, const BY_PLACES: bool> Patches<'_, T, BY_PLACES> {
    /// Cuts a range of at most [`RUNS`] places into runs; returns how many.
    #[inline(always)]
    fn runs(&self, places: Range<usize>, runs: &mut [MaybeUninit<Run>; RUNS]) -> usize {
        let [rows, columns] = self.places;
        let (mut count, mut end) = (0, usize::MAX);
        let mut place = places.start;
        let mut previous = Run { to: 0, len: 0, offset: 0 };
        while place < places.end && count < RUNS {
            let local = place - self.first;
            let (image, row, column) =
                (local / (rows * columns), local / columns % rows, local % columns);
            let len = (columns - column).min(places.end - place);
            let offset = image * self.strides[0] + row * self.strides[1] + column * self.strides[2];
            if offset == end {
                // An unpadded image: its rows follow each other.
                previous.len += len;
                count -= 1;
            } else {
                previous = Run { to: place - places.start, len, offset };
            }
            end = if self.strides[2] == 1 { offset + len } else { usize::MAX };
            runs[count] = MaybeUninit::new(previous);
            count += 1;
            place += len;
        }
        count
    }

    /// Writes rows of taps, each the same runs of places, `width` elements apart.
    ///
    /// # Safety
    /// - `to` must hold `taps.len() * width` elements, `width >= places.len()`; the ranges must lie inside the matrix.
    #[inline(always)]
    unsafe fn copy<S: Simd<T>>(
        &self,
        s: S,
        taps: Range<usize>,
        places: Range<usize>,
        to: *mut T,
        width: usize,
    ) {
        let mut runs = [const { MaybeUninit::<Run>::uninit() }; RUNS];
        let count = self.runs(places.clone(), &mut runs);
        let end = taps.len() * width;
        for (row, tap) in taps.enumerate() {
            for run in &runs[..count] {
                // SAFETY: the first `count` were written.
                let run = unsafe { run.assume_init() };
                let (from, at) = (self.taps[tap] + run.offset, row * width + run.to);
                // SAFETY: the run's elements lie inside the images, and inside this row of `to`.
                unsafe {
                    if self.strides[2] == 1 {
                        self.copy_run(s, from, run.len, to, at, end);
                    } else {
                        for i in 0..run.len {
                            let element = self.images.get_unchecked(from + i * self.strides[2]);
                            *to.add(at + i) = *element;
                        }
                    }
                }
            }
        }
    }

    /// Copies a run in whole vectors where there is room behind it: what follows is overwritten by later runs.
    ///
    /// # Safety
    /// - `from + len` must lie inside the images, `at + len` in the `end` elements of `to`.
    #[inline(always)]
    unsafe fn copy_run<S: Simd<T>>(
        &self,
        s: S,
        from: usize,
        len: usize,
        to: *mut T,
        at: usize,
        end: usize,
    ) {
        for v in (0..len).step_by(S::LANES) {
            let (from, at, left) = (from + v, at + v, len - v);
            // SAFETY: whole vectors only where they fit, else the elements of the run.
            unsafe {
                let source = self.images.as_ptr().add(from);
                if from + S::LANES <= self.images.len() && at + S::LANES <= end {
                    s.store(to.add(at), s.load(source));
                } else {
                    let left = left.min(S::LANES);
                    s.store_first(to.add(at), s.load_first(source, left), left);
                }
            }
        }
    }
}

impl<T: Float> Panels<T> for Patches<'_, T, false> {
    #[inline(always)]
    unsafe fn pack<S: Simd<T>>(
        &self,
        s: S,
        k: Range<usize>,
        columns: Range<usize>,
        to: *mut T,
        width: usize,
    ) {
        let (taps, places) = (k.len(), columns.len());
        // SAFETY: the caller's contract is handed on.
        unsafe {
            self.copy(s, k, columns, to, width);
            if places < width {
                for tap in 0..taps {
                    std::slice::from_raw_parts_mut(to.add(tap * width + places), width - places)
                        .fill(T::ZERO);
                }
            }
        }
    }
}

impl<T: Float> Panels<T> for Patches<'_, T, true> {
    const BY_ROWS: bool = true;

    #[inline(always)]
    unsafe fn pack<S: Simd<T>>(
        &self,
        s: S,
        k: Range<usize>,
        columns: Range<usize>,
        to: *mut T,
        width: usize,
    ) {
        // SAFETY: the caller's contract is handed on: by rows, `to` holds `columns.len()` of them.
        unsafe { self.copy(s, columns, k, to, width) }
    }
}
