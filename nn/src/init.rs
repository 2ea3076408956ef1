//! Initial values of parameters, as in `torch.nn.init`. Shapes are `[out, in, ..]`; the rest of the dims is the receptive field.
//!
//! ```
//! use ferrotape_nn::{Linear, Param, init};
//! use ferrotape_tensor::{DType, Generator};
//! # fn main() -> ferrotape_tensor::Result<()> {
//! let mut rng = Generator::new(0);
//! let mut layer = Linear::new(4, 8, &mut rng)?;
//! layer.weight.set(init::xavier_uniform(&[8, 4], init::calculate_gain(init::Nonlinearity::Tanh), DType::F32, &mut rng)?);
//! # Ok(()) }
//! ```

mod drawn;

use ferrotape_tensor::{DType, Generator, Result, Tensor};

pub use drawn::{dirac, orthogonal, trunc_normal};

/// What follows a layer, and so how large its weights should be.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Nonlinearity {
    /// Nothing.
    Linear,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`
    #[default]
    ReLU,
    /// `x` above 0, and this slope below.
    LeakyReLU(f64),
    /// The self-normalising one.
    SELU,
}

/// The factor that keeps the variance from layer to layer: 1, for tanh 5/3, relu `sqrt(2)`, leaky relu `sqrt(2 / (1 + slope^2))`, selu 3/4.
/// PyTorch's `calculate_gain`.
pub fn calculate_gain(nonlinearity: Nonlinearity) -> f64 {
    match nonlinearity {
        Nonlinearity::Linear | Nonlinearity::Sigmoid => 1.0,
        Nonlinearity::Tanh => 5.0 / 3.0,
        Nonlinearity::ReLU => 2f64.sqrt(),
        Nonlinearity::LeakyReLU(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
        Nonlinearity::SELU => 0.75,
    }
}

/// Which variance [`kaiming_uniform`] and [`kaiming_normal`] keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FanMode {
    /// Forwards: by the inputs of a unit.
    #[default]
    FanIn,
    /// Backwards: by its outputs.
    FanOut,
}

/// Inputs and outputs of one unit: `(in * field, out * field)`.
pub fn fans(shape: &[usize]) -> (f64, f64) {
    let field: f64 = shape.iter().skip(2).map(|&size| size as f64).product();
    let size = |d: usize| shape.get(d).copied().unwrap_or(1) as f64;
    (size(1) * field, size(0) * field)
}

fn fan(shape: &[usize], mode: FanMode) -> f64 {
    let (inputs, outputs) = fans(shape);
    match mode {
        FanMode::FanIn => inputs.max(1.0),
        FanMode::FanOut => outputs.max(1.0),
    }
}

/// `U(-bound, bound)` with `bound = gain sqrt(3 / fan)` (He et al. 2015), PyTorch's `kaiming_uniform_`; `LeakyReLU(sqrt(5))` and the inputs are
/// the default of its Linear and Conv layers.
///
/// # Errors
/// An integer type; memory over the limit.
pub fn kaiming_uniform(
    shape: &[usize],
    nonlinearity: Nonlinearity,
    mode: FanMode,
    dtype: DType,
    rng: &mut Generator,
) -> Result<Tensor> {
    let gain = calculate_gain(nonlinearity);
    let bound = (3.0 * gain * gain / fan(shape, mode)).sqrt();
    rng.uniform(shape, -bound, bound, dtype)
}

/// The default of PyTorch's Linear and Conv layers: uniform within `1 / sqrt(fan_in)`.
pub(crate) fn default_weight(shape: &[usize], dtype: DType, rng: &mut Generator) -> Result<Tensor> {
    let a = 5f64.sqrt();
    let bound = (6.0 / ((1.0 + a * a) * fan(shape, FanMode::FanIn))).sqrt();
    rng.uniform(shape, -bound, bound, dtype)
}

/// `N(0, gain^2 / fan)` (He et al. 2015), PyTorch's `kaiming_normal_`.
///
/// # Errors
/// An integer type; memory over the limit.
pub fn kaiming_normal(
    shape: &[usize],
    nonlinearity: Nonlinearity,
    mode: FanMode,
    dtype: DType,
    rng: &mut Generator,
) -> Result<Tensor> {
    rng.normal(shape, 0.0, calculate_gain(nonlinearity) / fan(shape, mode).sqrt(), dtype)
}

/// `U(-bound, bound)` with `bound = gain sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010), PyTorch's `xavier_uniform_`.
///
/// # Errors
/// An integer type; memory over the limit.
pub fn xavier_uniform(
    shape: &[usize],
    gain: f64,
    dtype: DType,
    rng: &mut Generator,
) -> Result<Tensor> {
    let (fan_in, fan_out) = fans(shape);
    let bound = gain * (6.0 / (fan_in + fan_out).max(1.0)).sqrt();
    rng.uniform(shape, -bound, bound, dtype)
}

/// `N(0, gain^2 2 / (fan_in + fan_out))` (Glorot and Bengio 2010), PyTorch's `xavier_normal_`.
///
/// # Errors
/// An integer type; memory over the limit.
pub fn xavier_normal(
    shape: &[usize],
    gain: f64,
    dtype: DType,
    rng: &mut Generator,
) -> Result<Tensor> {
    let (fan_in, fan_out) = fans(shape);
    rng.normal(shape, 0.0, gain * (2.0 / (fan_in + fan_out).max(1.0)).sqrt(), dtype)
}

/// `U(-1/sqrt(fan_in), 1/sqrt(fan_in))` for a bias beside a weight of shape `weight`: PyTorch's default.
///
/// # Errors
/// An integer type; memory over the limit.
pub fn bias(weight: &[usize], dtype: DType, rng: &mut Generator) -> Result<Tensor> {
    let bound = 1.0 / fans(weight).0.max(1.0).sqrt();
    rng.uniform([weight.first().copied().unwrap_or(1)], -bound, bound, dtype)
}
