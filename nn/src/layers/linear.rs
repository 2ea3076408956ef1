//! `y = x W^T + b`

use ferrotape_tensor::{DType, Generator, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::init;
use crate::module::{Forward, Joint, Param};

/// `y = x W^T + b`; x: `[.., in]`, y: `[.., out]`, weight: `[out, in]`, bias: `[out]`. PyTorch's `nn.Linear`, with its
/// initialisation: both uniform within `1 / sqrt(in)`.
///
/// ```
/// # use ferrotape_nn::{Ctx, Forward, Linear};
/// # use ferrotape_tensor::{DType, Generator, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let layer = Linear::new(3, 2, &mut Generator::new(0))?;
/// let y = layer.forward(&Tensor::ones([5, 3], DType::F32)?, &mut Ctx::eval())?;
/// assert_eq!(y.shape(), [5, 2]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Param,
    /// `[out]`
    pub bias: Option<Param>,
}

/// Settings of a [`Linear`].
#[derive(Debug, Clone, Copy)]
pub struct LinearConfig {
    in_features: usize,
    out_features: usize,
    bias: bool,
    dtype: DType,
}

impl LinearConfig {
    /// `in_features` to `out_features`, with a bias, f32.
    pub fn new(in_features: usize, out_features: usize) -> Self {
        LinearConfig { in_features, out_features, bias: true, dtype: DType::F32 }
    }

    /// With or without a bias.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Type of the parameters.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The layer with random parameters.
    ///
    /// # Errors
    /// An integer type; memory over the limit.
    pub fn build(self, rng: &mut Generator) -> Result<Linear> {
        let shape = [self.out_features, self.in_features];
        let weight = Param::new(init::default_weight(&shape, self.dtype, rng)?);
        let bias = match self.bias {
            true => Some(Param::new(init::bias(&shape, self.dtype, rng)?)),
            false => None,
        };
        Ok(Linear { weight, bias })
    }
}

impl Linear {
    /// A layer from `in_features` to `out_features` with a bias, f32; see [`LinearConfig`] for others.
    ///
    /// # Errors
    /// Memory over the limit.
    pub fn new(in_features: usize, out_features: usize, rng: &mut Generator) -> Result<Linear> {
        LinearConfig::new(in_features, out_features).build(rng)
    }
}

impl Forward for Linear {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.linear(&self.weight, self.bias.as_deref())
    }
    fn joint(&self) -> Joint<'_> {
        Joint::Linear(self)
    }
}
