//! Images with their padding in memory.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::cpu::gemm::Dispatch;
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Error, Result};
use crate::strided::checked_len;

/// How a plane is placed in a larger plane of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Height and width of the plane.
    pub(super) plane: [usize; 2],
    /// Height and width of the padded plane.
    pub(super) padded: [usize; 2],
    /// Where element (0, 0) goes; negative: rows or columns are cut off.
    pub(super) origin: [isize; 2],
    /// Distance of neighbours.
    pub(super) step: [usize; 2],
}

impl Frame {
    /// True if nothing is to be done.
    pub(super) fn is_identity(&self) -> bool {
        self.plane == self.padded && self.origin == [0, 0] && self.step == [1, 1]
    }

    /// The elements of the plane that have a place, along dim `d`.
    fn visible(&self, d: usize) -> Range<usize> {
        let step = self.step[d] as isize;
        let place = |i: usize| self.origin[d] + i as isize * step;
        let inside = |i: &usize| (0..self.padded[d] as isize).contains(&place(*i));
        let mut all = 0..self.plane[d];
        match all.find(inside) {
            None => 0..0,
            Some(first) => {
                let last = (first..self.plane[d]).rev().find(inside).unwrap_or(first);
                first..last + 1
            }
        }
    }
}

/// Elements behind the padded planes, so that the last places may be read in whole vectors.
const BEHIND: usize = 16;

/// The padded planes of `planes` (`count` of them, plane after plane), plane after plane, and [`BEHIND`] zeros.
///
/// # Errors
/// [`OutOfMemory`](Error::OutOfMemory) if there is no room for them.
pub(super) fn pad<T: Float>(
    d: Dispatch,
    frame: &Frame,
    planes: &[T],
    count: usize,
) -> Result<Buffer> {
    let [h, w] = frame.plane;
    let [ph, pw] = frame.padded;
    let size = checked_len(&[count, ph, pw, size_of::<T>()])
        .and_then(|size| size.checked_add(BEHIND * size_of::<T>()))
        .ok_or(Error::Contract("conv2d: the size of the padded input overflows"))?;
    let mut buffer = Buffer::new(size)?;
    let all = buffer.as_mut_slice::<T>();
    let behind = all.len() - BEHIND;
    all[behind..].fill(T::ZERO);
    let (rows, columns) = (frame.visible(0), frame.visible(1));
    let out = Shared::new(buffer.as_mut_slice::<T>());
    parallel::run(count, (size / size_of::<T>()) as u64 / 4, &|index| {
        // SAFETY: each piece writes the plane of its own index.
        let out = unsafe { out.part(index * ph * pw, ph * pw) };
        let plane = &planes[index * h * w..][..h * w];
        d.call::<T, _>(Pad { frame, plane, rows: rows.clone(), columns: columns.clone(), out });
    });
    Ok(buffer)
}

/// One plane.
struct Pad<'a, T> {
    frame: &'a Frame,
    plane: &'a [T],
    /// What of it has a place.
    rows: Range<usize>,
    columns: Range<usize>,
    out: &'a mut [T],
}

impl<T: Float> Kernel<T> for Pad<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Pad { frame, plane, rows, columns, out } = self;
        let (width, padded) = (frame.plane[1], frame.padded[1]);
        let mut done = 0;
        for y in if columns.is_empty() { 0..0 } else { rows } {
            let row = (frame.origin[0] + (y * frame.step[0]) as isize) as usize;
            let start = (frame.origin[1] + (columns.start * frame.step[1]) as isize) as usize;
            let start = row * padded + start;
            fill(s, &mut out[done..start]);
            let from = &plane[y * width..][columns.clone()];
            done = start + (from.len() - 1) * frame.step[1] + 1;
            let to = &mut out[start..done];
            if frame.step[1] == 1 {
                copy(s, from, to);
            } else {
                fill(s, to);
                for (to, from) in to.iter_mut().step_by(frame.step[1]).zip(from) {
                    *to = *from;
                }
            }
        }
        fill(s, &mut out[done..]);
    }
}

/// Zeros; rows and planes are too short for a call each.
#[inline(always)]
fn fill<T: Float, S: Simd<T>>(s: S, to: &mut [T]) {
    let zero = s.splat(T::ZERO);
    if to.len() < 4 {
        return to.iter_mut().for_each(|to| *to = T::ZERO);
    }
    for part in to.chunks_mut(S::LANES) {
        // SAFETY: the elements of the part.
        unsafe {
            match part.len() == S::LANES {
                true => s.store(part.as_mut_ptr(), zero),
                false => s.store_first(part.as_mut_ptr(), zero, part.len()),
            }
        }
    }
}

/// As many elements.
#[inline(always)]
fn copy<T: Float, S: Simd<T>>(s: S, from: &[T], to: &mut [T]) {
    for (from, to) in from.chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
        let n = to.len().min(from.len());
        // SAFETY: the first `n` elements of both parts.
        unsafe {
            match n == S::LANES {
                true => s.store(to.as_mut_ptr(), s.load(from.as_ptr())),
                false => s.store_first(to.as_mut_ptr(), s.load_first(from.as_ptr(), n), n),
            }
        }
    }
}
