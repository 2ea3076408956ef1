//! The checkpoints of a run: numbered files in a folder, the last few kept.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::Location;
use std::path::{Path, PathBuf};

use ferrotape_tensor::{Error, ErrorKind, Result};

use super::Checkpoint;
use super::file::{self, Refusal, sync_folder};

const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".safetensors";

fn file_error(path: &Path, message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::File { path: path.to_path_buf(), message: message.to_string() })
}

/// The number in the name of a step's file.
fn number_of(step: u64) -> String {
    format!("{step:012}")
}

/// A folder that keeps the last checkpoints of a run, `checkpoint-<step>.safetensors`. See [the module](super) for how a run uses it.
///
/// One process at a time saves in a folder; any number may read.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
    /// Held from the first save on.
    lock: Option<File>,
    /// Steps whose files were found damaged: they don't count among those kept.
    damaged: BTreeSet<u64>,
}

/// The newest whole checkpoint of a folder.
#[derive(Debug)]
pub struct Latest {
    /// The step that it was saved at.
    pub step: u64,
    /// What is in it.
    pub checkpoint: Checkpoint,
    /// Newer ones that are damaged, each with its path and what is wrong; the newest first.
    pub skipped: Vec<Error>,
}

impl Checkpoints {
    /// The folder, made if it is not there, that keeps the last `keep` checkpoints. With 2 at least, a damaged one has another to
    /// fall back on.
    ///
    /// # Errors
    /// None to keep; the file system's.
    #[track_caller]
    pub fn new(folder: impl AsRef<Path>, keep: usize) -> Result<Self> {
        let here = Location::caller();
        let folder = folder.as_ref().to_path_buf();
        if keep == 0 {
            let message = "checkpoints: 0 of them to keep".to_string();
            return Err(Error::new(ErrorKind::Module(message)));
        }
        if !folder.is_dir() {
            let made = fs::create_dir_all(&folder).and_then(|()| sync_folder(&folder));
            made.map_err(|error| file_error(&folder, error).at(here))?;
        }
        Ok(Checkpoints { folder, keep, lock: None, damaged: BTreeSet::new() })
    }

    /// The file of a step.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{}{SUFFIX}", number_of(step)))
    }

    /// The steps that there are files of, ascending.
    ///
    /// # Errors
    /// The file system's.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let list = || {
            let mut steps = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                let name = entry?.file_name();
                let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
                let number = number.and_then(|rest| rest.strip_suffix(SUFFIX));
                let step = number.and_then(|number| number.parse().ok());
                // `checkpoint-7.safetensors` is none of ours.
                steps.extend(step.filter(|step| number == Some(&number_of(*step))));
            }
            steps.sort_unstable();
            Ok(steps)
        };
        list().map_err(|error: io::Error| file_error(&self.folder, error))
    }

    /// Saves the checkpoint of a step, and removes the oldest beyond those that are kept. Whatever instant the process is killed
    /// at, the last ones are whole. Returns the path.
    ///
    /// # Errors
    /// The file system's, with the path: then no earlier checkpoint has changed, and nothing else is left behind. Another process
    /// that saves here.
    #[track_caller]
    pub fn save(&mut self, step: u64, checkpoint: &Checkpoint) -> Result<PathBuf> {
        let here = Location::caller();
        self.save_parts(step, checkpoint).map_err(|error| error.at(here))
    }

    fn save_parts(&mut self, step: u64, checkpoint: &Checkpoint) -> Result<PathBuf> {
        self.lock()?;
        let path = self.path(step);
        file::write(&path, &checkpoint.parts)?;
        self.damaged.remove(&step);
        let mut older = self.steps()?;
        older.retain(|&other| other != step && !self.damaged.contains(&other));
        for old in older.iter().rev().skip(self.keep - 1) {
            let old = self.path(*old);
            fs::remove_file(&old)
                .map_err(|error| file_error(&old, format!("an old one, not removed: {error}")))?;
        }
        Ok(path)
    }

    /// The folder is this process's to save in. Where the file system knows no locks, the user sees to it.
    fn lock(&mut self) -> Result<()> {
        if self.lock.is_none() {
            let folder = File::open(&self.folder);
            let folder = folder.map_err(|error| file_error(&self.folder, error))?;
            if let Err(TryLockError::WouldBlock) = folder.try_lock() {
                return Err(file_error(&self.folder, "another run saves checkpoints here"));
            }
            self.lock = Some(folder);
        }
        Ok(())
    }

    /// The newest checkpoint that is whole, and what is wrong with those after it; `None` if there is no file.
    ///
    /// # Errors
    /// Files, but none that is whole; a whole one that this version can't read.
    #[track_caller]
    pub fn latest(&mut self) -> Result<Option<Latest>> {
        let here = Location::caller();
        self.newest().map_err(|error| error.at(here))
    }

    fn newest(&mut self) -> Result<Option<Latest>> {
        let mut skipped = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            let path = self.path(step);
            match file::read(&path) {
                Ok(parts) => {
                    let checkpoint = Checkpoint { parts, path };
                    return Ok(Some(Latest { step, checkpoint, skipped }));
                }
                Err(refusal @ Refusal::Damaged(_)) => {
                    self.damaged.insert(step);
                    skipped.push(refusal.error(&path));
                }
                Err(refusal) => return Err(refusal.error(&path)),
            }
        }
        if skipped.is_empty() {
            return Ok(None);
        }
        let all: Vec<String> = skipped.iter().map(ToString::to_string).collect();
        Err(file_error(&self.folder, format!("no checkpoint is whole: {}", all.join("; "))))
    }
}
