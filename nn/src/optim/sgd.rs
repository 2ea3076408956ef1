//! Stochastic gradient descent.

use ferrotape_tensor::{OptimizeOp, SgdStep};

use super::method::{Method, Wrong, not_negative, optimizer};

optimizer! {
    /// `w -= lr v` with `v = momentum v + g`, PyTorch's `optim.SGD`: momentum, dampening, weight decay, Nesterov.
    ///
    /// ```
    /// # use ferrotape_nn::SGD;
    /// let optimizer = SGD::new(0.1).momentum(0.9).nesterov(true);
    /// ```
    SGD,
    /// Settings of an [`SGD`], or of a group of its parameters.
    SGDConfig(SgdStep),
    /// Plain SGD.
    new => SgdStep {
        lr: 0.0,
        momentum: 0.0,
        dampening: 0.0,
        weight_decay: 0.0,
        nesterov: false,
        first: false,
        maximize: false,
    };
    /// Momentum factor.
    fn momentum(self, momentum: f64) { self.0.momentum = momentum; }
    /// Dampening of the momentum.
    fn dampening(self, dampening: f64) { self.0.dampening = dampening; }
    /// L2 penalty.
    fn weight_decay(self, weight_decay: f64) { self.0.weight_decay = weight_decay; }
    /// Nesterov's variant; needs a momentum and no dampening.
    fn nesterov(self, nesterov: bool) { self.0.nesterov = nesterov; }
    /// Climbs instead of descending.
    fn maximize(self, maximize: bool) { self.0.maximize = maximize; }
}

impl Method for SGDConfig {
    const STATES: &'static [&'static str] = &["momentum_buffer"];

    fn check(&self) -> Result<(), Wrong> {
        let step = &self.0;
        not_negative("lr", step.lr)?;
        not_negative("momentum", step.momentum)?;
        not_negative("weight_decay", step.weight_decay)?;
        if !step.dampening.is_finite() {
            return Err(format!("dampening is {}: it must be finite", step.dampening));
        }
        if step.nesterov && (step.momentum == 0.0 || step.dampening != 0.0) {
            return Err("nesterov needs a momentum and no dampening".to_string());
        }
        Ok(())
    }

    fn used(&self) -> [bool; 3] {
        [self.0.momentum != 0.0, false, false]
    }

    fn op(&self, _: u64, fresh: [bool; 3]) -> Option<OptimizeOp> {
        Some(OptimizeOp::Sgd(SgdStep { first: fresh[0], ..self.0 }))
    }

    fn rate(&mut self) -> &mut f64 {
        &mut self.0.lr
    }

    fn inertia(&mut self) -> Option<&mut f64> {
        Some(&mut self.0.momentum)
    }
}
