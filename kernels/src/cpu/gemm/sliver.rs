//! The loop IR: one panel of B times a run of A's row tiles.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::blocking::{TILE_MAX, has_instance};
use super::microkernel::{Tile, tile};
use super::output::Output;
use super::settle::{Finish, Settle, settle};
use crate::cpu::isa::Kernel;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// How a block of A lies. The pointer is that of element (0, 0) of the block of k.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<T> {
    /// Panels of row tiles, one after the other; element `(i, l)` of a tile of `h` rows at `i + l *
    /// h`.
    Packed(*const T),
    /// Element `(i, l)` at `i + l * stride`.
    RowUnit(*const T, isize),
    /// Element `(i, l)` at `i * stride + l`.
    KUnit(*const T, isize),
}

// SAFETY: the rows are only read while they are shared.
unsafe impl<T: Sync> Sync for Rows<T> {}

/// Rows `0..m` split into tiles of balanced heights: the first row of tile `index`.
#[inline(always)]
pub(super) fn tile_start(m: usize, tiles: usize, index: usize) -> usize {
    m * index / tiles
}

/// One panel of B (`columns` of them from column `j` of C) times the row tiles `tiles` of A.
#[derive(Clone)]
pub(super) struct Sliver<'a, T> {
    /// Rows that are split into `tile_count` tiles, and where they start in C.
    pub(super) m: usize,
    pub(super) tile_count: usize,
    pub(super) first_row: usize,
    pub(super) tiles: Range<usize>,
    pub(super) k: usize,
    pub(super) a: Rows<T>,
    /// B, readable to the end of the tile's last vector.
    pub(super) b: *const T,
    pub(super) b_stride: isize,
    pub(super) j: usize,
    pub(super) columns: usize,
    pub(super) output: &'a Output<'a, T>,
    /// Where partial sums are kept: C itself, unless its old contents are still needed.
    pub(super) sums: &'a Output<'a, T>,
    pub(super) first: bool,
    pub(super) last: bool,
    pub(super) finish: Finish<T>,
}

/// A [`Sliver`] with `NV` vectors of columns.
pub(super) struct Vectors<'a, T, const NV: usize>(pub(super) Sliver<'a, T>);

impl<T: Float, const NV: usize> Kernel<T> for Vectors<'_, T, NV> {
    type Output = ();
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        if const { !has_instance(S::LANES, NV) } {
            return;
        }
        let sliver = self.0;
        let mut spare = MaybeUninit::<[T; TILE_MAX]>::uninit();
        let spare: *mut T = spare.as_mut_ptr().cast();
        for index in sliver.tiles.clone() {
            let start = tile_start(sliver.m, sliver.tile_count, index);
            let rows = tile_start(sliver.m, sliver.tile_count, index + 1) - start;
            let (k_unit, a, a_stride) = match sliver.a {
                Rows::Packed(a) => (false, a.wrapping_add(start * sliver.k), rows as isize),
                Rows::RowUnit(a, stride) => (false, a.wrapping_add(start), stride),
                Rows::KUnit(a, stride) => {
                    (true, a.wrapping_offset(start as isize * stride), stride)
                }
            };
            let (k, b, b_stride) = (sliver.k, sliver.b, sliver.b_stride);
            let (to, to_stride) = (spare, NV * S::LANES);
            let t = Tile { k, a, a_stride, b, b_stride, to, to_stride, add: false };
            // SAFETY: the driver cuts the product into tiles inside it, `Output` and `Rows` say
            // where they lie, and the spare tile holds every tile of the table.
            unsafe { sliver.tile::<S, NV>(s, k_unit, [sliver.first_row + start, rows], t) };
        }
    }
}

impl<T: Float> Sliver<'_, T> {
    /// Computes one tile, straight to where its sums are kept if it is whole and lies in one piece,
    /// else by way of the spare tile that `t` is given with.
    ///
    /// # Safety
    /// - As [`tile`], and the rows must lie inside the product.
    #[inline(always)]
    unsafe fn tile<S: Simd<T>, const NV: usize>(
        &self,
        s: S,
        k_unit: bool,
        rows: [usize; 2],
        mut t: Tile<T>,
    ) {
        let finish = (self.last && !self.finish.is_nothing()).then_some(self.finish);
        let adds = self.last && self.finish.accumulate;
        let whole = self.columns == NV * S::LANES && self.sums.column(self.j).1 >= self.columns;
        let direct = whole && !adds;
        if direct {
            t.to = self.sums.at(rows[0], self.j);
            t.to_stride = self.sums.row_stride;
            t.add = !self.first;
        }
        // SAFETY: handed on.
        unsafe {
            choose::<T, S, NV>(s, rows[1], k_unit, &t);
            if direct && finish.is_none() {
                return;
            }
            let earlier = (!direct && !self.first).then_some(self.sums);
            let to = if self.last { self.output } else { self.sums };
            let columns = [self.j, self.columns];
            let (from, from_stride) = (t.to.cast_const(), t.to_stride);
            settle(s, &Settle { rows, columns, from, from_stride, earlier, to, finish });
        }
    }
}

/// Calls the instance of the micro-kernel for this height.
///
/// # Safety
/// - As [`tile`].
#[inline(always)]
unsafe fn choose<T: Float, S: Simd<T>, const NV: usize>(
    s: S,
    rows: usize,
    k_unit: bool,
    t: &Tile<T>,
) {
    macro_rules! heights {
        ($($rows:literal)*; $($tall:literal)*) => {
            match (rows, k_unit) {
                $(($rows, false) => tile::<T, S, $rows, NV, false>(s, t),
                ($rows, true) => tile::<T, S, $rows, NV, true>(s, t),)*
                $(($tall, false) => tile::<T, S, $tall, NV, false>(s, t),)*
                _ => {}
            }
        };
    }
    // SAFETY: handed on.
    unsafe {
        if const { S::LANES == 1 } {
            heights!(1 2 3 4;)
        } else if const { S::LANES * size_of::<T>() == 32 && NV == 4 } {
            heights!(1 2;)
        } else if const { S::LANES * size_of::<T>() == 64 && NV == 2 } {
            heights!(1 2 3 4 5 6; 7 8 9 10 11 12)
        } else {
            heights!(1 2 3 4 5 6;)
        }
    }
}
