//! Scans along one dim: every element of the result is made of all elements up to it. Plain loops over many lines at a time.

pub(crate) mod lines;
#[cfg(test)]
mod tests;

use crate::cpu::parallel::Shared;
use crate::element::{Float, Pod};
use crate::error::{Result, require};
use crate::strided::View;

use lines::Lines;

/// What a scan computes. The chain `s` runs in ascending index and is carried in f64; each element of the result is
/// rounded from it (ADR 001).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScanOp {
    /// `s[i] = s[i - 1] + x[i]`
    Sum,
    /// `s[i] = s[i - 1] * x[i]`
    Prod,
    /// The largest so far and its index; NaN wins, the last of equals.
    Max,
    /// The smallest so far and its index; NaN wins, the last of equals.
    Min,
    /// `s[i] = a[i] * s[i - 1] + b[i]`, product and sum each rounded; `s[-1] = 0`
    Linear,
}

/// Lines taken together: their chains don't wait for each other.
const BLOCK: usize = 16;

/// Running sums ([`ScanOp::Sum`]) or products ([`ScanOp::Prod`]) along `dim`; `out` is row-major with the shape of `x`.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ, no such dim, another operation.
pub fn scan<T: Float>(op: ScanOp, x: View<'_, T>, dim: usize, out: &mut [T]) -> Result<()> {
    match op {
        ScanOp::Sum => chains([x], dim, out, 0.0, T::to_f64, |s, [x]| s + x, T::from_f64),
        ScanOp::Prod => chains([x], dim, out, 1.0, T::to_f64, |s, [x]| s * x, T::from_f64),
        _ => require(false, "scan: neither sum nor product"),
    }
}

/// As [`scan`], of integers, which wrap.
///
/// # Errors
/// As [`scan`].
pub fn scan_integers(op: ScanOp, x: View<'_, i64>, dim: usize, out: &mut [i64]) -> Result<()> {
    let whole = |x| x;
    match op {
        ScanOp::Sum => chains([x], dim, out, 0, whole, |s: i64, [x]| s.wrapping_add(x), whole),
        ScanOp::Prod => chains([x], dim, out, 1, whole, |s: i64, [x]| s.wrapping_mul(x), whole),
        _ => require(false, "scan: neither sum nor product"),
    }
}

/// [`ScanOp::Linear`] along `dim`; `out` is row-major with the shape of `a` and `b`.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if shapes or lengths differ, no such dim.
pub fn linear<T: Float>(a: View<'_, T>, b: View<'_, T>, dim: usize, out: &mut [T]) -> Result<()> {
    chains([a, b], dim, out, 0.0, T::to_f64, |s, [a, b]| a * s + b, T::from_f64)
}

/// `read` and `write` convert from and to what the chain is carried in.
fn chains<T: Pod, C: Copy + Sync, const N: usize>(
    operands: [View<'_, T>; N],
    dim: usize,
    out: &mut [T],
    start: C,
    read: impl Fn(T) -> C + Sync,
    step: impl Fn(C, [C; N]) -> C + Sync,
    write: impl Fn(C) -> T + Sync,
) -> Result<()> {
    let shape = operands[0].shape();
    require(operands.iter().all(|x| x.shape() == shape), "scan: shapes differ")?;
    require(operands[0].len() == out.len(), "scan: length of the result")?;
    let mut lines = [const { None }; N];
    for (lines, x) in lines.iter_mut().zip(&operands) {
        *lines = Some(Lines::new(x, dim)?);
    }
    let Some(first) = lines[0].as_ref().filter(|_| !out.is_empty()) else { return Ok(()) };
    let (n, inner) = (first.n, first.inner);
    let to = Shared::new(out);
    first.run(2, &|range| {
        for block in range.clone().step_by(BLOCK) {
            let width = BLOCK.min(range.end - block);
            let (mut chain, mut from, mut place) = ([start; BLOCK], [[0; N]; BLOCK], [0; BLOCK]);
            for i in 0..width {
                place[i] = first.place(block + i);
                for (from, lines) in from[i].iter_mut().zip(&lines) {
                    *from = lines.as_ref().map_or(0, |lines| lines.start(block + i));
                }
            }
            for _ in 0..n {
                for i in 0..width {
                    let x = std::array::from_fn(|v| read(operands[v].data()[from[i][v] as usize]));
                    chain[i] = step(chain[i], x);
                    // SAFETY: an element of line `block + i` of the result, which this piece alone writes.
                    unsafe { *to.as_ptr().add(place[i]) = write(chain[i]) };
                    place[i] += inner;
                    for (from, lines) in from[i].iter_mut().zip(&lines) {
                        *from += lines.as_ref().map_or(0, |lines| lines.stride);
                    }
                }
            }
        }
    });
    Ok(())
}

/// Running extremes along `dim` and their indices; `out` and `indices` are row-major with the shape of `x`.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ, no such dim, another operation.
pub fn extremes<T: Pod + PartialOrd>(
    op: ScanOp,
    x: View<'_, T>,
    dim: usize,
    out: &mut [T],
    indices: &mut [i64],
) -> Result<()> {
    require(matches!(op, ScanOp::Max | ScanOp::Min), "scan: no extreme")?;
    require(x.len() == out.len() && x.len() == indices.len(), "scan: length of the results")?;
    let lines = Lines::new(&x, dim)?;
    if out.is_empty() {
        return Ok(());
    }
    let (values, places) = (Shared::new(out), Shared::new(indices));
    let nan = |x: T| x.partial_cmp(&x).is_none();
    lines.run(2, &|range| {
        for line in range {
            let (mut from, mut place) = (lines.start(line), lines.place(line));
            let (mut best, mut index) = (x.data()[from as usize], 0);
            for k in 0..lines.n {
                let x = x.data()[from as usize];
                let as_good = if op == ScanOp::Max { x >= best } else { x <= best };
                if nan(x) || (as_good && !nan(best)) {
                    (best, index) = (x, k as i64);
                }
                // SAFETY: an element of this line of the results, which this piece alone writes.
                unsafe {
                    *values.as_ptr().add(place) = best;
                    *places.as_ptr().add(place) = index;
                }
                from += lines.stride;
                place += lines.inner;
            }
        }
    });
    Ok(())
}
