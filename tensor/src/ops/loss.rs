//! Losses. Each has a plain form with PyTorch's defaults and a form `.._with` that takes the settings as a struct.

mod classes;
mod margins;
mod settings;

use std::f64::consts::TAU;

use crate::apply::{Operand, apply_one};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::Op;
use crate::ops::chain::{BinaryChain as _, ReduceChain as _, UnaryChain as _};
use crate::ops::{look, methods};
use crate::tensor::Tensor;

pub use margins::MarginLossChain;
pub use settings::{
    BCELoss, BCEWithLogitsLoss, CosineEmbeddingLoss, CrossEntropyLoss, GaussianNLLLoss,
    HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss, MarginRankingLoss,
    MultiLabelMarginLoss, MultiLabelSoftMarginLoss, MultiMarginLoss, NLLLoss, PoissonNLLLoss,
    Reduction, SmoothL1Loss, SoftMarginLoss, TripletMarginLoss,
};

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

/// True for floats of one type, not to be widened, on the CPU: a GPU computes the expression, with the same bits.
fn fits_one_operation(x: &Tensor, target: &Operand<'_>) -> bool {
    let wide = matches!(x.dtype(), DType::F32 | DType::F64) && x.device() == Device::Cpu;
    let alike = |y: &Tensor| y.dtype() == x.dtype() && y.device() == x.device();
    wide && target.tensor().is_some_and(alike)
}

/// What is left of the losses `loss` of a batch of this shape.
fn reduced(loss: Result<Tensor>, reduction: Reduction, shape: &[usize]) -> Result<Tensor> {
    match reduction {
        Reduction::None => loss,
        Reduction::Mean => loss.mean(..),
        Reduction::Sum => loss.sum(..),
        Reduction::BatchMean => loss.sum(..).div(batch(shape)),
    }
}

/// How many samples a batch of this shape holds.
fn batch(shape: &[usize]) -> f64 {
    shape.first().map_or(1.0, |&size| size as f64)
}

/// Times a weight, if there is one.
fn weighted(loss: Result<Tensor>, weight: Option<&Tensor>) -> Result<Tensor> {
    match weight {
        Some(weight) => loss.mul(weight),
        None => loss,
    }
}

/// `x - target`
fn difference(op: &'static str, x: &Operand<'_>, target: Operand<'_>) -> Result<Tensor> {
    let x = look(op, x)?;
    same_shape(op, x, &target)?;
    x.sub(target)
}

/// `d^2 / 2 scale` where `|d|` is within `reach`, `|d| - reach / 2` elsewhere: `small` says where.
fn rounded(d: &Tensor, small: &Tensor, reach: f64) -> Result<Tensor> {
    // Selected before the square: beyond it may be infinite, and its derivative there 0 * inf.
    let near = small.select(d, 0.0).square().mul(0.5 / reach);
    small.select(near, d.abs().sub(0.5 * reach))
}

/// `t log x + (1 - t) log(1 - x)`, the logarithms not below -100; where `x (1 - x)` is below 1e-12 the slope is taken at 1e-12.
/// Both are PyTorch's.
fn log_likelihood(x: &Tensor, t: &Tensor) -> Result<Tensor> {
    const EDGE: f64 = 1e-12;
    let edge = x.mul(x.mul(-1.0).add(1.0)).lt(EDGE)?;
    let inner = edge.select(0.5, x)?;
    let floor = |log: Result<Tensor>| log.clamp(-100.0, f64::INFINITY);
    let fixed = x.detach()?;
    let log = edge.select(floor(fixed.log()), inner.log())?;
    let log_rest = edge.select(floor(fixed.neg().log1p()), inner.neg().log1p())?;
    let value = log_rest.add(t.mul(log.sub(&log_rest)))?;
    // Of value 0 and of this slope.
    let slope = t.detach().sub(&fixed).mul(1.0 / EDGE);
    value.add(x.sub(&fixed).mul(edge.select(slope, 0.0)))
}

methods! {
    /// Losses, on `Result<Tensor>`.
    trait LossChain;

    /// Mean over the rows of `-log softmax(x)[row, target[row]]`: [`cross_entropy_with`](Tensor::cross_entropy_with) at its defaults. PyTorch's
    /// `cross_entropy`.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let loss = Tensor::from([[0f64, 0.]]).cross_entropy(&Tensor::from([1i64]))?;
    /// assert!((loss.item::<f64>()? - 2f64.ln()).abs() < 1e-15);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Shapes that don't fit; a class that is not there, with its row.
    fn cross_entropy(x, target: &Tensor) -> Tensor {
        classes::cross_entropy(look("cross_entropy", &x)?, target, &CrossEntropyLoss::default())
    }

    /// `-log softmax(x)[target]` over dim 1 (dim 0 of a vector). x: logits `[n, classes, ..]` or `[classes]`. target: class numbers,
    /// i64 `[n, ..]`, or probabilities of x's shape: then `-sum(target log softmax(x))`. The mean is over the rows that count, by
    /// their weights; of nothing it is NaN. PyTorch's `cross_entropy`.
    ///
    /// ```
    /// # use ferrotape_tensor::{CrossEntropyLoss, Reduction, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (x, target) = (Tensor::from([[0f64, 0.], [3., 1.]]), Tensor::from([1i64, 0]));
    /// let settings = CrossEntropyLoss::default().ignore_index(0).reduction(Reduction::None);
    /// let loss = x.cross_entropy_with(&target, settings)?.to_vec::<f64>()?;
    /// assert!((loss[0] - 2f64.ln()).abs() < 1e-15 && loss[1] == 0.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Shapes that don't fit; a class that is not there, with its row; a smoothing outside `0..=1`.
    fn cross_entropy_with<'b>(x, target: &Tensor, settings: CrossEntropyLoss<'b>) -> Tensor {
        classes::cross_entropy(look("cross_entropy", &x)?, target, &settings)
    }

    /// `-log softmax(x)[row, target[row]]`, one a row. x: `[rows, classes]`.
    fn cross_entropy_rows(x, target: &Tensor) -> Tensor {
        crate::apply::apply_one(&Op::CrossEntropy, &mut [x, target.into()])
    }

    /// Mean over the rows of `-x[row, target[row]]`, x being log probabilities: PyTorch's `nll_loss`.
    ///
    /// # Errors
    /// As [`cross_entropy`](Tensor::cross_entropy).
    fn nll_loss(x, target: &Tensor) -> Tensor {
        classes::nll_loss(look("nll_loss", &x)?, target, &NLLLoss::default())
    }

    /// `-weight[target] x[target]` over dim 1 (dim 0 of a vector). x: log probabilities `[n, classes, ..]`, target: i64 `[n, ..]`. The
    /// mean is over the rows that count, by their weights; of nothing it is NaN. PyTorch's `nll_loss`.
    ///
    /// # Errors
    /// As [`cross_entropy_with`](Tensor::cross_entropy_with).
    fn nll_loss_with<'b>(x, target: &Tensor, settings: NLLLoss<'b>) -> Tensor {
        classes::nll_loss(look("nll_loss", &x)?, target, &settings)
    }

    /// Mean of `(x - target)^2`: PyTorch's `mse_loss`.
    ///
    /// # Errors
    /// A target of another shape: PyTorch would broadcast and warn.
    fn mse_loss<'b>(x, target: impl Into<Operand<'b>>) -> Tensor {
        let target = target.into();
        if !fits_one_operation(look("mse_loss", &x)?, &target) {
            return difference("mse_loss", &x, target).square().mean(..);
        }
        apply_one(&Op::MseLoss, &mut [x, target])
    }

    /// `(x - target)^2`: PyTorch's `mse_loss`.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn mse_loss_with<'b>(x, target: impl Into<Operand<'b>>, settings: MSELoss) -> Tensor {
        if let Reduction::Mean = settings.reduction {
            return x.mse_loss(target);
        }
        let shape = look("mse_loss", &x)?.shape();
        reduced(difference("mse_loss", &x, target.into()).square(), settings.reduction, shape)
    }

    /// Mean of `|x - target|`: PyTorch's `l1_loss`.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn l1_loss<'b>(x, target: impl Into<Operand<'b>>) -> Tensor {
        difference("l1_loss", &x, target.into()).abs().mean(..)
    }

    /// `|x - target|`: PyTorch's `l1_loss`.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn l1_loss_with<'b>(x, target: impl Into<Operand<'b>>, settings: L1Loss) -> Tensor {
        let shape = look("l1_loss", &x)?.shape();
        reduced(difference("l1_loss", &x, target.into()).abs(), settings.reduction, shape)
    }

    /// [`smooth_l1_loss_with`](Tensor::smooth_l1_loss_with) at its defaults: beta 1, the mean.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn smooth_l1_loss<'b>(x, target: impl Into<Operand<'b>>) -> Tensor {
        look("smooth_l1_loss", &x)?.smooth_l1_loss_with(target, SmoothL1Loss::default())
    }

    /// With `d = x - target`: `d^2 / 2 beta` where `|d| < beta`, `|d| - beta / 2` elsewhere. PyTorch's `smooth_l1_loss`.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss); a negative beta.
    fn smooth_l1_loss_with<'b>(x, target: impl Into<Operand<'b>>, settings: SmoothL1Loss) -> Tensor {
        let SmoothL1Loss { beta, reduction } = settings;
        if beta.is_nan() || beta < 0.0 {
            return Err(Error::argument("smooth_l1_loss", format!("beta {beta} is negative")));
        }
        let d = difference("smooth_l1_loss", &x, target.into())?;
        let loss = if beta == 0.0 { d.abs() } else { rounded(&d, &d.abs().lt(beta)?, beta) };
        reduced(loss, reduction, d.shape())
    }

    /// [`huber_loss_with`](Tensor::huber_loss_with) at its defaults: delta 1, the mean.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn huber_loss<'b>(x, target: impl Into<Operand<'b>>) -> Tensor {
        look("huber_loss", &x)?.huber_loss_with(target, HuberLoss::default())
    }

    /// With `d = x - target`: `d^2 / 2` where `|d| <= delta`, `delta (|d| - delta / 2)` elsewhere. PyTorch's `huber_loss`.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss); a delta that is not positive.
    fn huber_loss_with<'b>(x, target: impl Into<Operand<'b>>, settings: HuberLoss) -> Tensor {
        let HuberLoss { delta, reduction } = settings;
        if delta.is_nan() || delta <= 0.0 {
            return Err(Error::argument("huber_loss", format!("delta {delta} is not positive")));
        }
        let d = difference("huber_loss", &x, target.into())?;
        let loss = rounded(&d, &d.abs().le(delta)?, delta).mul(delta);
        reduced(loss, reduction, d.shape())
    }

    /// [`binary_cross_entropy_with`](Tensor::binary_cross_entropy_with) at its defaults: no weight, the mean.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn binary_cross_entropy(x, target: &Tensor) -> Tensor {
        look("binary_cross_entropy", &x)?.binary_cross_entropy_with(target, BCELoss::default())
    }

    /// `-weight (target log x + (1 - target) log(1 - x))`, x being probabilities (outside `0..=1`: NaN); a logarithm is not below -100.
    /// [`bce_with_logits`](Tensor::bce_with_logits) is more accurate. PyTorch's `binary_cross_entropy`.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss); a weight that does not broadcast.
    fn binary_cross_entropy_with<'b>(x, target: &Tensor, settings: BCELoss<'b>) -> Tensor {
        let x = look("binary_cross_entropy", &x)?;
        same_shape("binary_cross_entropy", x, &target.into())?;
        let loss = log_likelihood(x, target).neg();
        reduced(weighted(loss, settings.weight), settings.reduction, x.shape())
    }

    /// Mean of `max(x, 0) - x t + log(1 + e^-|x|)`, x being logits, t probabilities: PyTorch's `binary_cross_entropy_with_logits`.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn bce_with_logits(x, target: &Tensor) -> Tensor {
        let x = look("bce_with_logits", &x)?;
        same_shape("bce_with_logits", x, &target.into())?;
        x.softplus().sub(x.mul(target)).mean(..)
    }

    /// `-weight (pos_weight target log sigmoid(x) + (1 - target) log(1 - sigmoid(x)))`, x being logits: PyTorch's
    /// `binary_cross_entropy_with_logits`.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss); weights that don't broadcast.
    fn bce_with_logits_with<'b>(x, target: &Tensor, settings: BCEWithLogitsLoss<'b>) -> Tensor {
        let x = look("bce_with_logits", &x)?;
        same_shape("bce_with_logits", x, &target.into())?;
        // Both parts are positive: nothing cancels, whatever the target and however sure x is.
        let positive = x.neg().softplus().mul(target);
        let positive = match settings.pos_weight {
            None => positive,
            Some(weight) => positive.mul(weight),
        };
        let loss = x.softplus().mul(target.mul(-1.0).add(1.0)).add(positive?);
        reduced(weighted(loss, settings.weight), settings.reduction, x.shape())
    }

    /// Mean of `target (log target - x)`, x being log probabilities, target probabilities: PyTorch's `kl_div`.
    /// [`KLDivLoss`] with [`Reduction::BatchMean`] gives the divergence itself.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn kl_div(x, target: &Tensor) -> Tensor {
        look("kl_div", &x)?.kl_div_with(target, KLDivLoss::default())
    }

    /// `target (log target - x)`, or `e^target (target - x)` if `log_target`; x being log probabilities. PyTorch's `kl_div`.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn kl_div_with(x, target: &Tensor, settings: KLDivLoss) -> Tensor {
        let x = look("kl_div", &x)?;
        same_shape("kl_div", x, &target.into())?;
        let loss = if settings.log_target {
            target.exp().mul(target.sub(x))
        } else {
            // t log t is 0 at 0, and its slope is not asked for there.
            let log = target.eq(0.0).select(1.0, target).log();
            target.mul(log).sub(target.mul(x))
        };
        reduced(loss, settings.reduction, x.shape())
    }

    /// [`poisson_nll_loss_with`](Tensor::poisson_nll_loss_with) at its defaults: x is a logarithm, no Stirling term, the mean.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn poisson_nll_loss(x, target: &Tensor) -> Tensor {
        look("poisson_nll_loss", &x)?.poisson_nll_loss_with(target, PoissonNLLLoss::default())
    }

    /// `e^x - target x`, or `x - target log(x + eps)` without `log_input`. With `full` also Stirling's
    /// `target log target - target + log(2 pi target) / 2` where `target > 1`. PyTorch's `poisson_nll_loss`.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn poisson_nll_loss_with(x, target: &Tensor, settings: PoissonNLLLoss) -> Tensor {
        let x = look("poisson_nll_loss", &x)?;
        same_shape("poisson_nll_loss", x, &target.into())?;
        let loss = match settings.log_input {
            true => x.exp().sub(target.mul(x)),
            false => x.sub(target.mul(x.add(settings.eps).log())),
        };
        let loss = match settings.full {
            false => loss,
            true => {
                let many = target.gt(1.0)?;
                let t = many.select(target, 2.0)?;
                let stirling = t.mul(t.log()).sub(&t).add(t.mul(TAU).log().mul(0.5));
                loss.add(many.select(stirling, 0.0))
            }
        };
        reduced(loss, settings.reduction, x.shape())
    }

    /// [`hinge_embedding_loss_with`](Tensor::hinge_embedding_loss_with) at its defaults: margin 1, the mean.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn hinge_embedding_loss(x, target: &Tensor) -> Tensor {
        look("hinge_embedding_loss", &x)?.hinge_embedding_loss_with(target, HingeEmbeddingLoss::default())
    }

    /// `x` where target is 1, `max(0, margin - x)` where it is -1 (the sum of both elsewhere): PyTorch's `hinge_embedding_loss`.
    ///
    /// # Errors
    /// As [`mse_loss`](Tensor::mse_loss).
    fn hinge_embedding_loss_with(x, target: &Tensor, settings: HingeEmbeddingLoss) -> Tensor {
        let x = look("hinge_embedding_loss", &x)?;
        same_shape("hinge_embedding_loss", x, &target.into())?;
        let hinge = x.neg().add(settings.margin).clamp(0.0, f64::INFINITY);
        let loss = target.ne(1.0).select(hinge, 0.0).add(target.ne(-1.0).select(x, 0.0));
        reduced(loss, settings.reduction, x.shape())
    }
}
