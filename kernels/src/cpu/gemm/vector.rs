//! Products of one row: a vector times a matrix, which is read once and packed nowhere.
//!
//! The order is R2's: a chain of FMAs in ascending k for each column and block, block sums added in ascending order. Where the matrix's rows
//! are contiguous, eight of them at a time, eight streams, go over a run of columns whose sums stay in L1. Where its columns are (a linear
//! layer's weight), they are transposed in registers, a cache line of each at a time; fewer than a vector of them go by way of a tile. A
//! packed one is a stream a panel.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::Dispatch;
use super::blocking::KC;
use super::driver::{Product, work_ns};
use super::microkernel::fetch;
use super::panels::Strided;
use super::settle::{Settle, settle};
use crate::cpu::isa::Kernel;
use crate::cpu::parallel;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// Columns of a piece.
const COLUMNS: usize = 1024;

/// Vectors of columns that are transposed side by side, but for the widest: 32 streams are slower where columns are a power of two apart.
const WIDE: usize = 2;

/// Vectors of a panel's columns whose sums are made side by side: as many as hide an FMA's latency behind loads.
const VECTORS: usize = 4;

/// Rows of the matrix that are added in one go over the columns.
const ROWS: usize = 8;

/// Bytes that each row is asked for ahead: prefetchers start anew with every page.
const AHEAD: usize = 1024;

/// A row and the matrix that it is multiplied with.
pub(super) struct Operands<T> {
    x: Strided<T>,
    /// The matrix; its first panel, if it is packed.
    b: Strided<T>,
    packed: bool,
}

/// The operands, if this is a product of one row with a matrix that lies well, computed in one part.
pub(super) fn suits<T: Float>(p: &Product<'_, T>) -> Option<Operands<T>> {
    let whole = p.m == 1 && p.k == (0..p.k_total) && p.k_total > 0;
    let x = p.a.strided().filter(|_| whole)?;
    let panel = p.b.panel(0, 0);
    let b = panel.or(p.b.strided())?;
    let packed = panel.is_some();
    (b.column_stride == 1 || b.k_stride == 1).then_some(Operands { x, b, packed })
}

/// Computes the product.
pub(super) fn multiply<T: Float>(d: Dispatch, p: &Product<'_, T>, operands: Operands<T>) {
    let Operands { x, b, packed } = operands;
    // With a team, shorter runs: a vector is soon done.
    let chunk = if d.team { COLUMNS / 4 } else { COLUMNS };
    // Bound by memory: about four times what its arithmetic takes.
    parallel::run(p.n.div_ceil(chunk), work_ns(4, p.n, p.k_total), &|piece| {
        let columns = piece * chunk..p.n.min((piece + 1) * chunk);
        let piece = Piece { p, x, b, columns };
        if packed {
            d.call::<T, _>(ByPanels(piece));
        } else if b.column_stride == 1 {
            d.call::<T, _>(ByRows(piece));
        } else {
            // Fewer columns than the widest vector has lanes.
            let d = if p.n * size_of::<T>() < 64 { d.narrow() } else { d };
            d.call::<T, _>(ByColumns(piece));
        }
    });
}

/// At most [`COLUMNS`] columns of the product.
struct Piece<'a, T: Float> {
    p: &'a Product<'a, T>,
    x: Strided<T>,
    b: Strided<T>,
    columns: Range<usize>,
}

/// Memory of a vector's alignment.
#[repr(align(64))]
struct Aligned<T, const N: usize>([MaybeUninit<T>; N]);

impl<T, const N: usize> Aligned<T, N> {
    #[inline(always)]
    fn new() -> Self {
        Aligned([const { MaybeUninit::uninit() }; N])
    }

    #[inline(always)]
    fn start(&mut self) -> *mut T {
        self.0.as_mut_ptr().cast()
    }
}

/// A piece of a matrix whose rows are contiguous.
struct ByRows<'a, T: Float>(Piece<'a, T>);

impl<T: Float> Kernel<T> for ByRows<'_, T> {
    type Output = ();
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let mut sums = Aligned::<T, COLUMNS>::new();
        // SAFETY: the columns are the product's, and as many as the sums at most.
        unsafe {
            self.0.by_rows(s, sums.start());
            self.0.settle(s, sums.start());
        }
    }
}

/// A piece of a matrix whose columns are contiguous.
struct ByColumns<'a, T: Float>(Piece<'a, T>);

impl<T: Float> Kernel<T> for ByColumns<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let mut sums = Aligned::<T, COLUMNS>::new();
        // SAFETY: as for rows.
        unsafe {
            self.0.by_columns(s, sums.start());
            self.0.settle(s, sums.start());
        }
    }
}

/// A piece of a packed matrix.
struct ByPanels<'a, T: Float>(Piece<'a, T>);

impl<T: Float> Kernel<T> for ByPanels<'_, T> {
    type Output = ();
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let mut sums = Aligned::<T, COLUMNS>::new();
        let (start, len) = (self.0.columns.start, self.0.columns.len());
        let width = VECTORS * S::LANES;
        for j in (0..len).step_by(width) {
            // SAFETY: whole vectors of a panel, whose width is a multiple of theirs, as the sums' room is.
            unsafe {
                if let Some(b) = self.0.p.b.panel(0, start + j) {
                    self.0.by_panel(s, b, sums.start().add(j));
                }
            }
        }
        // SAFETY: the sums of the columns.
        unsafe { self.0.settle(s, sums.start()) };
    }
}

impl<T: Float> Piece<'_, T> {
    /// The sums of [`VECTORS`] vectors of columns of a panel.
    ///
    /// # Safety
    /// - The panel must hold them for all of k, and `to` must be writable for them.
    #[inline(always)]
    unsafe fn by_panel<S: Simd<T>>(&self, s: S, b: Strided<T>, to: *mut T) {
        let mut row = b.start;
        let mut sums = [s.splat(T::ZERO); VECTORS];
        for start in (0..self.p.k_total).step_by(KC) {
            let mut block = [s.splat(T::ZERO); VECTORS];
            for l in start..self.p.k_total.min(start + KC) {
                // SAFETY: row `l` of the panel, and of x.
                unsafe {
                    let x = s.splat(self.x(l));
                    for (v, sum) in block.iter_mut().enumerate() {
                        *sum = s.fma(x, s.load(row.add(v * S::LANES)), *sum);
                    }
                }
                row = row.wrapping_offset(b.k_stride);
            }
            for (sum, block) in sums.iter_mut().zip(block) {
                *sum = if start == 0 { block } else { s.add(*sum, block) };
            }
        }
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: by the caller's contract.
            unsafe { s.store(to.add(v * S::LANES), sum) };
        }
    }

    /// Element `l` of the row.
    ///
    /// # Safety
    /// - `l` must be less than `k_total`.
    #[inline(always)]
    unsafe fn x(&self, l: usize) -> T {
        // SAFETY: by the caller's contract.
        unsafe { *self.x.at(l, 0) }
    }

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

    /// Finishes the sums and stores them.
    ///
    /// # Safety
    /// - The sums must be those of the columns, which must lie inside the product.
    #[inline(always)]
    unsafe fn settle<S: Simd<T>>(&self, s: S, sums: *const T) {
        let finish = (!self.p.finish.is_nothing()).then_some(self.p.finish);
        let (rows, columns) = ([0, 1], [self.columns.start, self.columns.len()]);
        let job = Settle {
            rows,
            columns,
            from: sums,
            from_stride: 0,
            earlier: None,
            to: &self.p.output,
            finish,
        };
        // SAFETY: by the caller's contract.
        unsafe { settle(s, &job) }
    }

    /// The sums, where the matrix's rows are contiguous.
    ///
    /// # Safety
    /// - `sums` must be writable for [`COLUMNS`] elements, of which the columns are no more.
    #[inline(always)]
    unsafe fn by_rows<S: Simd<T>>(&self, s: S, sums: *mut T) {
        let mut block = Aligned::<T, COLUMNS>::new();
        let block = block.start();
        let len = self.columns.len();
        for start in (0..self.p.k_total).step_by(KC) {
            let end = self.p.k_total.min(start + KC);
            let to = if start == 0 { sums } else { block };
            let mut l = start;
            // SAFETY: rows `l..` of the block and the columns of this piece; `to` holds them.
            unsafe {
                while l + ROWS <= end {
                    self.add_rows::<S, ROWS>(s, l, l == start, to);
                    l += ROWS;
                }
                while l < end {
                    self.add_rows::<S, 1>(s, l, l == start, to);
                    l += 1;
                }
                if start > 0 {
                    for j in (0..len).step_by(S::LANES) {
                        s.store(sums.add(j), s.add(s.load(sums.add(j)), s.load(block.add(j))));
                    }
                }
            }
        }
    }

    /// Adds `N` rows from row `l` on to the sums, which begin with the `first`.
    ///
    /// # Safety
    /// - The rows must exist, and `to` must be writable for [`COLUMNS`] elements.
    #[inline(always)]
    unsafe fn add_rows<S: Simd<T>, const N: usize>(&self, s: S, l: usize, first: bool, to: *mut T) {
        let mut x = [s.splat(T::ZERO); N];
        let mut from = [self.b.start; N];
        for i in 0..N {
            // SAFETY: row `l + i` exists.
            x[i] = s.splat(unsafe { self.x(l + i) });
            from[i] = self.b.at(l + i, self.columns.start);
        }
        let len = self.columns.len();
        let whole = len - len % S::LANES;
        // SAFETY: vectors of the columns, the last one cut; the sums have room for it in whole.
        unsafe {
            let next = N as isize * self.b.k_stride - len as isize;
            for j in (0..whole).step_by(S::LANES) {
                // In these rows, or, behind their end, in the next ones.
                let ahead = j + AHEAD / size_of::<T>();
                let ahead = ahead as isize + if ahead < len { 0 } else { next };
                let mut sum = if first { s.splat(T::ZERO) } else { s.load(to.add(j)) };
                for i in 0..N {
                    fetch(from[i].wrapping_offset(ahead));
                    sum = s.fma(x[i], s.load(from[i].wrapping_add(j)), sum);
                }
                s.store(to.add(j), sum);
            }
            if whole < len {
                let mut sum = if first { s.splat(T::ZERO) } else { s.load(to.add(whole)) };
                for i in 0..N {
                    let row = s.load_first(from[i].wrapping_add(whole), len - whole);
                    sum = s.fma(x[i], row, sum);
                }
                s.store(to.add(whole), sum);
            }
        }
    }

    /// The sums, where the matrix's columns are contiguous.
    ///
    /// # Safety
    /// - As [`by_rows`](Self::by_rows).
    #[inline(always)]
    unsafe fn by_columns<S: Simd<T>>(&self, s: S, sums: *mut T) {
        // Columns that are a multiple of half a page apart share a set of L1, which has 8 places.
        let apart = self.b.column_stride.unsigned_abs().wrapping_mul(size_of::<T>());
        let wide = self.columns.len() > S::LANES && !apart.is_multiple_of(2048);
        // SAFETY: handed on.
        unsafe {
            match wide && const { S::LANES * size_of::<T>() < 64 } {
                true => self.by_vectors::<S, WIDE>(s, sums),
                false => self.by_vectors::<S, 1>(s, sums),
            }
        }
    }

    /// [`by_columns`](Self::by_columns), `V` vectors at a time. The last ones overlap those before: the same sums, made twice.
    ///
    /// # Safety
    /// - As [`by_rows`](Self::by_rows).
    #[inline(always)]
    unsafe fn by_vectors<S: Simd<T>, const V: usize>(&self, s: S, sums: *mut T) {
        let Some(last) = self.columns.len().checked_sub(S::LANES) else {
            // SAFETY: the sums have room for a vector.
            return unsafe { self.group(s, sums) };
        };
        for j in (0..self.columns.len()).step_by(V * S::LANES) {
            let starts = std::array::from_fn::<_, V, _>(|v| (j + v * S::LANES).min(last));
            // SAFETY: whole vectors of columns.
            unsafe { self.vectors(s, starts, sums) };
        }
    }

    /// The sums of vectors of columns that start at these of the piece, transposed in registers.
    ///
    /// # Safety
    /// - The columns must exist, and `to` must be writable for the piece.
    #[inline(always)]
    unsafe fn vectors<S: Simd<T>, const V: usize>(&self, s: S, starts: [usize; V], to: *mut T) {
        let (line, stride) = (64 / size_of::<T>(), self.b.column_stride);
        let mut sums = [s.splat(T::ZERO); V];
        let mut near = Aligned::<T, KC>::new();
        for start in (0..self.p.k_total).step_by(KC) {
            let end = self.p.k_total.min(start + KC);
            let lines = end - (end - start) % line;
            let mut block = [s.splat(T::ZERO); V];
            // SAFETY: a block of x at most.
            let x = unsafe { self.contiguous_x(start..lines, near.start()) };
            for l in (start..lines).step_by(line) {
                let x = x.wrapping_add(l - start);
                for (v, sum) in block.iter_mut().enumerate() {
                    let from = self.b.at(l, self.columns.start + starts[v]);
                    for i in 0..S::LANES {
                        fetch(from.wrapping_offset(i as isize * stride).wrapping_add(4 * line));
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

/// The most lanes of a vector.
const WIDEST: usize = 16;

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
