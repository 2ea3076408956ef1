//! Naive selection by index over contiguous data: every element by its full coordinates.

use crate::cpu::gather::ScatterOp;
use crate::element::{Float, Pod};

/// Coordinates of element `i` of `shape`.
fn coordinates(shape: &[usize], mut i: usize) -> Vec<usize> {
    let mut at = vec![0; shape.len()];
    for d in (0..shape.len()).rev() {
        at[d] = i % shape[d];
        i /= shape[d];
    }
    at
}

/// Place of coordinates in `shape`.
fn place(shape: &[usize], at: &[usize]) -> usize {
    shape.iter().zip(at).fold(0, |place, (&size, &i)| place * size + i)
}

/// For every element of `index` (shape `index_shape`): its place in `shape` with coordinate `dim` replaced by its value.
fn places(index: &[i64], index_shape: &[usize], shape: &[usize], dim: usize) -> Vec<usize> {
    let chosen = |(i, &value): (usize, &i64)| {
        let mut at = coordinates(index_shape, i);
        at[dim] = value as usize;
        place(shape, &at)
    };
    index.iter().enumerate().map(chosen).collect()
}

/// [`gather`](crate::cpu::gather::gather).
pub fn gather<T: Pod>(
    x: &[T],
    shape: &[usize],
    dim: usize,
    index: &[i64],
    index_shape: &[usize],
) -> Vec<T> {
    places(index, index_shape, shape, dim).into_iter().map(|place| x[place]).collect()
}

/// [`scatter_add`](crate::cpu::gather::scatter_add).
pub fn scatter_add<T: Float>(
    source: &[T],
    dim: usize,
    index: &[i64],
    index_shape: &[usize],
    shape: &[usize],
    out: &mut [T],
) {
    for (place, &x) in places(index, index_shape, shape, dim).into_iter().zip(source) {
        out[place] = out[place] + x;
    }
}

/// A vector of indices along `dim` as an index for every element of `shape` with that dim replaced.
pub fn spread(index: &[i64], shape: &[usize], dim: usize) -> (Vec<i64>, Vec<usize>) {
    let mut shape = shape.to_vec();
    shape[dim] = index.len();
    let n = shape.iter().product();
    ((0..n).map(|i| index[coordinates(&shape, i)[dim]]).collect(), shape)
}

/// [`scatter_reduce`](crate::cpu::gather::scatter_reduce), and with [`ScatterOp::Last`] [`scatter`](crate::cpu::gather::scatter).
pub fn scatter<T: Float>(
    how: ScatterOp,
    source: &[T],
    dim: usize,
    index: &[i64],
    index_shape: &[usize],
    shape: &[usize],
    out: &mut [T],
) {
    for (place, &x) in places(index, index_shape, shape, dim).into_iter().zip(source) {
        let old = out[place];
        out[place] = match how {
            ScatterOp::Last => x,
            ScatterOp::Prod => old * x,
            ScatterOp::Max if old.is_nan() || old > x => old,
            ScatterOp::Min if old.is_nan() || old < x => old,
            ScatterOp::Max | ScatterOp::Min => x,
        };
    }
}

/// [`accumulate`](crate::cpu::gather::accumulate) of contiguous elements, strides not negative.
pub fn accumulate<T: Float>(x: &[T], shape: &[usize], strides: &[isize], out: &mut [T]) {
    for (i, &x) in x.iter().enumerate() {
        let at = coordinates(shape, i);
        let place: usize = at.iter().zip(strides).map(|(i, &stride)| i * stride as usize).sum();
        out[place] = out[place] + x;
    }
}
