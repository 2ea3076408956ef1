//! Half a cosine down, and again.

use std::f64::consts::PI;

use super::Schedule;
use super::trigonometry::cos;

/// Down to `eta_min` along half a cosine over `t_max` steps, then up again and so on: PyTorch's `CosineAnnealingLR`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosineAnnealingLR {
    steps: u64,
    minimum: f64,
}

impl CosineAnnealingLR {
    /// PyTorch's `T_max`, and its `eta_min` (default 0). No steps: the rate stays.
    pub fn new(t_max: u64, eta_min: f64) -> Self {
        CosineAnnealingLR { steps: t_max, minimum: eta_min }
    }
}

impl Schedule for CosineAnnealingLR {
    fn next(&self, base: f64, step: u64, last: f64) -> f64 {
        let (steps, minimum) = (self.steps as f64, self.minimum);
        if self.steps == 0 {
            return last;
        }
        // At the bottom the quotient below would be of zeros.
        let past = step.saturating_sub(1).checked_sub(self.steps);
        if past.is_some_and(|past| past.is_multiple_of(self.steps.saturating_mul(2))) {
            return last + (base - minimum) * (1.0 - cos(PI / steps)) / 2.0;
        }
        let raised = |step: u64| 1.0 + cos(PI * step as f64 / steps);
        raised(step) / raised(step.saturating_sub(1)) * (last - minimum) + minimum
    }
}

/// Half a cosine from the base to `eta_min`, then from the base again; each `t_mult` times as long as the one before: PyTorch's
/// `CosineAnnealingWarmRestarts`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosineAnnealingWarmRestarts {
    first: u64,
    factor: u64,
    minimum: f64,
}

impl CosineAnnealingWarmRestarts {
    /// PyTorch's `T_0`, its `T_mult` (default 1) and its `eta_min` (default 0). Zero lengths count as 1.
    pub fn new(t_0: u64, t_mult: u64, eta_min: f64) -> Self {
        let (first, factor) = (t_0.max(1), t_mult.max(1));
        CosineAnnealingWarmRestarts { first, factor, minimum: eta_min }
    }
}

impl Schedule for CosineAnnealingWarmRestarts {
    fn next(&self, base: f64, step: u64, _: f64) -> f64 {
        let (mut at, mut length) = (step, self.first);
        if self.factor == 1 {
            at %= length;
        }
        while at >= length {
            at -= length;
            length = length.saturating_mul(self.factor);
        }
        let angle = PI * at as f64 / length as f64;
        self.minimum + (base - self.minimum) * (1.0 + cos(angle)) / 2.0
    }
}
