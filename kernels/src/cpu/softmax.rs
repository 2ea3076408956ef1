//! Softmax, log-softmax and cross entropy over contiguous `[outer, size, inner]`.

use crate::element::Float;
use crate::error::{Error, Result};

/// Contiguous data seen as `[outer, size, inner]`; the softmax runs over the middle dim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Product of the dims before.
    pub outer: usize,
    /// Size of the dim.
    pub size: usize,
    /// Product of the dims after.
    pub inner: usize,
}

/// `out = softmax(x)`, or `log_softmax(x)` if `log`.
///
/// # Errors
/// [`Contract`](Error::Contract) if the lengths differ.
pub fn softmax<T: Float>(rows: Rows, log: bool, x: &[T], out: &mut [T]) -> Result<()> {
    let _ = (rows, log, x, out);
    Err(Error::Contract("stub"))
}

/// Negative log likelihood of `targets` under `softmax(logits)`: `loss[i] = log(sum_j e^(x_ij - m_i)) - (x_i,t - m_i)`.
/// logits: `[rows, classes]`, contiguous. targets, loss: `[rows]`.
///
/// # Errors
/// [`IndexOutOfRange`](Error::IndexOutOfRange) for a target outside `0..classes`.
pub fn cross_entropy<T: Float>(
    classes: usize,
    logits: &[T],
    targets: &[i64],
    loss: &mut [T],
) -> Result<()> {
    let _ = (classes, logits, targets, loss);
    Err(Error::Contract("stub"))
}

/// The gradient of `sum_i weight_i * loss_i`: `out_ij = (softmax(x)_ij - [j == t_i]) * weight_i`. A `weight` of length 1
/// holds for all rows.
///
/// # Errors
/// [`IndexOutOfRange`](Error::IndexOutOfRange) for a target outside `0..classes`.
pub fn cross_entropy_grad<T: Float>(
    classes: usize,
    logits: &[T],
    targets: &[i64],
    weight: &[T],
    out: &mut [T],
) -> Result<()> {
    let _ = (classes, logits, targets, weight, out);
    Err(Error::Contract("stub"))
}
