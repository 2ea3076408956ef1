//! A training run with everything that has a state: dropout, batch norm, Adam, a schedule of rate and momentum, shuffling.

use std::path::Path;

use ferrotape::nn::data::{Position, TensorDataset};
use ferrotape::nn::save::{Checkpoint, Checkpoints};
use ferrotape::nn::{OneCycleLR, Scheduler};
use ferrotape::prelude::*;

use crate::cnn::{Hash, hash_model};

/// Samples, a batch, epochs: 7 batches each, the last of 2.
const SAMPLES: usize = 50;
const BATCH: usize = 8;
const EPOCHS: u64 = 3;
/// Steps of the run.
pub(super) const STEPS: u64 = EPOCHS * (SAMPLES as u64).div_ceil(BATCH as u64);
/// Checkpoints that are kept.
pub(super) const KEEP: usize = 2;

#[derive(Module, Clone)]
pub(super) struct Net {
    first: Linear,
    norm: BatchNorm1d,
    drop: Dropout,
    last: Linear,
}

impl Net {
    pub(super) fn new(rng: &mut Generator) -> Net {
        Net {
            first: Linear::new(6, 64, rng).unwrap(),
            norm: BatchNorm1d::new(64).unwrap(),
            drop: Dropout::new(0.25).unwrap(),
            last: Linear::new(64, 3, rng).unwrap(),
        }
    }
}

impl Forward for Net {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let x = self.first.forward(x, ctx)?;
        let x = self.norm.forward(&x, ctx).relu()?;
        let x = self.drop.forward(&x, ctx)?;
        self.last.forward(&x, ctx)
    }
}

/// Trains to the end, from the last checkpoint in `folder` if there is one, and saves after every second step. Ends early, with `None`,
/// when `go_on` says so after a step. What it returns is a hash of everything.
pub(super) fn train(
    folder: Option<&Path>,
    workers: usize,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Option<u64> {
    let mut folder = folder.map(|folder| Checkpoints::new(folder, KEEP).unwrap());
    train_with(folder.as_mut(), workers, STEPS, &mut |step, folder, checkpoint| {
        if let (Some(folder), Some(checkpoint)) = (folder, checkpoint) {
            folder.save(step, &checkpoint).unwrap();
        }
        go_on(step)
    })
}

/// What is to be done after a step, with the checkpoint if one is due.
pub(super) type After<'a> =
    dyn FnMut(u64, Option<&mut Checkpoints>, Option<Checkpoint>) -> bool + 'a;

/// [`train`] for `steps` steps and with the saving left to `after`.
pub(super) fn train_with(
    mut folder: Option<&mut Checkpoints>,
    workers: usize,
    steps: u64,
    after: &mut After<'_>,
) -> Option<u64> {
    let mut rng = Generator::new(11);
    let x = rng.normal([SAMPLES, 6], 0., 1., DType::F32).unwrap();
    let y = x.narrow(1, 0, 3).argmax(1).unwrap();
    let data = TensorDataset::new(x, y).unwrap();
    let loader = DataLoader::new(data, BATCH).unwrap().shuffle(5).workers(workers);
    let mut net = Net::new(&mut rng);
    let mut optimizer = Adam::new(0.02).weight_decay(1e-3).group("last.", |g| g.lr(0.01));
    let schedule = OneCycleLR::new(0.05, steps).unwrap();
    let mut scheduler = Scheduler::new(schedule, &mut optimizer).unwrap();
    let (mut step, mut at) = (0, Position::default());
    if let Some(found) = folder.as_mut().and_then(|folder| folder.latest().unwrap()) {
        assert!(found.skipped.is_empty(), "{:?}", found.skipped);
        let saved = &found.checkpoint;
        saved.load_model("net", &mut net).unwrap();
        saved.load_optimizer("optimizer", &mut optimizer, &net).unwrap();
        saved.load_scheduler("scheduler", &mut scheduler, &mut optimizer).unwrap();
        rng = saved.generator("rng").unwrap();
        at = saved.position("loader").unwrap();
        step = found.step;
    }
    while step < steps {
        let mut batches = loader.resume(&at).unwrap();
        while let Some(batch) = batches.next() {
            if step == steps {
                break;
            }
            let (x, y) = batch.unwrap();
            let found =
                value_and_grad(&net, &mut rng, |m, ctx| m.forward(&x, ctx).cross_entropy(&y));
            optimizer.step(&mut net, &found.unwrap()).unwrap();
            step += 1;
            if step < steps {
                scheduler.step(&mut optimizer).unwrap();
            }
            let due = (step % 2 == 0 && folder.is_some()).then(|| {
                let mut checkpoint = Checkpoint::new();
                checkpoint.put_model("net", &net).unwrap();
                checkpoint.put_optimizer("optimizer", &optimizer).unwrap();
                checkpoint.put_scheduler("scheduler", &scheduler).unwrap();
                checkpoint.put_generator("rng", &rng).unwrap();
                checkpoint.put_position("loader", &batches.position()).unwrap();
                checkpoint
            });
            if !after(step, folder.as_deref_mut(), due) {
                return None;
            }
        }
        at = at.next_epoch();
    }
    let mut hash = Hash::new();
    hash.number(hash_model(&net));
    optimizer.state_dict().unwrap().values().for_each(|tensor| hash.tensor(tensor));
    scheduler.state_dict().values().for_each(|tensor| hash.tensor(tensor));
    rng.state().into_iter().for_each(|word| hash.number(word));
    Some(hash.finish())
}
