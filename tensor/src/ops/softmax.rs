//! Softmax and its relatives.

use crate::apply::{Operand, apply_one};
use crate::error::Result;
use crate::op::Op;
use crate::ops::chain::{BinaryChain as _, ReduceChain as _, UnaryChain as _};
use crate::ops::{look, methods};
use crate::shape;
use crate::tensor::Tensor;

fn softmax(x: Operand<'_>, dim: i64, log: bool) -> Result<Tensor> {
    let name = if log { "log_softmax" } else { "softmax" };
    let dim = shape::resolve_dim(name, dim, look(name, &x)?.rank())?;
    apply_one(&Op::Softmax { dim, log }, &mut [x])
}

methods! {
    /// Softmax and its relatives, on `Result<Tensor>`.
    trait SoftmaxChain;

    /// `e^x / sum(e^x)` along a dim, shifted by the maximum.
    fn softmax(x, dim: i64) -> Tensor { softmax(x, dim, false) }

    /// `log(softmax(x))` along a dim.
    fn log_softmax(x, dim: i64) -> Tensor { softmax(x, dim, true) }

    /// `log(sum(e^x))` over a dim, shifted by the maximum. An infinite maximum stays.
    fn logsumexp(x, dim: i64) -> Tensor {
        let x = look("logsumexp", &x)?;
        let dim = shape::resolve_dim("logsumexp", dim, x.rank())? as i64;
        let max = x.max_keep(dim)?.detach()?;
        let shift = max.abs().lt(f64::INFINITY)?.select(&max, 0.0)?;
        x.sub(&shift).exp().sum(dim).log().add(shift.squeeze(dim))
    }
}
