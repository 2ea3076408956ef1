//! Selection by index: gather, scatter-add, index-select. Negative indices are not wrapped here.

use crate::element::{Float, Pod};
use crate::error::{Error, Result};
use crate::strided::View;

/// `out[.., i, ..] = x[.., index[.., i, ..], ..]` along `dim`: PyTorch's `gather`. `out` has the shape of `index`.
///
/// # Errors
/// [`IndexOutOfRange`](Error::IndexOutOfRange); [`Contract`](Error::Contract) if shapes don't fit.
pub fn gather<T: Pod>(
    x: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out: &mut [T],
) -> Result<()> {
    let _ = (x, dim, index, out);
    Err(Error::Contract("stub"))
}

/// `out[.., index[i], ..] += source[.., i, ..]` along `dim`, in ascending logical index of `source`: PyTorch's `scatter_add`.
/// `out` is contiguous with shape `out_shape`; `source` has the shape of `index`.
///
/// # Errors
/// [`IndexOutOfRange`](Error::IndexOutOfRange), before anything is written; [`Contract`](Error::Contract) if shapes don't fit.
pub fn scatter_add<T: Float>(
    source: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out_shape: &[usize],
    out: &mut [T],
) -> Result<()> {
    let _ = (source, dim, index, out_shape, out);
    Err(Error::Contract("stub"))
}

/// `out[.., i, ..] = x[.., index[i], ..]` along `dim`: PyTorch's `index_select`. `index` is a vector.
///
/// # Errors
/// [`IndexOutOfRange`](Error::IndexOutOfRange); [`Contract`](Error::Contract) if shapes don't fit.
pub fn index_select<T: Pod>(
    x: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out: &mut [T],
) -> Result<()> {
    let _ = (x, dim, index, out);
    Err(Error::Contract("stub"))
}

/// The adjoint of [`index_select`]: `out[.., index[i], ..] += source[.., i, ..]`, ascending `i`; `out` contiguous, `out_shape`.
///
/// # Errors
/// [`IndexOutOfRange`](Error::IndexOutOfRange), before anything is written; [`Contract`](Error::Contract) if shapes don't fit.
pub fn index_add<T: Float>(
    source: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out_shape: &[usize],
    out: &mut [T],
) -> Result<()> {
    let _ = (source, dim, index, out_shape, out);
    Err(Error::Contract("stub"))
}
