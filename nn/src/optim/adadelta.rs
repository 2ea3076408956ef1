//! Adadelta (Zeiler 2012).

use ferrotape_tensor::chain::{BinaryChain, UnaryChain};
use ferrotape_tensor::{Result, Tensor};

use super::expression::penalised;
use super::method::{Method, Now, Wrong, not_negative, optimizer};

#[derive(Debug, Clone, Copy, PartialEq)]
struct Settings {
    lr: f64,
    rho: f64,
    eps: f64,
    weight_decay: f64,
    maximize: bool,
}

optimizer! {
    /// `s = rho s + (1 - rho) g^2; d = g sqrt(a + eps) / sqrt(s + eps); a = rho a + (1 - rho) d^2; w -= lr d`, PyTorch's
    /// `optim.Adadelta`, whose `lr` is 1 by default.
    ///
    /// ```
    /// # use ferrotape_nn::Adadelta;
    /// let optimizer = Adadelta::new(1.0).rho(0.95);
    /// ```
    Adadelta,
    /// Settings of an [`Adadelta`], or of a group of its parameters.
    AdadeltaConfig(Settings),
    /// With PyTorch's defaults: rho 0.9, eps 1e-6, no weight decay.
    new => Settings { lr: 0.0, rho: 0.9, eps: 1e-6, weight_decay: 0.0, maximize: false };
    /// Decay of the averages.
    fn rho(self, rho: f64) { self.0.rho = rho; }
    /// Added under the roots.
    fn eps(self, eps: f64) { self.0.eps = eps; }
    /// L2 penalty.
    fn weight_decay(self, weight_decay: f64) { self.0.weight_decay = weight_decay; }
    /// Climbs instead of descending.
    fn maximize(self, maximize: bool) { self.0.maximize = maximize; }
}

impl Method for AdadeltaConfig {
    const STATES: &'static [&'static str] = &["square_avg", "acc_delta"];
    const EXPRESSED: bool = true;

    fn check(&self) -> Result<(), Wrong> {
        let Settings { lr, rho, eps, weight_decay, .. } = self.0;
        not_negative("lr", lr)?;
        not_negative("eps", eps)?;
        not_negative("weight_decay", weight_decay)?;
        match (0.0..=1.0).contains(&rho) {
            true => Ok(()),
            false => Err(format!("rho is {rho}: it must be within 0 and 1")),
        }
    }

    fn used(&self) -> [bool; 3] {
        [true, true, false]
    }

    fn express(&self, now: Now<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let Settings { lr, rho, eps, .. } = self.0;
        let [square, delta] = now.states()?;
        let g = penalised(&now, self.0.weight_decay, self.0.maximize)?;
        let square = square.mul(rho).add(g.square().mul(1.0 - rho))?;
        let d = delta.add(eps).sqrt().div(square.add(eps).sqrt()).mul(&g)?;
        let delta = delta.mul(rho).add(d.square().mul(1.0 - rho))?;
        Ok((now.weight.sub(d.mul(lr))?, vec![square, delta]))
    }

    fn rate(&mut self) -> &mut f64 {
        &mut self.0.lr
    }

    fn inertia(&mut self) -> Option<&mut f64> {
        None
    }
}
