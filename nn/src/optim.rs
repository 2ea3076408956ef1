//! Optimizers: the only place where a weight or a buffer changes.

mod adam;
mod sgd;

use std::collections::HashMap;

use ferrotape_tensor::{DType, Error, ErrorKind, Result, Tensor, TensorId};

pub use adam::{Adam, adam_w};
pub use sgd::Sgd;

use crate::module::Module;
use crate::state::{each_mut, parameters};
use crate::step::{Gradients, Step};

/// Changes a model by the gradients of a step.
pub trait Optimizer {
    /// Updates every trainable parameter once (tied ones too), then the buffers.
    ///
    /// # Errors
    /// A trainable parameter that no gradient reached, by name; gradients that were taken at other weights or of another model. Then
    /// nothing has changed.
    fn apply(&mut self, model: &mut dyn Module, gradients: &Gradients) -> Result<()>;

    /// The learning rate.
    fn lr(&self) -> f64;

    /// Sets the learning rate, for schedules.
    fn set_lr(&mut self, lr: f64);

    /// [`apply`](Self::apply) of a step's gradients.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn step<M: Module, A>(&mut self, model: &mut M, step: &Step<A>) -> Result<()>
    where
        Self: Sized,
    {
        self.apply(model, &step.gradients)
    }
}

/// A parameter under update: its first path, its value taken out of the model, its gradient.
pub(crate) struct Target<'a> {
    pub(crate) path: &'a str,
    pub(crate) value: Tensor,
    pub(crate) gradient: &'a Tensor,
}

/// Takes the parameters out of the model, so that their buffers have one owner, lets `update` change them, and puts them
/// back whatever happens; then the buffers get their updates.
pub(crate) fn update(
    model: &mut dyn Module,
    gradients: &Gradients,
    update: impl FnOnce(&mut [Target<'_>]) -> Result<()>,
) -> Result<()> {
    check(model, gradients)?;
    // The first entry of each value speaks for all that are tied to it.
    let entries = gradients.entries.iter().enumerate().rev().filter(|(_, e)| e.gradient.is_some());
    let by_id: HashMap<TensorId, usize> = entries.map(|(place, entry)| (entry.id, place)).collect();
    let empty = Tensor::zeros([0], DType::F32)?;
    let mut taken: Vec<Option<Tensor>> = vec![None; gradients.entries.len()];
    let mut order: Vec<Option<usize>> = Vec::new();
    each_mut(
        model,
        |_, param| {
            let place = by_id.get(&param.id()).copied().filter(|_| param.trainable);
            order.push(place);
            if let Some(place) = place {
                taken[place] = Some(std::mem::replace(&mut param.tensor, empty.clone()));
            }
        },
        |_, _| {},
    );
    let mut places = vec![None; taken.len()];
    let mut targets = Vec::with_capacity(taken.len());
    for (place, (entry, value)) in gradients.entries.iter().zip(taken).enumerate() {
        if let (Some(gradient), Some(value)) = (&entry.gradient, value) {
            places[place] = Some(targets.len());
            targets.push(Target { path: &entry.path, value, gradient });
        }
    }
    // All memory first: should it run out here, no weight has changed.
    let result = targets.iter_mut().try_for_each(|target| target.value.make_exclusive());
    let result = result.and_then(|()| update(&mut targets));
    let mut order = order.into_iter();
    each_mut(
        model,
        |_, param| {
            let target = order.next().flatten().and_then(|place| places[place]);
            if let Some(target) = target.and_then(|at| targets.get(at)) {
                param.tensor = target.value.clone();
            }
        },
        |_, _| {},
    );
    result?;
    each_mut(
        model,
        |_, _| {},
        |_, buffer| {
            if let Some((_, value)) = gradients.updates.iter().find(|(id, _)| *id == buffer.id()) {
                buffer.tensor = value.clone();
            }
        },
    );
    Ok(())
}

/// Everything that can be refused, before anything changes.
fn check(model: &dyn Module, gradients: &Gradients) -> Result<()> {
    let refuse = |message: String| Err(Error::new(ErrorKind::Module(message)));
    let trainable = parameters(model).into_iter().filter(|(_, param)| param.trainable);
    let mut entries = gradients.entries.iter();
    for (path, param) in trainable {
        // Both lists come from one visit of the fields, so they agree unless the model is another one.
        let Some(entry) = entries.next().filter(|entry| *entry.path == *path) else {
            return refuse(format!(
                "step: the gradients do not belong to this model (parameter {path})"
            ));
        };
        if entry.id != param.id() {
            return refuse(format!(
                "step: parameter {path} has changed since the gradient was taken"
            ));
        }
        if entry.gradient.is_none() && !gradients.allow_missing {
            return refuse(format!(
                "step: no gradient reached parameter {path}; freeze it (trainable = false), or say allow_missing()"
            ));
        }
    }
    match entries.next() {
        Some(entry) => refuse(format!("step: the model has no trainable parameter {}", entry.path)),
        None => Ok(()),
    }
}
