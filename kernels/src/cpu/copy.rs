//! Copies between layouts: gathering a view into a contiguous buffer, and scattering one into a strided place.

use crate::element::Pod;
use crate::error::{Error, Result};
use crate::strided::{View, ViewMut};

/// `out = x` in logical (row-major) order.
///
/// # Errors
/// [`Contract`](Error::Contract) if the lengths differ.
pub fn copy<T: Pod>(x: View<'_, T>, out: &mut [T]) -> Result<()> {
    let _ = (x, out);
    Err(Error::Contract("stub"))
}

/// `out[i] = x[i]` for a strided destination of the same shape (concatenation, slice assignment).
///
/// # Errors
/// [`Contract`](Error::Contract) if the shapes differ.
pub fn copy_into<T: Pod>(x: View<'_, T>, out: ViewMut<'_, T>) -> Result<()> {
    let _ = (x, out);
    Err(Error::Contract("stub"))
}
