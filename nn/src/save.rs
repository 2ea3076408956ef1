//! Training checkpoints: everything a killed run needs to go on as if it had not been killed. (What recomputes activations is
//! [`checkpoint`](crate::checkpoint()), another thing.)
//!
//! A [`Checkpoint`] collects states under names; a [`Checkpoints`] folder keeps the last few of a run. A run that is resumed takes
//! the steps of the uninterrupted one, bit for bit:
//!
//! ```
//! use ferrotape_nn::data::{DataLoader, Position, TensorDataset};
//! use ferrotape_nn::save::{Checkpoint, Checkpoints};
//! use ferrotape_nn::{Adam, Forward, Linear, Optimizer, Scheduler, StepLR, value_and_grad};
//! use ferrotape_tensor::{DType, Generator, Result, Tensor};
//!
//! fn train(folder: &std::path::Path) -> Result<()> {
//!     let mut rng = Generator::new(0);
//!     let mut net = Linear::new(2, 1, &mut rng)?;
//!     let mut optimizer = Adam::new(0.1);
//!     let mut scheduler = Scheduler::new(StepLR::new(10, 0.5), &mut optimizer)?;
//!     let data = TensorDataset::new(rng.normal([9, 2], 0., 1., DType::F32)?, rng.normal([9, 1], 0., 1., DType::F32)?)?;
//!     let loader = DataLoader::new(data, 2)?.shuffle(7);
//!
//!     let (mut step, mut at) = (0, Position::default());
//!     let mut folder = Checkpoints::new(folder, 3)?;
//!     if let Some(found) = folder.latest()? {
//!         found.skipped.iter().for_each(|damaged| eprintln!("skipped: {damaged}"));
//!         found.checkpoint.load_model("net", &mut net)?;
//!         found.checkpoint.load_optimizer("optimizer", &mut optimizer, &net)?;
//!         found.checkpoint.load_scheduler("scheduler", &mut scheduler, &mut optimizer)?;
//!         rng = found.checkpoint.generator("rng")?;
//!         at = found.checkpoint.position("loader")?;
//!         step = found.step;
//!     }
//!     while at.epoch() < 3 {
//!         let mut batches = loader.resume(&at)?;
//!         while let Some(batch) = batches.next() {
//!             let (x, y) = batch?;
//!             let found = value_and_grad(&net, &mut rng, |net, ctx| net.forward(&x, ctx)?.mse_loss(&y))?;
//!             optimizer.step(&mut net, &found)?;
//!             step += 1;
//!             if step % 5 == 0 {
//!                 let mut checkpoint = Checkpoint::new();
//!                 checkpoint.put_model("net", &net)?;
//!                 checkpoint.put_optimizer("optimizer", &optimizer)?;
//!                 checkpoint.put_scheduler("scheduler", &scheduler)?;
//!                 checkpoint.put_generator("rng", &rng)?;
//!                 checkpoint.put_position("loader", &batches.position())?;
//!                 folder.save(step, &checkpoint)?;
//!             }
//!         }
//!         scheduler.step(&mut optimizer)?;
//!         at = at.next_epoch();
//!     }
//!     Ok(())
//! }
//! # let folder = std::env::temp_dir().join(format!("ferrotape-doc-save-{}", std::process::id()));
//! # train(&folder).unwrap();
//! # train(&folder).unwrap();
//! # std::fs::remove_dir_all(folder).unwrap();
//! ```
//!
//! # The file
//!
//! A safetensors file that any reader of the format opens: entry `part/rest` is `rest` of the state that was put under `part`
//! (`net/weight`, `optimizer/state.weight.exp_avg`). `checkpoint/version` is the number of this layout; `checkpoint/digest`, the last
//! 16 bytes of the file, is the XXH3-128 of all bytes before it. A file that is damaged anywhere is refused.
//!
//! It is written beside its place, flushed, renamed and the folder flushed: under its name there is never half a file, whatever
//! instant the process is killed at.

mod file;
mod folder;

use std::collections::BTreeMap;
use std::panic::Location;
use std::path::{Path, PathBuf};

use ferrotape_tensor::{DType, Device, Error, ErrorKind, Generator, Result, Tensor};

pub use folder::{Checkpoints, Latest};

use crate::data::Position;
use crate::module::Module;
use crate::optim::Optimizer;
use crate::schedule::{ReduceLROnPlateau, Scheduler};
use crate::state::{load_state_dict, parameters, state_dict};

/// Tensors by name.
type Named = BTreeMap<String, Tensor>;

/// The part of the file's own entries.
const OWN: &str = "checkpoint";

/// States under names: what is in a file of a training run. Tensors share their values with what they were taken from.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// By part, then by name in it.
    parts: BTreeMap<String, Named>,
    /// Where it was read from.
    path: PathBuf,
}

impl Checkpoint {
    /// Empty.
    pub fn new() -> Self {
        Checkpoint::default()
    }

    /// Names of the states in it.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }

    /// Tensors by name, as they are.
    ///
    /// # Errors
    /// A part's name that is empty, taken, `checkpoint`, or has a `/`.
    pub fn put_tensors(&mut self, part: &str, tensors: BTreeMap<String, Tensor>) -> Result<()> {
        let wrong = match part {
            "" => "is empty",
            OWN => "is the file's own",
            _ if part.contains('/') => "has a slash",
            _ if self.parts.contains_key(part) => "is taken",
            _ => {
                self.parts.insert(part.to_string(), tensors);
                return Ok(());
            }
        };
        let message = format!("checkpoint: the name {part:?} {wrong}");
        Err(Error::new(ErrorKind::Module(message)))
    }

    fn put_one(&mut self, part: &str, name: &str, tensor: Tensor) -> Result<()> {
        self.put_tensors(part, [(name.to_string(), tensor)].into())
    }

    /// Parameters and buffers.
    ///
    /// # Errors
    /// As [`put_tensors`](Self::put_tensors).
    pub fn put_model<M: Module + ?Sized>(&mut self, part: &str, model: &M) -> Result<()> {
        self.put_tensors(part, state_dict(model))
    }

    /// State and learning rates of an optimizer.
    ///
    /// # Errors
    /// As [`put_tensors`](Self::put_tensors); memory over the limit.
    pub fn put_optimizer<O: Optimizer + ?Sized>(
        &mut self,
        part: &str,
        optimizer: &O,
    ) -> Result<()> {
        self.put_tensors(part, optimizer.state_dict()?)
    }

    /// Where a schedule stands.
    ///
    /// # Errors
    /// As [`put_tensors`](Self::put_tensors).
    pub fn put_scheduler<S: crate::Schedule>(
        &mut self,
        part: &str,
        scheduler: &Scheduler<S>,
    ) -> Result<()> {
        self.put_tensors(part, scheduler.state_dict())
    }

    /// Where a plateau's watch stands.
    ///
    /// # Errors
    /// As [`put_tensors`](Self::put_tensors).
    pub fn put_plateau(&mut self, part: &str, plateau: &ReduceLROnPlateau) -> Result<()> {
        self.put_tensors(part, plateau.state_dict())
    }

    /// The place of a generator in its stream: dropout's, the initialisation's.
    ///
    /// # Errors
    /// As [`put_tensors`](Self::put_tensors).
    pub fn put_generator(&mut self, part: &str, rng: &Generator) -> Result<()> {
        let state = rng.state().map(u64::cast_signed);
        self.put_one(part, "state", Tensor::from(state))
    }

    /// The place of a loader in its epoch, from [`Epoch::position`](crate::data::Epoch::position).
    ///
    /// # Errors
    /// As [`put_tensors`](Self::put_tensors).
    pub fn put_position(&mut self, part: &str, position: &Position) -> Result<()> {
        self.put_one(part, "position", Tensor::from(position.state()))
    }

    /// A whole number of the program's own: an epoch, a count.
    ///
    /// # Errors
    /// As [`put_tensors`](Self::put_tensors).
    pub fn put_count(&mut self, part: &str, count: u64) -> Result<()> {
        self.put_one(part, "count", Tensor::from(count.cast_signed()))
    }

    /// A number of the program's own: the best loss so far.
    ///
    /// # Errors
    /// As [`put_tensors`](Self::put_tensors).
    pub fn put_number(&mut self, part: &str, number: f64) -> Result<()> {
        self.put_one(part, "number", Tensor::from(number))
    }

    /// A text of the program's own: settings, a note.
    ///
    /// # Errors
    /// As [`put_tensors`](Self::put_tensors); memory over the limit.
    pub fn put_text(&mut self, part: &str, text: &str) -> Result<()> {
        self.put_one(part, "text", Tensor::from_slice(text.as_bytes(), [text.len()])?)
    }

    /// The tensors of a part.
    ///
    /// # Errors
    /// No part of this name; the message lists those that are there.
    pub fn tensors(&self, part: &str) -> Result<&BTreeMap<String, Tensor>> {
        self.parts.get(part).ok_or_else(|| {
            let known: Vec<&str> = self.parts().collect();
            self.wrong(part, format!("not there; there are: [{}]", known.join(", ")))
        })
    }

    /// Gives a model its parameters and buffers back.
    ///
    /// # Errors
    /// No such part; names that are missing, unexpected or of another shape or type, all of them. Then nothing has changed.
    pub fn load_model<M: Module + ?Sized>(&self, part: &str, model: &mut M) -> Result<()> {
        let own = state_dict(model);
        let placed = self.placed(part, |name| own.get(name).map(Tensor::device))?;
        load_state_dict(model, &placed).map_err(|error| self.wrong(part, error))
    }

    /// Gives the optimizer of `model` its state back.
    ///
    /// # Errors
    /// No such part; state that is missing, unexpected, of another shape or type than its parameter, or of a parameter that the
    /// model does not have, by name. Then nothing has changed.
    pub fn load_optimizer<O: Optimizer + ?Sized, M: Module + ?Sized>(
        &self,
        part: &str,
        optimizer: &mut O,
        model: &M,
    ) -> Result<()> {
        let loaded = optimizer.load_state_dict(self.tensors(part)?, &parameters(model));
        loaded.map_err(|error| self.wrong(part, error))
    }

    /// Puts a schedule where it stood, and sets its learning rates.
    ///
    /// # Errors
    /// No such part; what is missing or does not fit, by name. Then nothing has changed.
    pub fn load_scheduler<S: crate::Schedule, O: Optimizer + ?Sized>(
        &self,
        part: &str,
        scheduler: &mut Scheduler<S>,
        optimizer: &mut O,
    ) -> Result<()> {
        let state = self.tensors(part)?;
        scheduler.load_state_dict(state, optimizer).map_err(|error| self.wrong(part, error))
    }

    /// Puts a plateau's watch where it stood.
    ///
    /// # Errors
    /// No such part; what is missing or does not fit, by name. Then nothing has changed.
    pub fn load_plateau(&self, part: &str, plateau: &mut ReduceLROnPlateau) -> Result<()> {
        plateau.load_state_dict(self.tensors(part)?).map_err(|error| self.wrong(part, error))
    }

    /// A generator at its saved place.
    ///
    /// # Errors
    /// No such part, or it is no generator's.
    pub fn generator(&self, part: &str) -> Result<Generator> {
        let state: [i64; 3] = self.numbers(part, "state")?;
        Ok(Generator::from_state(state.map(i64::cast_unsigned)))
    }

    /// A loader's saved place.
    ///
    /// # Errors
    /// No such part, or it is no loader's.
    pub fn position(&self, part: &str) -> Result<Position> {
        let state = self.numbers(part, "position")?;
        Position::from_state(state).map_err(|error| self.wrong(part, error))
    }

    /// A whole number.
    ///
    /// # Errors
    /// No such part, or it is none.
    pub fn count(&self, part: &str) -> Result<u64> {
        let [count] = self.numbers::<i64, 1>(part, "count")?;
        Ok(count.cast_unsigned())
    }

    /// A number.
    ///
    /// # Errors
    /// No such part, or it is none.
    pub fn number(&self, part: &str) -> Result<f64> {
        let [number] = self.numbers::<f64, 1>(part, "number")?;
        Ok(number)
    }

    /// A text.
    ///
    /// # Errors
    /// No such part, or it is none.
    pub fn text(&self, part: &str) -> Result<String> {
        let bytes = self.entry(part, "text", DType::U8)?.to_vec::<u8>()?;
        String::from_utf8(bytes).map_err(|error| self.wrong(part, error))
    }

    /// The only tensor of a part.
    fn entry(&self, part: &str, name: &str, dtype: DType) -> Result<&Tensor> {
        let tensors = self.tensors(part)?;
        let only = tensors.get(name).filter(|t| tensors.len() == 1 && t.dtype() == dtype);
        only.ok_or_else(|| {
            let found: Vec<String> =
                tensors.iter().take(4).map(|(name, t)| format!("{name} ({})", t.dtype())).collect();
            self.wrong(part, format!("{name} ({dtype}) expected, found {}", found.join(", ")))
        })
    }

    /// The elements of the only tensor of a part.
    fn numbers<T: ferrotape_tensor::Element, const N: usize>(
        &self,
        part: &str,
        name: &str,
    ) -> Result<[T; N]> {
        let numbers = self.entry(part, name, T::DTYPE)?.to_vec::<T>()?;
        <[T; N]>::try_from(numbers).map_err(|numbers| {
            self.wrong(part, format!("{name}: {} numbers, {N} expected", numbers.len()))
        })
    }

    /// The tensors of a part, each on the device that `device` says of its name, if it says one.
    fn placed(&self, part: &str, device: impl Fn(&str) -> Option<Device>) -> Result<Named> {
        let mut placed = self.tensors(part)?.clone();
        for (name, tensor) in &mut placed {
            if let Some(device) = device(name).filter(|device| *device != tensor.device()) {
                *tensor = tensor.to_device(device)?;
            }
        }
        Ok(placed)
    }

    fn wrong(&self, part: &str, what: impl std::fmt::Display) -> Error {
        let message = format!("checkpoint: {part}: {what}");
        Error::new(match self.path.as_os_str().is_empty() {
            true => ErrorKind::Module(message),
            false => ErrorKind::File { path: self.path.clone(), message },
        })
    }

    /// Writes the file `path`, whole or not at all: what was there before stays until the new file is on the disk.
    ///
    /// # Errors
    /// The file system's, with the path. Then what was there before is still there.
    #[track_caller]
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let here = Location::caller();
        let path = path.as_ref();
        file::write(path, &self.parts).map_err(|error| error.at(here))
    }

    /// Reads the file `path`.
    ///
    /// # Errors
    /// The file system's; a file that is damaged, is no checkpoint or a newer version's; with the path.
    #[track_caller]
    pub fn read(path: impl AsRef<Path>) -> Result<Checkpoint> {
        let here = Location::caller();
        let path = path.as_ref();
        let parts = file::read(path).map_err(|refusal| refusal.error(path).at(here))?;
        Ok(Checkpoint { parts, path: path.to_path_buf() })
    }
}
