//! One training step's result: loss, gradients, updates.

use std::sync::Arc;

use ferrotape_autograd::Tape;
use ferrotape_tensor::chain::BinaryChain;
use ferrotape_tensor::{Error, ErrorKind, Generator, Result, Tensor, TensorId};

use crate::ctx::Ctx;
use crate::module::Module;
use crate::state::parameters;

/// What [`value_and_grad`] returns: ordinary values, the tape is gone.
#[derive(Debug)]
pub struct Step<A = ()> {
    /// The loss.
    pub loss: Tensor,
    /// What the closure returned beside it.
    pub aux: A,
    /// For the optimizer.
    pub gradients: Gradients,
}

/// The gradients of the trainable parameters by their paths, and the updates of buffers.
#[derive(Debug, Clone, Default)]
pub struct Gradients {
    pub(crate) entries: Vec<Entry>,
    pub(crate) updates: Vec<(TensorId, Tensor)>,
    pub(crate) allow_missing: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: Arc<str>,
    /// The value that the gradient was taken at.
    pub(crate) id: TensorId,
    pub(crate) gradient: Option<Tensor>,
}

impl Gradients {
    /// Paths and gradients of the parameters that a gradient reached.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().filter_map(|e| Some((&*e.path, e.gradient.as_ref()?)))
    }

    /// The gradient of one parameter.
    pub fn get(&self, path: &str) -> Option<&Tensor> {
        self.iter().find(|(known, _)| *known == path).map(|(_, gradient)| gradient)
    }

    /// Lets parameters that no gradient reached stay as they are, instead of failing.
    pub fn allow_missing(mut self) -> Self {
        self.allow_missing = true;
        self
    }

    /// The Euclidean norm of all gradients together. Tied parameters count once.
    ///
    /// # Errors
    /// Memory over the limit.
    pub fn norm(&self) -> Result<f64> {
        let mut sum = 0.0;
        let mut seen: Vec<TensorId> = Vec::new();
        for entry in &self.entries {
            if let (Some(gradient), false) = (&entry.gradient, seen.contains(&entry.id)) {
                seen.push(entry.id);
                sum += gradient.square()?.sum(..)?.to_f64()?;
            }
        }
        Ok(sum.sqrt())
    }

    /// Multiplies every gradient by a number.
    ///
    /// # Errors
    /// Memory over the limit.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        for gradient in self.entries.iter_mut().filter_map(|entry| entry.gradient.as_mut()) {
            *gradient = gradient.mul(factor)?;
        }
        Ok(())
    }

    /// Scales all gradients so that their norm is at most `max`, as PyTorch's `clip_grad_norm_`; returns the norm before.
    ///
    /// # Errors
    /// Memory over the limit.
    pub fn clip_norm(&mut self, max: f64) -> Result<f64> {
        let norm = self.norm()?;
        if norm > max {
            self.scale(max / (norm + 1e-6))?;
        }
        Ok(norm)
    }

    /// Adds another step's gradients, taken at the same weights: gradient accumulation. Updates of buffers: the later ones win.
    ///
    /// # Errors
    /// Other parameters, or weights that changed in between.
    pub fn accumulate(&mut self, other: &Gradients) -> Result<()> {
        let same = self.entries.len() == other.entries.len()
            && self
                .entries
                .iter()
                .zip(&other.entries)
                .all(|(a, b)| a.path == b.path && a.id == b.id);
        if !same {
            let message = "accumulate: the gradients were taken at other weights".to_string();
            return Err(Error::new(ErrorKind::Module(message)));
        }
        for (mine, theirs) in self.entries.iter_mut().zip(&other.entries) {
            mine.gradient = match (mine.gradient.take(), &theirs.gradient) {
                (Some(a), Some(b)) => Some(Ok(a).add(b)?),
                (a, b) => a.or_else(|| b.clone()),
            };
        }
        for (id, value) in &other.updates {
            match self.updates.iter_mut().find(|(known, _)| known == id) {
                Some((_, pending)) => *pending = value.clone(),
                None => self.updates.push((*id, value.clone())),
            }
        }
        Ok(())
    }
}

/// Runs `forward` on the model in training, and returns its loss with the gradients of all trainable parameters.
///
/// # Errors
/// What `forward` fails with; a loss that is no scalar or depends on no parameter.
pub fn value_and_grad<M: Module + ?Sized>(
    model: &M,
    rng: &mut Generator,
    forward: impl FnOnce(&M, &mut Ctx<'_>) -> Result<Tensor>,
) -> Result<Step> {
    value_and_grad_aux(model, rng, |model, ctx| Ok((forward(model, ctx)?, ())))
}

/// As [`value_and_grad`], for a closure that returns more than the loss: an accuracy, a recurrent state.
///
/// # Errors
/// As [`value_and_grad`].
pub fn value_and_grad_aux<M: Module + ?Sized, A>(
    model: &M,
    rng: &mut Generator,
    forward: impl FnOnce(&M, &mut Ctx<'_>) -> Result<(Tensor, A)>,
) -> Result<Step<A>> {
    let trainable: Vec<_> =
        parameters(model).into_iter().filter(|(_, param)| param.trainable).collect();
    let ((loss, aux, updates, reached), tape) = Tape::record(|tape| {
        trainable.iter().for_each(|(_, param)| tape.watch(param));
        let mut ctx = Ctx::train(rng);
        let (loss, aux) = forward(model, &mut ctx)?;
        let reached = tape.contains(&loss);
        Ok((loss, aux, ctx.into_updates(), reached))
    })?;
    if !reached && !trainable.is_empty() {
        let message = "value_and_grad: the loss depends on no trainable parameter".to_string();
        return Err(Error::new(ErrorKind::Gradient(message)));
    }
    let tensors: Vec<&Tensor> = trainable.iter().map(|(_, param)| param.tensor()).collect();
    let gradients = tape.gradient_or_none(&loss, &tensors)?;
    let entry = |((path, param), gradient): ((String, &crate::Param), Option<Tensor>)| Entry {
        path: path.into(),
        id: param.id(),
        gradient,
    };
    let entries = trainable.into_iter().zip(gradients).map(entry).collect();
    Ok(Step { loss, aux, gradients: Gradients { entries, updates, allow_missing: false } })
}
