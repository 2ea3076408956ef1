//! Casts between all types.
//!
//! One loop reads each type into i64 or f64 (which hold all its values), one writes each from there: two loops a type instead of
//! one a pair. Where that would cost, a pair has its own.

use super::{Pointer, plain, same_length};
use crate::element::{Number, Wide};
use crate::error::Result;
use crate::strided::View;

/// `out = x as B`; floats to integers truncate and saturate, NaN gives 0; integers to shorter ones wrap.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if the lengths differ.
pub fn cast<A: Number, B: Number>(x: View<'_, A>, out: &mut [B]) -> Result<()> {
    let len = out.len();
    // SAFETY: `out` is a slice of B.
    unsafe { into(x, out.as_mut_ptr().cast(), len, size_of::<B>(), write::<A::Wide, B>) }
}

/// `out = x != 0` as 0 or 1 (NaN is true).
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if the lengths differ.
pub fn cast_to_bool<A: Number>(x: View<'_, A>, out: &mut [u8]) -> Result<()> {
    let len = out.len();
    // SAFETY: `out` is a slice of bytes.
    unsafe { into(x, out.as_mut_ptr(), len, 1, truth::<A::Wide>) }
}

/// [`cast`] in one loop, for pairs where the time matters.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if the lengths differ.
pub fn cast_direct<A: Number, B: Number>(x: View<'_, A>, out: &mut [B]) -> Result<()> {
    plain::one(x, out, |x, out| {
        for (out, x) in out.iter_mut().zip(x) {
            *out = x.widen().narrow();
        }
    })
}

/// # Safety
/// - `to` must be writable for as many B as there are in `wide`.
unsafe fn write<W: Wide, B: Number>(wide: &[W], to: *mut u8) {
    // SAFETY: the caller's guarantee.
    let out = unsafe { std::slice::from_raw_parts_mut(to.cast::<B>(), wide.len()) };
    for (out, wide) in out.iter_mut().zip(wide) {
        *out = wide.narrow();
    }
}

/// # Safety
/// - `to` must be writable for as many bytes as there are in `wide`.
unsafe fn truth<W: Wide>(wide: &[W], to: *mut u8) {
    // SAFETY: the caller's guarantee.
    let out = unsafe { std::slice::from_raw_parts_mut(to, wide.len()) };
    for (out, wide) in out.iter_mut().zip(wide) {
        *out = (*wide != W::default()) as u8;
    }
}

/// Compiled once for a type that is read, whatever is written.
///
/// # Safety
/// - `to` must be writable for `len` elements of `size` bytes, which is what `write` writes.
unsafe fn into<A: Number>(
    x: View<'_, A>,
    to: *mut u8,
    len: usize,
    size: usize,
    write: unsafe fn(&[A::Wide], *mut u8),
) -> Result<()> {
    same_length(&x, len)?;
    let target = Pointer(to);
    plain::widened(x, &|start, wide| {
        // SAFETY: the tiles are disjoint parts of `0..x.len()`, which is the output's length.
        unsafe { write(wide, target.get().add(start * size)) };
    });
    Ok(())
}
