//! Matrices that are packed once and multiplied often.
//!
//! A panel is 256 bytes of columns for all of k, row after row, whatever the ISA: one stream, from which tiles of any width read. A vector
//! times such a matrix has outputs in its lanes and keeps the order R2, where a matrix `[out, in]` as it lies must be transposed in
//! registers every time.

use std::marker::PhantomData;
use std::ops::Range;

use super::driver::{Product, bytes, multiply};
use super::output::Output;
use super::panels::{Packs, Panels, Strided, copy_rows};
use super::{Dispatch, Epilogue, Matrix, check_bias, check_operand};
use crate::buffer::Buffer;
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Result, require};

/// Bytes of a panel's row.
const ROW: usize = 256;

/// A product's right operand, packed in memory of its own.
#[derive(Debug)]
pub struct PackedMatrix<T> {
    buffer: Buffer,
    k: usize,
    n: usize,
    element: PhantomData<T>,
}

impl<T: Float> PackedMatrix<T> {
    /// Columns of a panel.
    pub(super) const COLUMNS: usize = ROW / size_of::<T>();

    /// Packs `b[k, n]`; the transpose of a weight `[out, in]` has `row_stride` 1 and `column_stride` `in`.
    ///
    /// # Errors
    /// - [`Contract`](crate::Error::Contract) if an element lies outside its slice.
    /// - [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room for `k * n` elements, n rounded up to whole panels.
    pub fn new([k, n]: [usize; 2], b: Matrix<'_, T>) -> Result<Self> {
        Self::under(Dispatch::in_force(), [k, n], b)
    }

    /// [`new`](Self::new) under a given ISA.
    pub(super) fn under(d: Dispatch, [k, n]: [usize; 2], b: Matrix<'_, T>) -> Result<Self> {
        check_operand(&b, [k, n])?;
        let width = Self::COLUMNS;
        let len = bytes::<T>(&[n.div_ceil(width), width, k])?;
        // What is beyond the last column is multiplied, too, and dropped.
        let mut buffer = Buffer::zeroed(len)?;
        let to = buffer.as_mut_slice::<T>().as_mut_ptr();
        for j in (0..n).step_by(width) {
            // SAFETY: existing columns, to a panel of the buffer.
            unsafe {
                b.strided().pack_on(d, 0..k, j..n.min(j + width), to.wrapping_add(j * k), width);
            }
        }
        Ok(PackedMatrix { buffer, k, n, element: PhantomData })
    }

    /// Rows and columns of the matrix.
    pub fn size(&self) -> [usize; 2] {
        [self.k, self.n]
    }

    /// Bytes of memory that it holds.
    pub fn bytes(&self) -> usize {
        self.buffer.as_slice::<u8>().len()
    }
}

impl<T: Float> Panels<T> for PackedMatrix<T> {
    #[inline(always)]
    unsafe fn pack<S: Simd<T>>(
        &self,
        s: S,
        k: Range<usize>,
        columns: Range<usize>,
        to: *mut T,
        width: usize,
    ) {
        let mut done = 0;
        while done < columns.len() {
            let j = columns.start + done;
            let len = (Self::COLUMNS - j % Self::COLUMNS).min(columns.len() - done);
            let (from, stride) = (self.at(k.start, j), Self::COLUMNS as isize);
            // SAFETY: columns of one panel, to their place.
            unsafe { copy_rows(s, from, stride, [k.len(), len], to.wrapping_add(done), width) };
            done += len;
        }
    }

    fn panel(&self, l: usize, j: usize) -> Option<Strided<T>> {
        let k_stride = Self::COLUMNS as isize;
        Some(Strided { start: self.at(l, j), k_stride, column_stride: 1 })
    }
}

impl<T: Float> PackedMatrix<T> {
    /// Address of element `(l, j)`.
    #[inline(always)]
    fn at(&self, l: usize, j: usize) -> *const T {
        let (panel, within) = (j / Self::COLUMNS, j % Self::COLUMNS);
        let start = self.buffer.as_slice::<T>().as_ptr();
        start.wrapping_add((panel * self.k + l) * Self::COLUMNS + within)
    }
}

/// `c[m, n] = epilogue(a[m, k] * b[k, n])` with a packed B: the bits of [`gemm`](super::gemm).
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if an element lies outside its slice.
pub fn gemm_packed<T: Float>(
    m: usize,
    a: Matrix<'_, T>,
    b: &PackedMatrix<T>,
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
    c_stride: usize,
) -> Result<()> {
    packed_on(Dispatch::in_force(), m, &a, b, &epilogue, c, c_stride)
}

/// [`gemm_packed`] under a given ISA.
pub(super) fn packed_on<T: Float>(
    d: Dispatch,
    m: usize,
    a: &Matrix<'_, T>,
    b: &PackedMatrix<T>,
    epilogue: &Epilogue<'_, T>,
    c: &mut [T],
    c_stride: usize,
) -> Result<()> {
    let [k, n] = b.size();
    if m == 0 || n == 0 {
        return Ok(());
    }
    check_operand(a, [m, k])?;
    check_bias(epilogue, m, n)?;
    require(m == 1 || c_stride >= n, "gemm: rows of c overlap")?;
    let end = (m - 1).checked_mul(c_stride).and_then(|start| start.checked_add(n));
    require(end.is_some_and(|end| end <= c.len()), "gemm: c is too short")?;
    let finish = epilogue.finish(false);
    // SAFETY: the operands, the biases and c were checked.
    unsafe {
        let output = Output::new(c.as_mut_ptr(), c_stride, n, 0);
        let at = a.transposed();
        multiply(d, &Product { m, n, k: 0..k, k_total: k, a: &at, b, output, finish })
    }
}
