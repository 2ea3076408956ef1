//! Small products: no plan, no team, A read in place, and B too if its rows are contiguous.

use std::mem::MaybeUninit;

use super::blocking::{KC, Width, vector_bytes, width};
use super::microkernel::{Asks, Tile, opaque, tile};
use super::output::Output;
use super::panels::Packs;
use super::settle::{Finish, Settle, settle_on};
use super::{Activation, Bias, Dispatch, Epilogue, Matrix};
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
#[inline(always)]
pub(super) fn suits(d: Dispatch, [m, k, n]: [usize; 3]) -> bool {
    let limit = match m == 1 || n == 1 {
        true => SMALL_VECTOR,
        false if d.team => SMALL_FOR_A_TEAM,
        false => SMALL,
    };
    k <= KC && n <= 256 && m <= 1 << 16 && m * n <= SMALL && m * n * k <= limit
}

/// Computes a small product whose B is read in place and that nothing follows, if these are such operands and all of them lie in their
/// data: one look at the sizes, where [`checked`](super::checked) takes several. False: nothing was done.
#[inline(always)]
pub(super) fn at_once<T: Float>(
    d: Dispatch,
    [m, k, n]: [usize; 3],
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    epilogue: &Epilogue<'_, T>,
    c: &mut [T],
    c_stride: usize,
) -> bool {
    // From 1 to 256 each, strides from 0 to 2^22: nothing overflows.
    let [m1, k1, n1] = [m.wrapping_sub(1), k.wrapping_sub(1), n.wrapping_sub(1)];
    let strides = (a.row_stride | a.column_stride | b.row_stride) as usize | c_stride;
    if (m1 | k1 | n1) >= 256 || strides >= 1 << 22 || b.column_stride != 1 {
        return false;
    }
    let a_last = m1 * a.row_stride as usize + k1 * a.column_stride as usize;
    let b_last = k1 * b.row_stride as usize + n1;
    let inside = a_last < a.data.len()
        && a.offset < a.data.len() - a_last
        && b_last < b.data.len()
        && b.offset < b.data.len() - b_last
        && m1 * c_stride + n1 < c.len()
        && (c_stride >= n || m1 == 0);
    let nothing = matches!((&epilogue.bias, epilogue.activation), (Bias::None, Activation::None));
    if !inside || !nothing || (m * n * k > SMALL_VECTOR && !suits(d, [m, k, n])) {
        return false;
    }
    let bytes = vector_bytes::<T>(d);
    let widest = bytes / size_of::<T>() * widest(bytes);
    let width = width::<T>(d, k, n.min(widest));
    if width.columns < n {
        return false;
    }
    let mut t = Tile {
        k,
        a: a.start(),
        row_stride: a.row_stride,
        k_stride: a.column_stride,
        b: b.start(),
        b_stride: b.row_stride,
        last: n - (width.vectors - 1) * width.lanes,
        to: c.as_mut_ptr(),
        to_stride: c_stride,
        add: epilogue.accumulate,
        fetch: false,
        pack: std::ptr::null_mut(),
        asks: &Asks::NONE,
    };
    let highest = highest(width.lanes * size_of::<T>(), width.vectors);
    // SAFETY: the operands and c hold the product, as was just checked; there is a tile of every height up to the highest.
    unsafe {
        match m <= highest {
            true => one(width.d, m, width.vectors, &t),
            false => tiles(width.d, [m, highest, width.vectors], &mut t),
        }
    }
    true
}

/// Elements of a B that is copied, and of a C that a bias is added to, by plain loops.
const TINY: usize = 64;

/// As [`at_once`] for checked operands, of which B may lie as it likes, and with an epilogue, if B and C are tiny.
pub(super) fn tiny<T: Float>(
    d: Dispatch,
    [m, k, n]: [usize; 3],
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    epilogue: &Epilogue<'_, T>,
    c: &mut [T],
    c_stride: usize,
) -> bool {
    let few = m <= TINY && k <= TINY && n <= TINY && m * n <= TINY && k * n <= TINY;
    if !few || (b.row_stride | b.column_stride) < 0 {
        return false;
    }
    let mut copy = [T::ZERO; TINY];
    for l in 0..k {
        let row = b.offset + l * b.row_stride as usize;
        for (j, to) in copy[l * n..][..n].iter_mut().enumerate() {
            *to = b.data[row + j * b.column_stride as usize];
        }
    }
    let b = Matrix { data: &copy, offset: 0, row_stride: n as isize, column_stride: 1 };
    let sums = Epilogue { accumulate: epilogue.accumulate, ..Epilogue::default() };
    let done = at_once(d, [m, k, n], a, &b, &sums, c, c_stride);
    if done {
        follow(epilogue, [m, n], c, c_stride);
    }
    done
}

/// What follows the sums of a tiny C.
fn follow<T: Float>(epilogue: &Epilogue<'_, T>, [m, n]: [usize; 2], c: &mut [T], c_stride: usize) {
    for i in 0..m {
        for (j, x) in c[i * c_stride..][..n].iter_mut().enumerate() {
            match epilogue.bias {
                Bias::None => {}
                Bias::Row(bias) => *x = *x + bias[i],
                Bias::Column(bias) => *x = *x + bias[j],
            }
            if epilogue.activation == Activation::Relu && T::ZERO > *x {
                *x = T::ZERO;
            }
        }
    }
}

/// The most vectors a tile has.
#[inline(always)]
fn widest(vector_bytes: usize) -> usize {
    if vector_bytes == 32 { 2 } else { 4 }
}

/// The most rows a tile of so many vectors has.
#[inline(always)]
fn highest(vector_bytes: usize, vectors: usize) -> usize {
    match (vector_bytes, vectors) {
        (64, 4) => 6,
        (64, _) | (32, 1) => 8,
        (32, _) => 6,
        (_, _) => 4,
    }
}

/// A tile, without a loop around it: many products are one.
///
/// # Safety
/// - It must be such as [`tile`] takes.
#[inline(never)]
unsafe fn one<T: Float>(d: Dispatch, rows: usize, vectors: usize, t: &Tile<'_, T>) {
    // SAFETY: by the caller's contract.
    unsafe { tile(d, rows, vectors, t) }
}

/// Tiles below one another, as even as can be, the first of which is given. By reference: a copy of it would be read in pieces larger than
/// those just written, which waits until all stores before them are done, those of the product before, too.
///
/// # Safety
/// - All of them must be such as [`tile`] takes.
#[inline(never)]
unsafe fn tiles<T: Float>(d: Dispatch, [m, highest, vectors]: [usize; 3], t: &mut Tile<'_, T>) {
    let count = m.div_ceil(highest);
    let (height, higher) = (m / count, m % count);
    for index in 0..count {
        let rows = height + usize::from(index < higher);
        // SAFETY: by the caller's contract.
        unsafe { tile(d, rows, vectors, t) };
        t.a = t.a.wrapping_offset((rows as isize).wrapping_mul(t.row_stride));
        t.to = t.to.wrapping_add(rows * t.to_stride);
    }
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
        let widest = lanes * widest(bytes);
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
        let highest = highest(lanes * size_of::<T>(), vectors);
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
            asks: &Asks::NONE,
        };
        // SAFETY: by the caller's contract; there is a tile of every height up to the highest.
        unsafe {
            tiles(d, [m, highest, vectors], &mut t);
            if let Some(finish) = &self.finish {
                self.settle(d, *finish, [j, columns]);
            }
        }
    }

    /// What follows the sums of some columns.
    ///
    /// # Safety
    /// - As [`panel`](Self::panel).
    #[inline(never)]
    unsafe fn settle(&self, d: Dispatch, finish: Finish<T>, columns: [usize; 2]) {
        let (rows, from_stride) = ([0, self.m], self.c_stride);
        let from = self.c.wrapping_add(columns[0]).cast_const();
        // SAFETY: a part of C.
        unsafe {
            let to = &Output::new(self.c, self.c_stride, self.n, 0);
            let (earlier, finish) = (None, Some(finish));
            settle_on(d, Settle { rows, columns, from, from_stride, earlier, to, finish });
        }
    }
}
