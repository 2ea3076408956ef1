//! Layer normalisation over contiguous rows, with both of its adjoints.
//!
//! A row is read three times, by default from the first-level cache: sum, sum of squares of what is left without the mean, result.
//! Both sums are in the order R3 of ADR 001, and every element is computed as the expression of plain operations would: the bits
//! are the same.

mod columns;
mod rows;
mod sums;
#[cfg(test)]
mod tests;

use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::{Result, require};

/// Elements that make a piece worth handing out.
const PIECE: usize = 16_384;

/// `out = (x - mean) * rstd`, then `* weight`, then `+ bias` where they are given (a bias only beside a weight), row by row:
/// `mean = sum(x) / size`, `rstd = 1 / sqrt(sum((x - mean)^2) / size + eps)`. x, out: `[rows, size]`; weight, bias: `[size]`; stats:
/// `[rows, 2]`, mean and rstd of each row.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ.
pub fn layer_norm<T: Float>(
    size: usize,
    eps: f64,
    x: &[T],
    [weight, bias]: [Option<&[T]>; 2],
    out: &mut [T],
    stats: &mut [T],
) -> Result<()> {
    let rows = stats.len() / 2;
    require(fits(rows, size, x) && x.len() == out.len(), "layer_norm: lengths")?;
    require(stats.len() == 2 * rows, "layer_norm: length of the statistics")?;
    require(each_fits(size, [weight, bias]), "layer_norm: length of weight or bias")?;
    require(weight.is_some() || bias.is_none(), "layer_norm: a bias needs a weight")?;
    let per_piece = (PIECE / size.max(1)).max(1);
    let (out, stats) = (Shared::new(out), Shared::new(stats));
    parallel::run(rows.div_ceil(per_piece), work(x), &|piece| {
        let first = piece * per_piece;
        // SAFETY: pieces are disjoint.
        let (out, stats) = unsafe {
            (out.part(first * size, per_piece * size), stats.part(2 * first, 2 * per_piece))
        };
        let x = &x[first * size..][..out.len()];
        T::dispatch(rows::LayerNorm { size, eps, x, weight, bias, out, stats });
    });
    Ok(())
}

/// The gradient in x of `sum(grad * layer_norm(x) )`: with `v = grad * weight` and `x^ = (x - mean) * rstd`,
/// `out = ((v - mean(v)) - x^ * mean(v * x^)) * rstd`. grad, x, out: `[rows, size]`, stats: as [`layer_norm`] left them.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ.
pub fn layer_norm_input<T: Float>(
    grad: &[T],
    x: &[T],
    stats: &[T],
    weight: Option<&[T]>,
    out: &mut [T],
) -> Result<()> {
    let rows = stats.len() / 2;
    let size = x.len().checked_div(rows).unwrap_or(0);
    let lengths = grad.len() == x.len() && out.len() == x.len() && stats.len() == 2 * rows;
    require(lengths && fits(rows, size, x), "layer_norm_input: lengths")?;
    require(rows == 0 || each_fits(size, [weight, None]), "layer_norm_input: length of weight")?;
    if out.is_empty() {
        return Ok(());
    }
    let per_piece = (PIECE / size.max(1)).max(1);
    let shared = Shared::new(out);
    parallel::run(rows.div_ceil(per_piece), 2 * work(x), &|piece| {
        let first = piece * per_piece;
        // SAFETY: pieces are disjoint.
        let out = unsafe { shared.part(first * size, per_piece * size) };
        let here = first * size..first * size + out.len();
        let (grad, x) = (&grad[here.clone()], &x[here]);
        let stats = &stats[2 * first..];
        T::dispatch(rows::Input { size, grad, x, stats, weight, out });
    });
    Ok(())
}

/// The gradient in the weight: `out[j] = sum over rows of grad[j] * x^[j]`, in the order R3 of columns. grad, x: `[rows, size]`,
/// stats: as [`layer_norm`] left them, out: `[size]`.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ; memory over the limit.
pub fn layer_norm_weight<T: Float>(grad: &[T], x: &[T], stats: &[T], out: &mut [T]) -> Result<()> {
    let rows = stats.len() / 2;
    let lengths = grad.len() == x.len() && stats.len() == 2 * rows;
    require(lengths && fits(rows, out.len(), x), "layer_norm_weight: lengths")?;
    columns::weight(grad, x, stats, out)
}

/// Nanoseconds that a pass over `x` will take, about.
fn work<T>(x: &[T]) -> u64 {
    size_of_val(x) as u64 / 8
}

fn fits<T>(rows: usize, size: usize, x: &[T]) -> bool {
    rows.checked_mul(size) == Some(x.len())
}

fn each_fits<T>(size: usize, parameters: [Option<&[T]>; 2]) -> bool {
    parameters.into_iter().flatten().all(|parameter| parameter.len() == size)
}
