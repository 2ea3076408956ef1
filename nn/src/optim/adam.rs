//! Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019).

use std::collections::BTreeMap;

use ferrotape_tensor::{AdamStep, Result, Tensor};

use super::{Optimizer, update};
use crate::module::Module;
use crate::step::Gradients;

/// `m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr m' / (sqrt(v') + eps)` with `m' = m / (1 - b1^t)`, `v' = v / (1 - b2^t)`;
/// PyTorch's `optim.Adam` and `optim.AdamW`.
///
/// ```
/// # use ferrotape_nn::Adam;
/// let optimizer = Adam::new(1e-3).betas(0.9, 0.99);
/// ```
#[derive(Debug, Clone)]
pub struct Adam {
    settings: AdamStep,
    state: BTreeMap<String, State>,
}

#[derive(Debug, Clone)]
struct State {
    first: Tensor,
    second: Tensor,
    step: u64,
}

/// AdamW: Adam with decoupled weight decay, 0.01 unless set otherwise.
pub fn adam_w(lr: f64) -> Adam {
    let mut adam = Adam::new(lr).weight_decay(0.01);
    adam.settings.decoupled = true;
    adam
}

impl Adam {
    /// With PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, no weight decay.
    pub fn new(lr: f64) -> Self {
        let settings = AdamStep {
            lr,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            step: 0,
        };
        Adam { settings, state: BTreeMap::new() }
    }

    /// Decay of the first and the second moment.
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        (self.settings.beta1, self.settings.beta2) = (beta1, beta2);
        self
    }

    /// Added to the root of the second moment.
    pub fn eps(mut self, eps: f64) -> Self {
        self.settings.eps = eps;
        self
    }

    /// L2 penalty, or the decoupled decay of [`adam_w`].
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.settings.weight_decay = weight_decay;
        self
    }
}

impl Optimizer for Adam {
    fn apply(&mut self, model: &mut dyn Module, gradients: &Gradients) -> Result<()> {
        let Adam { settings, state } = self;
        update(model, gradients, |targets| {
            // All new state first: should memory run out here, no weight has changed.
            let mut fresh = Vec::new();
            for target in targets.iter().filter(|target| !state.contains_key(target.path)) {
                let (first, second) = (target.value.zeros_like()?, target.value.zeros_like()?);
                fresh.push((target.path.to_string(), State { first, second, step: 0 }));
            }
            for state in state.values_mut() {
                state.first.make_exclusive()?;
                state.second.make_exclusive()?;
            }
            state.extend(fresh);
            for target in targets {
                if let Some(state) = state.get_mut(target.path) {
                    let step = AdamStep { step: state.step + 1, ..*settings };
                    let (first, second) = (&mut state.first, &mut state.second);
                    target.value.adam_step(target.gradient, step, first, second)?;
                    state.step += 1;
                }
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
