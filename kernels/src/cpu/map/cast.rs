//! Casts between all types.
//!
//! One loop reads each type into i64 or f64 (which hold all its values), one writes each from there: two loops a type instead of
//! one a pair. Where that would cost, a pair has its own.

use super::{Pointer, plain, same_length};
use crate::element::{Number, Pod, Wide};
use crate::error::Result;
use crate::strided::View;

/// `out = x as B`; floats to integers truncate and saturate, NaN gives 0; integers to shorter ones wrap.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if the lengths differ.
pub fn cast<A: Number, B: Number>(x: View<'_, A>, out: &mut [B]) -> Result<()> {
    into(x, out, write::<A::Wide, B>)
}

/// `out = x != 0` as 0 or 1 (NaN is true).
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if the lengths differ.
pub fn cast_to_bool<A: Number>(x: View<'_, A>, out: &mut [u8]) -> Result<()> {
    into(x, out, truth::<A::Wide>)
}

/// [`cast`] in one loop, for pairs where the time matters.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if the lengths differ.
pub fn cast_direct<A: Number, B: Number>(x: View<'_, A>, out: &mut [B]) -> Result<()> {
    plain::one(x, out, &|x, out| {
        for (out, x) in out.iter_mut().zip(x) {
            *out = x.widen().narrow();
        }
    })
}

fn write<W: Wide, B: Number>(wide: &[W], out: &mut [B]) {
    for (out, wide) in out.iter_mut().zip(wide) {
        *out = wide.narrow();
    }
}

fn truth<W: Wide>(wide: &[W], out: &mut [u8]) {
    for (out, wide) in out.iter_mut().zip(wide) {
        *out = (*wide != W::default()) as u8;
    }
}

fn into<A: Number, B: Pod>(
    x: View<'_, A>,
    out: &mut [B],
    write: fn(&[A::Wide], &mut [B]),
) -> Result<()> {
    same_length(&x, out.len())?;
    let target = Pointer(out.as_mut_ptr());
    plain::widened(x, &|start, wide| {
        // SAFETY: the tiles are disjoint parts of `0..x.len()`, which is the output's length.
        write(wide, unsafe { std::slice::from_raw_parts_mut(target.get().add(start), wide.len()) });
    });
    Ok(())
}
