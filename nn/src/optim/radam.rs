//! Rectified Adam (Liu et al. 2020).

use ferrotape_tensor::chain::BinaryChain;
use ferrotape_tensor::{Result, Tensor};

use super::expression::{decayed, followed, power};
use super::method::{Method, Now, Wrong, check_moments, optimizer};

#[derive(Debug, Clone, Copy, PartialEq)]
struct Settings {
    lr: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    decoupled: bool,
    maximize: bool,
}

optimizer! {
    /// [`Adam`](crate::Adam) whose step is scaled by how much the second moment can be trusted, and that does without it in the
    /// first steps. PyTorch's `optim.RAdam`, whose `lr` is 1e-3 by default.
    ///
    /// ```
    /// # use ferrotape_nn::RAdam;
    /// let optimizer = RAdam::new(1e-3).betas(0.9, 0.99);
    /// ```
    RAdam,
    /// Settings of an [`RAdam`], or of a group of its parameters.
    RAdamConfig(Settings),
    /// With PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, no weight decay.
    new => Settings {
        lr: 0.0,
        betas: [0.9, 0.999],
        eps: 1e-8,
        weight_decay: 0.0,
        decoupled: false,
        maximize: false,
    };
    /// Decay of the first and the second moment.
    fn betas(self, beta1: f64, beta2: f64) { self.0.betas = [beta1, beta2]; }
    /// Added to the root of the second moment.
    fn eps(self, eps: f64) { self.0.eps = eps; }
    /// L2 penalty, or with [`decoupled_weight_decay`](Self::decoupled_weight_decay) the part of the rate by which weights shrink.
    fn weight_decay(self, weight_decay: f64) { self.0.weight_decay = weight_decay; }
    /// True: weights shrink instead of a penalty.
    fn decoupled_weight_decay(self, decoupled: bool) { self.0.decoupled = decoupled; }
    /// Climbs instead of descending.
    fn maximize(self, maximize: bool) { self.0.maximize = maximize; }
}

impl Method for RAdamConfig {
    const STATES: &'static [&'static str] = &["exp_avg", "exp_avg_sq"];
    const EXPRESSED: bool = true;

    fn check(&self) -> Result<(), Wrong> {
        let Settings { lr, betas, eps, weight_decay, .. } = self.0;
        check_moments(lr, betas, eps, weight_decay)
    }

    fn used(&self) -> [bool; 3] {
        [true, true, false]
    }

    fn express(&self, now: Now<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let Settings { lr, betas: [beta1, beta2], eps, weight_decay, .. } = self.0;
        let [mean, square] = now.states()?;
        let (weight, g) = decayed(&now, lr, weight_decay, self.0.decoupled, self.0.maximize)?;
        let t = now.count as f64;
        let mean = followed(mean, &g, beta1)?;
        let square = square.mul(beta2).add(g.square().mul(1.0 - beta2))?;
        let power2 = power(beta2, t)?;
        let rest = 1.0 - power2;
        let all = 2.0 / (1.0 - beta2) - 1.0;
        let seen = all - 2.0 * t * power2 / rest;
        let step = mean.mul(lr / (1.0 - power(beta1, t)?))?;
        let step = if seen > 5.0 {
            let part = (seen - 4.0) * (seen - 2.0) * all / ((all - 4.0) * (all - 2.0) * seen);
            step.mul(part.sqrt() * rest.sqrt()).div(square.sqrt().add(eps))?
        } else {
            step
        };
        Ok((weight.sub(step)?, vec![mean, square]))
    }

    fn rate(&mut self) -> &mut f64 {
        &mut self.0.lr
    }

    fn inertia(&mut self) -> Option<&mut f64> {
        Some(&mut self.0.betas[0])
    }
}
