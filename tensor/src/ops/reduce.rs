//! Reductions over any dims: `..` for all of them, a number, or a list; negative dims count from the end.

use crate::apply::{Operand, apply_one};
use crate::error::Result;
use crate::op::{Op, ReduceDims};
use crate::ops::chain::{BinaryChain, UnaryChain};
use crate::ops::{look, methods, through_f32};
use crate::shape::{self, IntoDims};
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::reduce::{ArgOp, ReduceOp};

fn reduce(op: ReduceOp, x: Operand<'_>, dims: impl IntoDims, keep: bool) -> Result<Tensor> {
    let name = match op {
        ReduceOp::Sum => "sum",
        ReduceOp::Max => "max",
        _ => "min",
    };
    let dims = shape::resolve_dims(name, &dims.into_dims(), look(name, &x)?.rank())?;
    apply_one(&Op::Reduce(op, ReduceDims { dims, keep }), &mut [x])
}

fn arg_reduce(op: ArgOp, x: Operand<'_>, dim: i64) -> Result<Tensor> {
    let name = if op == ArgOp::Max { "argmax" } else { "argmin" };
    let dim = shape::resolve_dim(name, dim, look(name, &x)?.rank())?;
    let dims = ReduceDims { dims: shape::Dims::from_slice(&[dim]), keep: false };
    apply_one(&Op::ArgReduce(op, dims), &mut [x])
}

/// How many elements one output is made of.
fn count(name: &'static str, x: &Tensor, dims: &[i64]) -> Result<f64> {
    let dims = shape::resolve_dims(name, dims, x.rank())?;
    Ok(dims.iter().map(|&d| x.shape()[d] as f64).product())
}

fn mean(x: Operand<'_>, dims: impl IntoDims, keep: bool) -> Result<Tensor> {
    let dims = dims.into_dims();
    let count = count("mean", look("mean", &x)?, &dims)?;
    through_f32("mean", x, |x| reduce(ReduceOp::Sum, x, &dims[..], keep).div(count))
}

fn var(x: Operand<'_>, dims: impl IntoDims, correction: f64, keep: bool) -> Result<Tensor> {
    let dims = dims.into_dims();
    let count = count("var", look("var", &x)?, &dims)?;
    through_f32("var", x, |x| {
        let x = look("var", &x)?;
        let centered = x.sub(x.mean_keep(&dims[..]));
        let sum = centered.square().sum_with(&dims[..], keep);
        sum.div((count - correction).max(0.0))
    })
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
    fn sum(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Sum, x, dims, false) }
    /// Sum over dims, which stay with size 1.
    fn sum_keep(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Sum, x, dims, true) }
    /// Sum over dims, which stay with size 1 if `keep`.
    fn sum_with(x, dims: impl IntoDims, keep: bool) -> Tensor { reduce(ReduceOp::Sum, x, dims, keep) }
    /// Mean over dims: the sum divided by the number of elements (NaN of nothing).
    fn mean(x, dims: impl IntoDims) -> Tensor { mean(x, dims, false) }
    /// Mean over dims, which stay with size 1.
    fn mean_keep(x, dims: impl IntoDims) -> Tensor { mean(x, dims, true) }
    /// Variance over dims, divided by `n - correction` (PyTorch's default correction is 1), in two passes.
    fn var(x, dims: impl IntoDims, correction: f64) -> Tensor { var(x, dims, correction, false) }
    /// Variance over dims, which stay with size 1.
    fn var_keep(x, dims: impl IntoDims, correction: f64) -> Tensor { var(x, dims, correction, true) }
    /// Maximum over dims; NaN wins. PyTorch's `amax`: equal maxima share the gradient.
    fn max(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Max, x, dims, false) }
    /// Maximum over dims, which stay with size 1.
    fn max_keep(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Max, x, dims, true) }
    /// Minimum over dims; NaN wins. PyTorch's `amin`.
    fn min(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Min, x, dims, false) }
    /// Minimum over dims, which stay with size 1.
    fn min_keep(x, dims: impl IntoDims) -> Tensor { reduce(ReduceOp::Min, x, dims, true) }
    /// Index of the largest element along a dim, the first among equals; NaN is the largest.
    fn argmax(x, dim: i64) -> Tensor { arg_reduce(ArgOp::Max, x, dim) }
    /// Index of the smallest element along a dim, the first among equals; NaN is the smallest.
    fn argmin(x, dim: i64) -> Tensor { arg_reduce(ArgOp::Min, x, dim) }
}
