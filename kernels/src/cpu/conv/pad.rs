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

/// As large a plane or, where places of many planes would fall into the same few sets of the cache, one with a row more.
pub(super) fn apart([height, width]: [usize; 2]) -> [usize; 2] {
    let clash = (height * width).is_multiple_of(64);
    [height + usize::from(clash), width]
}

/// Elements behind the padded planes, so that the last places may be read in whole vectors.
const BEHIND: usize = 16;

/// The bytes that [`pad`] takes for so many planes.
pub(super) fn pad_bytes<T>(frame: &Frame, count: usize) -> Result<usize> {
    let [height, width] = frame.padded;
    checked_len(&[count, height, width, size_of::<T>()])
        .and_then(|size| size.checked_add(BEHIND * size_of::<T>()))
        .ok_or(Error::Contract("conv2d: the size of the padded input overflows"))
}

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
    let size = pad_bytes::<T>(frame, count)?;
    let mut buffer = Buffer::new(size)?;
    let all = buffer.as_mut_slice::<T>();
    let behind = all.len() - BEHIND;
    all[behind..].fill(T::ZERO);
    let (rows, columns) = (frame.visible(0), frame.visible(1));
    let out = Shared::new(buffer.as_mut_slice::<T>());
    let pieces = count.div_ceil(PLANES);
    parallel::run(pieces, (size / size_of::<T>()) as u64 / 4, &|piece| {
        let (first, count) = (piece * PLANES, PLANES.min(count - piece * PLANES));
        // SAFETY: each piece writes the planes of its own index.
        let out = unsafe { out.part(first * ph * pw, count * ph * pw) };
        let planes = &planes[first * h * w..][..count * h * w];
        d.call::<T, _>(Pad {
            frame,
            planes,
            count,
            rows: rows.clone(),
            columns: columns.clone(),
            out,
        });
    });
    Ok(buffer)
}

/// Planes that are padded at a time.
const PLANES: usize = 8;

/// Some planes.
struct Pad<'a, T> {
    frame: &'a Frame,
    planes: &'a [T],
    count: usize,
    /// What of them has a place.
    rows: Range<usize>,
    columns: Range<usize>,
    out: &'a mut [T],
}

impl<T: Float> Kernel<T> for Pad<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Pad { frame, planes, count, rows, columns, out } = self;
        let ([height, width], [_, row]) = (frame.plane, frame.padded);
        // A step whose product overflows is longer than the plane: no second row has a place.
        let (size, step) = (frame.padded[0] * row, row.wrapping_mul(frame.step[0]));
        let place = |d: usize, i: usize| frame.origin[d] + (i * frame.step[d]) as isize;
        let first = place(0, rows.start) * row as isize + place(1, columns.start);
        let rows = if columns.is_empty() { 0..0 } else { rows };
        // Planes are written from the first to the last element, in whole vectors: what one writes too much, later ones overwrite.
        // Rows and the zeros between them are too short for a call each.
        let mut done = 0;
        for plane in 0..count {
            // Below 0 only without a row.
            let mut start = (plane * size).wrapping_add_signed(first);
            for y in rows.clone() {
                zero(s, out, done, start);
                let from = &planes[(plane * height + y) * width..][columns.clone()];
                if frame.step[1] == 1 {
                    done = copy(s, from, out, start);
                } else {
                    done = start + (from.len() - 1) * frame.step[1] + 1;
                    zero(s, out, start, done);
                    for (to, from) in out[start..].iter_mut().step_by(frame.step[1]).zip(from) {
                        *to = *from;
                    }
                }
                start = start.wrapping_add(step);
            }
        }
        zero(s, out, done, out.len());
    }
}

/// Zeros from `start` to `end`, and perhaps some more.
#[inline(always)]
fn zero<T: Float, S: Simd<T>>(s: S, out: &mut [T], start: usize, end: usize) {
    let (to, len, zero) = (out.as_mut_ptr(), out.len(), s.splat(T::ZERO));
    let mut at = start;
    while at < end.min(len) {
        // SAFETY: as many elements as there are.
        unsafe {
            match at + S::LANES <= len {
                true => s.store(to.add(at), zero),
                false => s.store_first(to.add(at), zero, len - at),
            }
        }
        at += S::LANES;
    }
}

/// Copies a row to `start`, and perhaps some zeros after it; where these end.
#[inline(always)]
fn copy<T: Float, S: Simd<T>>(s: S, from: &[T], out: &mut [T], start: usize) -> usize {
    let n = out[start..][..from.len()].len();
    let (from, to, room) = (from.as_ptr(), out[start..].as_mut_ptr(), out.len() - start);
    // SAFETY: the row's elements, and what follows them in the plane.
    unsafe {
        if n < S::LANES {
            let row = s.load_first(from, n);
            if room < S::LANES {
                s.store_first(to, row, n);
                return start + n;
            }
            s.store(to, row);
            return start + S::LANES;
        }
        for i in (0..n - S::LANES).step_by(S::LANES) {
            s.store(to.add(i), s.load(from.add(i)));
        }
        // The last vector reaches back.
        let last = n - S::LANES;
        s.store(to.add(last), s.load(from.add(last)));
        start + n
    }
}
