//! Reductions of integers: nothing rounds, so any order will do, and this is the plain one.

use super::{ArgOp, ReduceOp, kept_len};
use crate::element::{Integer, Number};
use crate::error::{Error, Result, require};
use crate::strided::{Dims, LoopNest, View};

/// [`reduce`](super::reduce) of integers, in i64: sums wrap.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ, on a maximum or minimum of nothing, or for another op.
pub fn reduce_integers<T: Integer>(
    op: ReduceOp,
    x: View<'_, T>,
    reduced: &[bool],
    out: &mut [i64],
) -> Result<()> {
    require(reduced.len() == x.shape().len(), "reduce: one flag per dim")?;
    require(kept_len(x.shape(), reduced) == Some(out.len()), "reduce: length of the result")?;
    if out.is_empty() {
        return Ok(());
    }
    match op {
        ReduceOp::Sum => fold(x, reduced, out, 0, i64::wrapping_add),
        ReduceOp::Max | ReduceOp::Min if x.is_empty() => {
            Err(Error::Contract("reduce: maximum or minimum of nothing"))
        }
        ReduceOp::Max => fold(x, reduced, out, i64::MIN, i64::max),
        ReduceOp::Min => fold(x, reduced, out, i64::MAX, i64::min),
    }
}

fn fold<T: Number>(
    x: View<'_, T>,
    reduced: &[bool],
    out: &mut [i64],
    start: i64,
    f: impl Fn(i64, i64) -> i64,
) -> Result<()> {
    out.fill(start);
    if x.is_empty() {
        return Ok(());
    }
    let mut strides: Dims<isize> = Dims::new(0);
    x.shape().iter().for_each(|_| strides.push(0));
    let mut stride = 1;
    for ((place, &size), &reduced) in strides.iter_mut().zip(x.shape()).zip(reduced).rev() {
        if !reduced {
            *place = stride;
            stride *= size as isize;
        }
    }
    let nest = LoopNest::new(x.shape(), [x.strides(), &strides]);
    let [x_step, out_step] = nest.inner_strides();
    for row in 0..nest.rows() {
        let [from, to] = nest.row_offsets(row);
        let at = |i: usize| x.data()[(x.offset() as isize + from + i as isize * x_step) as usize];
        if out_step == 0 {
            let place = &mut out[to as usize];
            *place = (0..nest.inner()).fold(*place, |sum, i| f(sum, at(i).to_i64()));
        } else {
            for i in 0..nest.inner() {
                let place = &mut out[(to + i as isize * out_step) as usize];
                *place = f(*place, at(i).to_i64());
            }
        }
    }
    Ok(())
}

/// [`arg_reduce`](super::arg_reduce) of integers: the lowest index among equals.
///
/// # Errors
/// As there.
pub fn arg_reduce_integers<T: Integer>(
    op: ArgOp,
    x: View<'_, T>,
    dim: usize,
    out: &mut [i64],
) -> Result<()> {
    require(dim < x.shape().len(), "arg_reduce: no such dim")?;
    let mut reduced: Dims<bool> = Dims::new(false);
    (0..x.shape().len()).for_each(|d| reduced.push(d == dim));
    require(kept_len(x.shape(), &reduced) == Some(out.len()), "arg_reduce: length of the result")?;
    if out.is_empty() {
        return Ok(());
    }
    require(!x.is_empty(), "arg_reduce: extreme of nothing")?;
    let (mut shape, mut strides) = (Dims::new(1), Dims::new(0));
    for (d, (&size, &stride)) in x.shape().iter().zip(x.strides()).enumerate() {
        if d != dim {
            shape.push(size);
            strides.push(stride);
        }
    }
    let nest = LoopNest::new(&shape, [&strides]);
    let (n, step) = (x.shape()[dim] as isize, x.strides()[dim]);
    for (i, place) in out.iter_mut().enumerate() {
        let [row] = nest.row_offsets(i / nest.inner());
        let start = row + (i % nest.inner()) as isize * nest.inner_strides()[0];
        let at = |k: isize| x.data()[(x.offset() as isize + start + k * step) as usize];
        let mut best = (at(0), 0);
        for k in 1..n {
            let x = at(k);
            if if op == ArgOp::Max { x > best.0 } else { x < best.0 } {
                best = (x, k as i64);
            }
        }
        *place = best.1;
    }
    Ok(())
}
