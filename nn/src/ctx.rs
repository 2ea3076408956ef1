//! The context of a forward pass: train or eval, randomness, updates of buffers.

use ferrotape_tensor::{Error, ErrorKind, Generator, Result, Tensor, TensorId, no_tape};

use crate::module::Buffer;

/// What a layer may know and do besides computing: whether this is training, draw random numbers, ask for a buffer to be
/// updated. Made for one forward pass; no global flag.
#[derive(Debug)]
pub struct Ctx<'a> {
    rng: Option<&'a mut Generator>,
    updates: Vec<(TensorId, Tensor)>,
}

impl<'a> Ctx<'a> {
    /// Training: dropout drops, batch norm uses the batch.
    pub fn train(rng: &'a mut Generator) -> Self {
        Ctx { rng: Some(rng), updates: Vec::new() }
    }

    /// Evaluation: no randomness, no updates.
    pub fn eval() -> Ctx<'static> {
        Ctx { rng: None, updates: Vec::new() }
    }

    /// True in training.
    pub fn is_training(&self) -> bool {
        self.rng.is_some()
    }

    /// The generator of this training pass.
    ///
    /// # Errors
    /// In evaluation there is none.
    pub fn rng(&mut self) -> Result<&mut Generator> {
        self.rng.as_deref_mut().ok_or_else(|| {
            Error::new(ErrorKind::Module("a layer asks for random numbers in evaluation".into()))
        })
    }

    /// Asks that `buffer` become `value`. It happens when the optimizer applies the step; until then [`current`](Self::current) gives the
    /// value asked for last. In evaluation nothing happens.
    ///
    /// # Errors
    /// A shape or type that differs from the buffer's.
    pub fn update(&mut self, buffer: &Buffer, value: &Tensor) -> Result<()> {
        if !self.is_training() {
            return Ok(());
        }
        if value.meta() != buffer.meta() {
            let message = format!(
                "buffer update: {:?} {} for a buffer of {:?} {}",
                value.shape(),
                value.dtype(),
                buffer.shape(),
                buffer.dtype()
            );
            return Err(Error::new(ErrorKind::Module(message)));
        }
        let value = no_tape(|| value.detach())?;
        match self.updates.iter_mut().find(|(id, _)| *id == buffer.id()) {
            Some((_, pending)) => *pending = value,
            None => self.updates.push((buffer.id(), value)),
        }
        Ok(())
    }

    /// As [`update`](Self::update), with the value that `next` makes of the current one. What `next` computes is not recorded; it is
    /// not called in evaluation.
    ///
    /// # Errors
    /// What `next` fails with, and as [`update`](Self::update).
    pub fn update_with(
        &mut self,
        buffer: &Buffer,
        next: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        if !self.is_training() {
            return Ok(());
        }
        let value = no_tape(|| next(&self.current(buffer)))?;
        self.update(buffer, &value)
    }

    /// The value that `buffer` will have after the updates so far.
    pub fn current(&self, buffer: &Buffer) -> Tensor {
        let pending = self.updates.iter().find(|(id, _)| *id == buffer.id());
        pending.map_or_else(|| buffer.tensor.clone(), |(_, value)| value.clone())
    }

    /// Takes over the updates of an inner pass; the later win.
    pub(crate) fn merge_updates(&mut self, updates: &[(TensorId, Tensor)]) {
        for (id, value) in updates {
            match self.updates.iter_mut().find(|(known, _)| known == id) {
                Some((_, pending)) => *pending = value.clone(),
                None => self.updates.push((*id, value.clone())),
            }
        }
    }

    pub(crate) fn into_updates(self) -> Vec<(TensorId, Tensor)> {
        self.updates
    }
}
