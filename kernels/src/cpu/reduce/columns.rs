//! Groups outside the innermost dim: rows are added in ascending order, in chunks of 256.

use std::marker::PhantomData;

use super::dims::{Dim, count, is_unit, offset};
use super::lanes::{Fold, load_part};
use crate::buffer::Buffer;
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Error, Result};

/// Rows in a chunk.
pub(crate) const ROWS: usize = 256;
/// Columns of a task: enough tasks for all threads, but long runs where there are plenty (they halve the time of rows that
/// come from memory).
const fn block_of(columns: usize) -> usize {
    if columns >= 65_536 { 8192 } else { 1024 }
}
/// From this many columns on the running sums stay in memory: long runs along a row suit the cache's prefetcher.
const WIDE: usize = 512;
/// Elements that make a piece worth handing out.
const PIECE: usize = 32_768;

/// `out[a, b] = fold over the group of x[a, .., b]`.
///
/// # Safety
/// - Every offset of `outer` plus one of `group` plus one of `inner` must be an index into `data` from `base` on.
pub(super) unsafe fn reduce<T: Float, F: Fold<T>>(
    data: &[T],
    base: isize,
    [outer, group, inner]: [&[Dim]; 3],
    out: &mut [T],
) -> Result<()> {
    let (rows, columns) = (count(group), count(inner));
    let chunks = rows.div_ceil(ROWS);
    let block = block_of(columns);
    let blocks = columns.div_ceil(block);
    let grid = Grid { data, base, outer, group, inner, rows, columns, chunks, block, blocks };
    if chunks <= 1 {
        grid.run_all::<F>(out);
        return Ok(());
    }
    let overflow = Error::Contract("reduce: too many chunks");
    let bytes = out.len().checked_mul(chunks).and_then(|c| c.checked_mul(size_of::<T>()));
    let mut partial = Buffer::new(bytes.ok_or(overflow)?)?;
    let partial = partial.as_mut_slice::<T>();
    grid.run_all::<F>(partial);
    for (partial, out) in
        partial.chunks_exact_mut(chunks * columns).zip(out.chunks_exact_mut(columns))
    {
        pair_tree(partial, out, F::values);
    }
    Ok(())
}

/// The tasks `(outer index, chunk, column block)`, numbered in this order.
#[derive(Clone, Copy)]
struct Grid<'a, T> {
    data: &'a [T],
    base: isize,
    outer: &'a [Dim],
    group: &'a [Dim],
    inner: &'a [Dim],
    rows: usize,
    columns: usize,
    chunks: usize,
    /// Columns of a task.
    block: usize,
    /// Tasks side by side.
    blocks: usize,
}

impl<T: Float> Grid<'_, T> {
    /// `out` is `[outer, chunks, columns]`.
    fn run_all<F: Fold<T>>(self, out: &mut [T]) {
        let lines = out.len() / self.columns.max(1);
        let tasks = lines * self.blocks;
        let each = self.rows.min(ROWS) * self.columns.min(self.block);
        let per_piece = (PIECE / each.max(1)).max(1);
        let work = (tasks as u64).saturating_mul((each * size_of::<T>()) as u64) / 16;
        let shared = Shared::new(out);
        parallel::run(tasks.div_ceil(per_piece), work, &|piece| {
            let first = piece * per_piece;
            let last = (first + per_piece).min(tasks);
            T::dispatch(Range::<T, F> { grid: self, first, last, out: &shared, fold: PhantomData });
        });
    }
}

/// The tasks `first .. last`.
struct Range<'a, T, F> {
    grid: Grid<'a, T>,
    first: usize,
    last: usize,
    out: &'a Shared<'a, T>,
    fold: PhantomData<F>,
}

impl<T: Float, F: Fold<T>> Kernel<T> for Range<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let grid = self.grid;
        let unit = is_unit(grid.inner);
        let mut offsets = [0isize; ROWS];
        let mut rows = 0..0;
        for task in self.first..self.last {
            let (line, block) = (task / grid.blocks, task % grid.blocks);
            let (a, chunk) = (line / grid.chunks, line % grid.chunks);
            let start = chunk * ROWS;
            let wanted = start..(start + ROWS).min(grid.rows);
            if rows != wanted {
                rows = wanted;
                for (place, row) in offsets.iter_mut().zip(rows.clone()) {
                    *place = offset(grid.group, row);
                }
            }
            let first = block * grid.block;
            let width = grid.block.min(grid.columns - first);
            // SAFETY: each task has its own line and block of the output.
            let out = unsafe { self.out.part(line * grid.columns + first, width) };
            let offsets = &offsets[..rows.len()];
            // SAFETY: the caller of `reduce` guarantees every offset; columns `first .. first + width` exist.
            unsafe {
                let from = grid.data.as_ptr().offset(grid.base + offset(grid.outer, a));
                if unit {
                    contiguous::<T, S, F>(simd, from.add(first), offsets, out);
                } else {
                    strided::<T, F>(from, offsets, grid.inner, first, out);
                }
            }
        }
    }
}

/// Columns that lie one after the other.
///
/// # Safety
/// - From each offset on, `out.len()` elements must be readable.
#[inline(always)]
unsafe fn contiguous<T: Float, S: Simd<T>, F: Fold<T>>(
    simd: S,
    from: *const T,
    offsets: &[isize],
    out: &mut [T],
) {
    if out.len() >= WIDE {
        out.fill(F::START);
        for rows in offsets.chunks(4) {
            // SAFETY: the caller's guarantee.
            unsafe { add_rows::<T, S, F>(simd, from, rows, out) };
        }
        return;
    }
    let to = out.as_mut_ptr();
    let mut column = 0;
    // SAFETY: all columns touched lie below `out.len()`.
    unsafe {
        while column + 8 * S::LANES <= out.len() {
            vectors::<T, S, F, 8>(simd, from.add(column), offsets, to.add(column));
            column += 8 * S::LANES;
        }
        while column + 2 * S::LANES <= out.len() {
            vectors::<T, S, F, 2>(simd, from.add(column), offsets, to.add(column));
            column += 2 * S::LANES;
        }
        while column < out.len() {
            let width = S::LANES.min(out.len() - column);
            let mut acc = simd.splat(F::START);
            for &row in offsets {
                let x = load_part::<T, S, F>(simd, from.offset(row).add(column), width);
                acc = F::vectors(simd, acc, x);
            }
            simd.store_first(to.add(column), acc, width);
            column += width;
        }
    }
}

/// Takes up to 4 rows into `out`, one after the other.
///
/// # Safety
/// - From each offset on, `out.len()` elements must be readable.
#[inline(always)]
unsafe fn add_rows<T: Float, S: Simd<T>, F: Fold<T>>(
    simd: S,
    from: *const T,
    offsets: &[isize],
    out: &mut [T],
) {
    let (n, to) = (out.len(), out.as_mut_ptr());
    let mut column = 0;
    while column < n {
        let width = S::LANES.min(n - column);
        // SAFETY: `column + width <= n`.
        unsafe {
            let mut acc = simd.load_first(to.add(column), width);
            if let (&[a, b, c, d], true) = (offsets, width == S::LANES) {
                acc = F::vectors(simd, acc, simd.load(from.offset(a).add(column)));
                acc = F::vectors(simd, acc, simd.load(from.offset(b).add(column)));
                acc = F::vectors(simd, acc, simd.load(from.offset(c).add(column)));
                acc = F::vectors(simd, acc, simd.load(from.offset(d).add(column)));
                simd.store(to.add(column), acc);
            } else {
                for &row in offsets {
                    let x = load_part::<T, S, F>(simd, from.offset(row).add(column), width);
                    acc = F::vectors(simd, acc, x);
                }
                simd.store_first(to.add(column), acc, width);
            }
        }
        column += width;
    }
}

/// `N` vectors of columns, in registers over all rows.
///
/// # Safety
/// - From each offset on, and at `to`, `N` vectors must be readable and writable.
#[inline(always)]
unsafe fn vectors<T: Float, S: Simd<T>, F: Fold<T>, const N: usize>(
    simd: S,
    from: *const T,
    offsets: &[isize],
    to: *mut T,
) {
    let mut acc = [simd.splat(F::START); N];
    for &row in offsets {
        for (i, acc) in acc.iter_mut().enumerate() {
            // SAFETY: the caller's guarantee.
            let x = unsafe { simd.load(from.offset(row).add(i * S::LANES)) };
            *acc = F::vectors(simd, *acc, x);
        }
    }
    for (i, &acc) in acc.iter().enumerate() {
        // SAFETY: the caller's guarantee.
        unsafe { simd.store(to.add(i * S::LANES), acc) };
    }
}

/// Columns anywhere.
///
/// # Safety
/// - Every offset plus that of columns `first .. first + out.len()` of `inner` must be readable.
#[inline(always)]
unsafe fn strided<T: Float, F: Fold<T>>(
    from: *const T,
    offsets: &[isize],
    inner: &[Dim],
    first: usize,
    out: &mut [T],
) {
    let mut places = [0isize; 64];
    for (part, out) in out.chunks_mut(64).enumerate() {
        for (i, place) in places.iter_mut().enumerate().take(out.len()) {
            *place = offset(inner, first + part * 64 + i);
        }
        out.fill(F::START);
        for &row in offsets {
            for (acc, &place) in out.iter_mut().zip(&places) {
                // SAFETY: the caller's guarantee.
                *acc = F::values(*acc, unsafe { *from.offset(row + place) });
            }
        }
    }
}

/// The pair tree of ADR 001 over the rows of `partial`, element by element.
pub(crate) fn pair_tree<T: Float>(partial: &mut [T], out: &mut [T], fold: impl Fn(T, T) -> T) {
    let columns = out.len().max(1);
    let mut left = partial.len() / columns;
    while left > 1 {
        for i in 0..left / 2 {
            let (done, rest) = partial.split_at_mut((2 * i + 1) * columns);
            let (first, target) = (2 * i * columns, i * columns);
            for (column, &second) in rest[..columns].iter().enumerate() {
                done[target + column] = fold(done[first + column], second);
            }
        }
        if left % 2 == 1 {
            partial.copy_within((left - 1) * columns..left * columns, left / 2 * columns);
        }
        left = left.div_ceil(2);
    }
    out.copy_from_slice(&partial[..out.len()]);
}
