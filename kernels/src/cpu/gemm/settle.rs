//! What follows a tile's sums: edges, groups of columns and the epilogue.

use super::Dispatch;
use super::output::Output;
use crate::cpu::isa::Kernel;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// What the last block of k does to a tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish<T> {
    /// Add the old contents of C.
    pub(crate) accumulate: bool,
    /// One value a row of C, or null.
    pub(crate) row_bias: *const T,
    /// One value a column of C, or null.
    pub(crate) column_bias: *const T,
    /// Then `max(x, 0)`.
    pub(crate) relu: bool,
}

impl<T> Finish<T> {
    /// True if the sums are the result.
    #[inline(always)]
    pub(super) fn is_nothing(&self) -> bool {
        !self.accumulate && self.row_bias.is_null() && self.column_bias.is_null() && !self.relu
    }
}

/// A part of C whose sums of one block of k lie in `from`.
#[derive(Debug)]
pub(super) struct Settle<'a, T> {
    pub(super) rows: [usize; 2],
    pub(super) columns: [usize; 2],
    pub(super) from: *const T,
    pub(super) from_stride: usize,
    /// Partial sums of earlier blocks, to be added to.
    pub(super) earlier: Option<&'a Output<'a, T>>,
    /// Where the result goes.
    pub(super) to: &'a Output<'a, T>,
    /// On the last block.
    pub(super) finish: Option<Finish<T>>,
}

/// [`settle`] under the ISA of `d`.
///
/// # Safety
/// - As [`settle`].
pub(super) unsafe fn settle_on<T: Float>(d: Dispatch, job: Settle<'_, T>) {
    d.call::<T, _>(job);
}

impl<T: Float> Kernel<T> for Settle<'_, T> {
    type Output = ();
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        // SAFETY: the contract of `settle_on`.
        unsafe { settle(s, &self) }
    }
}

/// `to = finish(earlier + from)`, in the order of R2.
///
/// # Safety
/// - The rows and columns must lie inside `to` and `earlier` (which may be the same), `from` and
///   the biases.
#[inline(always)]
pub(super) unsafe fn settle<T: Float, S: Simd<T>>(s: S, job: &Settle<'_, T>) {
    let ([row, rows], [column, columns]) = (job.rows, job.columns);
    let mut done = 0;
    while done < columns {
        // Where a column lies takes a division: once for all vectors of a group.
        let (to, contiguous) = job.to.column(column + done);
        let earlier = job.earlier.map(|sums| (sums.column(column + done), sums.row_stride));
        let len = contiguous.min(earlier.map_or(columns, |((_, len), _)| len)).min(columns - done);
        for i in 0..rows {
            let run = Run {
                row: row + i,
                column: column + done,
                from: job.from.wrapping_add(i * job.from_stride + done),
                earlier: earlier.map(|((at, _), stride)| at.wrapping_add((row + i) * stride)),
                to: to.wrapping_add((row + i) * job.to.row_stride),
            };
            let whole = len - len % S::LANES;
            // SAFETY: parts of one row of one group, by the caller's contract.
            unsafe {
                for v in (0..whole).step_by(S::LANES) {
                    run.settle(s, &job.finish, v, S::LANES);
                }
                if whole < len {
                    run.settle(s, &job.finish, whole, len - whole);
                }
            }
        }
        done += len;
    }
}

/// The part of a row of C in one group, from this column on.
struct Run<T> {
    row: usize,
    column: usize,
    from: *const T,
    earlier: Option<*mut T>,
    to: *mut T,
}

impl<T: Float> Run<T> {
    /// The vector that starts `v` columns from there, cut to `len` elements.
    ///
    /// # Safety
    /// - As [`settle`].
    #[inline(always)]
    unsafe fn settle<S: Simd<T>>(&self, s: S, finish: &Option<Finish<T>>, v: usize, len: usize) {
        // SAFETY: by the caller's contract.
        unsafe {
            let mut x = load(s, self.from.add(v), len);
            if let Some(earlier) = self.earlier {
                x = s.add(load(s, earlier.add(v), len), x);
            }
            let to = self.to.add(v);
            if let Some(finish) = finish {
                if finish.accumulate {
                    x = s.add(load(s, to, len), x);
                }
                if !finish.row_bias.is_null() {
                    x = s.add(x, s.splat(*finish.row_bias.add(self.row)));
                }
                if !finish.column_bias.is_null() {
                    x = s.add(x, load(s, finish.column_bias.add(self.column + v), len));
                }
                if finish.relu {
                    // The second operand is kept if it is NaN.
                    x = s.max_second(s.splat(T::ZERO), x);
                }
            }
            if len >= S::LANES { s.store(to, x) } else { s.store_first(to, x, len) }
        }
    }
}

/// A vector, cut to `len` elements.
///
/// # Safety
/// - `len` elements, at most a vector's, must be readable.
#[inline(always)]
unsafe fn load<T: Float, S: Simd<T>>(s: S, from: *const T, len: usize) -> S::V {
    // SAFETY: by the caller's contract.
    unsafe { if len >= S::LANES { s.load(from) } else { s.load_first(from, len) } }
}
