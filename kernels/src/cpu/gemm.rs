//! Matrix product in the order R2 of ADR 001: `C <- epilogue(A B)`, any strides, batched.

use crate::element::Float;
use crate::error::{Error, Result};

/// A matrix operand in a slice: element `(i, j)` of batch `b` is `data[offset(b) + i * row_stride + j * column_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    /// The data.
    pub data: &'a [T],
    /// Offset of element (0, 0).
    pub offset: usize,
    /// Stride between rows.
    pub row_stride: isize,
    /// Stride between columns.
    pub column_stride: isize,
}

/// What is applied to a tile while it is in registers.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a, T> {
    /// Add the old contents of C first (`C + A B`).
    pub accumulate: bool,
    /// Then add a bias.
    pub bias: Bias<'a, T>,
    /// Then the activation.
    pub activation: Activation,
}

impl<T> Default for Epilogue<'_, T> {
    fn default() -> Self {
        Epilogue { accumulate: false, bias: Bias::None, activation: Activation::None }
    }
}

/// A bias vector, contiguous.
#[derive(Debug, Clone, Copy)]
pub enum Bias<'a, T> {
    /// None.
    None,
    /// One value a row of C.
    Row(&'a [T]),
    /// One value a column of C.
    Column(&'a [T]),
}

/// An activation that an epilogue can apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// The identity.
    None,
    /// `max(x, 0)`, NaN stays.
    Relu,
}

/// `c[m, n] = epilogue(a[m, k] * b[k, n])`; `c` row-major with `c_stride` elements from row to row.
///
/// # Errors
/// [`Contract`](Error::Contract) if an element lies outside its slice.
pub fn gemm<T: Float>(
    [m, k, n]: [usize; 3],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
    c_stride: usize,
) -> Result<()> {
    let _ = (m, k, n, a, b, epilogue, c, c_stride);
    Err(Error::Contract("stub"))
}

/// A batch of products: batch `i` uses `a.offset + a_offsets[i]`, `b.offset + b_offsets[i]` and the `i`-th `m * n` elements of `c`.
///
/// # Errors
/// [`Contract`](Error::Contract) if an element lies outside its slice.
pub fn gemm_batched<T: Float>(
    [m, k, n]: [usize; 3],
    a: Matrix<'_, T>,
    a_offsets: &[isize],
    b: Matrix<'_, T>,
    b_offsets: &[isize],
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
) -> Result<()> {
    let _ = (m, k, n, a, a_offsets, b, b_offsets, epilogue, c);
    Err(Error::Contract("stub"))
}
