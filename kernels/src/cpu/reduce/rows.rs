//! Groups that hold the innermost dim: every row is cut into chunks of 16,384.

use std::marker::PhantomData;

use super::dims::{Dim, count, is_unit, offset};
use super::lanes::{self, CHUNK, Fold};
use crate::buffer::Buffer;
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Error, Result};

/// Elements that make a piece worth handing out.
const PIECE: usize = 32_768;
/// Elements gathered at once from a strided row.
const SEGMENT: usize = 512;

/// `out[row] = fold(group of row)`.
///
/// # Safety
/// - Every offset of `outer` plus one of `group` must be an index into `data` from `base` on.
pub(super) unsafe fn reduce<T: Float, F: Fold<T>>(
    data: &[T],
    base: isize,
    outer: &[Dim],
    group: &[Dim],
    out: &mut [T],
) -> Result<()> {
    let n = count(group);
    let chunks = n.div_ceil(CHUNK);
    let tasks = Tasks::<T, F> { data, base, outer, group, n, chunks, fold: PhantomData };
    if chunks <= 1 {
        tasks.run_all(out);
        return Ok(());
    }
    let overflow = Error::Contract("reduce: too many chunks");
    let bytes = out.len().checked_mul(chunks).and_then(|c| c.checked_mul(size_of::<T>()));
    let mut partial = Buffer::new(bytes.ok_or(overflow)?)?;
    let partial = partial.as_mut_slice::<T>();
    tasks.run_all(partial);
    for (result, row) in out.iter_mut().zip(partial.chunks_exact_mut(chunks)) {
        *result = pair_tree::<T, F>(row);
    }
    Ok(())
}

/// The pair tree of ADR 001, in place.
fn pair_tree<T: Float, F: Fold<T>>(values: &mut [T]) -> T {
    let mut left = values.len();
    while left > 1 {
        for i in 0..left / 2 {
            values[i] = F::values(values[2 * i], values[2 * i + 1]);
        }
        if left % 2 == 1 {
            values[left / 2] = values[left - 1];
        }
        left = left.div_ceil(2);
    }
    values.first().copied().unwrap_or(F::START)
}

/// All chunks of all rows, numbered row by row.
#[derive(Clone, Copy)]
struct Tasks<'a, T, F> {
    data: &'a [T],
    base: isize,
    outer: &'a [Dim],
    group: &'a [Dim],
    n: usize,
    chunks: usize,
    fold: PhantomData<F>,
}

impl<T: Float, F: Fold<T>> Tasks<'_, T, F> {
    fn run_all(self, out: &mut [T]) {
        let tasks = out.len();
        let per_piece = (PIECE / self.n.clamp(1, CHUNK)).max(1);
        if tasks <= per_piece {
            return T::dispatch(Range { tasks: self, first: 0, out });
        }
        let work = (tasks as u64).saturating_mul((self.n.min(CHUNK) * size_of::<T>()) as u64) / 16;
        let shared = Shared::new(out);
        parallel::run(tasks.div_ceil(per_piece), work, &|piece| {
            let first = piece * per_piece;
            // SAFETY: pieces are disjoint ranges of tasks.
            let out = unsafe { shared.part(first, per_piece) };
            T::dispatch(Range { tasks: self, first, out });
        });
    }
}

/// The tasks from `first` on.
struct Range<'a, T, F> {
    tasks: Tasks<'a, T, F>,
    first: usize,
    out: &'a mut [T],
}

impl<T: Float, F: Fold<T>> Kernel<T> for Range<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Tasks { data, base, outer, group, n, chunks, .. } = self.tasks;
        let unit = is_unit(group);
        let (mut row, mut chunk) = (self.first / chunks, self.first % chunks);
        for result in self.out.iter_mut() {
            let at = base + offset(outer, row);
            let start = chunk * CHUNK;
            let len = CHUNK.min(n - start);
            // SAFETY: the caller of `reduce` guarantees the row's place; the chunk lies inside the row.
            *result = unsafe {
                if unit {
                    let from = data.as_ptr().offset(at + start as isize);
                    lanes::chunk::<T, S, F>(simd, from, len)
                } else {
                    gathered::<T, S, F>(simd, data.as_ptr().offset(at), group, start, len)
                }
            };
            chunk += 1;
            if chunk == chunks {
                (row, chunk) = (row + 1, 0);
            }
        }
    }
}

/// A chunk whose elements do not lie one after the other.
///
/// # Safety
/// - Every offset of `group` must be readable from `row`.
#[inline(always)]
unsafe fn gathered<T: Float, S: Simd<T>, F: Fold<T>>(
    simd: S,
    row: *const T,
    group: &[Dim],
    start: usize,
    len: usize,
) -> T {
    let mut segment = [T::ZERO; SEGMENT];
    let mut lanes = lanes::start::<T, S, F>(simd);
    let mut zero = None;
    let mut k = 0;
    while k < len {
        let taken = SEGMENT.min(len - k);
        // SAFETY: the caller's guarantee; `k + taken <= len`.
        unsafe { gather(row, group, start + k, &mut segment[..taken]) };
        // SAFETY: the segment holds `taken` elements; all but the last segment hold a multiple of 64.
        unsafe { lanes::accumulate::<T, S, F>(simd, &mut lanes, segment.as_ptr(), taken) };
        if F::PICKS && zero.is_none() {
            zero = segment[..taken].iter().copied().find(is_zero);
        }
        k += taken;
    }
    let picked = lanes::fold::<T, S, F>(simd, &mut lanes);
    match zero {
        Some(first) if picked == T::ZERO => first,
        _ => picked,
    }
}

#[inline(always)]
fn is_zero<T: Float>(x: &T) -> bool {
    *x == T::ZERO
}

/// Copies the elements `start ..` of the group.
///
/// # Safety
/// - The offsets of elements `start .. start + out.len()` must be readable from `row`.
#[inline(always)]
unsafe fn gather<T: Float>(row: *const T, group: &[Dim], start: usize, out: &mut [T]) {
    let Some((inner, outer)) = group.split_last() else { return };
    let mut done = 0;
    while done < out.len() {
        let index = start + done;
        let (line, column) = (index / inner.size, index % inner.size);
        let taken = (inner.size - column).min(out.len() - done);
        let line_offset = offset(outer, line);
        for (i, place) in out[done..done + taken].iter_mut().enumerate() {
            let at = line_offset + (column + i) as isize * inner.stride;
            // SAFETY: element `start + done + i` of the group, which the caller guarantees.
            *place = unsafe { *row.offset(at) };
        }
        done += taken;
    }
}
