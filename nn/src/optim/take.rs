//! Parameters out of the model for an update, and back.

use ferrotape_tensor::{Error, ErrorKind, Result, Tensor};
use smallvec::SmallVec;

use crate::module::{Buffer, Module, Param, VisitorMut};
use crate::state::each_mut;
use crate::step::Gradients;

/// A parameter under update: its first path, its value taken out of the model, its gradient.
pub(super) struct Target<'g> {
    pub(super) path: &'g str,
    pub(super) value: Tensor,
    pub(super) gradient: &'g Tensor,
    /// Where the optimizer keeps its state.
    pub(super) slot: usize,
}

/// The parameters taken out of a model, so that their buffers have one owner.
#[derive(Default)]
pub(super) struct Taken<'g> {
    pub(super) targets: SmallVec<[Target<'g>; 8]>,
    /// Of each trainable parameter in turn: which target holds its value.
    places: SmallVec<[Option<usize>; 16]>,
}

impl<'g> Taken<'g> {
    /// Takes what the gradients are for; the model holds `empty` in their places. Whatever the result, [`put_back`](Self::put_back) must
    /// follow: what does not fit is told, and what was taken before it is here.
    pub(super) fn take(
        &mut self,
        model: &mut dyn Module,
        gradients: &'g Gradients,
        empty: &Tensor,
    ) -> Result<()> {
        let count = gradients.entries.len();
        self.targets.reserve(count);
        self.places.reserve(count);
        let mut wrong: Option<String> = None;
        each_mut(
            model,
            |path, param| {
                if param.trainable && wrong.is_none() {
                    wrong = self.one(path, param, gradients, empty).err();
                }
            },
            |_, _| {},
        );
        if wrong.is_none() {
            let more = gradients.entries.get(self.places.len());
            wrong = more.map(|entry| {
                format!("step: the model has no trainable parameter {}", gradients.path(entry))
            });
        }
        wrong.map_or(Ok(()), |message| Err(Error::new(ErrorKind::Module(message))))
    }

    /// Takes the next trainable parameter, or says why not.
    fn one(
        &mut self,
        path: &str,
        param: &mut Param,
        gradients: &'g Gradients,
        empty: &Tensor,
    ) -> std::result::Result<(), String> {
        let at = self.places.len();
        // Both lists come from one visit of the fields, so they agree unless the model is another one.
        let entry = gradients.entries.get(at).filter(|entry| gradients.path(entry) == path);
        let Some(entry) = entry else {
            return Err(format!(
                "step: the gradients do not belong to this model (parameter {path})"
            ));
        };
        if entry.id != param.id() {
            return Err(format!("step: parameter {path} has changed since the gradient was taken"));
        }
        let Some(gradient) = &entry.gradient else {
            self.places.push(None);
            if gradients.allow_missing {
                return Ok(());
            }
            return Err(format!(
                "step: no gradient reached parameter {path}; freeze it (trainable = false), or say allow_missing()"
            ));
        };
        let value = std::mem::replace(&mut param.tensor, empty.clone());
        if entry.owner < at {
            // Tied: the first of them speaks for all.
            self.places.push(self.places.get(entry.owner).copied().flatten());
        } else {
            self.places.push(Some(self.targets.len()));
            let path = gradients.path(entry);
            self.targets.push(Target { path, value, gradient, slot: 0 });
        }
        Ok(())
    }

    /// Gives the model its values, and its buffers their updates if the step was `done`.
    pub(super) fn put_back(&self, model: &mut dyn Module, gradients: &Gradients, done: bool) {
        model.visit_mut(&mut PutBack { places: self.places.iter(), taken: self, gradients, done });
    }
}

/// Visits in the order in which the values were taken, so that it needs no names.
struct PutBack<'a, 'g> {
    places: std::slice::Iter<'a, Option<usize>>,
    taken: &'a Taken<'g>,
    gradients: &'a Gradients,
    done: bool,
}

impl VisitorMut for PutBack<'_, '_> {
    fn enter(&mut self, _: &str) {}
    fn leave(&mut self) {}
    fn param(&mut self, param: &mut Param) {
        let place = if param.trainable { self.places.next() } else { None };
        let target = place.and_then(|place| self.taken.targets.get((*place)?));
        if let Some(target) = target {
            param.tensor = target.value.clone();
        }
    }
    fn buffer(&mut self, buffer: &mut Buffer) {
        let mut updates = self.gradients.updates.iter().filter(|_| self.done);
        if let Some((_, value)) = updates.find(|(id, _)| *id == buffer.id()) {
            buffer.tensor = value.clone();
        }
    }
}
