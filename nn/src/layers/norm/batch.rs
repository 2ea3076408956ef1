//! Batch normalisation (Ioffe and Szegedy 2015).

use ferrotape_tensor::chain::{BinaryChain, UnaryChain};
use ferrotape_tensor::{DType, Error, ErrorKind, Operand, Result, Tensor};

use super::check_eps;
use crate::Module;
use crate::ctx::Ctx;
use crate::module::{Buffer, Forward, Param};

/// `y = (x - mean) / sqrt(var + eps) * weight + bias` a channel, over images of `D` dims: PyTorch's `nn.BatchNorm1d`, `2d` and `3d`. In
/// training mean and (biased) variance are the batch's, and the running ones follow by `momentum` (with the unbiased variance); in
/// evaluation the running ones are used, if there are any.
///
/// ```
/// # use ferrotape_nn::{BatchNorm2d, BatchNorm2dConfig, Ctx, Forward};
/// # use ferrotape_tensor::{DType, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let x = Tensor::ones([2, 3, 4, 4], DType::F32)?;
/// let norm = BatchNorm2d::new(3)?;
/// assert_eq!(norm.forward(&x, &mut Ctx::eval())?.shape(), x.shape());
/// // Without parameters; the running statistics are plain averages over all batches.
/// let bare = BatchNorm2dConfig::new(3).affine(false).momentum(None).build()?;
/// assert!(bare.weight.is_none() && bare.running_mean.is_some());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct BatchNorm<const D: usize> {
    /// `[c]`, from 1.
    pub weight: Option<Param>,
    /// `[c]`, from 0.
    pub bias: Option<Param>,
    /// `[c]`, from 0.
    pub running_mean: Option<Buffer>,
    /// `[c]`, from 1.
    pub running_var: Option<Buffer>,
    /// Batches seen: i64.
    pub num_batches_tracked: Option<Buffer>,
    /// Added to the variance; 1e-5.
    #[module(skip)]
    pub eps: f64,
    /// Weight of the new batch in the running statistics; 0.1. `None`: all batches weigh the same.
    #[module(skip)]
    pub momentum: Option<f64>,
    #[module(skip)]
    channels: usize,
}

/// [`BatchNorm`] of `[n, c]` or `[n, c, l]`: PyTorch's `nn.BatchNorm1d`.
pub type BatchNorm1d = BatchNorm<1>;
/// [`BatchNorm`] of `[n, c, h, w]`: PyTorch's `nn.BatchNorm2d`.
pub type BatchNorm2d = BatchNorm<2>;
/// [`BatchNorm`] of `[n, c, d, h, w]`: PyTorch's `nn.BatchNorm3d`.
pub type BatchNorm3d = BatchNorm<3>;

/// Settings of a [`BatchNorm`].
#[derive(Debug, Clone, Copy)]
pub struct BatchNormConfig<const D: usize> {
    channels: usize,
    eps: f64,
    momentum: Option<f64>,
    affine: bool,
    track: bool,
    dtype: DType,
}

/// Settings of a [`BatchNorm1d`].
pub type BatchNorm1dConfig = BatchNormConfig<1>;
/// Settings of a [`BatchNorm2d`].
pub type BatchNorm2dConfig = BatchNormConfig<2>;
/// Settings of a [`BatchNorm3d`].
pub type BatchNorm3dConfig = BatchNormConfig<3>;

impl<const D: usize> BatchNormConfig<D> {
    /// For so many features (channels): eps 1e-5, momentum 0.1, affine, with running statistics, f32.
    pub fn new(num_features: usize) -> Self {
        let channels = num_features;
        let (affine, track) = (true, true);
        let (eps, momentum) = (1e-5, Some(0.1));
        BatchNormConfig { channels, eps, momentum, affine, track, dtype: DType::F32 }
    }

    /// Added to the variance.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Weight of the new batch in the running statistics; `None`: all batches weigh the same.
    pub fn momentum(mut self, momentum: impl Into<Option<f64>>) -> Self {
        self.momentum = momentum.into();
        self
    }

    /// With or without weight and bias.
    pub fn affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }

    /// With or without running statistics; without them evaluation uses the batch's, too.
    pub fn track_running_stats(mut self, track: bool) -> Self {
        self.track = track;
        self
    }

    /// Type of parameters and statistics.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// No features; an eps or a momentum that is negative or not finite; memory over the limit.
    pub fn build(self) -> Result<BatchNorm<D>> {
        let name = format!("batch_norm{D}d");
        check_eps(&name, self.eps)?;
        if self.channels == 0 || self.momentum.is_some_and(|m| !(m.is_finite() && m >= 0.0)) {
            let (features, momentum) = (self.channels, self.momentum);
            let message = format!("{name}: {features} features, momentum {momentum:?}");
            return Err(Error::new(ErrorKind::Module(message)));
        }
        let full = |value| Tensor::full([self.channels], value, self.dtype);
        let param = |value| full(value).map(Param::new);
        let buffer = |value| full(value).map(Buffer::new);
        Ok(BatchNorm {
            weight: self.affine.then(|| param(1.0)).transpose()?,
            bias: self.affine.then(|| param(0.0)).transpose()?,
            running_mean: self.track.then(|| buffer(0.0)).transpose()?,
            running_var: self.track.then(|| buffer(1.0)).transpose()?,
            num_batches_tracked: match self.track {
                true => Some(Buffer::new(Tensor::zeros((), DType::I64)?)),
                false => None,
            },
            eps: self.eps,
            momentum: self.momentum,
            channels: self.channels,
        })
    }
}

impl<const D: usize> BatchNorm<D> {
    /// For so many features (channels), f32; see [`BatchNormConfig`] for other settings.
    ///
    /// # Errors
    /// No features; memory over the limit.
    pub fn new(num_features: usize) -> Result<Self> {
        BatchNormConfig::new(num_features).build()
    }

    /// Moves the running statistics towards the batch's.
    fn follow(&self, mean: &Tensor, var: &Tensor, count: f64, ctx: &mut Ctx<'_>) -> Result<()> {
        let (Some(running_mean), Some(running_var), Some(seen)) =
            (&self.running_mean, &self.running_var, &self.num_batches_tracked)
        else {
            return Ok(());
        };
        let unbiased = count / (count - 1.0);
        let mut follow = |buffer: &Buffer, value: &Tensor, factor: f64| -> Result<()> {
            let share = match self.momentum {
                Some(_) => None,
                None => Some(ctx.current(seen).add(1.0).to_dtype(value.dtype()).reciprocal()?),
            };
            ctx.update_with(buffer, |running| {
                let [old, new]: [Operand<'_>; 2] = match (&share, self.momentum) {
                    (Some(share), _) => [share.mul(-1.0).add(1.0).into(), share.into()],
                    (None, momentum) => {
                        momentum.map_or([1.0, 0.0], |new| [1.0 - new, new]).map(Into::into)
                    }
                };
                let value = if factor == 1.0 { value.clone() } else { value.mul(factor)? };
                running.mul(old).add(value.mul(new))
            })
        };
        follow(running_mean, mean, 1.0)?;
        follow(running_var, var, unbiased)?;
        ctx.update_with(seen, |seen| seen.add(1.0))
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        let rank = x.rank() == D + 2 || (D == 1 && x.rank() == 2);
        if rank && x.shape()[1] == self.channels {
            return Ok(());
        }
        let expected = match D {
            1 => format!("[n, {0}] or [n, {0}, l]", self.channels),
            2 => format!("[n, {}, h, w]", self.channels),
            _ => format!("[n, {}, d, h, w]", self.channels),
        };
        let message = format!("batch_norm{D}d: input {:?}, {expected} expected", x.shape());
        Err(Error::new(ErrorKind::Module(message)))
    }
}

impl<const D: usize> Forward for BatchNorm<D> {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        self.check(x)?;
        let (weight, bias) = (self.weight.as_deref(), self.bias.as_deref());
        if let (false, Some(mean), Some(var)) =
            (ctx.is_training(), &self.running_mean, &self.running_var)
        {
            return x.batch_norm(mean, var, weight, bias, self.eps);
        }
        let count = (x.len() / self.channels.max(1)) as f64;
        if count <= 1.0 {
            let message =
                format!("batch_norm{D}d: {:?} has one value a channel: no variance", x.shape());
            return Err(Error::new(ErrorKind::Module(message)));
        }
        let (y, mean, var) = x.batch_norm_train(weight, bias, self.eps)?;
        self.follow(&mean, &var, count, ctx)?;
        Ok(y)
    }
}
