//! Lower rates when a metric stops improving.

use std::collections::BTreeMap;

use ferrotape_tensor::{Error, ErrorKind, Result, Tensor};

use super::{counts, entry, rates, set_rate};
use crate::optim::Optimizer;

/// What improvement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PlateauMode {
    /// A smaller metric: a loss.
    #[default]
    Min,
    /// A larger metric: an accuracy.
    Max,
}

/// By how much a metric must improve to count.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum ThresholdMode {
    /// By this part of the best.
    Relative(f64),
    /// By this much.
    Absolute(f64),
}

/// Times `factor` when the metric has not improved for more than `patience` steps: PyTorch's `ReduceLROnPlateau`. A NaN is no improvement.
///
/// ```
/// use ferrotape_nn::{Optimizer, ReduceLROnPlateau, SGD};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut optimizer = SGD::new(0.1);
/// let mut plateau = ReduceLROnPlateau::new().factor(0.5)?.patience(1);
/// for loss in [1.0, 0.8, 0.8, 0.8] {
///     plateau.step(&mut optimizer, loss)?;
/// }
/// assert_eq!(optimizer.lr(), 0.05);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ReduceLROnPlateau {
    mode: PlateauMode,
    factor: f64,
    patience: u64,
    threshold: ThresholdMode,
    cooldown: u64,
    min_lr: f64,
    eps: f64,
    best: f64,
    bad: u64,
    cooling: u64,
}

impl Default for ReduceLROnPlateau {
    fn default() -> Self {
        ReduceLROnPlateau {
            mode: PlateauMode::Min,
            factor: 0.1,
            patience: 10,
            threshold: ThresholdMode::Relative(1e-4),
            cooldown: 0,
            min_lr: 0.0,
            eps: 1e-8,
            best: f64::INFINITY,
            bad: 0,
            cooling: 0,
        }
    }
}

impl ReduceLROnPlateau {
    /// PyTorch's defaults: a smaller metric is better, by 1e-4 of the best; after 10 bad steps times 0.1.
    pub fn new() -> Self {
        ReduceLROnPlateau::default()
    }

    /// Whether smaller or larger is better.
    pub fn mode(mut self, mode: PlateauMode) -> Self {
        self.mode = mode;
        self.best = match mode {
            PlateauMode::Min => f64::INFINITY,
            PlateauMode::Max => f64::NEG_INFINITY,
        };
        self
    }

    /// What the rates are multiplied by.
    ///
    /// # Errors
    /// 1 or more, or NaN.
    pub fn factor(mut self, factor: f64) -> Result<Self> {
        if factor.is_nan() || factor >= 1.0 {
            let message = format!("reduce_lr_on_plateau: factor {factor} is not below 1");
            return Err(Error::new(ErrorKind::Module(message)));
        }
        self.factor = factor;
        Ok(self)
    }

    /// How many bad steps are borne.
    pub fn patience(mut self, patience: u64) -> Self {
        self.patience = patience;
        self
    }

    /// By how much a metric must improve.
    pub fn threshold(mut self, threshold: ThresholdMode) -> Self {
        self.threshold = threshold;
        self
    }

    /// How many steps after a reduction are not counted.
    pub fn cooldown(mut self, cooldown: u64) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// No rate goes below it.
    pub fn min_lr(mut self, min_lr: f64) -> Self {
        self.min_lr = min_lr;
        self
    }

    /// A reduction by less is left out.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// The best metric so far.
    pub fn best(&self) -> f64 {
        self.best
    }

    fn improves(&self, metric: f64) -> bool {
        match (self.mode, self.threshold) {
            (PlateauMode::Min, ThresholdMode::Relative(part)) => metric < self.best * (1.0 - part),
            (PlateauMode::Min, ThresholdMode::Absolute(by)) => metric < self.best - by,
            (PlateauMode::Max, ThresholdMode::Relative(part)) => metric > self.best * (part + 1.0),
            (PlateauMode::Max, ThresholdMode::Absolute(by)) => metric > self.best + by,
        }
    }

    /// Looks at the metric, and lowers the learning rates of the optimizer and its groups if it is time. Says whether it was.
    ///
    /// # Errors
    /// None by the optimizers of this library.
    pub fn step<O: Optimizer + ?Sized>(&mut self, optimizer: &mut O, metric: f64) -> Result<bool> {
        if self.improves(metric) {
            (self.best, self.bad) = (metric, 0);
        } else {
            self.bad += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.bad = 0;
        }
        if self.bad <= self.patience {
            return Ok(false);
        }
        (self.cooling, self.bad) = (self.cooldown, 0);
        for (group, lr) in rates(optimizer)? {
            // As Python's max: a NaN on the left stays.
            let lower = lr * self.factor;
            let lower = if self.min_lr > lower { self.min_lr } else { lower };
            if lr - lower > self.eps {
                set_rate(optimizer, group.as_deref(), lower)?;
            }
        }
        Ok(true)
    }

    /// Where it stands, as tensors by name. The settings are the program's, the rates the optimizer's.
    pub fn state_dict(&self) -> BTreeMap<String, Tensor> {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let counts = Tensor::from([count(self.bad), count(self.cooling)]);
        let best = Tensor::from([self.best]);
        [("plateau.best".to_string(), best), ("plateau.counts".to_string(), counts)].into()
    }

    /// Goes on where [`state_dict`](Self::state_dict) was taken. Other names are ignored.
    ///
    /// # Errors
    /// A missing or unfitting entry, by name; then nothing has changed.
    pub fn load_state_dict(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let best = entry::<f64>(state, "plateau.best", 1)?;
        let [bad, cooling] = counts(state, "plateau.counts")?;
        if let [best] = best[..] {
            (self.best, self.bad, self.cooling) = (best, bad, cooling);
        }
        Ok(())
    }
}
