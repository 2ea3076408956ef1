//! `--checkpoint` and `--resume`.

use std::path::PathBuf;

use clap::Args;
use ferrotape::nn::data::Position;
use ferrotape::nn::save::{Checkpoint, Checkpoints};
use ferrotape::prelude::*;

#[derive(Args)]
pub(crate) struct Resume {
    /// Folder for checkpoints of the run; the last three are kept.
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Steps from one checkpoint to the next.
    #[arg(long, default_value_t = 100)]
    checkpoint_steps: u64,
    /// Goes on from the last checkpoint in that folder, to the same result.
    #[arg(long, requires = "checkpoint")]
    resume: bool,
}

/// The checkpoints of a run, if it keeps any, and where it stands.
pub(crate) struct Run {
    folder: Option<Checkpoints>,
    every: u64,
    pub(crate) steps: u64,
    pub(crate) position: Position,
}

impl Resume {
    /// The start of the run, or where it was saved last.
    pub(crate) fn start<M: Module, O: Optimizer>(
        &self,
        net: &mut M,
        optimizer: &mut O,
        rng: &mut Generator,
    ) -> Result<Run, Box<dyn std::error::Error>> {
        let folder = self.checkpoint.as_ref().map(|folder| Checkpoints::new(folder, 3));
        let mut folder = folder.transpose()?;
        let (mut steps, mut position) = (0, Position::default());
        if let Some(found) = folder.as_mut().map(Checkpoints::latest).transpose()?.flatten() {
            if !self.resume {
                return Err(format!(
                    "there are checkpoints of a run of {} steps: say --resume, or another folder",
                    found.step
                )
                .into());
            }
            found.skipped.iter().for_each(|damaged| eprintln!("skipped: {damaged}"));
            found.checkpoint.load_model("net", net)?;
            found.checkpoint.load_optimizer("optimizer", optimizer, net)?;
            *rng = found.checkpoint.generator("rng")?;
            (steps, position) = (found.step, found.checkpoint.position("loader")?);
            println!("goes on after step {steps}");
        }
        Ok(Run { folder, every: self.checkpoint_steps.max(1), steps, position })
    }
}

impl Run {
    /// Counts a step, and saves if it is time; `position`: of the loader after it.
    pub(crate) fn step<M: Module, O: Optimizer>(
        &mut self,
        net: &M,
        optimizer: &O,
        rng: &Generator,
        position: Position,
    ) -> Result<()> {
        self.steps += 1;
        let Some(folder) = self.folder.as_mut().filter(|_| self.steps % self.every == 0) else {
            return Ok(());
        };
        let mut checkpoint = Checkpoint::new();
        checkpoint.put_model("net", net)?;
        checkpoint.put_optimizer("optimizer", optimizer)?;
        checkpoint.put_generator("rng", rng)?;
        checkpoint.put_position("loader", &position)?;
        folder.save(self.steps, &checkpoint).map(drop)
    }
}
