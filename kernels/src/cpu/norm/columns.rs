//! The gradient in the weight: column sums of `grad * x^`.

use super::work;
use crate::buffer::Buffer;
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::reduce::columns::{ROWS, pair_tree};
use crate::cpu::reduce::lanes::{Fold, Sum};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Error, Result};

/// Columns of a task.
const BLOCK: usize = 1024;

/// See [`layer_norm_weight`](super::layer_norm_weight); grad, x: `[rows, out.len()]`.
pub(super) fn weight<T: Float>(grad: &[T], x: &[T], stats: &[T], out: &mut [T]) -> Result<()> {
    let chunks = stats.len().div_ceil(2 * ROWS);
    let grid = Grid { grad, x, stats, columns: out.len(), blocks: out.len().div_ceil(BLOCK) };
    if chunks <= 1 {
        out.fill(T::ZERO);
        grid.run(out);
        return Ok(());
    }
    let bytes = out.len().checked_mul(chunks).and_then(|n| n.checked_mul(size_of::<T>()));
    let mut partial = Buffer::new(bytes.ok_or(Error::Contract("layer_norm: too many chunks"))?)?;
    let partial = partial.as_mut_slice::<T>();
    partial.fill(T::ZERO);
    grid.run(partial);
    pair_tree(partial, out, Sum::values);
    Ok(())
}

/// The tasks `(chunk, column block)`, numbered in this order.
#[derive(Clone, Copy)]
struct Grid<'a, T> {
    grad: &'a [T],
    x: &'a [T],
    stats: &'a [T],
    columns: usize,
    blocks: usize,
}

impl<T: Float> Grid<'_, T> {
    /// `out`: `[chunks, columns]`, zeros.
    fn run(self, out: &mut [T]) {
        let chunks = out.len() / self.columns.max(1);
        let shared = Shared::new(out);
        parallel::run(chunks * self.blocks, 2 * work(self.x), &|task| {
            let (chunk, block) = (task / self.blocks, task % self.blocks);
            let first = block * BLOCK;
            let width = BLOCK.min(self.columns - first);
            // SAFETY: each task has its own line and block.
            let out = unsafe { shared.part(chunk * self.columns + first, width) };
            T::dispatch(Task { grid: self, row: chunk * ROWS, first, out });
        });
    }
}

/// The rows of one chunk from `row` on, the columns `first .. first + out.len()`.
struct Task<'a, T> {
    grid: Grid<'a, T>,
    row: usize,
    first: usize,
    out: &'a mut [T],
}

impl<T: Float> Kernel<T> for Task<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Grid { grad, x, stats, columns, .. } = self.grid;
        let stats = stats[2 * self.row..].chunks_exact(2).take(ROWS);
        let (n, out) = (self.out.len(), self.out.as_mut_ptr());
        for (row, stats) in stats.enumerate() {
            let at = (self.row + row) * columns + self.first;
            let (mean, rstd) = (simd.splat(stats[0]), simd.splat(stats[1]));
            let mut k = 0;
            while k < n {
                let width = S::LANES.min(n - k);
                // SAFETY: `k + width <= n`; row and columns lie in grad and x: `[rows, columns]`.
                unsafe {
                    let x = simd.load_first(x.as_ptr().add(at + k), width);
                    let g = simd.load_first(grad.as_ptr().add(at + k), width);
                    let term = simd.mul(g, simd.mul(simd.sub(x, mean), rstd));
                    let sum = simd.add(simd.load_first(out.add(k), width), term);
                    simd.store_first(out.add(k), sum, width);
                }
                k += width;
            }
        }
    }
}
