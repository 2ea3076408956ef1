//! Products of one row: a vector times a matrix, which is read once and packed nowhere.
//!
//! The order is R2's: a chain of FMAs in ascending k for each column and block, block sums added in ascending order. Where the matrix's rows
//! are contiguous, eight of them at a time, eight streams, go over a run of columns whose sums stay in L1; a team has blocks of rows each. Its
//! columns may be contiguous instead (`columns.rs`). A packed one is a stream a panel.

mod columns;

use std::mem::MaybeUninit;
use std::ops::Range;

use super::Dispatch;
use super::blocking::KC;
use super::driver::{Product, bytes, work_ns};
use super::microkernel::fetch;
use super::packed::PackedMatrix;
use super::panels::Strided;
use super::settle::{Settle, settle};
use crate::buffer::Buffer;
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::Result;

/// Columns of a piece.
const COLUMNS: usize = 1024;

/// Vectors of a panel's columns whose sums are made side by side: as many as hide an FMA's latency behind loads.
const VECTORS: usize = 4;

/// Rows of the matrix that are added in one go over the columns.
const ROWS: usize = 8;

/// Bytes that each row is asked for ahead: prefetchers start anew with every page.
const AHEAD: usize = 1024;

/// The most lanes of a vector.
const WIDEST: usize = 16;

/// Bytes of a matrix from which on a team is given blocks of its rows.
const BY_BLOCKS: usize = 256 << 10;

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
///
/// # Errors
/// [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room for the sums of a team's blocks.
pub(super) fn multiply<T: Float>(
    d: Dispatch,
    p: &Product<'_, T>,
    operands: Operands<T>,
) -> Result<()> {
    let Operands { x, b, packed } = operands;
    let large = p.n.saturating_mul(p.k_total).saturating_mul(size_of::<T>()) >= BY_BLOCKS;
    if d.team && !packed && b.column_stride == 1 && p.k_total > KC && large {
        return by_blocks(d, p, x, b);
    }
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
    Ok(())
}

/// A team's product with a matrix whose rows are contiguous: pieces of one block of k, each with sums of its own, added in order. So a thread
/// reads whole pages; of rows a power of two apart, half of each would be half of the sets of its L2.
fn by_blocks<T: Float>(
    d: Dispatch,
    p: &Product<'_, T>,
    x: Strided<T>,
    b: Strided<T>,
) -> Result<()> {
    let blocks = p.k_total.div_ceil(KC);
    let stride = p.n.next_multiple_of(WIDEST);
    let threads = parallel::threads();
    // Where blocks alone would not go round, or the last one is short, columns are split, too: each thread's chunk in all blocks.
    let even = p.k_total.is_multiple_of(KC) && blocks.is_multiple_of(threads);
    let wanted = if even { 1 } else { threads };
    let chunk = p.n.div_ceil(wanted).clamp(COLUMNS / 4, COLUMNS).next_multiple_of(WIDEST);
    let chunks = p.n.div_ceil(chunk);
    let piece =
        |index: usize| Piece { p, x, b, columns: index * chunk..p.n.min((index + 1) * chunk) };
    let mut sums = Buffer::new(bytes::<T>(&[blocks, stride])?)?;
    let sums = Shared::new(sums.as_mut_slice::<T>());
    parallel::run(blocks * chunks, work_ns(4, p.n, p.k_total), &|index| {
        let (block, piece) = (index % blocks, piece(index / blocks));
        let to = sums.as_ptr().wrapping_add(block * stride + piece.columns.start);
        d.call::<T, _>(OfBlock { rows: block * KC..p.k_total.min((block + 1) * KC), piece, to });
    });
    parallel::run(chunks, (blocks * p.n) as u64 / 8, &|index| {
        let piece = piece(index);
        let sums = sums.as_ptr().wrapping_add(piece.columns.start);
        d.call::<T, _>(OfAll { piece, sums, blocks, stride });
    });
    Ok(())
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
            self.0.settle(s, sums.start(), 0);
        }
    }
}

/// A piece of one block of rows of such a matrix. Its sums go `to` where there is room for whole vectors.
struct OfBlock<'a, T: Float> {
    piece: Piece<'a, T>,
    rows: Range<usize>,
    to: *mut T,
}

impl<T: Float> Kernel<T> for OfBlock<'_, T> {
    type Output = ();
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        // SAFETY: rows and columns of the product, and room for the columns in whole vectors.
        unsafe { self.piece.block(s, self.rows, self.to) };
    }
}

/// The sums of a piece's columns of all blocks, `stride` apart, which are added in order.
struct OfAll<'a, T: Float> {
    piece: Piece<'a, T>,
    sums: *mut T,
    blocks: usize,
    stride: usize,
}

impl<T: Float> Kernel<T> for OfAll<'_, T> {
    type Output = ();
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        // SAFETY: the columns' sums, whole vectors, of each block.
        unsafe {
            for j in (0..self.piece.columns.len()).step_by(S::LANES) {
                let first = self.sums.add(j);
                let mut sum = s.load(first);
                for block in 1..self.blocks {
                    sum = s.add(sum, s.load(first.add(block * self.stride)));
                }
                s.store(first, sum);
            }
            self.piece.settle(s, self.sums, 0);
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
            self.0.settle(s, sums.start(), 0);
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
        let Piece { p, b, ref columns, .. } = self.0;
        let (start, len) = (columns.start, columns.len());
        let width = VECTORS * S::LANES;
        // Sums that nothing follows go where they belong at once.
        let (c, room) = p.output.column(start);
        let direct = if p.finish.is_nothing() { len.min(room) } else { 0 };
        let direct = direct - direct % width;
        for j in (0..len).step_by(width) {
            let to = if j < direct { c.wrapping_add(j) } else { sums.start().wrapping_add(j) };
            let (panel, within) = ((start + j) / Self::PANEL, (start + j) % Self::PANEL);
            let from = b.start.wrapping_add(panel * p.k_total * Self::PANEL + within);
            // SAFETY: whole vectors of a panel, whose width is a multiple of theirs, as the sums' room is; in C there is room for all vectors
            // before `direct`.
            unsafe { self.0.by_panel(s, Strided { start: from, ..b }, to) };
        }
        // SAFETY: the sums of the other columns.
        unsafe { self.0.settle(s, sums.start(), direct) };
    }
}

impl<T: Float> ByPanels<'_, T> {
    /// Columns of a panel.
    const PANEL: usize = PackedMatrix::<T>::COLUMNS;
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

    /// Finishes the sums and stores them, from this column of the piece on.
    ///
    /// # Safety
    /// - The sums must be those of the columns, which must lie inside the product.
    #[inline(always)]
    unsafe fn settle<S: Simd<T>>(&self, s: S, sums: *const T, first: usize) {
        let finish = (!self.p.finish.is_nothing()).then_some(self.p.finish);
        let columns = [self.columns.start + first, self.columns.len() - first];
        let job = Settle {
            rows: [0, 1],
            columns,
            from: sums.wrapping_add(first),
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
            // SAFETY: a block of rows and the columns of this piece, for which there is room.
            unsafe {
                self.block(s, start..end, if start == 0 { sums } else { block });
                if start > 0 {
                    for j in (0..len).step_by(S::LANES) {
                        s.store(sums.add(j), s.add(s.load(sums.add(j)), s.load(block.add(j))));
                    }
                }
            }
        }
    }

    /// The sums of one block of rows.
    ///
    /// # Safety
    /// - The rows must exist, and `to` must be writable for the columns, in whole vectors.
    #[inline(always)]
    unsafe fn block<S: Simd<T>>(&self, s: S, rows: Range<usize>, to: *mut T) {
        let mut l = rows.start;
        // SAFETY: handed on.
        unsafe {
            while l + ROWS <= rows.end {
                self.add_rows::<S, ROWS>(s, l, l == rows.start, to);
                l += ROWS;
            }
            while l < rows.end {
                self.add_rows::<S, 1>(s, l, l == rows.start, to);
                l += 1;
            }
        }
    }

    /// Adds `N` rows from row `l` on to the sums, which begin with the `first`.
    ///
    /// # Safety
    /// - As [`block`](Self::block).
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
}
