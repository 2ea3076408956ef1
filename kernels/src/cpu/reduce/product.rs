//! Products of elements, in the order R3 like sums. Plain loops: products of many numbers are rare, or not finite.

use super::dims::{Dim, count, is_unit, offset};
use super::lanes::{CHUNK, LANES};
use crate::buffer::Buffer;
use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::{Error, Result};

/// Rows of a chunk of any group but the innermost.
const ROWS: usize = 256;
/// Elements that make a piece worth handing out.
const PIECE: usize = 32_768;

/// As [`one_group`](super::one_group).
pub(super) fn one_group<T: Float>(
    data: &[T],
    base: isize,
    [outer, group, inner]: [&[Dim]; 3],
    out: &mut [T],
) -> Result<()> {
    let (n, columns) = (count(group), count(inner));
    let chunk = if inner.is_empty() { CHUNK } else { ROWS };
    let chunks = n.div_ceil(chunk);
    let task = Task { data, base, outer, group, inner, n, columns, chunk, chunks };
    if chunks <= 1 {
        task.run_all(out);
        return Ok(());
    }
    let overflow = Error::Contract("reduce: too many chunks");
    let bytes = out.len().checked_mul(chunks).and_then(|c| c.checked_mul(size_of::<T>()));
    let mut partial = Buffer::new(bytes.ok_or(overflow)?)?;
    let partial = partial.as_mut_slice::<T>();
    task.run_all(partial);
    let lines = partial.chunks_exact_mut(chunks * columns);
    for (line, out) in lines.zip(out.chunks_exact_mut(columns)) {
        pair_tree(line, columns);
        out.copy_from_slice(&line[..columns]);
    }
    Ok(())
}

/// The pair tree over the rows of `[chunks, columns]`, element by element; the root becomes the first row.
fn pair_tree<T: Float>(line: &mut [T], columns: usize) {
    let mut left = line.len() / columns.max(1);
    while left > 1 {
        for i in 0..left / 2 {
            for c in 0..columns {
                line[i * columns + c] = line[2 * i * columns + c] * line[(2 * i + 1) * columns + c];
            }
        }
        if left % 2 == 1 {
            line.copy_within((left - 1) * columns..left * columns, left / 2 * columns);
        }
        left = left.div_ceil(2);
    }
}

/// The products of chunk after chunk, line after line.
struct Task<'a, T> {
    data: &'a [T],
    base: isize,
    outer: &'a [Dim],
    group: &'a [Dim],
    inner: &'a [Dim],
    n: usize,
    columns: usize,
    chunk: usize,
    chunks: usize,
}

impl<T: Float> Task<'_, T> {
    /// `out` is `[outer, chunks, columns]`.
    fn run_all(&self, out: &mut [T]) {
        let tasks = out.len() / self.columns.max(1);
        let each = self.n.min(self.chunk) * self.columns;
        let per_piece = (PIECE / each.max(1)).max(1);
        let work = (tasks as u64).saturating_mul(each as u64) / 2;
        let shared = Shared::new(out);
        parallel::run(tasks.div_ceil(per_piece), work, &|piece| {
            for task in piece * per_piece..((piece + 1) * per_piece).min(tasks) {
                // SAFETY: each task has its own columns.
                let out = unsafe { shared.part(task * self.columns, self.columns) };
                let base = self.base + offset(self.outer, task / self.chunks);
                let start = task % self.chunks * self.chunk;
                let end = (start + self.chunk).min(self.n);
                if self.inner.is_empty() {
                    out.fill(self.row(base, start, end));
                } else {
                    self.rows(base, start, end, out);
                }
            }
        });
    }

    /// A chunk of a row: 64 lanes, then the fixed fold.
    fn row(&self, base: isize, start: usize, end: usize) -> T {
        let mut lanes = [T::ONE; LANES];
        if is_unit(self.group) {
            let first = base as usize;
            for part in self.data[first + start..first + end].chunks(LANES) {
                lanes.iter_mut().zip(part).for_each(|(lane, &x)| *lane = *lane * x);
            }
        } else {
            for k in start..end {
                let x = self.data[(base + offset(self.group, k)) as usize];
                lanes[(k - start) % LANES] = lanes[(k - start) % LANES] * x;
            }
        }
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] = lanes[i] * lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }

    /// A chunk of rows, one after the other into `out`.
    fn rows(&self, base: isize, start: usize, end: usize, out: &mut [T]) {
        out.fill(T::ONE);
        for row in start..end {
            let row = base + offset(self.group, row);
            if is_unit(self.inner) {
                let row = &self.data[row as usize..][..out.len()];
                out.iter_mut().zip(row).for_each(|(product, &x)| *product = *product * x);
            } else {
                for (c, product) in out.iter_mut().enumerate() {
                    *product = *product * self.data[(row + offset(self.inner, c)) as usize];
                }
            }
        }
    }
}
