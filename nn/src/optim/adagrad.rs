//! Adagrad (Duchi et al. 2011).

use ferrotape_tensor::{AdagradStep, OptimizeOp};

use super::method::{Method, Wrong, not_negative, optimizer};

/// The step's settings and where the sum starts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Settings {
    step: AdagradStep,
    initial: f64,
}

optimizer! {
    /// `s = s + g^2; w -= lr' g / (sqrt(s) + eps)` with `lr' = lr / (1 + (t - 1) lr_decay)`, PyTorch's `optim.Adagrad`.
    ///
    /// ```
    /// # use ferrotape_nn::Adagrad;
    /// let optimizer = Adagrad::new(1e-2).lr_decay(1e-4).initial_accumulator_value(0.1);
    /// ```
    Adagrad,
    /// Settings of an [`Adagrad`], or of a group of its parameters.
    AdagradConfig(Settings),
    /// With PyTorch's defaults: eps 1e-10, no decay of rate or weights, the sum from 0.
    new => Settings {
        step: AdagradStep {
            lr: 0.0,
            lr_decay: 0.0,
            eps: 1e-10,
            weight_decay: 0.0,
            step: 0,
            maximize: false,
        },
        initial: 0.0,
    };
    /// Decay of the learning rate.
    fn lr_decay(self, lr_decay: f64) { self.0.step.lr_decay = lr_decay; }
    /// Added to the root.
    fn eps(self, eps: f64) { self.0.step.eps = eps; }
    /// L2 penalty.
    fn weight_decay(self, weight_decay: f64) { self.0.step.weight_decay = weight_decay; }
    /// Where the sum of squares starts.
    fn initial_accumulator_value(self, initial: f64) { self.0.initial = initial; }
    /// Climbs instead of descending.
    fn maximize(self, maximize: bool) { self.0.step.maximize = maximize; }
}

impl Method for AdagradConfig {
    const STATES: &'static [&'static str] = &["sum"];

    fn check(&self) -> Result<(), Wrong> {
        let Settings { step, initial } = &self.0;
        not_negative("lr", step.lr)?;
        not_negative("lr_decay", step.lr_decay)?;
        not_negative("eps", step.eps)?;
        not_negative("weight_decay", step.weight_decay)?;
        not_negative("initial_accumulator_value", *initial)
    }

    fn used(&self) -> [bool; 3] {
        [true, false, false]
    }

    fn initial(&self) -> f64 {
        self.0.initial
    }

    fn op(&self, step: u64, _: [bool; 3]) -> Option<OptimizeOp> {
        Some(OptimizeOp::Adagrad(AdagradStep { step, ..self.0.step }))
    }

    fn rate(&mut self) -> &mut f64 {
        &mut self.0.step.lr
    }

    fn inertia(&mut self) -> Option<&mut f64> {
        None
    }
}
