//! Images with their padding in memory.

use crate::buffer::Buffer;
use crate::cpu::parallel::{self, Shared};
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
    fn visible(&self, d: usize) -> std::ops::Range<usize> {
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
pub(super) fn pad<T: Float>(frame: &Frame, planes: &[T], count: usize) -> Result<Buffer> {
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
        out.fill(T::ZERO);
        if rows.is_empty() || columns.is_empty() {
            return;
        }
        let plane = &planes[index * h * w..][..h * w];
        for y in rows.clone() {
            let to_row = (frame.origin[0] + (y * frame.step[0]) as isize) as usize;
            let from = &plane[y * w..][columns.clone()];
            let start = (frame.origin[1] + (columns.start * frame.step[1]) as isize) as usize;
            let to = &mut out[to_row * pw + start..(to_row + 1) * pw];
            if frame.step[1] == 1 {
                to[..from.len()].copy_from_slice(from);
            } else {
                for (to, from) in to.iter_mut().step_by(frame.step[1]).zip(from) {
                    *to = *from;
                }
            }
        }
    });
    Ok(buffer)
}
