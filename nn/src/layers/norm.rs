//! Normalisation layers: of rows (Ba et al. 2016, Zhang and Sennrich 2019) and of groups of channels (Wu and He 2018).

mod batch;
mod groups;

use ferrotape_tensor::{DType, Dims, Error, ErrorKind, IntoShape, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::{Forward, Param};

pub use batch::{
    BatchNorm, BatchNorm1d, BatchNorm1dConfig, BatchNorm2d, BatchNorm2dConfig, BatchNorm3d,
    BatchNorm3dConfig, BatchNormConfig,
};
pub use groups::{
    GroupNorm, GroupNormConfig, InstanceNorm, InstanceNorm1d, InstanceNorm1dConfig, InstanceNorm2d,
    InstanceNorm2dConfig, InstanceNorm3d, InstanceNorm3dConfig, InstanceNormConfig,
    LocalResponseNorm,
};

/// An eps that keeps a division from 0.
fn check_eps(name: &str, eps: f64) -> Result<()> {
    match eps.is_finite() && eps >= 0.0 {
        true => Ok(()),
        false => refuse(format!("{name}: eps {eps} must be finite and not negative")),
    }
}

fn check_shape(name: &str, shape: &[usize]) -> Result<()> {
    match shape.is_empty() {
        true => refuse(format!("{name}: normalized_shape has no dims")),
        false => Ok(()),
    }
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Module(message)))
}

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
    /// Over the last dims, which are `normalized_shape`: eps 1e-5, weight and bias, f32.
    pub fn new(normalized_shape: impl IntoShape) -> Self {
        let shape = normalized_shape.into_shape();
        let (affine, bias, dtype) = (true, true, DType::F32);
        LayerNormConfig { shape, eps: 1e-5, affine, bias, dtype }
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
    /// A shape without dims; an eps that is negative or not finite; memory over the limit.
    pub fn build(self) -> Result<LayerNorm> {
        check_eps("layer_norm", self.eps)?;
        check_shape("layer_norm", &self.shape)?;
        Ok(LayerNorm {
            weight: parameter(self.affine, &self.shape, 1.0, self.dtype)?,
            bias: parameter(self.affine && self.bias, &self.shape, 0.0, self.dtype)?,
            eps: self.eps,
            shape: self.shape,
        })
    }
}

impl LayerNorm {
    /// Over the last dims, which are `normalized_shape`, f32; see [`LayerNormConfig`] for other settings.
    ///
    /// # Errors
    /// A shape without dims; memory over the limit.
    pub fn new(normalized_shape: impl IntoShape) -> Result<Self> {
        LayerNormConfig::new(normalized_shape).build()
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

/// Settings of an [`RMSNorm`].
#[derive(Debug, Clone)]
pub struct RMSNormConfig {
    shape: Dims,
    eps: Option<f64>,
    affine: bool,
    dtype: DType,
}

impl RMSNormConfig {
    /// Over the last dims, which are `normalized_shape`: eps as small as x's type has it, a weight, f32.
    pub fn new(normalized_shape: impl IntoShape) -> Self {
        let shape = normalized_shape.into_shape();
        RMSNormConfig { shape, eps: None, affine: true, dtype: DType::F32 }
    }

    /// Added to the mean square; `None`: the machine epsilon of x's type.
    pub fn eps(mut self, eps: impl Into<Option<f64>>) -> Self {
        self.eps = eps.into();
        self
    }

    /// With or without a weight.
    pub fn elementwise_affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }

    /// Type of the weight.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// A shape without dims; an eps that is negative or not finite; memory over the limit.
    pub fn build(self) -> Result<RMSNorm> {
        check_eps("rms_norm", self.eps.unwrap_or(0.0))?;
        check_shape("rms_norm", &self.shape)?;
        let weight = parameter(self.affine, &self.shape, 1.0, self.dtype)?;
        Ok(RMSNorm { weight, eps: self.eps, shape: self.shape })
    }
}

impl RMSNorm {
    /// Over the last dims, which are `normalized_shape`, with a weight, f32; see [`RMSNormConfig`] for other settings.
    ///
    /// # Errors
    /// A shape without dims; memory over the limit.
    pub fn new(normalized_shape: impl IntoShape) -> Result<Self> {
        RMSNormConfig::new(normalized_shape).build()
    }
}

impl Forward for RMSNorm {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.rms_norm(&self.shape, self.weight.as_deref(), self.eps)
    }
}
