//! Samples one by one, and what is said of one that fails.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ferrotape_tensor::{Error, ErrorKind, Result};

use super::dataset::Dataset;

/// Samples one by one; [`Collated`] makes batches of them.
pub trait Samples: Send + Sync + 'static {
    /// What a sample is.
    type Sample;

    /// Number of samples.
    fn len(&self) -> usize;

    /// True without samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sample of this number.
    ///
    /// # Errors
    /// It can't be read.
    fn sample(&self, index: usize) -> Result<Self::Sample>;
}

/// A data set of single samples and a function that makes a batch of them: PyTorch's `collate_fn`.
///
/// ```
/// use ferrotape_nn::data::{Collated, DataLoader, Samples};
/// use ferrotape_tensor::{Result, Tensor};
///
/// /// Sequences of different lengths.
/// struct Sequences(Vec<Vec<f32>>);
///
/// impl Samples for Sequences {
///     type Sample = Vec<f32>;
///     fn len(&self) -> usize { self.0.len() }
///     fn sample(&self, index: usize) -> Result<Vec<f32>> { Ok(self.0[index].clone()) }
/// }
///
/// # fn main() -> Result<()> {
/// let sequences = Sequences(vec![vec![1.], vec![2., 3.], vec![4., 5., 6.]]);
/// let padded = Collated::new(sequences, |samples: Vec<Vec<f32>>| {
///     let longest = samples.iter().map(Vec::len).max().unwrap_or(0);
///     let count = samples.len();
///     let rows = samples.into_iter().flat_map(|mut row| { row.resize(longest, 0.); row });
///     Tensor::from_vec(rows.collect(), [count, longest])
/// });
/// let shapes: Vec<Vec<usize>> = DataLoader::new(padded, 2)?.epoch(0)?.map(|x| Ok(x?.shape().to_vec())).collect::<Result<_>>()?;
/// assert_eq!(shapes, [[2, 2], [1, 3]]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Collated<S, F> {
    samples: S,
    collate: F,
}

impl<S, B, F> Collated<S, F>
where
    S: Samples,
    F: Fn(Vec<S::Sample>) -> Result<B> + Send + Sync + 'static,
{
    /// `collate` gets the samples of a batch in order.
    pub fn new(samples: S, collate: F) -> Self {
        Collated { samples, collate }
    }
}

impl<S, B, F> Dataset for Collated<S, F>
where
    S: Samples,
    B: Send + 'static,
    F: Fn(Vec<S::Sample>) -> Result<B> + Send + Sync + 'static,
{
    type Batch = B;

    fn len(&self) -> usize {
        self.samples.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<B> {
        let samples = indices.iter().map(|&index| self.samples.sample(index));
        (self.collate)(samples.collect::<Result<_>>()?)
    }
}

/// A batch that could not be made: what the loader's error is [of](Self::of).
#[derive(Debug)]
pub struct BadSample {
    /// The sample that can't be had even alone; `None` if each of them can.
    pub sample: Option<usize>,
    /// The epoch.
    pub epoch: u64,
    /// The batch in the epoch.
    pub batch: usize,
    /// What went wrong.
    pub cause: Cause,
}

/// Why a sample can't be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// The data set said so.
    Error(Error),
    /// It panicked, with this message.
    Panic(String),
}

impl BadSample {
    /// What `error` says of a batch; `None` if it is of another kind.
    pub fn of(error: &Error) -> Option<&BadSample> {
        std::error::Error::source(error)?.downcast_ref()
    }
}

impl fmt::Display for BadSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (batch, epoch) = (self.batch, self.epoch);
        match self.sample {
            Some(sample) => write!(f, "loader: sample {sample} (batch {batch} of epoch {epoch})")?,
            None => write!(f, "loader: batch {batch} of epoch {epoch}, each sample alone is good")?,
        }
        match &self.cause {
            Cause::Error(error) => write!(f, ": {error}"),
            Cause::Panic(message) => write!(f, " panicked: {message}"),
        }
    }
}

impl std::error::Error for BadSample {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Error(error) => Some(error),
            Cause::Panic(_) => None,
        }
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn attempt<D: Dataset>(data: &D, indices: &[usize]) -> Result<D::Batch, Cause> {
    match catch_unwind(AssertUnwindSafe(|| data.batch(indices))) {
        Ok(made) => made.map_err(Cause::Error),
        Err(panic) => Err(Cause::Panic(said(&*panic))),
    }
}

/// A batch, or which of its samples is bad: those of a batch that fails are tried one by one.
pub(super) fn make<D: Dataset>(
    data: &D,
    epoch: u64,
    batch: usize,
    indices: &[usize],
) -> Result<D::Batch> {
    let cause = match attempt(data, indices) {
        Ok(made) => return Ok(made),
        // Nothing is wrong with the samples.
        Err(Cause::Error(error)) if matches!(error.kind(), ErrorKind::OutOfMemory { .. }) => {
            return Err(error);
        }
        Err(cause) => cause,
    };
    let alone = |&index: &usize| Some((index, attempt(data, &[index]).err()?));
    let bad = match indices {
        [only] => Some((*only, cause)),
        _ => match indices.iter().find_map(alone) {
            Some(bad) => Some(bad),
            None => return Err(Error::other(BadSample { sample: None, epoch, batch, cause })),
        },
    };
    match bad {
        Some((sample, cause)) => {
            Err(Error::other(BadSample { sample: Some(sample), epoch, batch, cause }))
        }
        None => Err(Error::new(ErrorKind::Module("loader: no sample".to_string()))),
    }
}
