//! Groups that hold the innermost dim: every row is cut into chunks of 16,384.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::dims::{Dim, count, is_unit, offset};
use super::lanes::{self, CHUNK, Fold, first_zero};
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
                let row = data.as_ptr().offset(at);
                segments::<T, S, F>(simd, row, (!unit).then_some(group), start, len)
            };
            chunk += 1;
            if chunk == chunks {
                (row, chunk) = (row + 1, 0);
            }
        }
    }
}

/// A chunk: in one go, or, if its elements do not lie one after the other but as `group` says, gathered segment by segment.
///
/// # Safety
/// - Every offset of the group must be readable from `row`.
#[inline(always)]
unsafe fn segments<T: Float, S: Simd<T>, F: Fold<T>>(
    simd: S,
    row: *const T,
    group: Option<&[Dim]>,
    start: usize,
    len: usize,
) -> T {
    let mut segment = [MaybeUninit::uninit(); SEGMENT];
    let mut lanes = lanes::start::<T, S, F>(simd);
    let mut zero = None;
    let mut k = 0;
    while k < len {
        // SAFETY: the caller's guarantee; all but the last segment hold a multiple of 64 elements.
        let elements = unsafe {
            match group {
                None => std::slice::from_raw_parts(row.add(start), len),
                Some(group) => gather(row, group, start + k, &mut segment[..SEGMENT.min(len - k)]),
            }
        };
        // SAFETY: a slice.
        unsafe {
            lanes::accumulate::<T, S, F>(simd, &mut lanes, elements.as_ptr(), elements.len());
        }
        if F::PICKS && group.is_some() && zero.is_none() {
            zero = first_zero(elements);
        }
        k += elements.len();
    }
    let picked = lanes::fold::<T, S, F>(simd, &mut lanes);
    // Lanes meet out of order: of zeros with different signs the first must be looked up.
    if F::PICKS && picked == T::ZERO {
        if group.is_none() {
            // SAFETY: the caller's guarantee.
            zero = first_zero(unsafe { std::slice::from_raw_parts(row.add(start), len) });
        }
        return zero.unwrap_or(picked);
    }
    picked
}

/// Copies the elements `start ..` of the group.
///
/// # Safety
/// - The offsets of elements `start .. start + out.len()` must be readable from `row`.
#[inline(never)]
unsafe fn gather<'a, T: Float>(
    row: *const T,
    group: &[Dim],
    start: usize,
    out: &'a mut [MaybeUninit<T>],
) -> &'a [T] {
    let (inner, outer) = match group.split_last() {
        Some((&inner, outer)) => (inner, outer),
        None => (Dim { size: 1, stride: 0, reduced: true }, group),
    };
    let mut done = 0;
    while done < out.len() {
        let index = start + done;
        let (line, column) = (index / inner.size, index % inner.size);
        let taken = (inner.size - column).min(out.len() - done);
        let line_offset = offset(outer, line);
        for (i, place) in out[done..done + taken].iter_mut().enumerate() {
            let at = line_offset + (column + i) as isize * inner.stride;
            // SAFETY: element `start + done + i` of the group, which the caller guarantees.
            place.write(unsafe { *row.offset(at) });
        }
        done += taken;
    }
    // SAFETY: every element was written.
    unsafe { std::slice::from_raw_parts(out.as_ptr().cast(), out.len()) }
}
