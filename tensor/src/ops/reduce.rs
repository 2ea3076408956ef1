//! Reductions over any dims: `..` for all of them, a number, or a list; negative dims count from the end.

use crate::apply::{Operand, apply_one};
use crate::error::{Error, Result};
use crate::op::{Op, ReduceDims};
use crate::ops::chain::BinaryChain;
use crate::ops::{look, methods, through_f32};
use crate::shape::{self, IntoDims};
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::reduce::{ArgOp, ReduceOp};

fn reduce(op: ReduceOp, x: Operand<'_>, dims: &[i64], keep: bool) -> Result<Tensor> {
    let name = match op {
        ReduceOp::Sum => "sum",
        ReduceOp::Prod => "prod",
        ReduceOp::Max => "max",
        _ => "min",
    };
    let dims = shape::resolve_dims(name, dims, look(name, &x)?.rank())?;
    apply_one(&Op::Reduce(op, ReduceDims { dims, keep }), &mut [x])
}

/// The extreme's index along a dim.
fn place(op: ArgOp, x: Operand<'_>, dim: usize, keep: bool) -> Result<Tensor> {
    let dims = ReduceDims { dims: shape::Dims::from_slice(&[dim]), keep };
    apply_one(&Op::ArgReduce(op, dims), &mut [x])
}

fn arg_reduce(op: ArgOp, x: Operand<'_>, dims: &[i64], keep: bool) -> Result<Tensor> {
    let name = if op == ArgOp::Max { "argmax" } else { "argmin" };
    let tensor = look(name, &x)?;
    if let (&[dim], true) = (dims, tensor.rank() > 0) {
        let dim = shape::resolve_dim(name, dim, tensor.rank())?;
        return place(op, x, dim, keep);
    }
    let body = |x: &Tensor, dim| Ok([place(op, x.into(), dim, true)?]);
    let [index] = one_line(name, tensor, dims, keep, body)?;
    Ok(index)
}

/// The extreme and its index, which alone gets the gradient.
fn extreme(op: ArgOp, x: Operand<'_>, dims: &[i64], keep: bool) -> Result<(Tensor, Tensor)> {
    let name = if op == ArgOp::Max { "max_with_indices" } else { "min_with_indices" };
    let body = |x: &Tensor, dim| {
        let index = place(op, x.into(), dim, true)?;
        Ok([x.gather(dim as i64, &index)?, index])
    };
    let [value, index] = one_line(name, look(name, &x)?, dims, keep, body)?;
    Ok((value, index))
}

/// `body` along one dim, or along all elements in a row (`..`). Its results have size 1 there, which goes unless `keep`.
/// A scalar is a line of one.
pub(crate) fn one_line<const N: usize>(
    op: &'static str,
    x: &Tensor,
    dims: &[i64],
    keep: bool,
    body: impl FnOnce(&Tensor, usize) -> Result<[Tensor; N]>,
) -> Result<[Tensor; N]> {
    let resolved = shape::resolve_dims(op, dims, x.rank())?;
    let dim = match resolved[..] {
        [dim] => dim,
        _ if dims.is_empty() || x.rank() == 0 => {
            let mut results = body(&x.reshape([x.len()])?, 0)?;
            let to = shape::Dims::from_elem(1, if keep { x.rank() } else { 0 });
            for result in &mut results {
                *result = result.reshape(&to)?;
            }
            return Ok(results);
        }
        _ => return Err(Error::argument(op, "one dim, or all of them (`..`)")),
    };
    let mut results = body(x, dim)?;
    if !keep {
        for result in &mut results {
            *result = result.squeeze(dim as i64)?;
        }
    }
    Ok(results)
}

/// How many elements one output is made of.
pub(crate) fn count(name: &'static str, x: &Tensor, dims: &[i64]) -> Result<f64> {
    let dims = shape::resolve_dims(name, dims, x.rank())?;
    Ok(dims.iter().map(|&d| x.shape()[d] as f64).product())
}

fn mean(x: Operand<'_>, dims: &[i64], keep: bool) -> Result<Tensor> {
    let count = count("mean", look("mean", &x)?, dims)?;
    through_f32("mean", x, |x| reduce(ReduceOp::Sum, x, dims, keep).div(count))
}

methods! {
    /// Reductions, on `Result<Tensor>`.
    trait ReduceChain;

    /// Sum over dims.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[1f32, 2., 3.], [4., 5., 6.]]);
    /// assert_eq!(x.sum(-1)?.to_vec::<f32>()?, [6., 15.]);
    /// assert_eq!(x.sum(..)?.item::<f32>()?, 21.);
    /// # Ok(()) }
    /// ```
    fn sum(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Sum, x, &dims.into_dims(), false) }
    /// Sum over dims, which stay with size 1.
    fn sum_keep(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Sum, x, &dims.into_dims(), true) }
    /// Sum over dims, which stay with size 1 if `keep`.
    fn sum_with(x, dims: impl IntoDims, keep: bool) -> Tensor { reduce(ReduceOp::Sum, x, &dims.into_dims(), keep) }
    /// Mean over dims: the sum divided by the number of elements (NaN of nothing).
    fn mean(x, dims: impl IntoDims) -> Tensor { mean(x, &dims.into_dims(), false) }
    /// Mean over dims, which stay with size 1.
    fn mean_keep(x, dims: impl IntoDims) -> Tensor { mean(x, &dims.into_dims(), true) }
    /// Product over dims (1 of nothing). The gradient is right beside zeros, too.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[1f32, 2., 3.], [4., 5., 6.]]);
    /// assert_eq!(x.prod(0)?.to_vec::<f32>()?, [4., 10., 18.]);
    /// # Ok(()) }
    /// ```
    fn prod(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Prod, x, &dims.into_dims(), false) }
    /// Product over dims, which stay with size 1.
    fn prod_keep(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Prod, x, &dims.into_dims(), true) }
    /// PyTorch's name for [`max`](Self::max) over dims.
    fn amax(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Max, x, &dims.into_dims(), false) }
    /// PyTorch's name for [`min`](Self::min) over dims.
    fn amin(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Min, x, &dims.into_dims(), false) }
    /// Maximum over dims; NaN wins. PyTorch's `amax`: equal maxima share the gradient. With the index:
    /// [`max_with_indices`](Self::max_with_indices).
    fn max(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Max, x, &dims.into_dims(), false) }
    /// Maximum over dims, which stay with size 1.
    fn max_keep(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Max, x, &dims.into_dims(), true) }
    /// Minimum over dims; NaN wins. PyTorch's `amin`.
    fn min(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Min, x, &dims.into_dims(), false) }
    /// Minimum over dims, which stay with size 1.
    fn min_keep(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Min, x, &dims.into_dims(), true) }
    /// Maximum along a dim, or of all elements (`..`), and its index there: PyTorch's `max(dim)`. Of equals the first has the
    /// index, and the gradient; NaN is the largest.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (values, indices) = Tensor::from([[1f32, 7., 3.], [4., 5., 6.]]).max_with_indices(1)?;
    /// assert_eq!((values.to_vec::<f32>()?, indices.to_vec::<i64>()?), (vec![7., 6.], vec![1, 2]));
    /// # Ok(()) }
    /// ```
    fn max_with_indices(x, dims: impl IntoDims) -> (Tensor, Tensor) { extreme(ArgOp::Max, x, &dims.into_dims(), false) }
    /// As [`max_with_indices`](Self::max_with_indices); the dims stay with size 1.
    fn max_with_indices_keep(x, dims: impl IntoDims) -> (Tensor, Tensor) { extreme(ArgOp::Max, x, &dims.into_dims(), true) }
    /// Minimum along a dim, or of all elements (`..`), and its index there: PyTorch's `min(dim)`. Of equals the first has the
    /// index, and the gradient; NaN is the smallest.
    fn min_with_indices(x, dims: impl IntoDims) -> (Tensor, Tensor) { extreme(ArgOp::Min, x, &dims.into_dims(), false) }
    /// As [`min_with_indices`](Self::min_with_indices); the dims stay with size 1.
    fn min_with_indices_keep(x, dims: impl IntoDims) -> (Tensor, Tensor) { extreme(ArgOp::Min, x, &dims.into_dims(), true) }
    /// Index of the largest element along a dim, or of all elements in row-major order (`..`): the first among equals; NaN is
    /// the largest.
    fn argmax(x, dims: impl IntoDims) -> Tensor { arg_reduce(ArgOp::Max, x, &dims.into_dims(), false) }
    /// As [`argmax`](Self::argmax); the dims stay with size 1.
    fn argmax_keep(x, dims: impl IntoDims) -> Tensor { arg_reduce(ArgOp::Max, x, &dims.into_dims(), true) }
    /// Index of the smallest element along a dim, or of all elements in row-major order (`..`): the first among equals; NaN is
    /// the smallest.
    fn argmin(x, dims: impl IntoDims) -> Tensor { arg_reduce(ArgOp::Min, x, &dims.into_dims(), false) }
    /// As [`argmin`](Self::argmin); the dims stay with size 1.
    fn argmin_keep(x, dims: impl IntoDims) -> Tensor { arg_reduce(ArgOp::Min, x, &dims.into_dims(), true) }
}
