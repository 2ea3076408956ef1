//! Single elements by index: an index for every element.

use crate::element::{Float, Pod};
use crate::error::{Error, Result, require};
use crate::strided::{LoopNest, View};

/// Every index lies in `0..size`.
pub(super) fn check(index: &View<'_, i64>, size: usize) -> Result<()> {
    let nest = LoopNest::new(index.shape(), [index.strides()]);
    let [stride] = nest.inner_strides();
    for row in 0..nest.rows() {
        let [start] = nest.row_offsets(row);
        for k in 0..nest.inner() {
            let at = index.offset() as isize + start + k as isize * stride;
            let value = index.data()[at as usize];
            if usize::try_from(value).map_or(true, |i| i >= size) {
                let position = row * nest.inner() + k;
                return Err(Error::IndexOutOfRange { index: value, position, size });
            }
        }
    }
    Ok(())
}

/// `strides` with that of `dim` as 0: the index takes its place.
pub(super) fn without(strides: &[isize], dim: usize) -> Vec<isize> {
    let mut strides = strides.to_vec();
    strides[dim] = 0;
    strides
}

/// [`gather`](super::gather).
pub(super) fn gather<T: Pod>(
    x: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out: &mut [T],
) -> Result<()> {
    let shape = x.shape();
    require(dim < shape.len() && index.shape().len() == shape.len(), "gather: number of dims")?;
    let fits = index.shape().iter().zip(shape).enumerate().all(|(d, (i, x))| d == dim || i <= x);
    require(fits, "gather: the index is larger than the input")?;
    require(index.len() == out.len(), "gather: length of the result")?;
    if out.is_empty() {
        return Ok(());
    }
    check(&index, shape[dim])?;
    let kept = without(x.strides(), dim);
    let nest = LoopNest::new(index.shape(), [index.strides(), &kept]);
    let strides = nest.inner_strides();
    for (row, out) in out.chunks_exact_mut(nest.inner()).enumerate() {
        let mut at = nest.row_offsets(row);
        at[0] += index.offset() as isize;
        at[1] += x.offset() as isize;
        for place in out {
            let chosen = index.data()[at[0] as usize] as isize * x.strides()[dim];
            *place = x.data()[(at[1] + chosen) as usize];
            at[0] += strides[0];
            at[1] += strides[1];
        }
    }
    Ok(())
}

/// [`scatter_add`](super::scatter_add).
pub(super) fn scatter_add<T: Float>(
    source: View<'_, T>,
    dim: usize,
    index: View<'_, i64>,
    out_shape: &[usize],
    out: &mut [T],
) -> Result<()> {
    let shape = index.shape();
    require(dim < shape.len() && out_shape.len() == shape.len(), "scatter_add: number of dims")?;
    require(source.shape() == shape, "scatter_add: index and source differ in shape")?;
    let fits = shape.iter().zip(out_shape).enumerate().all(|(d, (i, o))| d == dim || i <= o);
    require(fits, "scatter_add: the index is larger than the output")?;
    require(super::product(out_shape.iter().copied()) == Some(out.len()), "scatter_add: length")?;
    if index.is_empty() {
        return Ok(());
    }
    check(&index, out_shape[dim])?;
    let mut strides = vec![1isize; out_shape.len()];
    for d in (1..out_shape.len()).rev() {
        strides[d - 1] = strides[d].saturating_mul(out_shape[d] as isize);
    }
    let kept = without(&strides, dim);
    let nest = LoopNest::new(shape, [index.strides(), source.strides(), &kept]);
    let steps = nest.inner_strides();
    for row in 0..nest.rows() {
        let mut at = nest.row_offsets(row);
        at[0] += index.offset() as isize;
        at[1] += source.offset() as isize;
        for _ in 0..nest.inner() {
            let chosen = index.data()[at[0] as usize] as isize * strides[dim];
            let place = (at[2] + chosen) as usize;
            out[place] = out[place] + source.data()[at[1] as usize];
            for (at, step) in at.iter_mut().zip(steps) {
                *at += step;
            }
        }
    }
    Ok(())
}
