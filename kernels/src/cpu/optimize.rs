//! Optimizer steps in one pass over parameter, gradient and state.

use crate::element::Float;
use crate::error::{Error, Result};

/// Settings of [`sgd`], PyTorch's `torch.optim.SGD`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Momentum factor; 0: none, `velocity` is not touched.
    pub momentum: f64,
    /// Dampening of the momentum.
    pub dampening: f64,
    /// L2 penalty added to the gradient.
    pub weight_decay: f64,
    /// Nesterov's variant.
    pub nesterov: bool,
    /// True at the first step: `velocity = gradient`.
    pub first: bool,
}

/// `g += weight_decay * w; v = momentum * v + (1 - dampening) * g` (first step: `v = g`);
/// `w -= lr * (nesterov ? g + momentum * v : v)`. Without momentum `velocity` is empty.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ.
pub fn sgd<T: Float>(
    step: &SgdStep,
    weight: &mut [T],
    grad: &[T],
    velocity: &mut [T],
) -> Result<()> {
    let _ = (step, weight, grad, velocity);
    Err(Error::Contract("stub"))
}

/// Settings of [`adam`], PyTorch's `torch.optim.Adam` and `AdamW`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// L2 penalty, or decoupled decay.
    pub weight_decay: f64,
    /// AdamW: `w *= 1 - lr * weight_decay` instead of adding to the gradient.
    pub decoupled: bool,
    /// Number of this step, from 1.
    pub step: u64,
}

/// `m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)`, in PyTorch's order.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ.
pub fn adam<T: Float>(
    step: &AdamStep,
    weight: &mut [T],
    grad: &[T],
    first: &mut [T],
    second: &mut [T],
) -> Result<()> {
    let _ = (step, weight, grad, first, second);
    Err(Error::Contract("stub"))
}
