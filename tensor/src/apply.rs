//! The one way an operation happens: check, announce, find memory, execute, announce.

mod plain;
mod update;

use ferrotape_kernels::buffer::Shared;
use smallvec::SmallVec;

pub(crate) use self::plain::binary as plain_binary;
pub(crate) use self::update::make_exclusive;
use self::update::{is_whole, update};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::execute::{self, Input, Output};
use crate::layout::Layout;
use crate::observe::{self, Listeners, Tag};
use crate::op::{Meta, Metas, Op, ViewOp, has_integer_form, output_metas, usual};
use crate::shape;
use crate::storage::Storage;
use crate::tensor::Tensor;

/// An operand, with what the operation may do to it.
#[derive(Debug)]
pub enum Operand<'a> {
    /// Read only. A live tensor is never touched.
    Ref(&'a Tensor),
    /// Given away: its buffer may become the output's, if no one else sees it.
    Own(Tensor),
    /// Changed by an update ([`Op::Assign`], [`Op::Optimize`]).
    Mut(&'a mut Tensor),
    /// A number; takes the type and the device of the other operands.
    Scalar(f64),
    /// The failure of the expression that should have been the operand.
    Failed(Error),
}

impl<'a> From<&'a Tensor> for Operand<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Operand::Ref(tensor)
    }
}

impl From<Tensor> for Operand<'_> {
    fn from(tensor: Tensor) -> Self {
        Operand::Own(tensor)
    }
}

impl From<f64> for Operand<'_> {
    fn from(number: f64) -> Self {
        Operand::Scalar(number)
    }
}

impl From<Result<Tensor>> for Operand<'_> {
    fn from(result: Result<Tensor>) -> Self {
        match result {
            Ok(tensor) => Operand::Own(tensor),
            Err(error) => Operand::Failed(error),
        }
    }
}

impl Operand<'_> {
    /// The tensor, if it is one.
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            Operand::Ref(tensor) => Some(tensor),
            Operand::Own(tensor) => Some(tensor),
            Operand::Mut(tensor) => Some(tensor),
            Operand::Scalar(_) | Operand::Failed(_) => None,
        }
    }
}

/// What an operation gives: nearly always one tensor.
pub type Outputs = SmallVec<[Tensor; 2]>;

type Inputs<'a> = SmallVec<[&'a Tensor; 8]>;

/// Applies `op` to `operands`. Every operation of the library goes through here or through [`apply_one`].
///
/// # Errors
/// Operands that don't fit, memory over the limit, an observer's refusal, a tracked operand where its tape does not listen.
/// After an error everything is as before.
pub fn apply(op: &Op, operands: &mut [Operand<'_>]) -> Result<Outputs> {
    let mut outputs = Outputs::new();
    apply_into(op, operands, &mut outputs)?;
    Ok(outputs)
}

/// [`apply`] for an operation with one output.
///
/// # Errors
/// As [`apply`].
pub fn apply_one(op: &Op, operands: &mut [Operand<'_>]) -> Result<Tensor> {
    if let Some(output) = plain::plain(op, operands) {
        return output;
    }
    let mut outputs = Outputs::new();
    apply_into(op, operands, &mut outputs)?;
    first_of(op, &mut outputs)
}

fn first_of(op: &Op, outputs: &mut Outputs) -> Result<Tensor> {
    outputs.truncate(1);
    outputs.pop().ok_or_else(|| Error::argument(op.name(), "has no output"))
}

// Lists are filled in place and one by one: returning one copies it just after it was written, which the processor waits for, and
// collecting costs several times as much. Every operation does this.
fn apply_into(op: &Op, operands: &mut [Operand<'_>], outputs: &mut Outputs) -> Result<()> {
    settle(op, operands)?;
    let mut inputs = Inputs::new();
    tensors(operands, &mut inputs);
    let mut metas = Metas::new();
    metas_for(op, &inputs, &mut metas)?;
    let tag = observe::inherited_tag(op, &inputs)?;
    let mut listeners = Listeners::new();
    observe::listeners(&mut listeners);
    if listeners.is_empty() {
        drop(inputs);
        return run(op, operands, &metas, tag, outputs);
    }
    if let Some(others) = replaced(op, &inputs, &metas, &listeners)? {
        *outputs = others;
        return Ok(());
    }
    begin(op, &inputs, &metas, &listeners)?;
    drop(inputs);
    let outcome = run(op, operands, &metas, tag, outputs);
    end(op, &metas, &listeners, outcome, outputs)
}

fn tensors<'a>(operands: &'a [Operand<'_>], inputs: &mut Inputs<'a>) {
    for operand in operands {
        if let Some(tensor) = operand.tensor() {
            inputs.push(tensor);
        }
    }
}

fn metas_for(op: &Op, inputs: &[&Tensor], metas: &mut Metas) -> Result<()> {
    if usual(op, inputs, metas) {
        return Ok(());
    }
    let mut given: SmallVec<[Meta; 8]> = SmallVec::new();
    for input in inputs {
        given.push(input.meta());
    }
    *metas = output_metas(op, &given)?;
    Ok(())
}

/// Passes failures on, gives numbers the type of the first tensor, and makes integers f32 where an operation is one of floats
/// only, as PyTorch does.
fn settle(op: &Op, operands: &mut [Operand<'_>]) -> Result<()> {
    let settled = |operand: &Operand<'_>| match operand {
        Operand::Ref(tensor) => tensor.dtype().is_float(),
        Operand::Own(tensor) => tensor.dtype().is_float(),
        Operand::Mut(tensor) => tensor.dtype().is_float(),
        _ => false,
    };
    if operands.iter().all(settled) {
        return Ok(());
    }
    for operand in operands.iter_mut() {
        if let Operand::Failed(_) = operand {
            let failed = std::mem::replace(operand, Operand::Scalar(0.0));
            if let Operand::Failed(error) = failed {
                return Err(error);
            }
        }
    }
    if let (Op::Unary(unary), [x]) = (op, &mut *operands)
        && let Some(tensor) = x.tensor()
        && !tensor.dtype().is_float()
        && !has_integer_form(*unary)
    {
        *x = Operand::Own(apply_one(&Op::Cast(DType::F32), &mut [tensor.into()])?);
    }
    if !operands.iter().any(|operand| matches!(operand, Operand::Scalar(_))) {
        return Ok(());
    }
    let Some((dtype, device)) =
        operands.iter().find_map(|o| o.tensor().map(|t| (t.dtype(), t.device())))
    else {
        return Err(Error::argument(op.name(), "needs a tensor among its operands"));
    };
    for operand in operands.iter_mut() {
        if let Operand::Scalar(number) = *operand {
            *operand = Operand::Own(Tensor::scalar(number, dtype, device)?);
        }
    }
    Ok(())
}

/// The outputs, if an observer has them from elsewhere.
fn replaced(
    op: &Op,
    inputs: &[&Tensor],
    metas: &[Meta],
    listeners: &Listeners,
) -> Result<Option<Outputs>> {
    if matches!(op, Op::Assign | Op::Optimize(_)) {
        return Ok(None);
    }
    for listener in listeners.iter().rev() {
        let Some(outputs) = listener.replace(op, inputs)? else { continue };
        check_outputs(op, metas, &outputs, REPLACED)?;
        return Ok(Some(outputs));
    }
    Ok(None)
}

fn begin(op: &Op, inputs: &[&Tensor], metas: &[Meta], listeners: &Listeners) -> Result<()> {
    for (i, listener) in listeners.iter().enumerate() {
        if let Err(error) = listener.begin(op, inputs) {
            for begun in &listeners[..i] {
                // The refusal is what the caller must hear; a second failure adds nothing.
                let _ = begun.end(op, metas, Err(&error));
            }
            return Err(error);
        }
    }
    Ok(())
}

fn end(
    op: &Op,
    metas: &[Meta],
    listeners: &Listeners,
    outcome: Result<()>,
    outputs: &[Tensor],
) -> Result<()> {
    let mut outcome = outcome;
    for listener in listeners {
        let heard = listener.end(op, metas, outcome.as_ref().map(|()| outputs));
        if let (Err(error), true) = (heard, outcome.is_ok()) {
            outcome = Err(error);
        }
    }
    outcome
}

fn run(
    op: &Op,
    operands: &mut [Operand<'_>],
    metas: &[Meta],
    tag: Tag,
    outputs: &mut Outputs,
) -> Result<()> {
    match op {
        Op::Assign | Op::Optimize(_) => update(op, operands, tag),
        Op::Custom(custom) => {
            let mut inputs = Inputs::new();
            tensors(operands, &mut inputs);
            let made = observe::no_tape(|| custom.forward(&inputs))?;
            let message = "its outputs are not what its output_metas announced";
            check_outputs(op, metas, &made, message)?;
            outputs.extend(made.iter().map(|tensor| retag(tensor, tag)));
            Ok(())
        }
        Op::View(view) => {
            outputs.push(viewed(op, view, operands, tag)?);
            Ok(())
        }
        Op::StopGradient => {
            if let Some(tensor) = operands.first().and_then(Operand::tensor) {
                outputs.push(retag(tensor, Tag::NONE));
            }
            Ok(())
        }
        _ => compute(op, operands, metas, tag, outputs),
    }
}

/// The same value under a new name.
fn retag(tensor: &Tensor, tag: Tag) -> Tensor {
    let inner = &tensor.0;
    let tag = if inner.dtype.is_float() { tag } else { Tag::NONE };
    tensor.seen_as(inner.layout.clone(), inner.dtype, tag)
}

/// What is wrong with an answer to [`Observer::replace`](crate::Observer::replace) that does not fit.
const REPLACED: &str = "an observer's outputs are not those of the operation";

fn check_outputs(op: &Op, metas: &[Meta], outputs: &[Tensor], message: &str) -> Result<()> {
    let fits =
        outputs.len() == metas.len() && outputs.iter().zip(metas).all(|(t, m)| t.meta() == *m);
    if fits {
        return Ok(());
    }
    Err(Error::argument(op.name(), message))
}

/// Output memory (an operand's, if it may be taken over, else from the pool), then the kernel.
fn compute(
    op: &Op,
    operands: &mut [Operand<'_>],
    metas: &[Meta],
    tag: Tag,
    outputs: &mut Outputs,
) -> Result<()> {
    if let Some(place) = take_over(op, operands, metas)
        && let Operand::Own(tensor) = std::mem::replace(&mut operands[place], Operand::Scalar(0.0))
    {
        outputs.push(overwrite(op, operands, place, tensor, &metas[0], tag)?);
        return Ok(());
    }
    let mut inputs = SmallVec::new();
    kernel_inputs(operands, None, &mut inputs);
    if let [meta] = metas {
        // Made before it is written, its parts where they stay.
        let mut tensor = filled(memory(op, meta)?, meta, tag);
        let storage = Shared::get_mut(&mut tensor.0).map(|inner| &mut inner.storage);
        let storage = storage.ok_or_else(|| Error::argument(op.name(), SHARED))?;
        execute::execute(op, &inputs, &mut [fresh(op, storage, meta)?])?;
        outputs.push(tensor);
        return Ok(());
    }
    let mut storages: SmallVec<[Storage; 4]> = SmallVec::new();
    for meta in metas {
        storages.push(memory(op, meta)?);
    }
    let mut places: SmallVec<[Output<'_>; 4]> = SmallVec::new();
    for (storage, meta) in storages.iter_mut().zip(metas) {
        places.push(fresh(op, storage, meta)?);
    }
    execute::execute(op, &inputs, &mut places)?;
    drop(places);
    for (storage, meta) in storages.into_iter().zip(metas) {
        outputs.push(filled(storage, meta, tag));
    }
    Ok(())
}

/// What the kernels read; operand `taken` lies in the output.
fn kernel_inputs<'a>(
    operands: &'a [Operand<'_>],
    taken: Option<usize>,
    inputs: &mut SmallVec<[Input<'a>; 8]>,
) {
    for (i, operand) in operands.iter().enumerate() {
        if let Some(tensor) = operand.tensor() {
            inputs.push(Input::Tensor(tensor));
        } else if taken == Some(i) {
            inputs.push(Input::Output);
        }
    }
}

/// What can not happen to memory that was just made.
const SHARED: &str = "internal: new memory is shared";

/// Stale memory for an output.
#[inline(always)]
fn memory(op: &Op, meta: &Meta) -> Result<Storage> {
    Storage::new(op.name(), shape::len(&meta.shape) * meta.dtype.size(), meta.device)
}

/// Memory that no one else has seen yet, to be written.
fn fresh<'a>(op: &Op, storage: &'a mut Storage, meta: &'a Meta) -> Result<Output<'a>> {
    let memory = storage.exclusive().map(|memory| memory.output(meta));
    memory.ok_or_else(|| Error::argument(op.name(), SHARED))
}

/// An output in this memory.
#[inline(always)]
fn filled(storage: Storage, meta: &Meta, tag: Tag) -> Tensor {
    let tag = if meta.dtype.is_float() { tag } else { Tag::NONE };
    Tensor::whole(storage, &meta.shape, meta.dtype, tag)
}

/// The output in the buffer of operand `place`, which was taken out.
fn overwrite(
    op: &Op,
    operands: &[Operand<'_>],
    place: usize,
    mut tensor: Tensor,
    meta: &Meta,
    tag: Tag,
) -> Result<Tensor> {
    let inner = Shared::get_mut(&mut tensor.0);
    let Some(memory) = inner.and_then(|inner| inner.storage.exclusive()) else {
        return Err(Error::argument(op.name(), "internal: the buffer taken over is shared"));
    };
    let mut inputs = SmallVec::new();
    kernel_inputs(operands, Some(place), &mut inputs);
    execute::execute(op, &inputs, &mut [memory.output(meta)])?;
    tensor.rename(tag);
    Ok(tensor)
}

/// The operand whose buffer can become the output's: given away, seen by no one else, contiguous, the whole storage, of the
/// output's shape and type.
fn take_over(op: &Op, operands: &mut [Operand<'_>], metas: &[Meta]) -> Option<usize> {
    for &place in op.reusable_operands() {
        if let Some(Operand::Own(tensor)) = operands.get_mut(place)
            && holds(tensor, &metas[0])
        {
            return Some(place);
        }
    }
    None
}

fn holds(tensor: &mut Tensor, meta: &Meta) -> bool {
    // The CPU's kernels of integers read and write apart, those of 2-byte floats on f32 copies.
    let fits = matches!(tensor.dtype(), DType::F32 | DType::F64)
        && tensor.shape() == &meta.shape[..]
        && tensor.dtype() == meta.dtype;
    fits && is_whole(tensor)
}

fn viewed(op: &Op, view: &ViewOp, operands: &mut [Operand<'_>], tag: Tag) -> Result<Tensor> {
    let Some(tensor) = operands.first().and_then(Operand::tensor) else {
        return Err(Error::argument(op.name(), "needs an operand"));
    };
    let inner = &tensor.0;
    let from = &inner.layout;
    let layout = match view {
        ViewOp::Reshape(shape) => from.reshape(shape).ok_or_else(|| {
            Error::shape(
                op.name(),
                format!("{:?} can't be seen as {shape:?} without a copy", from.shape),
            )
        })?,
        ViewOp::Permute(order) => {
            let mut layout = from.clone();
            for (to, &d) in order.iter().enumerate() {
                (layout.shape[to], layout.strides[to]) = (from.shape[d], from.strides[d]);
            }
            layout
        }
        ViewOp::Expand(shape) => Layout {
            strides: from.broadcast_strides(shape),
            shape: shape.clone(),
            offset: from.offset,
        },
        ViewOp::Slice { dim, start, length, step } => {
            let mut layout = from.clone();
            layout.shape[*dim] = *length;
            layout.strides[*dim] = from.strides[*dim].saturating_mul(*step);
            if *length > 0 && !from.shape.contains(&0) {
                let shift = *start as isize * from.strides[*dim];
                layout.offset = from.offset.wrapping_add_signed(shift);
            }
            layout
        }
        ViewOp::Diagonal(diagonal) => from.diagonal(diagonal),
        ViewOp::Unfold { dim, size, step } => from.unfold(*dim, *size, *step),
    };
    let tag = if inner.dtype.is_float() { tag } else { Tag::NONE };
    Ok(tensor.seen_as(layout, inner.dtype, tag))
}
