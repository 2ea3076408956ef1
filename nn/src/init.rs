//! Initial values of parameters, as in `torch.nn.init`. Shapes are `[out, in, ..]`; the rest of the dims is the receptive field.

use ferrotape_tensor::{DType, Generator, Result, Tensor};

/// Inputs and outputs of one unit: `(in * field, out * field)`.
pub fn fans(shape: &[usize]) -> (f64, f64) {
    let field: usize = shape.iter().skip(2).product();
    let size = |d: usize| shape.get(d).copied().unwrap_or(1);
    ((size(1) * field) as f64, (size(0) * field) as f64)
}

/// `U(-bound, bound)` with `bound = gain sqrt(3 / fan_in)` and `gain = sqrt(2 / (1 + a^2))` (He et al. 2015), PyTorch's `kaiming_uniform_`;
/// `a = sqrt(5)` is the default of its Linear and Conv layers.
///
/// # Errors
/// Memory over the limit.
pub fn kaiming_uniform(
    shape: &[usize],
    a: f64,
    dtype: DType,
    rng: &mut Generator,
) -> Result<Tensor> {
    let bound = (6.0 / ((1.0 + a * a) * fans(shape).0.max(1.0))).sqrt();
    rng.uniform(shape, -bound, bound, dtype)
}

/// `N(0, gain^2 / fan_in)` with `gain = sqrt(2)`, for relu (He et al. 2015).
///
/// # Errors
/// Memory over the limit.
pub fn kaiming_normal(shape: &[usize], dtype: DType, rng: &mut Generator) -> Result<Tensor> {
    rng.normal(shape, 0.0, (2.0 / fans(shape).0.max(1.0)).sqrt(), dtype)
}

/// `U(-bound, bound)` with `bound = gain sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010).
///
/// # Errors
/// Memory over the limit.
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

/// `N(0, gain^2 2 / (fan_in + fan_out))` (Glorot and Bengio 2010).
///
/// # Errors
/// Memory over the limit.
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
/// Memory over the limit.
pub fn bias(weight: &[usize], dtype: DType, rng: &mut Generator) -> Result<Tensor> {
    let bound = 1.0 / fans(weight).0.max(1.0).sqrt();
    rng.uniform([weight.first().copied().unwrap_or(1)], -bound, bound, dtype)
}
