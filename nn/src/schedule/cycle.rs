//! One cycle (Smith and Topin 2018).

use std::f64::consts::PI;

use ferrotape_tensor::{Error, ErrorKind, Result};

use super::Schedule;
use super::trigonometry::cos;

/// How [`OneCycleLR`] goes from one rate to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Anneal {
    /// Along half a cosine.
    #[default]
    Cos,
    /// In a line.
    Linear,
}

/// Up to `max_lr`, then far down, in one cycle; the momentum goes the other way: PyTorch's `OneCycleLR`. The optimizer's own learning
/// rate plays no part; all groups get the same.
///
/// ```
/// use ferrotape_nn::{Optimizer, OneCycleLR, Scheduler, SGD};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut optimizer = SGD::new(0.1).momentum(0.9);
/// let mut scheduler = Scheduler::new(OneCycleLR::new(0.1, 100)?.pct_start(0.2)?, &mut optimizer)?;
/// assert!((optimizer.lr() - 0.004).abs() < 1e-12 && optimizer.current_momentum() == Some(0.95));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneCycleLR {
    max_lr: f64,
    total_steps: u64,
    pct_start: f64,
    anneal: Anneal,
    momentum: Option<(f64, f64)>,
    div_factor: f64,
    final_div_factor: f64,
    three_phase: bool,
}

impl OneCycleLR {
    /// Over `total_steps` steps with PyTorch's defaults: 0.3 of them upwards, along cosines, from `max_lr / 25` to that divided by 1e4, momentum
    /// between 0.95 and 0.85. After the last step the rate stays.
    ///
    /// # Errors
    /// No steps.
    pub fn new(max_lr: f64, total_steps: u64) -> Result<Self> {
        if total_steps == 0 {
            return refuse("total_steps is 0".to_string());
        }
        Ok(OneCycleLR {
            max_lr,
            total_steps,
            pct_start: 0.3,
            anneal: Anneal::Cos,
            momentum: Some((0.85, 0.95)),
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
        })
    }

    /// The part of the steps that goes upwards.
    ///
    /// # Errors
    /// Outside `0..=1`.
    pub fn pct_start(mut self, part: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&part) {
            return refuse(format!("pct_start {part} is outside 0..=1"));
        }
        self.pct_start = part;
        Ok(self)
    }

    /// Cosines or lines.
    pub fn anneal_strategy(mut self, anneal: Anneal) -> Self {
        self.anneal = anneal;
        self
    }

    /// False: leaves the momentum alone, as an optimizer without one needs.
    pub fn cycle_momentum(mut self, cycle: bool) -> Self {
        self.momentum = cycle.then_some(self.momentum.unwrap_or((0.85, 0.95)));
        self
    }

    /// The momentum at the highest rate, and that at the lowest.
    pub fn momentum_range(mut self, base: f64, max: f64) -> Self {
        self.momentum = Some((base, max));
        self
    }

    /// The first rate is `max_lr / div_factor`.
    pub fn div_factor(mut self, factor: f64) -> Self {
        self.div_factor = factor;
        self
    }

    /// The last rate is the first divided by this.
    pub fn final_div_factor(mut self, factor: f64) -> Self {
        self.final_div_factor = factor;
        self
    }

    /// Up, down to the first rate in as many steps, and then to the last; else down to the last at once.
    pub fn three_phase(mut self, three: bool) -> Self {
        self.three_phase = three;
        self
    }

    /// The value at `step` of something that is `low` at first, `high` at the top and `end` at last.
    fn at(&self, step: u64, low: f64, high: f64, end: f64) -> f64 {
        let (total, last) = (self.total_steps as f64, (self.total_steps - 1) as f64);
        let top = self.pct_start * total - 1.0;
        let step = (step as f64).min(last);
        let phases = [(top, low, high), (2.0 * self.pct_start * total - 2.0, high, low)];
        let (mut from, mut result) = (0.0, None);
        for (to, start, end) in phases.into_iter().take(if self.three_phase { 2 } else { 1 }) {
            if result.is_none() && step <= to {
                result = Some((to, start, end));
            }
            if result.is_none() {
                from = to;
            }
        }
        let start = if self.three_phase { low } else { high };
        let (to, start, end) = result.unwrap_or((last, start, end));
        let part = (step - from) / (to - from);
        // A phase without length: 0 / 0.
        let part = if part.is_nan() { 1.0 } else { part };
        match self.anneal {
            Anneal::Cos => end + (start - end) / 2.0 * (cos(PI * part) + 1.0),
            Anneal::Linear => (end - start) * part + start,
        }
    }
}

impl Schedule for OneCycleLR {
    fn start(&self, base: f64) -> f64 {
        self.next(base, 0, base)
    }

    fn next(&self, _: f64, step: u64, _: f64) -> f64 {
        let first = self.max_lr / self.div_factor;
        self.at(step, first, self.max_lr, first / self.final_div_factor)
    }

    fn momentum(&self, step: u64) -> Option<f64> {
        let (base, max) = self.momentum?;
        Some(self.at(step, max, base, max))
    }
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Module(format!("one_cycle_lr: {message}"))))
}
