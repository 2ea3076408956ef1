//! Elementwise kernels: contiguous, strided and broadcast operands, a contiguous result.

use crate::element::{Float, Number, Pod};
use crate::elementwise::{BinaryOp, CompareOp, LogicalOp, UnaryOp};
use crate::error::{Error, Result};
use crate::strided::View;

/// Where an operand lies: in a buffer of its own, or already in the output (which has the result's shape, contiguous).
#[derive(Debug, Clone, Copy)]
pub enum Source<'a, T> {
    /// A view, already broadcast to the result's shape.
    View(View<'a, T>),
    /// The output's old contents.
    Output,
}

/// `out = op(x)`.
///
/// # Errors
/// [`Contract`](Error::Contract) if the lengths differ.
pub fn unary<T: Float>(op: UnaryOp, x: Source<'_, T>, out: &mut [T]) -> Result<()> {
    let _ = (op, x, out);
    Err(Error::Contract("stub"))
}

/// `out = op(a, b)`; at most one operand may be [`Source::Output`], or both (`op(out, out)`).
///
/// # Errors
/// [`Contract`](Error::Contract) if the shapes differ.
pub fn binary<T: Float>(
    op: BinaryOp,
    a: Source<'_, T>,
    b: Source<'_, T>,
    out: &mut [T],
) -> Result<()> {
    let _ = (op, a, b, out);
    Err(Error::Contract("stub"))
}

/// `out = op(x)` for integers: neg, abs, sign, square, relu; wraps on overflow.
///
/// # Errors
/// [`Contract`](Error::Contract) for other ops or lengths that differ.
pub fn unary_integer(op: UnaryOp, x: View<'_, i64>, out: &mut [i64]) -> Result<()> {
    let _ = (op, x, out);
    Err(Error::Contract("stub"))
}

/// `out = op(a, b)` for integers: add, sub, mul, maximum, minimum; wraps on overflow.
///
/// # Errors
/// [`Contract`](Error::Contract) for other ops or shapes that differ.
pub fn binary_integer(
    op: BinaryOp,
    a: View<'_, i64>,
    b: View<'_, i64>,
    out: &mut [i64],
) -> Result<()> {
    let _ = (op, a, b, out);
    Err(Error::Contract("stub"))
}

/// `out = op(a, b)` as 0 or 1.
///
/// # Errors
/// [`Contract`](Error::Contract) if the shapes differ.
pub fn compare<T: Number>(
    op: CompareOp,
    a: View<'_, T>,
    b: View<'_, T>,
    out: &mut [u8],
) -> Result<()> {
    let _ = (op, a, b, out);
    Err(Error::Contract("stub"))
}

/// `out = op(a, b)` on booleans (any nonzero byte is true), as 0 or 1.
///
/// # Errors
/// [`Contract`](Error::Contract) if the shapes differ.
pub fn logical(op: LogicalOp, a: View<'_, u8>, b: View<'_, u8>, out: &mut [u8]) -> Result<()> {
    let _ = (op, a, b, out);
    Err(Error::Contract("stub"))
}

/// `out = condition ? a : b`.
///
/// # Errors
/// [`Contract`](Error::Contract) if the shapes differ.
pub fn select<T: Pod>(
    condition: View<'_, u8>,
    a: View<'_, T>,
    b: View<'_, T>,
    out: &mut [T],
) -> Result<()> {
    let _ = (condition, a, b, out);
    Err(Error::Contract("stub"))
}

/// `out = x as B`; floats to integers truncate and saturate, NaN gives 0.
///
/// # Errors
/// [`Contract`](Error::Contract) if the lengths differ.
pub fn cast<A: Number, B: Number>(x: View<'_, A>, out: &mut [B]) -> Result<()> {
    let _ = (x, out);
    Err(Error::Contract("stub"))
}

/// `out = x != 0` as 0 or 1 (NaN is true).
///
/// # Errors
/// [`Contract`](Error::Contract) if the lengths differ.
pub fn cast_to_bool<A: Number>(x: View<'_, A>, out: &mut [u8]) -> Result<()> {
    let _ = (x, out);
    Err(Error::Contract("stub"))
}
