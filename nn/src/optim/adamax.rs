//! Adamax (Kingma and Ba 2015).

use ferrotape_tensor::chain::BinaryChain;
use ferrotape_tensor::{Result, Tensor};

use super::expression::{followed, penalised, power};
use super::method::{Method, Now, Wrong, check_moments, optimizer};

#[derive(Debug, Clone, Copy, PartialEq)]
struct Settings {
    lr: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    maximize: bool,
}

optimizer! {
    /// `m = b1 m + (1 - b1) g; u = max(b2 u, |g| + eps); w -= lr m / ((1 - b1^t) u)`, PyTorch's `optim.Adamax`, whose `lr` is 2e-3 by
    /// default.
    ///
    /// ```
    /// # use ferrotape_nn::Adamax;
    /// let optimizer = Adamax::new(2e-3).betas(0.9, 0.99);
    /// ```
    Adamax,
    /// Settings of an [`Adamax`], or of a group of its parameters.
    AdamaxConfig(Settings),
    /// With PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, no weight decay.
    new => Settings { lr: 0.0, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0, maximize: false };
    /// Decay of the average and of the largest magnitude.
    fn betas(self, beta1: f64, beta2: f64) { self.0.betas = [beta1, beta2]; }
    /// Added to the magnitude.
    fn eps(self, eps: f64) { self.0.eps = eps; }
    /// L2 penalty.
    fn weight_decay(self, weight_decay: f64) { self.0.weight_decay = weight_decay; }
    /// Climbs instead of descending.
    fn maximize(self, maximize: bool) { self.0.maximize = maximize; }
}

impl Method for AdamaxConfig {
    const STATES: &'static [&'static str] = &["exp_avg", "exp_inf"];
    const EXPRESSED: bool = true;

    fn check(&self) -> Result<(), Wrong> {
        let Settings { lr, betas, eps, weight_decay, .. } = self.0;
        check_moments(lr, betas, eps, weight_decay)
    }

    fn used(&self) -> [bool; 3] {
        [true, true, false]
    }

    fn express(&self, now: Now<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let Settings { lr, betas: [beta1, beta2], eps, .. } = self.0;
        let [mean, largest] = now.states()?;
        let g = penalised(&now, self.0.weight_decay, self.0.maximize)?;
        let mean = followed(mean, &g, beta1)?;
        let largest = largest.mul(beta2).maximum(g.abs().add(eps))?;
        let rate = lr / (1.0 - power(beta1, now.count as f64)?);
        let weight = now.weight.sub(mean.mul(rate).div(&largest))?;
        Ok((weight, vec![mean, largest]))
    }

    fn rate(&mut self) -> &mut f64 {
        &mut self.0.lr
    }

    fn inertia(&mut self) -> Option<&mut f64> {
        Some(&mut self.0.betas[0])
    }
}
