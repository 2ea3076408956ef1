//! Elements written to chosen places, one after the other: where two meet, the order of the source decides.

use super::elements::{check, without};
use crate::element::{Float, Pod};
use crate::error::{Result, require};
use crate::strided::{LoopNest, View, ViewMut, row_major};

/// `combine(out[place of i], source[i])` for every `i` in logical order.
pub(super) fn scatter<T: Pod>(
    source: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out_shape: &[usize],
    out: &mut [T],
    combine: &mut dyn FnMut(&mut T, T),
) -> Result<()> {
    let shape = index.shape();
    require(dim < shape.len() && out_shape.len() == shape.len(), "scatter: number of dims")?;
    require(source.shape() == shape, "scatter: index and source differ in shape")?;
    let fits = shape.iter().zip(out_shape).enumerate().all(|(d, (i, o))| d == dim || i <= o);
    require(fits, "scatter: the index is larger than the output")?;
    require(super::product(out_shape.iter().copied()) == Some(out.len()), "scatter: length")?;
    if index.is_empty() {
        return Ok(());
    }
    check(&index, out_shape[dim])?;
    let strides = row_major(out_shape);
    let kept = without(&strides, dim);
    let nest = LoopNest::new(shape, [index.strides(), source.strides(), &kept]);
    let steps = nest.inner_strides();
    for row in 0..nest.rows() {
        let mut at = nest.row_offsets(row);
        at[0] += index.offset() as isize;
        at[1] += source.offset() as isize;
        for _ in 0..nest.inner() {
            let chosen = index.data()[at[0] as usize] as isize * strides[dim];
            combine(&mut out[(at[2] + chosen) as usize], source.data()[at[1] as usize]);
            for (at, step) in at.iter_mut().zip(steps) {
                *at += step;
            }
        }
    }
    Ok(())
}

/// [`accumulate`](super::accumulate).
pub(super) fn accumulate<T: Float>(x: View<'_, T>, strides: &[isize], out: &mut [T]) -> Result<()> {
    if x.is_empty() {
        return Ok(());
    }
    // The check that every place lies inside.
    let out = ViewMut::new(out, 0, x.shape(), strides)?;
    let nest = LoopNest::new(x.shape(), [x.strides(), strides]);
    let steps = nest.inner_strides();
    for row in 0..nest.rows() {
        let mut at = nest.row_offsets(row);
        at[0] += x.offset() as isize;
        for _ in 0..nest.inner() {
            let place = at[1] as usize;
            out.data[place] = out.data[place] + x.data()[at[0] as usize];
            at[0] += steps[0];
            at[1] += steps[1];
        }
    }
    Ok(())
}
