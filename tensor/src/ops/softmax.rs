//! Softmax and its relatives.

use crate::apply::{Operand, apply_one};
use crate::error::Result;
use crate::op::Op;
use crate::ops::{lent, look, methods};
use crate::shape;
use crate::tensor::Tensor;

fn softmax(x: Operand<'_>, dim: i64, log: bool) -> Result<Tensor> {
    let name = if log { "log_softmax" } else { "softmax" };
    let [y] = lent(name, x, |x| {
        let dim = shape::resolve_dim(name, dim, look(name, &x)?.rank())?;
        Ok([apply_one(&Op::Softmax { dim, log }, &mut [x])?])
    })?;
    Ok(y)
}

methods! {
    /// Softmax and its relatives, on `Result<Tensor>`.
    trait SoftmaxChain;

    /// `e^x / sum(e^x)` along a dim, shifted by the maximum.
    fn softmax(x, dim: i64) -> Tensor { softmax(x, dim, false) }

    /// `log(softmax(x))` along a dim.
    fn log_softmax(x, dim: i64) -> Tensor { softmax(x, dim, true) }
}
