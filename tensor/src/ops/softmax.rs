//! Softmax and the losses made of it.

use crate::apply::{Operand, apply_one};
use crate::error::{Error, Result};
use crate::op::Op;
use crate::ops::chain::{BinaryChain as _, ReduceChain as _, UnaryChain as _};
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

/// The loss takes the target's shape: broadcasting there hides a mistake.
fn same_shape(op: &'static str, x: &Tensor, target: &Operand<'_>) -> Result<()> {
    match target.tensor() {
        Some(target) if target.shape() != x.shape() => {
            let message =
                format!("prediction {:?} and target {:?} differ", x.shape(), target.shape());
            Err(Error::shape(op, message))
        }
        _ => Ok(()),
    }
}

methods! {
    /// Softmax and losses, on `Result<Tensor>`.
    trait SoftmaxChain;

    /// `e^x / sum(e^x)` along a dim, shifted by the maximum.
    fn softmax(x, dim: i64) -> Tensor { softmax(x, dim, false) }

    /// `log(softmax(x))` along a dim.
    fn log_softmax(x, dim: i64) -> Tensor { softmax(x, dim, true) }

    /// Mean over the rows of `-log softmax(x)[row, target[row]]`. x: `[rows, classes]` logits, target: i64 class numbers. PyTorch's
    /// `cross_entropy`.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let loss = Tensor::from([[0f64, 0.]]).cross_entropy(&Tensor::from([1i64]))?;
    /// assert!((loss.item::<f64>()? - 2f64.ln()).abs() < 1e-15);
    /// # Ok(()) }
    /// ```
    fn cross_entropy(x, target: &Tensor) -> Tensor {
        apply_one(&Op::CrossEntropy, &mut [x, target.into()]).mean(..)
    }

    /// `-log softmax(x)[row, target[row]]`, one a row.
    fn cross_entropy_rows(x, target: &Tensor) -> Tensor {
        apply_one(&Op::CrossEntropy, &mut [x, target.into()])
    }

    /// Mean of `(x - target)^2`: PyTorch's `mse_loss`.
    fn mse_loss<'b>(x, target: impl Into<Operand<'b>>) -> Tensor {
        let target = target.into();
        same_shape("mse_loss", look("mse_loss", &x)?, &target)?;
        look("mse_loss", &x)?.sub(target).square().mean(..)
    }

    /// Mean of `max(x, 0) - x t + log(1 + e^-|x|)`, x being logits, t probabilities: PyTorch's `binary_cross_entropy_with_logits`.
    fn bce_with_logits(x, target: &Tensor) -> Tensor {
        let x = look("bce_with_logits", &x)?;
        same_shape("bce_with_logits", x, &target.into())?;
        x.softplus().sub(x.mul(target)).mean(..)
    }
}
