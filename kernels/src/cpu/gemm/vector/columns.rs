//! A vector times a matrix whose columns are contiguous (a linear layer's weight): they are transposed in registers, a cache line of each at a
//! time; fewer than a vector of them go by way of a tile.

use std::ops::Range;

use super::super::blocking::KC;
use super::super::microkernel::fetch;
use super::{Aligned, Piece, WIDEST};
use crate::cpu::simd::Simd;
use crate::element::Float;

/// Vectors of columns that are transposed side by side, but for the widest: 32 streams are slower where columns are a power of two apart.
const WIDE: usize = 2;

impl<T: Float> Piece<'_, T> {
    /// These elements of the row, as they lie if one after the other, else in `room`.
    ///
    /// # Safety
    /// - They must exist, and `room` must be writable for them.
    #[inline(always)]
    unsafe fn contiguous_x(&self, elements: Range<usize>, room: *mut T) -> *const T {
        if self.x.k_stride == 1 {
            return self.x.at(elements.start, 0);
        }
        for (i, l) in elements.enumerate() {
            // SAFETY: by the caller's contract.
            unsafe { *room.add(i) = self.x(l) };
        }
        room
    }

    /// The sums, where the matrix's columns are contiguous.
    ///
    /// # Safety
    /// - As [`by_rows`](Self::by_rows).
    #[inline(always)]
    pub(super) unsafe fn by_columns<S: Simd<T>>(&self, s: S, sums: *mut T) {
        // Columns that are a multiple of half a page apart share a set of L1, which has 8 places.
        let apart = self.b.column_stride.unsigned_abs().wrapping_mul(size_of::<T>());
        let crowded = apart.is_multiple_of(2048);
        let wide = self.columns.len() > S::LANES && !crowded;
        // SAFETY: handed on.
        unsafe {
            match wide && const { S::LANES * size_of::<T>() < 64 } {
                true => self.by_vectors::<S, WIDE, false>(s, sums),
                false if crowded => self.by_vectors::<S, 1, true>(s, sums),
                false => self.by_vectors::<S, 1, false>(s, sums),
            }
        }
    }

    /// [`by_columns`](Self::by_columns), `V` vectors at a time, `CROWDED`: by whole cache lines where columns begin at a fourth
    /// element of one, each loaded in one go. The last ones overlap those before: the same sums, made twice.
    ///
    /// # Safety
    /// - As [`by_rows`](Self::by_rows).
    #[inline(always)]
    unsafe fn by_vectors<S: Simd<T>, const V: usize, const CROWDED: bool>(
        &self,
        s: S,
        sums: *mut T,
    ) {
        let Some(last) = self.columns.len().checked_sub(S::LANES) else {
            // SAFETY: the sums have room for a vector.
            return unsafe { self.group(s, sums) };
        };
        for j in (0..self.columns.len()).step_by(V * S::LANES) {
            let starts = std::array::from_fn::<_, V, _>(|v| (j + v * S::LANES).min(last));
            // SAFETY: whole vectors of columns.
            unsafe { self.vectors::<S, V, CROWDED>(s, starts, sums) };
        }
    }

    /// The sums of vectors of columns that start at these of the piece, transposed in registers.
    ///
    /// # Safety
    /// - The columns must exist, and `to` must be writable for the piece.
    #[inline(always)]
    unsafe fn vectors<S: Simd<T>, const V: usize, const CROWDED: bool>(
        &self,
        s: S,
        starts: [usize; V],
        to: *mut T,
    ) {
        let (line, stride) = (64 / size_of::<T>(), self.b.column_stride);
        let mut sums = [s.splat(T::ZERO); V];
        let mut near = Aligned::<T, KC>::new();
        let before = if CROWDED { self.before_a_line(starts[0]) } else { 0 };
        for start in (0..self.p.k_total).step_by(KC) {
            let end = self.p.k_total.min(start + KC);
            let mut block = [s.splat(T::ZERO); V];
            let first = end.min(start + before);
            // SAFETY: rows of the block.
            unsafe { self.few(s, start..first, starts, &mut block) };
            let lines = end - (end - first) % line;
            // SAFETY: a block of x at most.
            let x = unsafe { self.contiguous_x(first..lines, near.start()) };
            for l in (first..lines).step_by(line) {
                let x = x.wrapping_add(l - first);
                for (v, sum) in block.iter_mut().enumerate() {
                    let from = self.b.at(l, self.columns.start + starts[v]);
                    for i in 0..S::LANES {
                        fetch(from.wrapping_offset(i as isize * stride).wrapping_add(4 * line));
                    }
                    if CROWDED && line == 16 {
                        // SAFETY: sixteen rows of a vector of existing columns.
                        let rows = unsafe { s.load_columns_16(from, stride) };
                        for (half, rows) in rows.into_iter().enumerate() {
                            for (row, vector) in rows.into_iter().enumerate() {
                                // SAFETY: x holds the rows of whole lines.
                                let x = s.splat(unsafe { *x.add(8 * half + row) });
                                *sum = s.fma(x, vector, *sum);
                            }
                        }
                        continue;
                    }
                    for i in (0..line).step_by(8) {
                        // SAFETY: eight rows of a vector of existing columns; a line has as many at least.
                        let rows = unsafe { s.load_columns_8(from.wrapping_add(i), stride) };
                        for (row, vector) in rows.into_iter().enumerate() {
                            // SAFETY: x holds the rows of whole lines.
                            let x = s.splat(unsafe { *x.add(i + row) });
                            *sum = s.fma(x, vector, *sum);
                        }
                    }
                }
            }
            // SAFETY: rows of the block.
            unsafe { self.few(s, lines..end, starts, &mut block) };
            for (sum, block) in sums.iter_mut().zip(block) {
                *sum = if start == 0 { block } else { s.add(*sum, block) };
            }
        }
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: by the caller's contract.
            unsafe { s.store(to.add(starts[v]), sum) };
        }
    }

    /// Elements of a column before its first whole cache line, by fours; 0 if they are not. Blocks are whole lines, and the columns of a crowded
    /// matrix lie in the same way.
    fn before_a_line(&self, column: usize) -> usize {
        let line = 64 / size_of::<T>();
        let address = self.b.at(0, self.columns.start + column).addr();
        let before = (line - address / size_of::<T>() % line) % line;
        if before.is_multiple_of(4) { before } else { 0 }
    }

    /// Adds rows to the sums of vectors of columns, less than a line of each: by fours, then one by one.
    ///
    /// # Safety
    /// - The rows and columns must exist.
    #[inline(always)]
    unsafe fn few<S: Simd<T>, const V: usize>(
        &self,
        s: S,
        rows: Range<usize>,
        starts: [usize; V],
        sums: &mut [S::V; V],
    ) {
        let stride = self.b.column_stride;
        let fours = rows.end - rows.len() % 4;
        for (sum, start) in sums.iter_mut().zip(starts) {
            for l in (rows.start..fours).step_by(4) {
                // SAFETY: four of the rows.
                unsafe {
                    let four = s.load_columns(self.b.at(l, self.columns.start + start), stride);
                    for (row, vector) in four.into_iter().enumerate() {
                        *sum = s.fma(s.splat(self.x(l + row)), vector, *sum);
                    }
                }
            }
            for l in fours..rows.end {
                let mut row = [T::ZERO; WIDEST];
                // SAFETY: row `l`.
                unsafe {
                    for (i, x) in row.iter_mut().enumerate().take(S::LANES) {
                        *x = *self.b.at(l, self.columns.start + start + i);
                    }
                    *sum = s.fma(s.splat(self.x(l)), s.load(row.as_ptr()), *sum);
                }
            }
        }
    }

    /// The sums of the columns, fewer than a vector's; beyond the last one they are that one's.
    ///
    /// # Safety
    /// - `to` must be writable for a vector, and there must be a column.
    #[inline(always)]
    unsafe fn group<S: Simd<T>>(&self, s: S, to: *mut T) {
        let mut tile = Aligned::<T, TILE>::new();
        let tile = tile.start();
        let mut columns = [self.b.start; WIDEST];
        for (i, column) in columns.iter_mut().enumerate() {
            *column = self.b.at(0, (self.columns.start + i).min(self.columns.end - 1));
        }
        let mut sum = s.splat(T::ZERO);
        for start in (0..self.p.k_total).step_by(KC) {
            let end = self.p.k_total.min(start + KC);
            let mut block = s.splat(T::ZERO);
            for l in (start..end).step_by(2 * S::BLOCK) {
                let rows = (2 * S::BLOCK).min(end - l);
                // SAFETY: `rows` rows from `l` on exist; the tile holds as many of a vector.
                unsafe {
                    fill(s, &columns, [l, rows], tile, S::LANES);
                    for i in 0..rows {
                        let x = s.splat(self.x(l + i));
                        block = s.fma(x, s.load(tile.add(i * S::LANES)), block);
                    }
                }
            }
            sum = if start == 0 { block } else { s.add(sum, block) };
        }
        // SAFETY: by the caller's contract.
        unsafe { s.store(to, sum) };
    }
}

/// Elements of a tile of a vector's columns.
const TILE: usize = WIDEST * 16;

/// Rows `l..l + rows` of columns, row by row. A cache line of each column is read in one go: columns are often a power of two apart, and
/// evict each other.
///
/// # Safety
/// - The rows of the first `width` columns must exist, and `tile` must be writable for `2 * BLOCK` rows of the width.
#[inline(always)]
unsafe fn fill<T: Float, S: Simd<T>>(
    s: S,
    columns: &[*const T; WIDEST],
    [l, rows]: [usize; 2],
    tile: *mut T,
    width: usize,
) {
    for group in (0..width).step_by(S::BLOCK) {
        let mut from = [std::ptr::null(); 8];
        for (i, from) in from.iter_mut().enumerate().take(S::BLOCK) {
            *from = columns[group + i].wrapping_add(l);
        }
        // SAFETY: existing columns, and this group's place in the tile.
        unsafe {
            let to = tile.add(group);
            if rows == 2 * S::BLOCK {
                s.transpose(&from, to, width);
                for from in &mut from {
                    *from = from.wrapping_add(S::BLOCK);
                }
                s.transpose(&from, to.add(S::BLOCK * width), width);
                continue;
            }
            for (i, from) in from.iter().enumerate().take(S::BLOCK) {
                for row in 0..rows {
                    *to.add(row * width + i) = *from.add(row);
                }
            }
        }
    }
}
