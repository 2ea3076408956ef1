//! What is not finite: the error that says so, and the check of gradients.

use std::fmt;

use ferrotape_tensor::chain::ReduceChain;
use ferrotape_tensor::{Error, Result, Tensor, no_tape};

use crate::module::Module;
use crate::state::each;
use crate::step::Gradients;

/// A NaN or an infinity where a finite number is due: from a [`NanWatch`](crate::NanWatch), or an optimizer that checks. The run can
/// skip the step and go on: nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NonFinite {
    /// The step, from 0, if a watch counts them.
    pub step: Option<u64>,
    /// The operation that made the first, if a watch listened.
    pub op: Option<&'static str>,
    /// The first parameter that holds one, or whose gradient does.
    pub parameter: Option<String>,
    /// All of it in words.
    pub message: String,
}

impl NonFinite {
    /// What `error` says of this kind; `None` if it is another one.
    ///
    /// ```
    /// use ferrotape_nn::{Adam, Forward, Linear, NonFinite, Optimizer, value_and_grad};
    /// use ferrotape_tensor::{Generator, Tensor, chain::ReduceChain};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let mut rng = Generator::new(0);
    /// let mut net = Linear::new(2, 1, &mut rng)?;
    /// let mut optimizer = Adam::new(0.1).check_finite(true);
    /// let mut skipped = 0;
    /// for x in [Tensor::from([[1f32, 2.]]), Tensor::from([[1f32, f32::NAN]])] {
    ///     let step = value_and_grad(&net, &mut rng, |net, ctx| net.forward(&x, ctx).mean(..))?;
    ///     match optimizer.step(&mut net, &step) {
    ///         Err(error) if NonFinite::of(&error).is_some() => skipped += 1,
    ///         other => other?,
    ///     }
    /// }
    /// assert_eq!(skipped, 1);
    /// # Ok(()) }
    /// ```
    pub fn of(error: &Error) -> Option<&NonFinite> {
        std::error::Error::source(error)?.downcast_ref()
    }
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NonFinite {}

/// The largest absolute value: finite if all elements are, NaN if one is, infinite otherwise. 0 of integers and of none.
pub(crate) fn extent(x: &Tensor) -> Result<f64> {
    if x.is_empty() || !x.dtype().is_float() {
        return Ok(0.0);
    }
    no_tape(|| x.abs().max(..))?.to_f64()
}

/// "NaN" or "an infinity", and where the first is.
pub(crate) fn first_bad(x: &Tensor) -> Result<String> {
    let values = x.isfinite()?.to_vec::<bool>()?;
    let mut place = values.iter().position(|finite| !finite).unwrap_or(0);
    let mut index: Vec<usize> = Vec::with_capacity(x.rank());
    for &size in x.shape().iter().rev() {
        index.push(place % size.max(1));
        place /= size.max(1);
    }
    index.reverse();
    let what = if extent(x)?.is_nan() { "NaN" } else { "an infinity" };
    Ok(format!("{what} (first of the non-finite: {index:?})"))
}

fn refuse(parameter: Option<String>, message: String) -> Result<()> {
    Err(Error::other(NonFinite { step: None, op: None, parameter, message }))
}

impl Gradients {
    /// The gradients are finite, all of them.
    ///
    /// # Errors
    /// [`NonFinite`] with the first parameter whose gradient is not.
    pub fn check_finite(&self) -> Result<()> {
        for (path, gradient) in self.iter() {
            if !extent(gradient)?.is_finite() {
                let message = format!("the gradient of {path} has {}", first_bad(gradient)?);
                return refuse(Some(path.to_string()), message);
            }
        }
        Ok(())
    }

    /// The updates of buffers are finite.
    pub(crate) fn check_updates(&self, model: &dyn Module) -> Result<()> {
        for (id, value) in &self.updates {
            if extent(value)?.is_finite() {
                continue;
            }
            let mut name = None;
            let find = |path: &str, buffer: &crate::Buffer| {
                if buffer.id() == *id {
                    name = Some(path.to_string());
                }
            };
            each(model, |_, _| {}, find);
            let of = name.clone().unwrap_or_default();
            return refuse(name, format!("the update of buffer {of} has {}", first_bad(value)?));
        }
        Ok(())
    }
}
