//! Adam with Nesterov's momentum (Dozat 2016).

use ferrotape_tensor::chain::{BinaryChain, UnaryChain};
use ferrotape_tensor::{Result, Tensor};

use super::expression::{decayed, followed, power};
use super::method::{Method, Now, Wrong, check_moments, not_negative, optimizer};

#[derive(Debug, Clone, Copy, PartialEq)]
struct Settings {
    lr: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    momentum_decay: f64,
    decoupled: bool,
    maximize: bool,
}

optimizer! {
    /// With m and v as in [`Adam`](crate::Adam) and `mu_t = b1 (1 - 0.96^(t momentum_decay) / 2)`: `w -= lr ((1 - mu_t) g / (1 - mu_1 .. mu_t)
    /// + mu_(t+1) m / (1 - mu_1 .. mu_(t+1))) / (sqrt(v / (1 - b2^t)) + eps)`. PyTorch's `optim.NAdam`, whose `lr` is 2e-3 by default.
    ///
    /// ```
    /// # use ferrotape_nn::NAdam;
    /// let optimizer = NAdam::new(2e-3).weight_decay(0.01).decoupled_weight_decay(true);
    /// ```
    NAdam,
    /// Settings of an [`NAdam`], or of a group of its parameters.
    NAdamConfig(Settings),
    /// With PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, momentum decay 4e-3, no weight decay.
    new => Settings {
        lr: 0.0,
        betas: [0.9, 0.999],
        eps: 1e-8,
        weight_decay: 0.0,
        momentum_decay: 4e-3,
        decoupled: false,
        maximize: false,
    };
    /// Decay of the first and the second moment.
    fn betas(self, beta1: f64, beta2: f64) { self.0.betas = [beta1, beta2]; }
    /// Added to the root of the second moment.
    fn eps(self, eps: f64) { self.0.eps = eps; }
    /// L2 penalty, or with [`decoupled_weight_decay`](Self::decoupled_weight_decay) the part of the rate by which weights shrink.
    fn weight_decay(self, weight_decay: f64) { self.0.weight_decay = weight_decay; }
    /// How fast the momentum grows to its full size.
    fn momentum_decay(self, momentum_decay: f64) { self.0.momentum_decay = momentum_decay; }
    /// True: weights shrink instead of a penalty.
    fn decoupled_weight_decay(self, decoupled: bool) { self.0.decoupled = decoupled; }
    /// Climbs instead of descending.
    fn maximize(self, maximize: bool) { self.0.maximize = maximize; }
}

impl Method for NAdamConfig {
    const STATES: &'static [&'static str] = &["exp_avg", "exp_avg_sq"];
    const PRODUCT: Option<&'static str> = Some("mu_product");
    const EXPRESSED: bool = true;

    fn check(&self) -> Result<(), Wrong> {
        let Settings { lr, betas, eps, weight_decay, momentum_decay, .. } = self.0;
        not_negative("momentum_decay", momentum_decay)?;
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
        let mu = |t: f64| -> Result<f64> {
            Ok(beta1 * (1.0 - 0.5 * power(0.96, t * self.0.momentum_decay)?))
        };
        let (mu, mu_next) = (mu(t)?, mu(t + 1.0)?);
        *now.product *= mu;
        let product = *now.product;
        let mean = followed(mean, &g, beta1)?;
        let square = square.mul(beta2).add(g.square().mul(1.0 - beta2))?;
        let root = square.div(1.0 - power(beta2, t)?).sqrt().add(eps)?;
        let by_gradient = g.mul(lr * (1.0 - mu) / (1.0 - product)).div(&root)?;
        let by_mean = mean.mul(lr * mu_next / (1.0 - product * mu_next)).div(&root)?;
        Ok((weight.sub(by_gradient).sub(by_mean)?, vec![mean, square]))
    }

    fn rate(&mut self) -> &mut f64 {
        &mut self.0.lr
    }

    fn inertia(&mut self) -> Option<&mut f64> {
        Some(&mut self.0.betas[0])
    }
}
