//! Stochastic gradient descent.

use std::collections::BTreeMap;

use ferrotape_tensor::{Result, SgdStep, Tensor};

use super::{Optimizer, update};
use crate::module::Module;
use crate::step::Gradients;

/// `w -= lr v` with `v = momentum v + g`, PyTorch's `optim.SGD`: momentum, dampening, weight decay, Nesterov.
///
/// ```
/// # use ferrotape_nn::Sgd;
/// let optimizer = Sgd::new(0.1).momentum(0.9).nesterov(true);
/// ```
#[derive(Debug, Clone)]
pub struct Sgd {
    settings: SgdStep,
    velocity: BTreeMap<String, Tensor>,
}

impl Sgd {
    /// Plain SGD.
    pub fn new(lr: f64) -> Self {
        let settings = SgdStep {
            lr,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
            first: false,
        };
        Sgd { settings, velocity: BTreeMap::new() }
    }

    /// Momentum factor.
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.settings.momentum = momentum;
        self
    }

    /// Dampening of the momentum.
    pub fn dampening(mut self, dampening: f64) -> Self {
        self.settings.dampening = dampening;
        self
    }

    /// L2 penalty.
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.settings.weight_decay = weight_decay;
        self
    }

    /// Nesterov's variant.
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.settings.nesterov = nesterov;
        self
    }
}

impl Optimizer for Sgd {
    fn apply(&mut self, model: &mut dyn Module, gradients: &Gradients) -> Result<()> {
        let Sgd { settings, velocity } = self;
        update(model, gradients, |targets| {
            if settings.momentum == 0.0 {
                return targets
                    .iter_mut()
                    .try_for_each(|t| t.value.sgd_step(t.gradient, *settings, None));
            }
            // All new state first: should memory run out here, no weight has changed.
            let mut fresh = Vec::new();
            for target in targets.iter() {
                if !velocity.contains_key(target.path) {
                    fresh.push((target.path.to_string(), target.value.zeros_like()?));
                }
            }
            velocity.values_mut().try_for_each(Tensor::make_exclusive)?;
            let first: Vec<bool> = targets.iter().map(|t| !velocity.contains_key(t.path)).collect();
            velocity.extend(fresh);
            for (target, first) in targets.iter_mut().zip(first) {
                let step = SgdStep { first, ..*settings };
                target.value.sgd_step(target.gradient, step, velocity.get_mut(target.path))?;
            }
            Ok(())
        })
    }

    fn lr(&self) -> f64 {
        self.settings.lr
    }

    fn set_lr(&mut self, lr: f64) {
        self.settings.lr = lr;
    }
}
