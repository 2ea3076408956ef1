//! Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), AMSGrad (Reddi et al. 2018).

use ferrotape_tensor::{AdamStep, OptimizeOp};

use super::method::{Method, optimizer};

optimizer! {
    /// `m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr m' / (sqrt(v') + eps)` with `m' = m / (1 - b1^t)`, `v' = v / (1 - b2^t)`;
    /// PyTorch's `optim.Adam` and `optim.AdamW`.
    ///
    /// ```
    /// # use ferrotape_nn::Adam;
    /// let optimizer = Adam::new(1e-3).betas(0.9, 0.99);
    /// ```
    Adam,
    /// Settings of an [`Adam`], or of a group of its parameters.
    AdamConfig(AdamStep),
    /// With PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, no weight decay.
    new => AdamStep {
        lr: 0.0,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        decoupled: false,
        step: 0,
        amsgrad: false,
        maximize: false,
    };
    /// Decay of the first and the second moment.
    fn betas(self, beta1: f64, beta2: f64) { (self.0.beta1, self.0.beta2) = (beta1, beta2); }
    /// Added to the root of the second moment.
    fn eps(self, eps: f64) { self.0.eps = eps; }
    /// L2 penalty, or the decoupled decay of [`adam_w`].
    fn weight_decay(self, weight_decay: f64) { self.0.weight_decay = weight_decay; }
    /// Divides by the root of the largest second moment so far.
    fn amsgrad(self, amsgrad: bool) { self.0.amsgrad = amsgrad; }
    /// Climbs instead of descending.
    fn maximize(self, maximize: bool) { self.0.maximize = maximize; }
    /// True: AdamW, as [`adam_w`].
    fn decoupled(self, decoupled: bool) { self.0.decoupled = decoupled; }
}

/// AdamW: Adam with decoupled weight decay, 0.01 unless set otherwise.
pub fn adam_w(lr: f64) -> Adam {
    Adam::new(lr).decoupled(true).weight_decay(0.01)
}

impl Method for AdamConfig {
    const STATES: &'static [&'static str] = &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];

    fn used(&self) -> [bool; 3] {
        [true, true, self.0.amsgrad]
    }

    fn op(&self, step: u64, _: [bool; 3]) -> OptimizeOp {
        OptimizeOp::Adam(AdamStep { step, ..self.0 })
    }

    fn rate(&mut self) -> &mut f64 {
        &mut self.0.lr
    }

    fn inertia(&mut self) -> Option<&mut f64> {
        Some(&mut self.0.beta1)
    }
}
