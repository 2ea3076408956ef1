//! Learning-rate schedules: pure functions of the step, and what drives an optimizer by them.

mod basic;
mod cosine;
mod cycle;
mod plateau;
mod sequence;
mod trigonometry;

use std::collections::BTreeMap;
use std::sync::Arc;

use ferrotape_tensor::{Error, ErrorKind, Result, Tensor};

pub use basic::{ConstantLR, ExponentialLR, LambdaLR, LinearLR, MultiStepLR, PolynomialLR, StepLR};
pub use cosine::{CosineAnnealingLR, CosineAnnealingWarmRestarts};
pub use cycle::{Anneal, OneCycleLR};
pub use plateau::{PlateauMode, ReduceLROnPlateau, ThresholdMode};
pub use sequence::SequentialLR;

pub(crate) use trigonometry::power;

use crate::optim::Optimizer;

/// A learning rate for every step, PyTorch's to the last bit: many of its schedules go from one rate to the next, so these do too.
///
/// ```
/// use ferrotape_nn::{Schedule, StepLR};
/// let schedule = StepLR::new(10, 0.5);
/// assert_eq!((schedule.lr(0.1, 9), schedule.lr(0.1, 10), schedule.lr(0.1, 25)), (0.1, 0.05, 0.025));
/// ```
pub trait Schedule {
    /// The rate of step 0, from the optimizer's own.
    fn start(&self, base: f64) -> f64 {
        base
    }

    /// The rate of `step`, from 1 on: `base` is the optimizer's own, `last` the rate of the step before.
    fn next(&self, base: f64, step: u64, last: f64) -> f64;

    /// The momentum of `step`, for schedules that cycle it.
    fn momentum(&self, step: u64) -> Option<f64> {
        let _ = step;
        None
    }

    /// The rate of `step`, all steps before it gone through.
    fn lr(&self, base: f64, step: u64) -> f64 {
        (1..=step).fold(self.start(base), |last, step| self.next(base, step, last))
    }
}

macro_rules! through {
    ($($pointer:ident),*) => {$(
        impl<S: Schedule + ?Sized> Schedule for $pointer<S> {
            fn start(&self, base: f64) -> f64 {
                (**self).start(base)
            }
            fn next(&self, base: f64, step: u64, last: f64) -> f64 {
                (**self).next(base, step, last)
            }
            fn momentum(&self, step: u64) -> Option<f64> {
                (**self).momentum(step)
            }
        }
    )*};
}
through!(Box, Arc);

/// Sets an optimizer's learning rates, those of its groups too, by a [`Schedule`]: once when made, then at every [`step`](Self::step).
///
/// ```
/// use ferrotape_nn::{Adam, CosineAnnealingLR, LinearLR, Optimizer, Scheduler, SequentialLR};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut optimizer = Adam::new(1e-3);
/// let warm_up = SequentialLR::new(LinearLR::new(0.1, 1.0, 5)).then(5, CosineAnnealingLR::new(95, 1e-5));
/// let mut scheduler = Scheduler::new(warm_up, &mut optimizer)?;
/// assert_eq!(optimizer.lr(), 1e-4);
/// for _epoch in 0..5 {
///     // train an epoch, then
///     scheduler.step(&mut optimizer)?;
/// }
/// assert!((optimizer.lr() - 1e-3).abs() < 1e-12);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Scheduler<S> {
    schedule: S,
    step: u64,
    rates: Vec<Rate>,
}

/// A learning rate of an optimizer under a schedule.
#[derive(Debug, Clone, PartialEq)]
struct Rate {
    /// `None`: of parameters without a group.
    group: Option<String>,
    base: f64,
    now: f64,
}

/// The optimizer's learning rates: its own, then those of its groups.
fn rates<O: Optimizer + ?Sized>(optimizer: &O) -> Result<Vec<(Option<String>, f64)>> {
    let mut rates = vec![(None, optimizer.lr())];
    for group in optimizer.groups() {
        let lr = optimizer.group_lr(&group)?;
        rates.push((Some(group), lr));
    }
    Ok(rates)
}

fn set_rate<O: Optimizer + ?Sized>(optimizer: &mut O, group: Option<&str>, lr: f64) -> Result<()> {
    match group {
        Some(group) => optimizer.set_group_lr(group, lr),
        None => {
            optimizer.set_lr(lr);
            Ok(())
        }
    }
}

impl<S: Schedule> Scheduler<S> {
    /// Takes the optimizer's learning rates as they are for the base, and sets those of step 0.
    ///
    /// # Errors
    /// A schedule that cycles the momentum of an optimizer without one.
    pub fn new<O: Optimizer + ?Sized>(schedule: S, optimizer: &mut O) -> Result<Self> {
        let rates = rates(optimizer)?.into_iter().map(|(group, base)| {
            let now = schedule.start(base);
            Rate { group, base, now }
        });
        let scheduler = Scheduler { rates: rates.collect(), schedule, step: 0 };
        scheduler.set(optimizer)?;
        Ok(scheduler)
    }

    /// The next step: sets its learning rates.
    ///
    /// # Errors
    /// An optimizer with other groups; then nothing has changed.
    pub fn step<O: Optimizer + ?Sized>(&mut self, optimizer: &mut O) -> Result<()> {
        self.check(optimizer)?;
        let step = self.step + 1;
        let rates = self.rates.iter().map(|rate| {
            let now = self.schedule.next(rate.base, step, rate.now);
            Rate { now, ..rate.clone() }
        });
        let rates: Vec<Rate> = rates.collect();
        (self.rates, self.step) = (rates, step);
        self.set(optimizer)
    }

    /// Number of this step, from 0.
    pub fn current_step(&self) -> u64 {
        self.step
    }

    /// The learning rate of this step, of parameters without a group.
    pub fn lr(&self) -> f64 {
        self.rates.first().map_or(f64::NAN, |rate| rate.now)
    }

    /// The optimizer has the groups of the schedule.
    fn check<O: Optimizer + ?Sized>(&self, optimizer: &O) -> Result<()> {
        let mut groups = self.rates.iter().filter_map(|rate| rate.group.as_deref());
        groups.try_for_each(|group| optimizer.group_lr(group).map(drop))
    }

    /// Sets the rates of this step on an optimizer.
    fn set<O: Optimizer + ?Sized>(&self, optimizer: &mut O) -> Result<()> {
        if let Some(momentum) = self.schedule.momentum(self.step) {
            optimizer.set_momentum(momentum)?;
        }
        for rate in &self.rates {
            set_rate(optimizer, rate.group.as_deref(), rate.now)?;
        }
        Ok(())
    }

    /// Where it stands, as tensors by name, for a file beside the optimizer's. The schedule itself is the program's.
    pub fn state_dict(&self) -> BTreeMap<String, Tensor> {
        let mut named = BTreeMap::new();
        let step = i64::try_from(self.step).unwrap_or(i64::MAX);
        named.insert("schedule.step".to_string(), Tensor::from(step));
        for rate in &self.rates {
            let pair = Tensor::from([rate.base, rate.now]);
            named.insert(rate_name(rate.group.as_deref()), pair);
        }
        named
    }

    /// Goes on where [`state_dict`](Self::state_dict) was taken, and sets those rates. Other names are ignored, so that one file
    /// may hold more.
    ///
    /// # Errors
    /// A missing or unfitting entry, by name; an optimizer with other groups. Then nothing has changed.
    pub fn load_state_dict<O: Optimizer + ?Sized>(
        &mut self,
        state: &BTreeMap<String, Tensor>,
        optimizer: &mut O,
    ) -> Result<()> {
        self.check(optimizer)?;
        let [step] = counts(state, "schedule.step")?;
        let mut loaded = self.rates.clone();
        for rate in &mut loaded {
            if let [base, now] = entry::<f64>(state, &rate_name(rate.group.as_deref()), 2)?[..] {
                (rate.base, rate.now) = (base, now);
            }
        }
        (self.rates, self.step) = (loaded, step);
        self.set(optimizer)
    }
}

fn rate_name(group: Option<&str>) -> String {
    group.map_or("schedule.lr".to_string(), |group| format!("schedule.lr.{group}"))
}

/// The numbers of one entry of a state.
fn entry<T: ferrotape_tensor::Element>(
    state: &BTreeMap<String, Tensor>,
    name: &str,
    count: usize,
) -> Result<Vec<T>> {
    let refuse = |what: &str| {
        Err(Error::new(ErrorKind::Module(format!("load_state_dict of a schedule: {name}: {what}"))))
    };
    match state.get(name) {
        None => refuse("missing"),
        Some(tensor) if tensor.len() != count || tensor.dtype() != T::DTYPE => {
            refuse(&format!("{count} of {} expected", T::DTYPE))
        }
        Some(tensor) => tensor.to_vec(),
    }
}

/// The counts of one entry of a state.
fn counts<const N: usize>(state: &BTreeMap<String, Tensor>, name: &str) -> Result<[u64; N]> {
    let found = entry::<i64>(state, name, N)?;
    let mut counts = [0; N];
    for (count, found) in counts.iter_mut().zip(found) {
        *count = u64::try_from(found).map_err(|_| {
            let message = format!("load_state_dict of a schedule: {name}: {found} is no count");
            Error::new(ErrorKind::Module(message))
        })?;
    }
    Ok(counts)
}
