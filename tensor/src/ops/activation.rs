//! Activations as expressions of other operations; at their kinks they have PyTorch's derivatives.

use std::f64::consts::FRAC_2_PI;

use super::maths::{held, scaled};
use crate::apply::Operand;
use crate::error::{Error, Result};
use crate::ops::chain::{BinaryChain as _, SoftmaxChain as _, UnaryChain as _};
use crate::ops::{look, methods};
use crate::shape::{self, Dims};
use crate::tensor::Tensor;

/// `x` where it is above 0, `scale (e^(x / width) - 1)` elsewhere.
fn exponential_below(x: &Tensor, above: f64, scale: f64, width: f64) -> Result<Tensor> {
    let positive = x.gt(0.0)?;
    // The unused side must not overflow: its derivative would be 0 * inf.
    let below = positive.select(0.0, x)?;
    let below = if width == 1.0 { below } else { below.div(width)? };
    positive.select(scaled(Ok(x.clone()), above), scaled(below.expm1(), scale))
}

methods! {
    /// Activations, on `Result<Tensor>`.
    trait ActivationChain;

    /// `x` above 0, `alpha (e^x - 1)` elsewhere.
    fn elu(x, alpha: f64) -> Tensor { exponential_below(look("elu", &x)?, 1.0, alpha, 1.0) }
    /// `x` above 0, `alpha (e^(x / alpha) - 1)` elsewhere.
    ///
    /// # Errors
    /// An alpha of 0.
    fn celu(x, alpha: f64) -> Tensor {
        if alpha == 0.0 {
            return Err(Error::argument("celu", "alpha must not be 0"));
        }
        exponential_below(look("celu", &x)?, 1.0, alpha, alpha)
    }
    /// `elu` with the alpha and the scale that keep a deep net's mean 0 and variance 1.
    fn selu(x) -> Tensor {
        let (alpha, scale) = (1.6732632423543772, 1.0507009873554805);
        exponential_below(look("selu", &x)?, scale, scale * alpha, 1.0)
    }
    /// `x` above 0, `weight x` elsewhere; weight: one number, or one a channel (dim 1, as `[C]`).
    ///
    /// # Errors
    /// A weight of another length.
    fn prelu<'b>(x, weight: impl Into<Operand<'b>>) -> Tensor {
        let x = look("prelu", &x)?;
        let weight = held("prelu", weight.into())?;
        let channels = if x.rank() < 2 { 1 } else { x.shape()[1] };
        let to = match weight.len() {
            1 if weight.rank() < 2 => Dims::new(),
            len if len == channels && weight.rank() == 1 => {
                let mut to = Dims::from_elem(1, x.rank().saturating_sub(1));
                to[0] = channels;
                to
            }
            _ => {
                let message = format!("{:?}, weight {:?}: one weight, or one a channel", x.shape(), weight.shape());
                return Err(Error::shape("prelu", message));
            }
        };
        x.gt(0.0)?.select(x, weight.reshape(to).mul(x))
    }

    /// `x Phi(x)` by way of tanh: `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`, PyTorch's
    /// `gelu(approximate="tanh")`.
    fn gelu_tanh(x) -> Tensor {
        let x = look("gelu", &x)?;
        // (1 + tanh z) / 2 = sigmoid(2z), which keeps its digits where tanh is near -1.
        let twice = 2.0 * FRAC_2_PI.sqrt();
        x.square().mul(0.044715 * twice).add(twice).mul(x).sigmoid().mul(x)
    }
    /// `x tanh(softplus(x))`
    fn mish(x) -> Tensor {
        let x = look("mish", &x)?;
        x.softplus().tanh().mul(x)
    }
    /// `log(1 + e^(beta x)) / beta`, and x itself where `beta x` is above `threshold`; PyTorch's defaults: 1 and 20.
    ///
    /// # Errors
    /// A beta of 0.
    fn softplus_with(x, beta: f64, threshold: f64) -> Tensor {
        if beta == 0.0 {
            return Err(Error::argument("softplus", "beta must not be 0"));
        }
        let x = look("softplus", &x)?;
        let steep = x.mul(beta)?;
        steep.gt(threshold)?.select(x, steep.softplus().div(beta))
    }
    /// `log(sigmoid(x))`, which never overflows.
    fn logsigmoid(x) -> Tensor { look("logsigmoid", &x)?.neg().softplus().neg() }

    /// `x` kept within `min..=max`. As in PyTorch the derivative at the bounds is 0.
    ///
    /// # Errors
    /// `min` above `max`.
    fn hardtanh(x, min: f64, max: f64) -> Tensor {
        if min > max {
            return Err(Error::argument("hardtanh", format!("min {min} is above max {max}")));
        }
        let x = look("hardtanh", &x)?;
        x.le(min)?.select(min, x.ge(max)?.select(max, x))
    }
    /// `x` kept within `0..=6`.
    fn relu6(x) -> Tensor { look("relu6", &x)?.hardtanh(0.0, 6.0) }
    /// `relu6(x + 3) / 6`
    fn hardsigmoid(x) -> Tensor { look("hardsigmoid", &x)?.add(3.0)?.relu6().div(6.0) }
    /// `x relu6(x + 3) / 6`
    fn hardswish(x) -> Tensor {
        let x = look("hardswish", &x)?;
        let middle = x.add(3.0).mul(x).div(6.0);
        x.le(-3.0)?.select(0.0, x.ge(3.0)?.select(x, middle))
    }
    /// `x` above `threshold`, `value` elsewhere.
    fn threshold(x, threshold: f64, value: f64) -> Tensor {
        let x = look("threshold", &x)?;
        x.le(threshold)?.select(value, x)
    }
    /// `x` outside `-lambda..=lambda`, 0 inside; PyTorch's default: 0.5.
    fn hardshrink(x, lambda: f64) -> Tensor {
        let x = look("hardshrink", &x)?;
        x.ge(-lambda).logical_and(x.le(lambda))?.select(0.0, x)
    }
    /// `x` moved towards 0 by `lambda`, 0 if it is nearer; PyTorch's default: 0.5.
    ///
    /// # Errors
    /// A negative lambda.
    fn softshrink(x, lambda: f64) -> Tensor {
        if lambda < 0.0 || lambda.is_nan() {
            return Err(Error::argument("softshrink", format!("lambda {lambda}: must not be negative")));
        }
        let x = look("softshrink", &x)?;
        let moved = x.gt(lambda)?.select(x.sub(lambda), x.add(lambda));
        x.ge(-lambda).logical_and(x.le(lambda))?.select(0.0, moved)
    }
    /// `x / (1 + |x|)`
    fn softsign(x) -> Tensor {
        let x = look("softsign", &x)?;
        x.div(x.abs().add(1.0))
    }
    /// `x - tanh(x)`
    fn tanhshrink(x) -> Tensor {
        let x = look("tanhshrink", &x)?;
        x.sub(x.tanh())
    }
    /// `softmax(-x)` along a dim.
    fn softmin(x, dim: i64) -> Tensor {
        look("softmin", &x)?.neg().softmax(dim)
    }
    /// `a sigmoid(b)`, a and b the halves of x along a dim.
    ///
    /// # Errors
    /// A size that is odd.
    fn glu(x, dim: i64) -> Tensor {
        let x = look("glu", &x)?;
        let place = shape::resolve_dim("glu", dim, x.rank())?;
        let size = x.shape()[place];
        if size % 2 != 0 {
            let message = format!("{:?}: dim {place} must have an even size", x.shape());
            return Err(Error::shape("glu", message));
        }
        let gate = x.narrow(dim, size / 2, size / 2)?;
        x.narrow(dim, 0, size / 2)?.mul(gate.sigmoid())
    }
}
