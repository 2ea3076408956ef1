//! One schedule after the other.

use std::fmt;

use super::Schedule;

/// Schedules in a row, each from its own step 0 and the optimizer's base: PyTorch's `SequentialLR`.
///
/// ```
/// use ferrotape_nn::{ExponentialLR, LinearLR, Schedule, SequentialLR};
/// let schedule = SequentialLR::new(LinearLR::new(0.5, 1.0, 4)).then(4, ExponentialLR::new(0.9));
/// assert_eq!((schedule.lr(0.2, 0), schedule.lr(0.2, 4), schedule.lr(0.2, 5)), (0.1, 0.2, 0.2 * 0.9));
/// ```
pub struct SequentialLR {
    parts: Vec<(u64, Box<dyn Schedule + Send + Sync>)>,
}

impl SequentialLR {
    /// From step 0 this one.
    pub fn new(first: impl Schedule + Send + Sync + 'static) -> Self {
        SequentialLR { parts: vec![(0, Box::new(first))] }
    }

    /// From step `milestone` on this one.
    pub fn then(mut self, milestone: u64, schedule: impl Schedule + Send + Sync + 'static) -> Self {
        self.parts.push((milestone, Box::new(schedule)));
        self
    }

    /// The schedule of `step`, and which step of it that is.
    fn part(&self, step: u64) -> Option<(&dyn Schedule, u64)> {
        let begun = self.parts.iter().filter(|(start, _)| *start <= step);
        // The last of those that begun last.
        let part = begun.max_by_key(|(start, _)| *start)?;
        Some((&*part.1, step - part.0))
    }
}

impl fmt::Debug for SequentialLR {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.parts.iter().map(|(start, _)| start)).finish()
    }
}

impl Schedule for SequentialLR {
    fn start(&self, base: f64) -> f64 {
        self.next(base, 0, base)
    }

    fn next(&self, base: f64, step: u64, last: f64) -> f64 {
        match self.part(step) {
            Some((part, 0)) => part.start(base),
            Some((part, own)) => part.next(base, own, last),
            None => last,
        }
    }

    fn momentum(&self, step: u64) -> Option<f64> {
        self.part(step).and_then(|(part, own)| part.momentum(own))
    }
}
