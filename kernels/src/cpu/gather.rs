//! Selection by index: gather, scatter-add, index-select. Negative indices are not wrapped here.

mod elements;
mod scatter;
mod select;
#[cfg(test)]
mod tests;

use crate::element::{Float, Pod};
use crate::error::Result;
use crate::strided::View;

/// The product of sizes, 0 if one is; `None` on overflow.
fn product(sizes: impl Iterator<Item = usize> + Clone) -> Option<usize> {
    if sizes.clone().any(|size| size == 0) {
        return Some(0);
    }
    sizes.into_iter().try_fold(1usize, |product, size| product.checked_mul(size))
}

/// `out[.., i, ..] = x[.., index[.., i, ..], ..]` along `dim`: PyTorch's `gather`. `out` has the shape of `index`.
///
/// # Errors
/// [`IndexOutOfRange`](crate::Error::IndexOutOfRange);
/// [`Contract`](crate::Error::Contract) if shapes don't fit.
pub fn gather<T: Pod>(
    x: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out: &mut [T],
) -> Result<()> {
    elements::gather(x, dim, index, out)
}

/// `out[.., index[i], ..] += source[.., i, ..]` along `dim`, in ascending logical index of `source`: PyTorch's `scatter_add`.
/// `out` is contiguous with shape `out_shape`; `source` has the shape of `index`.
///
/// # Errors
/// [`IndexOutOfRange`](crate::Error::IndexOutOfRange), before anything is written;
/// [`Contract`](crate::Error::Contract) if shapes don't fit.
pub fn scatter_add<T: Float>(
    source: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out_shape: &[usize],
    out: &mut [T],
) -> Result<()> {
    elements::scatter_add(source, dim, index, out_shape, out)
}

/// What a scattered element does to the one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScatterOp {
    /// Takes its place: of several that meet, the last in row-major order of the source stays.
    Last,
    /// Multiplies it.
    Prod,
    /// The larger stays; NaN wins.
    Max,
    /// The smaller stays; NaN wins.
    Min,
}

/// `out[.., index[.., i, ..], ..] = source[.., i, ..]` along `dim`, in ascending logical index of `source`, so that the last wins:
/// PyTorch's `scatter`. `out` is contiguous with shape `out_shape`; `source` has the shape of `index`.
///
/// # Errors
/// [`IndexOutOfRange`](crate::Error::IndexOutOfRange), before anything is written;
/// [`Contract`](crate::Error::Contract) if shapes don't fit.
pub fn scatter<T: Pod>(
    source: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out_shape: &[usize],
    out: &mut [T],
) -> Result<()> {
    scatter::scatter(source, dim, index, out_shape, out, &mut |place, x| *place = x)
}

/// As [`scatter`], each element combined with the one that is there, in ascending logical index of `source`: PyTorch's
/// `scatter_reduce`.
///
/// # Errors
/// As [`scatter`].
pub fn scatter_reduce<T: Float>(
    how: ScatterOp,
    source: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out_shape: &[usize],
    out: &mut [T],
) -> Result<()> {
    let combine: &mut dyn FnMut(&mut T, T) = match how {
        ScatterOp::Last => &mut |place, x| *place = x,
        ScatterOp::Prod => &mut |place, x| *place = *place * x,
        ScatterOp::Max => &mut |place, x| {
            if x > *place || x.is_nan() {
                *place = x;
            }
        },
        ScatterOp::Min => &mut |place, x| {
            if x < *place || x.is_nan() {
                *place = x;
            }
        },
    };
    scatter::scatter(source, dim, index, out_shape, out, combine)
}

/// [`scatter_add`] (`None`) or [`scatter_reduce`] of integers, which wrap.
///
/// # Errors
/// As [`scatter`].
pub fn scatter_integers(
    how: Option<ScatterOp>,
    source: View<'_, i64>,
    dim: usize,
    index: View<'_, i64>,
    out_shape: &[usize],
    out: &mut [i64],
) -> Result<()> {
    let combined: fn(i64, i64) -> i64 = match how {
        None => i64::wrapping_add,
        Some(ScatterOp::Last) => |_, x| x,
        Some(ScatterOp::Prod) => i64::wrapping_mul,
        Some(ScatterOp::Max) => i64::max,
        Some(ScatterOp::Min) => i64::min,
    };
    let combine = &mut |place: &mut i64, x| *place = combined(*place, x);
    scatter::scatter(source, dim, index, out_shape, out, combine)
}

/// `out[sum(i[d] * strides[d])] += x[i]` in ascending logical index of `x`: the adjoint of a view whose elements may overlap.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if an element would lie outside `out`.
pub fn accumulate<T: Float>(x: View<'_, T>, strides: &[isize], out: &mut [T]) -> Result<()> {
    scatter::accumulate(x, strides, out)
}

/// `out[.., i, ..] = x[.., index[i], ..]` along `dim`: PyTorch's `index_select`. `index` is a vector.
///
/// # Errors
/// [`IndexOutOfRange`](crate::Error::IndexOutOfRange);
/// [`Contract`](crate::Error::Contract) if shapes don't fit.
pub fn index_select<T: Pod>(
    x: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out: &mut [T],
) -> Result<()> {
    select::select(x, dim, index, out)
}

/// The adjoint of [`index_select`]: `out[.., index[i], ..] += source[.., i, ..]`, ascending `i`; `out` contiguous, `out_shape`.
///
/// # Errors
/// [`IndexOutOfRange`](crate::Error::IndexOutOfRange), before anything is written;
/// [`Contract`](crate::Error::Contract) if shapes don't fit.
pub fn index_add<T: Float>(
    source: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out_shape: &[usize],
    out: &mut [T],
) -> Result<()> {
    select::add(source, dim, index, out_shape, out)
}
