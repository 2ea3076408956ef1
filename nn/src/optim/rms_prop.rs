//! RMSprop (Hinton 2012).

use ferrotape_tensor::{OptimizeOp, RmsPropStep};

use super::method::{Method, Wrong, not_negative, optimizer};

optimizer! {
    /// `s = alpha s + (1 - alpha) g^2; w -= lr g / (sqrt(s) + eps)`, PyTorch's `optim.RMSprop`; with momentum `v = momentum v + g / (sqrt(s) +
    /// eps); w -= lr v`.
    ///
    /// ```
    /// # use ferrotape_nn::RMSprop;
    /// let optimizer = RMSprop::new(1e-2).alpha(0.9).momentum(0.9).centered(true);
    /// ```
    RMSprop,
    /// Settings of an [`RMSprop`], or of a group of its parameters.
    RMSpropConfig(RmsPropStep),
    /// With PyTorch's defaults: alpha 0.99, eps 1e-8, no momentum, no weight decay, not centered.
    new => RmsPropStep {
        lr: 0.0,
        alpha: 0.99,
        eps: 1e-8,
        weight_decay: 0.0,
        momentum: 0.0,
        centered: false,
        maximize: false,
    };
    /// Decay of the averages.
    fn alpha(self, alpha: f64) { self.0.alpha = alpha; }
    /// Added to the root.
    fn eps(self, eps: f64) { self.0.eps = eps; }
    /// L2 penalty.
    fn weight_decay(self, weight_decay: f64) { self.0.weight_decay = weight_decay; }
    /// Momentum factor.
    fn momentum(self, momentum: f64) { self.0.momentum = momentum; }
    /// Divides by an estimate of the gradient's standard deviation: `sqrt(s - a^2)` with the gradient's average `a`.
    fn centered(self, centered: bool) { self.0.centered = centered; }
    /// Climbs instead of descending.
    fn maximize(self, maximize: bool) { self.0.maximize = maximize; }
}

impl Method for RMSpropConfig {
    const STATES: &'static [&'static str] = &["square_avg", "grad_avg", "momentum_buffer"];

    fn check(&self) -> Result<(), Wrong> {
        let step = &self.0;
        not_negative("lr", step.lr)?;
        not_negative("alpha", step.alpha)?;
        not_negative("eps", step.eps)?;
        not_negative("weight_decay", step.weight_decay)?;
        not_negative("momentum", step.momentum)
    }

    fn used(&self) -> [bool; 3] {
        [true, self.0.centered, self.0.momentum != 0.0]
    }

    fn op(&self, _: u64, _: [bool; 3]) -> Option<OptimizeOp> {
        Some(OptimizeOp::RmsProp(self.0))
    }

    fn rate(&mut self) -> &mut f64 {
        &mut self.0.lr
    }

    fn inertia(&mut self) -> Option<&mut f64> {
        Some(&mut self.0.momentum)
    }
}
