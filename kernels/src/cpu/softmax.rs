//! Softmax, log-softmax and cross entropy over contiguous `[outer, size, inner]`.

mod columns;
pub(crate) mod exponential;
mod quotient;
mod rows;
#[cfg(test)]
mod tests;

use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::{Error, Result, require};
use rows::Form;

/// Elements that make a piece worth handing out.
const PIECE: usize = 16_384;

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
    let Rows { outer, size, inner } = rows;
    let plane = size.checked_mul(inner);
    let len = plane.and_then(|plane| plane.checked_mul(outer));
    require(len == Some(x.len()) && len == Some(out.len()), "softmax: lengths")?;
    let (Some(plane), false) = (plane, x.is_empty()) else { return Ok(()) };
    let form = if log { Form::Log } else { Form::Softmax };
    let per_piece = (PIECE / plane).max(1) * plane;
    let pieces = x.len().div_ceil(per_piece);
    let shared = Shared::new(out);
    parallel::run(pieces, size_of_val(x) as u64 / 8, &|piece| {
        // SAFETY: pieces are disjoint.
        let out = unsafe { shared.part(piece * per_piece, per_piece) };
        let x = &x[piece * per_piece..][..out.len()];
        if inner == 1 {
            T::dispatch(rows::Rows { form, size, x, out });
        } else {
            T::dispatch(columns::Planes { log, size, inner, x, out });
        }
    });
    Ok(())
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
    check(classes, logits, targets)?;
    require(loss.len() == targets.len(), "cross_entropy: length of the loss")?;
    let per_piece = (PIECE / classes.max(1)).max(1);
    let shared = Shared::new(loss);
    parallel::run(targets.len().div_ceil(per_piece), work(logits), &|piece| {
        let first = piece * per_piece;
        // SAFETY: pieces are disjoint.
        let loss = unsafe { shared.part(first, per_piece) };
        let targets = &targets[first..first + loss.len()];
        let logits = &logits[first * classes..(first + loss.len()) * classes];
        let form = Form::Loss { targets };
        T::dispatch(rows::Rows { form, size: classes, x: logits, out: loss });
    });
    Ok(())
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
    check(classes, logits, targets)?;
    require(out.len() == logits.len(), "cross_entropy_grad: length of the result")?;
    let one = weight.len() == 1;
    require(one || weight.len() == targets.len(), "cross_entropy_grad: length of the weight")?;
    let per_piece = (PIECE / classes.max(1)).max(1);
    let shared = Shared::new(out);
    parallel::run(targets.len().div_ceil(per_piece), work(logits), &|piece| {
        let first = piece * per_piece;
        let rows = per_piece.min(targets.len() - first);
        // SAFETY: pieces are disjoint.
        let out = unsafe { shared.part(first * classes, rows * classes) };
        let targets = &targets[first..first + rows];
        let logits = &logits[first * classes..(first + rows) * classes];
        let weight = if one { weight } else { &weight[first..first + rows] };
        let form = Form::Gradient { targets, weight };
        T::dispatch(rows::Rows { form, size: classes, x: logits, out });
    });
    Ok(())
}

/// Nanoseconds that `logits` will take, about.
fn work<T>(logits: &[T]) -> u64 {
    size_of_val(logits) as u64 / 8
}

/// `logits` is `[targets.len(), classes]`, and every target names a class.
fn check<T>(classes: usize, logits: &[T], targets: &[i64]) -> Result<()> {
    let len = classes.checked_mul(targets.len());
    require(len == Some(logits.len()), "cross_entropy: length of the logits")?;
    let outside = |&target: &i64| usize::try_from(target).map_or(true, |t| t >= classes);
    match targets.iter().position(outside) {
        None => Ok(()),
        Some(position) => {
            Err(Error::IndexOutOfRange { index: targets[position], position, size: classes })
        }
    }
}
