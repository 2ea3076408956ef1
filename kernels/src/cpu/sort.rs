//! Sorting along one dim: stable, NaN largest, `-0` equal to `+0`.

#[cfg(test)]
mod tests;

use crate::buffer::Buffer;
use crate::cpu::parallel::Shared;
use crate::cpu::scan::lines::Lines;
use crate::element::Number;
use crate::error::{Error, Result, require};
use crate::strided::View;

/// Sorts `x` along `dim`: `values` gets the elements, `indices` where along `dim` they stood; both are row-major with the
/// shape of `x`. Equals keep their order, descending too; NaN is the largest.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ or no such dim; [`OutOfMemory`](Error::OutOfMemory).
pub fn sort<T: Number>(
    x: View<'_, T>,
    dim: usize,
    descending: bool,
    values: &mut [T],
    indices: &mut [i64],
) -> Result<()> {
    require(x.len() == values.len() && x.len() == indices.len(), "sort: length of the results")?;
    let lines = Lines::new(&x, dim)?;
    if values.is_empty() {
        return Ok(());
    }
    let n = lines.n;
    let bytes = values.len().checked_mul(size_of::<i64>());
    let bytes = bytes.ok_or(Error::Contract("sort: too many elements"))?;
    // Where key and index fit into one number together, that number is sorted.
    let packed = size_of::<T>() <= 4 && u32::try_from(n).is_ok();
    let mut keys = Buffer::new(bytes)?;
    let mut order = Buffer::new(if packed { 0 } else { bytes })?;
    let (keys, order) = (Shared::new(keys.as_mut_slice()), Shared::new(order.as_mut_slice()));
    let (values, indices) = (Shared::new(values), Shared::new(indices));
    let cost = 2 * u64::from(usize::BITS - n.leading_zeros());
    lines.run(cost, &|range| {
        for line in range {
            // SAFETY: each line has its own part of the keys and of the order.
            let (keys, order) = unsafe { (keys.part(line * n, n), order.part(line * n, n)) };
            let from = lines.start(line);
            let element = |k: usize| x.data()[(from + k as isize * lines.stride) as usize];
            let flip = if descending { -1 } else { 0 };
            if packed {
                for (k, place) in keys.iter_mut().enumerate() {
                    *place = (narrow_key(element(k)) ^ flip) << 32 | k as i64;
                }
                keys.sort_unstable();
                keys.iter_mut().for_each(|key| *key &= 0xffff_ffff);
            } else {
                for (k, place) in keys.iter_mut().enumerate() {
                    *place = wide_key(element(k)) ^ flip;
                    order[k] = k as i64;
                }
                by_key(keys, order);
            }
            let sorted = if packed { &*keys } else { &*order };
            let mut place = lines.place(line);
            for &k in sorted {
                // SAFETY: an element of this line of the results, which this piece alone writes.
                unsafe {
                    *values.as_ptr().add(place) = element(k as usize);
                    *indices.as_ptr().add(place) = k;
                }
                place += lines.inner;
            }
        }
    });
    Ok(())
}

fn by_key(keys: &[i64], order: &mut [i64]) {
    order.sort_unstable_by_key(|&k| (keys[k as usize], k));
}

/// An integer that orders like the number, NaN last and zeros equal; of a type of at most 32 bits it has no more.
#[inline(always)]
fn narrow_key<T: Number>(x: T) -> i64 {
    if is_integer::<T>() {
        return x.to_i64();
    }
    let x = x.to_f64() as f32 + 0.0;
    let bits = x.to_bits() as i32;
    i64::from(if x.is_nan() { i32::MAX } else { bits ^ (((bits >> 31) as u32) >> 1) as i32 })
}

#[inline(always)]
fn wide_key<T: Number>(x: T) -> i64 {
    if is_integer::<T>() {
        return x.to_i64();
    }
    let x = x.to_f64() + 0.0;
    let bits = x.to_bits() as i64;
    if x.is_nan() { i64::MAX } else { bits ^ (((bits >> 63) as u64) >> 1) as i64 }
}

/// True for types that have no halves.
#[inline(always)]
fn is_integer<T: Number>() -> bool {
    T::from_f64(0.5) == T::default()
}
