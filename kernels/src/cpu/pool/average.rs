//! Means of windows and their backward pass. Plain loops: each output's sum is one chain, in ascending order of its elements, and
//! the chains of a line run side by side.

use super::Planes;
use super::shape::{Divisor, Pool2dShape, Windows};
use crate::cpu::parallel::Shared;
use crate::element::Float;
use crate::error::{Result, require};

/// `out = (sum of each window) / divisor`, the sum in ascending order of the window's elements, from `+0`.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ, a window does not fit or the divisor is 0.
pub fn average_pool2d<T: Float>(
    windows: &Windows,
    divisor: Divisor,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    let planes = Planes::averaged(windows, divisor, x.len(), out.len())?;
    let out = Shared::new(out);
    planes.run(&|(start, len), (to, places)| {
        // SAFETY: pieces are disjoint.
        let out = unsafe { out.part(to, places) };
        let inputs = x[start..start + len].chunks_exact(planes.input_plane);
        for (x, out) in inputs.zip(out.chunks_exact_mut(planes.output_plane)) {
            for (row, out) in out.chunks_exact_mut(planes.output[1]).enumerate() {
                sum_line(windows, row, x, out);
                for (column, out) in out.iter_mut().enumerate() {
                    *out = *out / divided_by(windows, divisor, row, column);
                }
            }
        }
    });
    Ok(())
}

/// The backward pass: every element of a window gets `grad / divisor`; an element's shares are added in ascending order of the
/// windows, from `+0`.
///
/// # Errors
/// As [`average_pool2d`].
pub fn average_pool2d_grad<T: Float>(
    windows: &Windows,
    divisor: Divisor,
    grad: &[T],
    out: &mut [T],
) -> Result<()> {
    let planes = Planes::averaged(windows, divisor, out.len(), grad.len())?;
    if grad.is_empty() {
        out.fill(T::ZERO);
        return Ok(());
    }
    let width = windows.input()[1];
    let out = Shared::new(out);
    planes.run(&|(start, len), (from, places)| {
        // SAFETY: pieces are disjoint.
        let out = unsafe { out.part(start, len) };
        out.fill(T::ZERO);
        let grads = grad[from..from + places].chunks_exact(planes.output_plane);
        for (grad, out) in grads.zip(out.chunks_exact_mut(planes.input_plane)) {
            for (row, grad) in grad.chunks_exact(planes.output[1]).enumerate() {
                for (column, &g) in grad.iter().enumerate() {
                    let share = g / divided_by(windows, divisor, row, column);
                    let columns = windows.taps(1, column);
                    for y in windows.taps(0, row).places() {
                        let line = &mut out[y * width + columns.start..][..columns.count];
                        line.iter_mut().for_each(|out| *out = *out + share);
                    }
                }
            }
        }
    });
    Ok(())
}

#[inline(always)]
fn divided_by<T: Float>(windows: &Windows, divisor: Divisor, row: usize, column: usize) -> T {
    let (rows, columns) = (windows.taps(0, row), windows.taps(1, column));
    match divisor {
        Divisor::Elements => T::from_f64(rows.count as f64 * columns.count as f64),
        Divisor::Padded => T::from_f64(rows.padded as f64 * columns.padded as f64),
        Divisor::By(number) => T::from_i64(number),
    }
}

/// Windows wider than this are summed one by one.
const WIDE: usize = 64;

/// The sums of a line of windows.
fn sum_line<T: Float>(windows: &Windows, row: usize, x: &[T], out: &mut [T]) {
    out.fill(T::ZERO);
    let width = windows.input()[1];
    for y in windows.taps(0, row).places() {
        let line = &x[y * width..][..width];
        match windows {
            Windows::Sliding(shape) if shape.kernel[1] <= WIDE => add_taps(shape, line, out),
            _ => {
                for (column, out) in out.iter_mut().enumerate() {
                    let taps = windows.taps(1, column);
                    let seen = &line[taps.start..][..taps.count];
                    *out = seen.iter().fold(*out, |sum, &x| sum + x);
                }
            }
        }
    }
}

/// Adds a line of the image to the sums of all windows over it, tap by tap.
fn add_taps<T: Float>(shape: &Pool2dShape, line: &[T], out: &mut [T]) {
    let (stride, padding) = (shape.stride[1], shape.padding[1]);
    for tap in 0..shape.kernel[1] {
        // The windows whose tap lies in the image.
        let first = padding.saturating_sub(tap).div_ceil(stride);
        let end = (line.len() + padding).saturating_sub(tap).div_ceil(stride).min(out.len());
        if first >= end {
            continue;
        }
        let seen = &line[first * stride + tap - padding..];
        let out = &mut out[first..end];
        match stride {
            1 => out.iter_mut().zip(seen).for_each(|(out, &x)| *out = *out + x),
            _ => {
                let seen = seen.iter().step_by(stride);
                out.iter_mut().zip(seen).for_each(|(out, &x)| *out = *out + x);
            }
        }
    }
}

impl Planes {
    pub(super) fn averaged(
        windows: &Windows,
        divisor: Divisor,
        input: usize,
        output: usize,
    ) -> Result<Self> {
        require(divisor != Divisor::By(0), "a divisor of 0")?;
        if let Windows::Sliding(shape) = windows {
            require(shape.dilation == [1, 1], "a dilation, in a mean")?;
        }
        Planes::new(windows, input, output)
    }
}
