//! Where a loader stands, to a file and back.

use ferrotape_tensor::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::Xxh3;

/// A place among the batches of a loader: an epoch, and how many of its batches have been taken.
///
/// One that comes from an [`Epoch`](super::Epoch) also knows that epoch's plan, so that it can't be resumed with other data or in another
/// order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    epoch: u64,
    batch: u64,
    plan: Option<Plan>,
}

/// What the batches of an epoch depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    samples: u64,
    batch_size: u64,
    drop_last: bool,
    /// Digest of the order of the samples.
    order: u64,
}

impl Plan {
    pub(super) fn new(samples: usize, batch_size: usize, drop_last: bool, order: &[usize]) -> Self {
        let mut digest = Xxh3::new();
        order.iter().for_each(|&sample| digest.update(&(sample as u64).to_le_bytes()));
        let order = digest.digest();
        Plan { samples: samples as u64, batch_size: batch_size as u64, drop_last, order }
    }
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Module(message)))
}

impl Position {
    /// After `batch` batches of epoch `epoch`; nothing is known of its plan.
    pub fn new(epoch: u64, batch: u64) -> Self {
        Position { epoch, batch, plan: None }
    }

    pub(super) fn planned(epoch: u64, plan: Plan) -> Self {
        Position { epoch, batch: 0, plan: Some(plan) }
    }

    pub(super) fn at(self, batch: usize) -> Self {
        Position { batch: batch as u64, ..self }
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many of its batches have been taken.
    pub fn batch(&self) -> u64 {
        self.batch
    }

    /// The start of the next epoch.
    pub fn next_epoch(&self) -> Self {
        Position::new(self.epoch.saturating_add(1), 0)
    }

    /// All there is to save.
    pub fn state(&self) -> [i64; 7] {
        let plan = self.plan.map_or([0; 5], |plan| {
            [1, plan.samples, plan.batch_size, u64::from(plan.drop_last), plan.order]
        });
        let [known, samples, batch_size, drop_last, order] = plan;
        [self.epoch, self.batch, known, samples, batch_size, drop_last, order].map(u64::cast_signed)
    }

    /// What [`state`](Self::state) was taken of.
    ///
    /// # Errors
    /// Numbers that no position has.
    pub fn from_state(state: [i64; 7]) -> Result<Self> {
        let [epoch, batch, known, samples, batch_size, drop_last, order] =
            state.map(i64::cast_unsigned);
        let plan = match (known, drop_last) {
            (0, 0) if [samples, batch_size, order] == [0; 3] => None,
            (1, 0 | 1) => Some(Plan { samples, batch_size, drop_last: drop_last == 1, order }),
            _ => return refuse(format!("loader: {state:?} is no position")),
        };
        if state.iter().take(2).any(|number| *number < 0) {
            return refuse(format!(
                "loader: epoch {}, batch {} is no position",
                state[0], state[1]
            ));
        }
        Ok(Position { epoch, batch, plan })
    }

    /// The number of batches taken, if this is a place in an epoch of `batches` with the plan `own`.
    pub(super) fn check(&self, own: &Plan, batches: usize) -> Result<usize> {
        if let Some(saved) = &self.plan {
            let differs = |what: &str, saved: u64, own: u64| {
                refuse(format!("loader: the position is of {saved} {what}, here are {own}"))
            };
            if saved.samples != own.samples {
                return differs("samples", saved.samples, own.samples);
            }
            if saved.batch_size != own.batch_size {
                return differs("samples a batch", saved.batch_size, own.batch_size);
            }
            if saved.drop_last != own.drop_last {
                return refuse(format!(
                    "loader: the position was saved with drop_last {}, this is {}",
                    saved.drop_last, own.drop_last
                ));
            }
            if saved.order != own.order {
                return refuse(format!(
                    "loader: in epoch {} the samples come in another order than where the position was saved (seed or sampler)",
                    self.epoch
                ));
            }
        }
        match usize::try_from(self.batch) {
            Ok(batch) if batch <= batches => Ok(batch),
            _ => refuse(format!("loader: position {} of {batches} batches", self.batch)),
        }
    }
}
