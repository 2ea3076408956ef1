//! Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), AMSGrad (Reddi et al. 2018).

use ferrotape_tensor::{AdamStep, OptimizeOp};

use super::method::{Method, Wrong, check_moments, optimizer};

/// Both at PyTorch's common defaults.
const fn settings(decoupled: bool, weight_decay: f64) -> AdamStep {
    AdamStep {
        lr: 0.0,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay,
        decoupled,
        step: 0,
        amsgrad: false,
        maximize: false,
    }
}

optimizer! {
    /// `m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr m' / (sqrt(v') + eps)` with `m' = m / (1 - b1^t)`, `v' = v / (1 - b2^t)`;
    /// PyTorch's `optim.Adam`, whose `lr` is 1e-3 by default. See [`AdamW`] for decay that does not go through the moments.
    ///
    /// ```
    /// # use ferrotape_nn::Adam;
    /// let optimizer = Adam::new(1e-3).betas(0.9, 0.99);
    /// ```
    Adam,
    /// Settings of an [`Adam`], or of a group of its parameters.
    AdamConfig(AdamStep),
    /// With PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, no weight decay.
    new => settings(false, 0.0);
    /// Decay of the first and the second moment.
    fn betas(self, beta1: f64, beta2: f64) { (self.0.beta1, self.0.beta2) = (beta1, beta2); }
    /// Added to the root of the second moment.
    fn eps(self, eps: f64) { self.0.eps = eps; }
    /// L2 penalty, or with [`decoupled_weight_decay`](Self::decoupled_weight_decay) the part of the rate by which weights shrink.
    fn weight_decay(self, weight_decay: f64) { self.0.weight_decay = weight_decay; }
    /// Divides by the root of the largest second moment so far.
    fn amsgrad(self, amsgrad: bool) { self.0.amsgrad = amsgrad; }
    /// Climbs instead of descending.
    fn maximize(self, maximize: bool) { self.0.maximize = maximize; }
    /// True: `w -= lr weight_decay w` instead of a penalty, as [`AdamW`].
    fn decoupled_weight_decay(self, decoupled: bool) { self.0.decoupled = decoupled; }
}

optimizer! {
    /// [`Adam`] whose weight decay is decoupled: `w -= lr weight_decay w` before the step. PyTorch's `optim.AdamW`, whose `lr` is 1e-3 by
    /// default.
    ///
    /// ```
    /// # use ferrotape_nn::AdamW;
    /// let optimizer = AdamW::new(3e-4).weight_decay(0.1).group_by("biases", |path| path.ends_with("bias"), |g| g.weight_decay(0.0));
    /// ```
    AdamW,
    /// Settings of an [`AdamW`], or of a group of its parameters.
    AdamWConfig(AdamStep),
    /// With PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, weight decay 0.01.
    new => settings(true, 0.01);
    /// Decay of the first and the second moment.
    fn betas(self, beta1: f64, beta2: f64) { (self.0.beta1, self.0.beta2) = (beta1, beta2); }
    /// Added to the root of the second moment.
    fn eps(self, eps: f64) { self.0.eps = eps; }
    /// By which part of the rate weights shrink.
    fn weight_decay(self, weight_decay: f64) { self.0.weight_decay = weight_decay; }
    /// Divides by the root of the largest second moment so far.
    fn amsgrad(self, amsgrad: bool) { self.0.amsgrad = amsgrad; }
    /// Climbs instead of descending.
    fn maximize(self, maximize: bool) { self.0.maximize = maximize; }
}

macro_rules! method {
    ($($config:ident),*) => {$(
        impl Method for $config {
            const STATES: &'static [&'static str] = &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];

            fn check(&self) -> Result<(), Wrong> {
                let step = &self.0;
                check_moments(step.lr, [step.beta1, step.beta2], step.eps, step.weight_decay)
            }

            fn used(&self) -> [bool; 3] {
                [true, true, self.0.amsgrad]
            }

            fn op(&self, step: u64, _: [bool; 3]) -> Option<OptimizeOp> {
                Some(OptimizeOp::Adam(AdamStep { step, ..self.0 }))
            }

            fn rate(&mut self) -> &mut f64 {
                &mut self.0.lr
            }

            fn inertia(&mut self) -> Option<&mut f64> {
                Some(&mut self.0.beta1)
            }
        }
    )*};
}
method!(AdamConfig, AdamWConfig);
