//! Reductions over any set of dims, in the order R3 of ADR 001.

use crate::element::Float;
use crate::error::{Error, Result};
use crate::strided::View;

/// What a reduction computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReduceOp {
    /// The sum; of nothing: 0.
    Sum,
    /// The largest, NaN wins; of nothing: an error.
    Max,
    /// The smallest, NaN wins; of nothing: an error.
    Min,
}

/// Which extreme [`arg_reduce`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArgOp {
    /// Index of the largest (NaN is the largest), the lowest index among equals.
    Max,
    /// Index of the smallest (NaN wins), the lowest index among equals.
    Min,
}

/// Reduces `x` over the dims where `reduced` is true; `out` has the kept dims in row-major order.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ, or on a maximum or minimum of nothing.
pub fn reduce<T: Float>(
    op: ReduceOp,
    x: View<'_, T>,
    reduced: &[bool],
    out: &mut [T],
) -> Result<()> {
    let _ = (op, x, reduced, out);
    Err(Error::Contract("stub"))
}

/// Index along `dim` of the extreme; `out` has the other dims in row-major order.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ, or if `dim` has size 0 and `out` is not empty.
pub fn arg_reduce<T: Float>(op: ArgOp, x: View<'_, T>, dim: usize, out: &mut [i64]) -> Result<()> {
    let _ = (op, x, dim, out);
    Err(Error::Contract("stub"))
}
