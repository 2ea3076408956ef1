//! Small products: no plan, no team, A read in place, and B too if its rows are contiguous.

use std::mem::MaybeUninit;

use super::Dispatch;
use super::blocking::{KC, Width, vector_bytes, width};
use super::microkernel::{Tile, tile};
use super::output::Output;
use super::panels::{Packs, Strided};
use super::settle::{Finish, Settle, settle_on};
use crate::element::Float;

/// Multiply-adds of a small product. A team pays earlier.
const SMALL: usize = 1 << 20;
const SMALL_FOR_A_TEAM: usize = 150_000;

/// Multiply-adds up to which a product of one row or column is small.
const SMALL_VECTOR: usize = 1 << 10;

/// A product of one block of k.
pub(super) struct Small<'a, T> {
    pub(super) sizes: [usize; 3],
    /// The transpose of A, `[k, m]`.
    pub(super) a: Strided<T>,
    pub(super) b: Strided<T>,
    pub(super) c: *mut T,
    pub(super) c_stride: usize,
    pub(super) finish: Finish<T>,
    pub(super) output: Output<'a, T>,
}

/// True if a product of these sizes is small.
#[inline]
pub(super) fn suits(d: Dispatch, [m, k, n]: [usize; 3]) -> bool {
    let limit = match m == 1 || n == 1 {
        true => SMALL_VECTOR,
        false if d.team => SMALL_FOR_A_TEAM,
        false => SMALL,
    };
    k <= KC && n <= 256 && m <= 1 << 16 && m * n <= SMALL && m * n * k <= limit
}

/// A panel of B on the stack: at most four vectors wide.
#[repr(align(64))]
struct Panel([MaybeUninit<u8>; KC * 256]);

impl<T: Float> Small<'_, T> {
    /// Computes it.
    ///
    /// # Safety
    /// - The operands must hold `k` rows of `m` and `n` columns, c the product, the biases `m` and `n` elements.
    pub(super) unsafe fn compute(mut self, d: Dispatch) {
        let [_, k, n] = self.sizes;
        let bytes = vector_bytes::<T>(d);
        let lanes = bytes / size_of::<T>();
        let widest = lanes * if bytes == 32 { 2 } else { 4 };
        // Panels of balanced widths, each of whole vectors but the last.
        let step = match n <= widest {
            true => n,
            false => n.div_ceil(n.div_ceil(widest)).next_multiple_of(lanes),
        };
        let add = std::mem::take(&mut self.finish.accumulate);
        let mut j = 0;
        while j < n {
            // SAFETY: a panel of the product.
            unsafe {
                let width = width::<T>(d, k, step.min(n - j));
                match self.b.column_stride {
                    1 => self.panel(width, j, self.b.at(0, j), add),
                    _ => self.packed(width, j, add),
                }
                j += width.columns;
            }
        }
    }

    /// As [`panel`](Self::panel), B being packed first.
    ///
    /// # Safety
    /// - As [`panel`](Self::panel).
    #[inline(never)]
    unsafe fn packed(&self, width: Width, j: usize, add: bool) {
        let mut panel = Panel([MaybeUninit::uninit(); KC * 256]);
        let start: *mut T = panel.0.as_mut_ptr().cast();
        let columns = width.columns;
        let b = Strided { start: start.cast_const(), k_stride: columns as isize, column_stride: 1 };
        // SAFETY: columns of B, as many as the panel holds.
        unsafe {
            self.b.pack_on(width.d, 0..self.sizes[1], j..j + columns, start, columns);
            Small { b, ..*self }.panel(width, j, start, add);
        }
    }

    /// The columns from `j` on that a tile covers; `b`: their part of B.
    ///
    /// # Safety
    /// - The columns must lie inside the product.
    #[inline]
    unsafe fn panel(&self, width: Width, j: usize, b: *const T, add: bool) {
        let [m, k, _] = self.sizes;
        let Width { d, lanes, vectors, columns } = width;
        let highest = match (lanes * size_of::<T>(), vectors) {
            (64, 4) => 6,
            (64, _) | (32, 1) => 8,
            (32, _) => 6,
            (_, _) => 4,
        };
        let height = if m <= highest { m } else { m.div_ceil(m.div_ceil(highest)) };
        let mut t = Tile {
            k,
            a: self.a.start,
            row_stride: self.a.column_stride,
            k_stride: self.a.k_stride,
            b,
            b_stride: self.b.k_stride,
            last: columns - (vectors - 1) * lanes,
            to: self.c.wrapping_add(j),
            to_stride: self.c_stride,
            add,
            fetch: false,
            ahead: self.a.start,
            ahead_stride: 0,
        };
        let mut start = 0;
        while start < m {
            let rows = height.min(m - start);
            // SAFETY: by the caller's contract; there is a tile of every height up to the highest.
            unsafe {
                tile(d, rows, vectors, &t);
                if !self.finish.is_nothing() {
                    let (rows, columns) = ([start, rows], [j, columns]);
                    let (from, from_stride) = (t.to.cast_const(), self.c_stride);
                    let (earlier, to, finish) = (None, &self.output, Some(self.finish));
                    settle_on(d, Settle { rows, columns, from, from_stride, earlier, to, finish });
                }
            }
            start += rows;
            t.a = self.a.at(0, start);
            t.to = t.to.wrapping_add(rows * self.c_stride);
        }
    }
}
