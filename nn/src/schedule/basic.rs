//! Steps, powers and lines.

use std::fmt;
use std::sync::Arc;

use super::Schedule;
use super::trigonometry::power;

/// Times `gamma` every `step_size` steps: PyTorch's `StepLR`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepLR {
    step_size: u64,
    gamma: f64,
}

impl StepLR {
    /// Every `step_size` steps (0: never), times `gamma` (PyTorch's default: 0.1).
    pub fn new(step_size: u64, gamma: f64) -> Self {
        StepLR { step_size, gamma }
    }
}

impl Schedule for StepLR {
    fn next(&self, _: f64, step: u64, last: f64) -> f64 {
        if step.checked_rem(self.step_size) == Some(0) { last * self.gamma } else { last }
    }
}

/// Times `gamma` at each milestone: PyTorch's `MultiStepLR`.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiStepLR {
    milestones: Vec<u64>,
    gamma: f64,
}

impl MultiStepLR {
    /// At these steps, in any order (one that is named twice counts twice), times `gamma` (PyTorch's default: 0.1).
    pub fn new(milestones: impl Into<Vec<u64>>, gamma: f64) -> Self {
        MultiStepLR { milestones: milestones.into(), gamma }
    }
}

impl Schedule for MultiStepLR {
    fn next(&self, _: f64, step: u64, last: f64) -> f64 {
        let times = self.milestones.iter().filter(|milestone| **milestone == step).count();
        if times == 0 { last } else { last * power(self.gamma, times as f64) }
    }
}

/// Times `gamma` at every step: PyTorch's `ExponentialLR`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExponentialLR {
    gamma: f64,
}

impl ExponentialLR {
    /// Times `gamma`.
    pub fn new(gamma: f64) -> Self {
        ExponentialLR { gamma }
    }
}

impl Schedule for ExponentialLR {
    fn next(&self, _: f64, _: u64, last: f64) -> f64 {
        last * self.gamma
    }
}

/// Times `factor` for the first `total_iters` steps, then the base: PyTorch's `ConstantLR`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConstantLR {
    factor: f64,
    steps: u64,
}

impl ConstantLR {
    /// PyTorch's defaults: 1/3 for 5 steps.
    pub fn new(factor: f64, total_iters: u64) -> Self {
        ConstantLR { factor, steps: total_iters }
    }
}

impl Schedule for ConstantLR {
    fn start(&self, base: f64) -> f64 {
        base * self.factor
    }
    fn next(&self, _: f64, step: u64, last: f64) -> f64 {
        if step == self.steps { last * (1.0 / self.factor) } else { last }
    }
}

/// From `start_factor` times the base to `end_factor` times it in a line over `total_iters` steps: PyTorch's `LinearLR`, for warming up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearLR {
    start: f64,
    end: f64,
    steps: u64,
}

impl LinearLR {
    /// PyTorch's defaults: 1/3 to 1 over 5 steps.
    pub fn new(start_factor: f64, end_factor: f64, total_iters: u64) -> Self {
        LinearLR { start: start_factor, end: end_factor, steps: total_iters }
    }
}

impl Schedule for LinearLR {
    fn start(&self, base: f64) -> f64 {
        base * self.start
    }
    fn next(&self, _: f64, step: u64, last: f64) -> f64 {
        if step > self.steps {
            return last;
        }
        let climb = self.end - self.start;
        let from = self.steps as f64 * self.start + step.saturating_sub(1) as f64 * climb;
        last * (1.0 + climb / from)
    }
}

/// `base (1 - step / total_iters)^power`, 0 after it: PyTorch's `PolynomialLR`.
///
/// A power that is no whole number is computed by the system's `pow`, whose last bit may differ between systems.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolynomialLR {
    steps: u64,
    power: f64,
}

impl PolynomialLR {
    /// PyTorch's defaults: 5 steps, power 1.
    pub fn new(total_iters: u64, power: f64) -> Self {
        PolynomialLR { steps: total_iters, power }
    }
}

impl Schedule for PolynomialLR {
    fn next(&self, _: f64, step: u64, last: f64) -> f64 {
        if step > self.steps {
            return last;
        }
        let rest = |step: u64| 1.0 - step as f64 / self.steps as f64;
        last * power(rest(step) / rest(step.saturating_sub(1)), self.power)
    }
}

/// The base times a function of the step: PyTorch's `LambdaLR`.
///
/// ```
/// use ferrotape_nn::{LambdaLR, Schedule};
/// let inverse_root = LambdaLR::new(|step| 1.0 / ((step + 1) as f64).sqrt());
/// assert_eq!(inverse_root.lr(0.1, 3), 0.05);
/// ```
#[derive(Clone)]
pub struct LambdaLR(Arc<dyn Fn(u64) -> f64 + Send + Sync>);

impl LambdaLR {
    /// By this function.
    pub fn new(factor: impl Fn(u64) -> f64 + Send + Sync + 'static) -> Self {
        LambdaLR(Arc::new(factor))
    }
}

impl fmt::Debug for LambdaLR {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LambdaLR")
    }
}

impl Schedule for LambdaLR {
    fn start(&self, base: f64) -> f64 {
        base * (self.0)(0)
    }
    fn next(&self, base: f64, step: u64, _: f64) -> f64 {
        base * (self.0)(step)
    }
}
