//! One training step's result: loss, gradients, updates.

use std::cell::Cell;

use ferrotape_autograd::Tape;
use ferrotape_tensor::chain::BinaryChain;
use ferrotape_tensor::{Error, ErrorKind, Generator, Result, Tensor, TensorId};
use smallvec::SmallVec;

use crate::ctx::Ctx;
use crate::module::Module;
use crate::state::each;

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
    /// All paths, one behind the other: no string of its own for each.
    names: String,
    pub(crate) entries: Vec<Entry>,
    pub(crate) updates: Vec<(TensorId, Tensor)>,
    pub(crate) allow_missing: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its path in `names`.
    start: usize,
    end: usize,
    /// The value that the gradient was taken at.
    pub(crate) id: TensorId,
    /// The first entry of the same value: its own place unless it is tied to an earlier one.
    pub(crate) owner: usize,
    pub(crate) gradient: Option<Tensor>,
}

/// The memory of gradients that are done with: the next step of this thread needs as much again.
#[derive(Default)]
struct Spare {
    names: String,
    entries: Vec<Entry>,
}

thread_local! {
    static SPARE: Cell<Option<Spare>> = const { Cell::new(None) };
}

/// Lists of more parameters than this are not kept.
const KEPT_ENTRIES: usize = 1 << 12;

impl Drop for Gradients {
    fn drop(&mut self) {
        let (mut names, mut entries) =
            (std::mem::take(&mut self.names), std::mem::take(&mut self.entries));
        names.clear();
        entries.clear();
        if (1..KEPT_ENTRIES).contains(&entries.capacity()) {
            // At the end of a thread there is no place to keep them.
            let _ = SPARE.try_with(|spare| spare.set(Some(Spare { names, entries })));
        }
    }
}

impl Gradients {
    /// The path of one of the entries.
    pub(crate) fn path(&self, entry: &Entry) -> &str {
        self.names.get(entry.start..entry.end).unwrap_or_default()
    }

    /// Paths and gradients of the parameters that a gradient reached.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().filter_map(|e| Some((self.path(e), e.gradient.as_ref()?)))
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

    /// Adds another step's gradients, taken at the same weights: gradient accumulation. Updates of buffers: the later ones win.
    ///
    /// # Errors
    /// Other parameters, or weights that changed in between.
    pub fn accumulate(&mut self, other: &Gradients) -> Result<()> {
        let pairs = || self.entries.iter().zip(&other.entries);
        let same = self.entries.len() == other.entries.len()
            && self.names == other.names
            && pairs().all(|(a, b)| a.end == b.end && a.id == b.id);
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
    let Spare { mut names, mut entries } =
        SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default();
    let mut tensors: SmallVec<[&Tensor; 16]> = SmallVec::new();
    each(
        model,
        |path, param| {
            if param.trainable {
                let (start, owner) = (names.len(), entries.len());
                names.push_str(path);
                let (end, id) = (names.len(), param.id());
                entries.push(Entry { start, end, id, owner, gradient: None });
                tensors.push(param.tensor());
            }
        },
        |_, _| {},
    );
    find_owners(&mut entries);
    let ((loss, aux, updates, reached), tape) = Tape::record(|tape| {
        tensors.iter().for_each(|tensor| tape.watch(tensor));
        let mut ctx = Ctx::train(rng);
        let (loss, aux) = forward(model, &mut ctx)?;
        let reached = tape.contains(&loss);
        Ok((loss, aux, ctx.into_updates(), reached))
    })?;
    if !reached && !tensors.is_empty() {
        let message = "value_and_grad: the loss depends on no trainable parameter".to_string();
        return Err(Error::new(ErrorKind::Gradient(message)));
    }
    let gradients = tape.gradient_or_none(&loss, &tensors)?;
    for (entry, gradient) in entries.iter_mut().zip(gradients) {
        entry.gradient = gradient;
    }
    Ok(Step { loss, aux, gradients: Gradients { names, entries, updates, allow_missing: false } })
}

/// Tied parameters: entries of the same value belong to the first of them.
fn find_owners(entries: &mut [Entry]) {
    let mut by_id: SmallVec<[(TensorId, usize); 32]> =
        entries.iter().enumerate().map(|(at, entry)| (entry.id, at)).collect();
    by_id.sort_unstable();
    let mut first: Option<(TensorId, usize)> = None;
    for (id, at) in by_id {
        match first {
            Some((known, owner)) if known == id => {
                if let Some(entry) = entries.get_mut(at) {
                    entry.owner = owner;
                }
            }
            _ => first = Some((id, at)),
        }
    }
}
