//! Patches of padded images as a GEMM operand that never exists as a whole.
//!
//! In a padded image the address of a patch element is a sum, `tap offset + place offset`: no
//! bounds, no zeros to fill in, and the places of one output row are neighbours.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::cpu::gemm::Panels;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// The `[taps, places]` matrix (or, `BY_PLACES`, its transpose) of elements `images[taps[t] +
/// offset(place)]`.
#[derive(Debug)]
pub(super) struct Patches<'a, T, const BY_PLACES: bool> {
    /// Padded images, from the first channel of the group on.
    pub(super) images: &'a [T],
    /// Offset of each tap.
    pub(super) taps: &'a [usize],
    /// The largest of them.
    pub(super) last_tap: usize,
    /// Places of an image: rows, columns.
    pub(super) places: [usize; 2],
    /// Elements from image to image, row to row and column to column of places.
    pub(super) strides: [usize; 3],
    /// The place that lies at offset 0 (of an image that is not the first of the batch).
    pub(super) first: usize,
}

/// Places that follow each other in memory: the lane that they start at, and the offset of the
/// first.
#[derive(Debug, Clone, Copy)]
struct Run {
    to: usize,
    offset: usize,
}

/// The most runs that a vector of places is blended from.
const PIECES: usize = 4;

impl<T: Float, const BY_PLACES: bool> Patches<'_, T, BY_PLACES> {
    /// The offset of a place, and how many places of its row are left from it on.
    #[inline(always)]
    fn offset(&self, place: usize) -> (usize, usize) {
        let [rows, columns] = self.places;
        let local = place - self.first;
        let (line, column) = (local / columns, local % columns);
        let (image, row) = (line / rows, line % rows);
        let offset = image * self.strides[0] + row * self.strides[1] + column * self.strides[2];
        (offset, columns - column)
    }

    /// Cuts a range of places into runs; returns how many, `None` if more than there is room for.
    #[inline(always)]
    fn runs(&self, places: Range<usize>, runs: &mut [MaybeUninit<Run>; PIECES]) -> Option<usize> {
        let mut count = 0;
        let mut place = places.start;
        while place < places.end {
            let (offset, left) = self.offset(place);
            runs.get_mut(count)?.write(Run { to: place - places.start, offset });
            count += 1;
            place += left;
        }
        Some(count)
    }

    /// Writes rows of taps, each the same places, `width` elements apart (and up to a whole vector
    /// of numbers that don't matter behind them, if the width has room).
    ///
    /// # Safety
    /// - `to` must hold `taps.len() * width` elements, `width >= places.len()`; the ranges must lie
    ///   inside the matrix.
    #[inline(always)]
    unsafe fn copy<S: Simd<T>>(
        &self,
        s: S,
        taps: Range<usize>,
        places: Range<usize>,
        to: *mut T,
        width: usize,
    ) {
        for start in places.clone().step_by(S::LANES) {
            let part = start..places.end.min(start + S::LANES);
            let column = start - places.start;
            // SAFETY: handed on; a whole vector is stored only where the width has room for it.
            unsafe {
                let to = to.add(column);
                let count = match column + S::LANES <= width {
                    true => self.blend(s, taps.clone(), part.clone(), to, width),
                    false => None,
                };
                if count.is_none() {
                    self.copy_runs(taps.clone(), part, to, width);
                }
            }
        }
    }

    /// Writes one vector of places of each tap, blended from at most [`PIECES`] loads; `None` if
    /// that can't be done (strides, tiny images, the ends of the memory).
    ///
    /// # Safety
    /// - As [`copy`](Self::copy), and a whole vector must be writable in each row.
    #[inline(always)]
    unsafe fn blend<S: Simd<T>>(
        &self,
        s: S,
        taps: Range<usize>,
        places: Range<usize>,
        to: *mut T,
        width: usize,
    ) -> Option<()> {
        let mut runs = [const { MaybeUninit::<Run>::uninit() }; PIECES];
        let count = self.runs(places, &mut runs)?;
        if self.strides[2] != 1 {
            return None;
        }
        let mut lanes = [T::ZERO; 16];
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane = T::from_f64(l as f64);
        }
        // SAFETY: no ISA has more than 16 lanes.
        let lanes = unsafe { s.load(lanes.as_ptr()) };
        let mut starts = [0; PIECES];
        let mut masks = [s.lt(lanes, lanes); PIECES];
        for (i, run) in runs[..count].iter().enumerate() {
            // SAFETY: the first `count` were written.
            let run = unsafe { run.assume_init() };
            starts[i] = run.offset.checked_sub(run.to)?;
            masks[i] = s.le(s.splat(T::from_f64(run.to as f64)), lanes);
            if starts[i] + self.last_tap + S::LANES > self.images.len() {
                return None;
            }
        }
        // SAFETY: every load lies inside the images, whatever the tap.
        unsafe {
            match count {
                1 => self.blend_rows::<S, 1>(s, taps, starts, masks, to, width),
                2 => self.blend_rows::<S, 2>(s, taps, starts, masks, to, width),
                3 => self.blend_rows::<S, 3>(s, taps, starts, masks, to, width),
                _ => self.blend_rows::<S, PIECES>(s, taps, starts, masks, to, width),
            }
        }
        Some(())
    }

    /// The loop over taps of [`blend`](Self::blend): lanes from mask `i` on come from `starts[i]`.
    ///
    /// # Safety
    /// - As [`blend`](Self::blend), and a vector from each start must be readable for each tap.
    #[inline(always)]
    unsafe fn blend_rows<S: Simd<T>, const N: usize>(
        &self,
        s: S,
        taps: Range<usize>,
        starts: [usize; PIECES],
        masks: [S::M; PIECES],
        to: *mut T,
        width: usize,
    ) {
        for (row, &tap) in self.taps[taps].iter().enumerate() {
            // SAFETY: by the caller's contract.
            unsafe {
                let from = self.images.as_ptr().add(tap);
                let mut x = s.load(from.add(starts[0]));
                for i in 1..N {
                    x = s.select(masks[i], s.load(from.add(starts[i])), x);
                }
                s.store(to.add(row * width), x);
            }
        }
    }

    /// As [`copy`](Self::copy), element by element.
    ///
    /// # Safety
    /// - `to` must hold `taps.len() * width` elements, `width >= places.len()`; the ranges must lie
    ///   inside the matrix.
    ///
    /// # Safety
    /// - As [`copy`](Self::copy).
    #[inline(always)]
    unsafe fn copy_runs(&self, taps: Range<usize>, places: Range<usize>, to: *mut T, width: usize) {
        for (i, place) in places.enumerate() {
            let offset = self.offset(place).0;
            for (row, &tap) in self.taps[taps.clone()].iter().enumerate() {
                // SAFETY: a tap of a place lies inside the images, and its copy in its row.
                unsafe { *to.add(row * width + i) = *self.images.get_unchecked(tap + offset) };
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
