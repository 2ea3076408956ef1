//! The loop IR: one panel of B times a run of A's row tiles.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::blocking::{Blocking, TILE_MAX};
use super::microkernel::{Finish, Tile, tile};
use super::output::{Output, bounce};
use crate::cpu::isa::Kernel;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// How a block of A lies. The pointer is that of element (0, 0) of the block of k.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<T> {
    /// Panels of row tiles, one after the other; element `(i, l)` of a tile of `h` rows at `i + l * h`.
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
pub(super) struct Sliver<'a, T> {
    pub(super) blocking: Blocking,
    /// Rows that are split into `tile_count` tiles, and where they start in C.
    pub(super) m: usize,
    pub(super) tile_count: usize,
    pub(super) first_row: usize,
    pub(super) tiles: Range<usize>,
    pub(super) k: usize,
    pub(super) a: Rows<T>,
    pub(super) b: *const T,
    pub(super) b_stride: isize,
    pub(super) j: usize,
    pub(super) columns: usize,
    pub(super) output: &'a Output<'a, T>,
    /// Partial sums, where C's old contents are still needed.
    pub(super) sums: Option<&'a Output<'a, T>>,
    pub(super) first: bool,
    pub(super) last: bool,
    /// Biases of row 0 and column 0 of C.
    pub(super) finish: Finish<T>,
}

impl<T: Float> Kernel<T> for Sliver<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let mut spare = MaybeUninit::<[T; TILE_MAX]>::uninit();
        let spare: *mut T = spare.as_mut_ptr().cast();
        let (c, contiguous) = self.output.column(self.j);
        let straddles = contiguous < self.columns;
        for index in self.tiles.clone() {
            let start = tile_start(self.m, self.tile_count, index);
            let rows = tile_start(self.m, self.tile_count, index + 1) - start;
            let row = self.first_row + start;
            let (k_unit, a, a_stride) = match self.a {
                Rows::Packed(a) => (false, a.wrapping_add(start * self.k), rows as isize),
                Rows::RowUnit(a, stride) => (false, a.wrapping_add(start), stride),
                Rows::KUnit(a, stride) => {
                    (true, a.wrapping_offset(start as isize * stride), stride)
                }
            };
            let (c, c_stride) = if straddles {
                (spare, self.blocking.nr)
            } else {
                (c.wrapping_add(row * self.output.row_stride), self.output.row_stride)
            };
            let (sum, sum_stride) = match self.sums {
                None => (c, c_stride),
                Some(sums) => {
                    (sums.column(self.j).0.wrapping_add(row * sums.row_stride), sums.row_stride)
                }
            };
            let mut finish = self.finish;
            if !finish.row_bias.is_null() {
                finish.row_bias = finish.row_bias.wrapping_add(row);
            }
            if !finish.column_bias.is_null() {
                finish.column_bias = finish.column_bias.wrapping_add(self.j);
            }
            let t = Tile {
                k: self.k,
                a,
                a_stride,
                b: self.b,
                b_stride: self.b_stride,
                columns: self.columns,
                sum,
                sum_stride,
                c,
                c_stride,
                first: self.first,
                last: self.last,
                finish,
            };
            // SAFETY: the driver cuts the product into tiles inside it, `Output` and `Rows` say where they lie, and the spare
            // tile holds `mr * nr <= TILE_MAX` elements (filled from C before any of them is read).
            unsafe {
                let (at_rows, at_columns) = ([row, rows], [self.j, self.columns]);
                if straddles && (!self.first || finish.accumulate) {
                    bounce::<T, false>(self.output, at_rows, at_columns, spare, self.blocking.nr);
                }
                choose(s, rows, k_unit, &t);
                if straddles {
                    bounce::<T, true>(self.output, at_rows, at_columns, spare, self.blocking.nr);
                }
            }
        }
    }
}

/// Calls the instance of the micro-kernel for this height and width.
///
/// # Safety
/// - As [`tile`].
#[inline(always)]
unsafe fn choose<T: Float, S: Simd<T>>(s: S, rows: usize, k_unit: bool, t: &Tile<T>) {
    let bytes = S::LANES * size_of::<T>();
    let vectors = t.columns.div_ceil(S::LANES);
    // SAFETY: handed on.
    unsafe {
        match vectors {
            1 => choose_rows::<T, S, 1>(s, rows, k_unit, t),
            2 => choose_rows::<T, S, 2>(s, rows, k_unit, t),
            3 if bytes != 32 => choose_rows::<T, S, 3>(s, rows, k_unit, t),
            4 if bytes != 32 => choose_rows::<T, S, 4>(s, rows, k_unit, t),
            _ => {}
        }
    }
}

/// As [`choose`], the number of vectors known. Heights that no row of the table has are not instantiated.
///
/// # Safety
/// - As [`tile`].
#[inline(always)]
unsafe fn choose_rows<T: Float, S: Simd<T>, const NV: usize>(
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
    let bytes = S::LANES * size_of::<T>();
    // SAFETY: handed on.
    unsafe {
        if bytes == 64 && NV <= 2 {
            heights!(1 2 3 4 5 6; 7 8 9 10 11 12)
        } else if bytes >= 32 {
            heights!(1 2 3 4 5 6;)
        } else {
            heights!(1 2 3 4;)
        }
    }
}
