//! Small products: no plan, no team, A read in place, and B too if its rows are contiguous.

use std::mem::MaybeUninit;

use super::Dispatch;
use super::blocking::{KC, has_instance, vector_bytes};
use super::microkernel::{Tile, tile};
use super::output::Output;
use super::panels::{Packs, Strided};
use super::settle::{Finish, Settle, settle_on};
use super::sliver::tile_start;
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
        let n = self.sizes[2];
        let vector = vector_bytes::<T>(d);
        let lanes = vector / size_of::<T>();
        // The widest tiles that there are, of balanced widths.
        let widest = if vector == 32 { 2 } else { 4 };
        let panels = n.div_ceil(lanes * widest);
        let vectors = n.div_ceil(lanes).div_ceil(panels);
        let add = std::mem::take(&mut self.finish.accumulate);
        for j in (0..n).step_by(vectors * lanes) {
            let columns = (n - j).min(vectors * lanes);
            // SAFETY: a panel of the product.
            unsafe {
                match self.b.column_stride {
                    1 => self.panel(d, [vector, lanes], [j, columns], self.b.at(0, j), add),
                    _ => self.packed(d, [vector, lanes], [j, columns], add),
                }
            }
        }
    }

    /// As [`panel`](Self::panel), B being packed first.
    ///
    /// # Safety
    /// - As [`panel`](Self::panel).
    #[inline(never)]
    unsafe fn packed(&self, d: Dispatch, isa: [usize; 2], [j, columns]: [usize; 2], add: bool) {
        let mut panel = Panel([MaybeUninit::uninit(); KC * 256]);
        let b: *mut T = panel.0.as_mut_ptr().cast();
        let part = Small {
            b: Strided { start: b, k_stride: columns as isize, column_stride: 1 },
            ..*self
        };
        // SAFETY: columns of B, as many as the panel holds.
        unsafe {
            self.b.pack_on(d, 0..self.sizes[1], j..j + columns, b, columns);
            part.panel(d, isa, [j, columns], b, add);
        }
    }

    /// Columns of C that tiles cover side by side; `b`: their part of B.
    ///
    /// # Safety
    /// - The columns must lie inside the product.
    #[inline]
    unsafe fn panel(
        &self,
        d: Dispatch,
        [vector, lanes]: [usize; 2],
        [j, columns]: [usize; 2],
        b: *const T,
        add: bool,
    ) {
        let [m, k, _] = self.sizes;
        let mut done = 0;
        while done < columns {
            let vectors = match (columns - done).div_ceil(lanes) {
                vectors if vector >= 32 => vectors,
                4 => 4,
                _ => 1,
            };
            let width = (columns - done).min(vectors * lanes);
            let highest = [8, 6, 4].into_iter().find(|&rows| has_instance(vector, rows, vectors));
            let tiles = m.div_ceil(highest.unwrap_or(1));
            for index in 0..tiles {
                let start = tile_start(m, tiles, index);
                let rows = tile_start(m, tiles, index + 1) - start;
                let a = self.a.at(0, start);
                let t = Tile {
                    k,
                    a,
                    row_stride: self.a.column_stride,
                    k_stride: self.a.k_stride,
                    b: b.wrapping_add(done),
                    b_stride: self.b.k_stride,
                    last: width - (vectors - 1) * lanes,
                    to: self.c.wrapping_add(start * self.c_stride + j + done),
                    to_stride: self.c_stride,
                    add,
                    ahead: a,
                    ahead_stride: 0,
                };
                // SAFETY: by the caller's contract; the instance exists.
                unsafe {
                    tile(d, rows, vectors, &t);
                    if !self.finish.is_nothing() {
                        settle_on(
                            d,
                            Settle {
                                rows: [start, rows],
                                columns: [j + done, width],
                                from: t.to,
                                from_stride: self.c_stride,
                                earlier: None,
                                to: &self.output,
                                finish: Some(self.finish),
                            },
                        );
                    }
                }
            }
            done += width;
        }
    }
}
