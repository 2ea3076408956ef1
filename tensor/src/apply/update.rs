//! Operations that change their operands: assignments and optimizer steps.

use ferrotape_kernels::buffer::Shared;
use smallvec::SmallVec;

use super::Operand;
use crate::error::{Error, Result};
use crate::execute::{self, Input, Output};
use crate::observe::Tag;
use crate::op::{Meta, Op};
use crate::storage::Storage;
use crate::tensor::{Inner, Tensor};

/// An update: the changed operands get memory of their own if they share theirs, and a new name.
pub(super) fn update(op: &Op, operands: &mut [Operand<'_>], tag: Tag) -> Result<()> {
    let (mut targets, mut sources, mut source) = (SmallVec::<[&mut Tensor; 4]>::new(), 0, None);
    for operand in operands.iter_mut() {
        let tensor = match operand {
            Operand::Mut(tensor) => {
                targets.push(tensor);
                continue;
            }
            Operand::Ref(tensor) => *tensor,
            Operand::Own(tensor) => &*tensor,
            Operand::Scalar(_) | Operand::Failed(_) => continue,
        };
        (sources, source) = (sources + 1, Some(tensor));
    }
    let expected = match op {
        Op::Optimize(step) => 1 + step.states(),
        _ => 1,
    };
    let (Some(source), true) = (source, targets.len() == expected && sources == 1) else {
        return Err(Error::argument(
            op.name(),
            "which operands are changed does not fit the operation",
        ));
    };
    let mut metas: SmallVec<[Meta; 4]> = SmallVec::new();
    for target in targets.iter_mut() {
        own_memory(op, target, matches!(op, Op::Assign))?;
        metas.push(target.meta());
    }
    let mut owned: SmallVec<[&mut Inner; 4]> = SmallVec::new();
    for target in &mut targets {
        match Shared::get_mut(&mut target.0) {
            Some(inner) => owned.push(inner),
            None => return Err(Error::argument(op.name(), "a changed operand is named twice")),
        }
    }
    {
        let mut outputs: SmallVec<[Output<'_>; 4]> = SmallVec::new();
        for (inner, meta) in owned.iter_mut().zip(&metas) {
            match inner.storage.exclusive() {
                Some(memory) => outputs.push(memory.output(meta)),
                None => return Err(Error::argument(op.name(), "a changed operand is named twice")),
            }
        }
        execute::execute(op, &[Input::Tensor(source)], &mut outputs)?;
    }
    let tag = if matches!(op, Op::Assign) { tag } else { Tag::NONE };
    for inner in owned {
        inner.rename(tag);
    }
    Ok(())
}

/// The same value in memory that `target` alone owns.
pub(crate) fn make_exclusive(target: &mut Tensor) -> Result<()> {
    let (id, tag) = (target.id(), target.tag());
    own_memory(&Op::Copy, target, false)?;
    target.restore_name(id, tag);
    Ok(())
}

/// Makes `target` the only owner of a contiguous buffer of exactly its size, with its contents unless they are `stale` anyway.
fn own_memory(op: &Op, target: &mut Tensor, stale: bool) -> Result<()> {
    if is_whole(target) {
        return Ok(());
    }
    let (bytes, meta) = (target.len() * target.dtype().size(), target.meta());
    let mut storage = Storage::new(op.name(), bytes, meta.device)?;
    if let (false, Some(memory)) = (stale, storage.exclusive()) {
        execute::execute(&Op::Copy, &[Input::Tensor(target)], &mut [memory.output(&meta)])?;
    }
    *target = Tensor::whole(storage, &meta.shape, meta.dtype, Tag::NONE);
    Ok(())
}

/// True if a tensor is the only one to see its storage, and all of it, row-major.
pub(super) fn is_whole(tensor: &mut Tensor) -> bool {
    let bytes = tensor.len() * tensor.dtype().size();
    let whole = tensor.layout().offset == 0 && tensor.is_contiguous();
    let Some(inner) = Shared::get_mut(&mut tensor.0).filter(|_| whole) else {
        return false;
    };
    inner.storage.exclusive().is_some_and(|memory| memory.len() == bytes)
}
