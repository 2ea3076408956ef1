//! Normalisation of groups of channels (Wu and He 2018) and of each channel (Ulyanov et al. 2016).

use ferrotape_tensor::{DType, Result, Tensor};

use super::{check_eps, parameter, refuse};
use crate::Module;
use crate::ctx::Ctx;
use crate::module::{Forward, Param};

/// [`LayerNorm`](crate::LayerNorm) over each of `groups` groups of channels of each sample, with a weight and a bias a channel. x: `[n, c, ..]`.
/// PyTorch's `nn.GroupNorm`.
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct GroupNorm {
    /// `[c]`, from 1.
    pub weight: Option<Param>,
    /// `[c]`, from 0.
    pub bias: Option<Param>,
    /// Added to the variance; 1e-5.
    #[module(skip)]
    pub eps: f64,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    channels: usize,
}

/// `x / (k + alpha mean of squares of the nearest size channels)^beta`, the channels beyond the first and last being 0: PyTorch's
/// `nn.LocalResponseNorm`. x: `[n, c, ..]`.
#[derive(Debug, Clone, Copy, PartialEq, Module)]
#[module(crate = crate)]
pub struct LocalResponseNorm {
    /// How many channels count.
    #[module(skip)]
    pub size: usize,
    /// 1e-4.
    #[module(skip)]
    pub alpha: f64,
    /// 0.75.
    #[module(skip)]
    pub beta: f64,
    /// 1.
    #[module(skip)]
    pub k: f64,
}

impl LocalResponseNorm {
    /// Of so many channels, at PyTorch's defaults: alpha 1e-4, beta 0.75, k 1.
    pub fn new(size: usize) -> Self {
        LocalResponseNorm { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }
}

impl Forward for LocalResponseNorm {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.local_response_norm(self.size, self.alpha, self.beta, self.k)
    }
}

/// Settings of a [`GroupNorm`].
#[derive(Debug, Clone, Copy)]
pub struct GroupNormConfig {
    groups: usize,
    channels: usize,
    eps: f64,
    affine: bool,
    dtype: DType,
}

impl GroupNormConfig {
    /// `num_groups` groups of `num_channels` channels in all: eps 1e-5, weight and bias, f32.
    pub fn new(num_groups: usize, num_channels: usize) -> Self {
        let (groups, channels) = (num_groups, num_channels);
        GroupNormConfig { groups, channels, eps: 1e-5, affine: true, dtype: DType::F32 }
    }

    /// Added to the variance.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// With or without weight and bias.
    pub fn affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }

    /// Type of the parameters.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// No channels, groups that don't divide them; an eps that is negative or not finite; memory over the limit.
    pub fn build(self) -> Result<GroupNorm> {
        let GroupNormConfig { groups, channels, eps, affine, dtype } = self;
        check_eps("group_norm", eps)?;
        if groups == 0 || channels == 0 || !channels.is_multiple_of(groups) {
            return refuse(format!("group_norm: {groups} groups don't divide {channels} channels"));
        }
        let weight = parameter(affine, &[channels], 1.0, dtype)?;
        Ok(GroupNorm {
            weight,
            bias: parameter(affine, &[channels], 0.0, dtype)?,
            eps,
            groups,
            channels,
        })
    }
}

impl GroupNorm {
    /// `num_groups` groups of `num_channels` channels in all, with weight and bias, f32; see [`GroupNormConfig`] for other settings.
    ///
    /// # Errors
    /// No channels, groups that don't divide them; memory over the limit.
    pub fn new(num_groups: usize, num_channels: usize) -> Result<Self> {
        GroupNormConfig::new(num_groups, num_channels).build()
    }
}

/// x has so many channels in dim 1.
fn check_channels(name: &str, x: &Tensor, channels: usize) -> Result<()> {
    match x.shape().get(1) == Some(&channels) {
        true => Ok(()),
        false => refuse(format!("{name}: input {:?}, [n, {channels}, ..] expected", x.shape())),
    }
}

impl Forward for GroupNorm {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        if self.weight.is_none() {
            check_channels("group_norm", x, self.channels)?;
        }
        x.group_norm(self.groups, self.weight.as_deref(), self.bias.as_deref(), self.eps)
    }
}

/// Each channel of each sample normalised by itself, `D` dims behind the channels: PyTorch's `nn.InstanceNorm1d`, `2d` and `3d`. x:
/// `[n, c, ..]` or `[c, ..]`. Without parameters unless asked for, as there; it keeps no running statistics.
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct InstanceNorm<const D: usize> {
    /// `[c]`, from 1.
    pub weight: Option<Param>,
    /// `[c]`, from 0.
    pub bias: Option<Param>,
    /// Added to the variance; 1e-5.
    #[module(skip)]
    pub eps: f64,
    #[module(skip)]
    channels: usize,
}

/// [`InstanceNorm`] of `[n, c, l]` or `[c, l]`: PyTorch's `nn.InstanceNorm1d`.
pub type InstanceNorm1d = InstanceNorm<1>;
/// [`InstanceNorm`] of `[n, c, h, w]` or `[c, h, w]`: PyTorch's `nn.InstanceNorm2d`.
pub type InstanceNorm2d = InstanceNorm<2>;
/// [`InstanceNorm`] of `[n, c, d, h, w]` or `[c, d, h, w]`: PyTorch's `nn.InstanceNorm3d`.
pub type InstanceNorm3d = InstanceNorm<3>;

/// Settings of an [`InstanceNorm`].
#[derive(Debug, Clone, Copy)]
pub struct InstanceNormConfig<const D: usize> {
    channels: usize,
    eps: f64,
    affine: bool,
    dtype: DType,
}

/// Settings of an [`InstanceNorm1d`].
pub type InstanceNorm1dConfig = InstanceNormConfig<1>;
/// Settings of an [`InstanceNorm2d`].
pub type InstanceNorm2dConfig = InstanceNormConfig<2>;
/// Settings of an [`InstanceNorm3d`].
pub type InstanceNorm3dConfig = InstanceNormConfig<3>;

impl<const D: usize> InstanceNormConfig<D> {
    /// For so many features (channels): eps 1e-5, no weight and bias, f32.
    pub fn new(num_features: usize) -> Self {
        InstanceNormConfig { channels: num_features, eps: 1e-5, affine: false, dtype: DType::F32 }
    }

    /// Added to the variance.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// With or without weight and bias.
    pub fn affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }

    /// Type of the parameters.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// No features; an eps that is negative or not finite; memory over the limit.
    pub fn build(self) -> Result<InstanceNorm<D>> {
        let InstanceNormConfig { channels, eps, affine, dtype } = self;
        check_eps("instance_norm", eps)?;
        if channels == 0 {
            return refuse("instance_norm: no features".to_string());
        }
        let weight = parameter(affine, &[channels], 1.0, dtype)?;
        Ok(InstanceNorm {
            weight,
            bias: parameter(affine, &[channels], 0.0, dtype)?,
            eps,
            channels,
        })
    }
}

impl<const D: usize> InstanceNorm<D> {
    /// For so many features (channels), without weight and bias; see [`InstanceNormConfig`] for other settings.
    ///
    /// # Errors
    /// No features.
    pub fn new(num_features: usize) -> Result<Self> {
        InstanceNormConfig::new(num_features).build()
    }
}

impl<const D: usize> Forward for InstanceNorm<D> {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        let alone = x.rank() == D + 1;
        let batch = if alone { x.unsqueeze(0)? } else { x.clone() };
        if batch.rank() != D + 2 || batch.shape()[1] != self.channels {
            let (found, channels) = (x.shape(), self.channels);
            return refuse(format!(
                "instance_norm{D}d: input {found:?}, [n, {channels}, {D} dims] or [{channels}, {D} dims] expected"
            ));
        }
        let y = batch.instance_norm(self.weight.as_deref(), self.bias.as_deref(), self.eps)?;
        if alone { y.squeeze(0) } else { Ok(y) }
    }
}
