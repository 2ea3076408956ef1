//! Small products: no plan, no team, A read in place, and B too if its rows are contiguous.

use std::mem::MaybeUninit;

use super::blocking::{KC, Width, vector_bytes, width};
use super::microkernel::{Tile, opaque, tile};
use super::output::Output;
use super::panels::Packs;
use super::settle::{Finish, Settle, settle_on};
use super::{Dispatch, Matrix};
use crate::element::Float;

/// Multiply-adds of a small product. A team pays earlier.
const SMALL: usize = 1 << 20;
const SMALL_FOR_A_TEAM: usize = 150_000;

/// Multiply-adds up to which a product of one row or column is small.
const SMALL_VECTOR: usize = 1 << 10;

/// A product of one block of k. The operands are the caller's own: copies of what was just written would wait for it.
pub(super) struct Small<'a, T> {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) a: &'a Matrix<'a, T>,
    pub(super) b: &'a Matrix<'a, T>,
    pub(super) c: *mut T,
    pub(super) c_stride: usize,
    /// Add the product to C.
    pub(super) add: bool,
    /// What follows.
    pub(super) finish: Option<Finish<T>>,
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
    #[inline]
    pub(super) unsafe fn compute(&self, d: Dispatch) {
        let (k, n) = (self.k, self.n);
        let bytes = vector_bytes::<T>(d);
        let lanes = bytes / size_of::<T>();
        let widest = lanes * if bytes == 32 { 2 } else { 4 };
        // Panels of balanced widths, each of whole vectors but the last.
        let step = match n <= widest {
            true => n,
            false => n.div_ceil(n.div_ceil(widest)).next_multiple_of(lanes),
        };
        let mut j = 0;
        while j < n {
            let width = width::<T>(d, k, step.min(n - j));
            // SAFETY: a panel of the product.
            unsafe {
                match self.b.column_stride {
                    1 => self.panel(&width, j, self.b.start().wrapping_add(j), self.b.row_stride),
                    _ => self.packed(&width, j),
                }
            }
            j += width.columns;
        }
    }

    /// As [`panel`](Self::panel), B being packed first.
    ///
    /// # Safety
    /// - As [`panel`](Self::panel).
    #[inline(never)]
    unsafe fn packed(&self, width: &Width, j: usize) {
        let mut panel = Panel([MaybeUninit::uninit(); KC * 256]);
        let b: *mut T = panel.0.as_mut_ptr().cast();
        let columns = width.columns;
        // SAFETY: columns of B, as many as the panel holds.
        unsafe {
            self.b.strided().pack_on(width.d, 0..self.k, j..j + columns, b, columns);
            self.panel(width, j, b, columns as isize);
        }
    }

    /// The columns from `j` on that a tile covers; `b`: their part of B.
    ///
    /// # Safety
    /// - The columns must lie inside the product.
    #[inline(never)]
    unsafe fn panel(&self, width: &Width, j: usize, b: *const T, b_stride: isize) {
        let (m, k) = (self.m, self.k);
        let Width { d, lanes, vectors, columns } = *width;
        let highest = match (lanes * size_of::<T>(), vectors) {
            (64, 4) => 6,
            (64, _) | (32, 1) => 8,
            (32, _) => 6,
            (_, _) => 4,
        };
        let height = if m <= highest { m } else { m.div_ceil(m.div_ceil(highest)) };
        let a = self.a.start();
        let mut t = Tile {
            k,
            a,
            row_stride: self.a.row_stride,
            // Not to be loaded together with the row's, which the caller stored one by one.
            k_stride: opaque(self.a.column_stride as *const T) as isize,
            b,
            b_stride,
            last: columns - (vectors - 1) * lanes,
            to: self.c.wrapping_add(j),
            to_stride: self.c_stride,
            add: self.add,
            fetch: false,
            pack: std::ptr::null_mut(),
            ahead: a,
            ahead_stride: 0,
        };
        let mut start = 0;
        loop {
            let rows = height.min(m - start);
            // SAFETY: by the caller's contract; there is a tile of every height up to the highest.
            unsafe {
                tile(d, rows, vectors, &t);
                if let Some(finish) = &self.finish {
                    self.settle(d, *finish, [start, rows], [j, columns]);
                }
            }
            start += rows;
            if start == m {
                return;
            }
            t.a = t.a.wrapping_offset((rows as isize).wrapping_mul(t.row_stride));
            t.to = t.to.wrapping_add(rows * self.c_stride);
        }
    }

    /// What follows the sums of some rows and columns.
    ///
    /// # Safety
    /// - As [`panel`](Self::panel).
    #[inline(never)]
    unsafe fn settle(&self, d: Dispatch, finish: Finish<T>, rows: [usize; 2], columns: [usize; 2]) {
        let from_stride = self.c_stride;
        let from = self.c.wrapping_add(rows[0] * from_stride + columns[0]).cast_const();
        // SAFETY: a part of C.
        unsafe {
            let to = &Output::new(self.c, self.c_stride, self.n, 0);
            let (earlier, finish) = (None, Some(finish));
            settle_on(d, Settle { rows, columns, from, from_stride, earlier, to, finish });
        }
    }
}
