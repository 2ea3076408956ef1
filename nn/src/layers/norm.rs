//! Normalisation layers: of rows (Ba et al. 2016, Zhang and Sennrich 2019) and of groups of channels (Wu and He 2018).

mod batch;

use ferrotape_tensor::{DType, Dims, Error, ErrorKind, IntoShape, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::{Forward, Param};

pub use batch::{
    BatchNorm, BatchNorm1d, BatchNorm1dConfig, BatchNorm2d, BatchNorm2dConfig, BatchNorm3d,
    BatchNorm3dConfig, BatchNormConfig,
};

fn parameter(wanted: bool, shape: &[usize], value: f64, dtype: DType) -> Result<Option<Param>> {
    match wanted {
        true => Ok(Some(Param::new(Tensor::full(shape, value, dtype)?))),
        false => Ok(None),
    }
}

/// `y = (x - mean) / sqrt(var + eps) * weight + bias` over the last dims, `shape`: PyTorch's `nn.LayerNorm`.
///
/// ```
/// # use ferrotape_nn::{Ctx, Forward, LayerNorm};
/// # use ferrotape_tensor::Tensor;
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let y = LayerNorm::new(2)?.forward(&Tensor::from([[1f32, 3.], [5., 5.]]), &mut Ctx::eval())?;
/// assert!((y.to_vec::<f32>()?[1] - 1.0).abs() < 1e-4);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct LayerNorm {
    /// `shape`, from 1.
    pub weight: Option<Param>,
    /// `shape`, from 0.
    pub bias: Option<Param>,
    /// Added to the variance; 1e-5.
    #[module(skip)]
    pub eps: f64,
    #[module(skip)]
    shape: Dims,
}

/// Settings of a [`LayerNorm`].
#[derive(Debug, Clone)]
pub struct LayerNormConfig {
    shape: Dims,
    eps: f64,
    affine: bool,
    bias: bool,
    dtype: DType,
}

impl LayerNormConfig {
    /// Over the last dims, which are `shape`: eps 1e-5, weight and bias, f32.
    pub fn new(shape: impl IntoShape) -> Self {
        let (affine, bias, dtype) = (true, true, DType::F32);
        LayerNormConfig { shape: shape.into_shape(), eps: 1e-5, affine, bias, dtype }
    }

    /// Added to the variance.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// With or without weight and bias.
    pub fn elementwise_affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }

    /// With or without a bias beside the weight.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
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
    /// Memory over the limit.
    pub fn build(self) -> Result<LayerNorm> {
        Ok(LayerNorm {
            weight: parameter(self.affine, &self.shape, 1.0, self.dtype)?,
            bias: parameter(self.affine && self.bias, &self.shape, 0.0, self.dtype)?,
            eps: self.eps,
            shape: self.shape,
        })
    }
}

impl LayerNorm {
    /// Over the last dims, which are `shape`, f32; see [`LayerNormConfig`] for other settings.
    ///
    /// # Errors
    /// Memory over the limit.
    pub fn new(shape: impl IntoShape) -> Result<Self> {
        LayerNormConfig::new(shape).build()
    }
}

impl Forward for LayerNorm {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.layer_norm(&self.shape, self.weight.as_deref(), self.bias.as_deref(), self.eps)
    }
}

/// `y = x / sqrt(mean(x^2) + eps) * weight` over the last dims, `shape`: PyTorch's `nn.RMSNorm`.
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct RMSNorm {
    /// `shape`, from 1.
    pub weight: Option<Param>,
    /// Added to the mean square; `None`: the machine epsilon of x's type.
    #[module(skip)]
    pub eps: Option<f64>,
    #[module(skip)]
    shape: Dims,
}

impl RMSNorm {
    /// Over the last dims, which are `shape`, with a weight, f32.
    ///
    /// # Errors
    /// Memory over the limit.
    pub fn new(shape: impl IntoShape) -> Result<Self> {
        let shape = shape.into_shape();
        let weight = parameter(true, &shape, 1.0, DType::F32)?;
        Ok(RMSNorm { weight, eps: None, shape })
    }

    /// The same, with another `eps`.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = Some(eps);
        self
    }
}

impl Forward for RMSNorm {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.rms_norm(&self.shape, self.weight.as_deref(), self.eps)
    }
}

/// [`LayerNorm`] over each of `groups` groups of channels of each sample, with a weight and a bias a channel. x: `[n, c, ..]`. PyTorch's
/// `nn.GroupNorm`.
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
}

impl GroupNorm {
    /// `groups` groups of `channels` channels in all, with weight and bias, f32.
    ///
    /// # Errors
    /// Groups that don't divide the channels; memory over the limit.
    pub fn new(groups: usize, channels: usize) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            let message = format!("group_norm: {groups} groups don't divide {channels} channels");
            return Err(Error::new(ErrorKind::Module(message)));
        }
        let [weight, bias] =
            [1.0, 0.0].map(|value| parameter(true, &[channels], value, DType::F32));
        Ok(GroupNorm { weight: weight?, bias: bias?, eps: 1e-5, groups })
    }

    /// The same, with another `eps`.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }
}

impl Forward for GroupNorm {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.group_norm(self.groups, self.weight.as_deref(), self.bias.as_deref(), self.eps)
    }
}

/// Each channel of each sample normalised by itself, without parameters: PyTorch's `nn.InstanceNorm1d`, `2d` and `3d` at their defaults. x:
/// `[n, c, ..]`. With parameters it is a [`GroupNorm`] with as many groups as channels.
#[derive(Debug, Clone, Copy, Module)]
#[module(crate = crate)]
pub struct InstanceNorm {
    /// Added to the variance; 1e-5.
    #[module(skip)]
    pub eps: f64,
}

impl Default for InstanceNorm {
    fn default() -> Self {
        InstanceNorm { eps: 1e-5 }
    }
}

impl Forward for InstanceNorm {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.instance_norm(None, None, self.eps)
    }
}
