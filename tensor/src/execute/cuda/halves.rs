//! Operations on 2-byte floats that have no kernel of their own: their operands are widened on the device, the f32 kernel runs, each
//! result is rounded once, as on the CPU (`crate::execute::halves`).

use ferrotape_kernels::cuda::{Array, DeviceBuffer, Type, map};
use smallvec::SmallVec;

use super::{array, kind, target};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::execute::halves::{self, Distinct};
use crate::execute::{Input, Output, told};
use crate::layout::Layout;
use crate::observe::Tag;
use crate::op::{Meta, Op};
use crate::storage::Storage;
use crate::tensor::Tensor;

/// Runs `op` on f32 copies of its 2-byte operands; `None` if it has none, or no kernel for f32.
pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    if !halves::computes(op, inputs, outputs) {
        return None;
    }
    run(op, inputs, outputs).transpose()
}

fn run(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<Option<()>> {
    let mut widened: SmallVec<[Option<Tensor>; 4]> = SmallVec::new();
    for input in inputs {
        widened.push(match input {
            Input::Tensor(tensor) if tensor.dtype().is_half() => Some(widen(op, tensor)?),
            _ => None,
        });
    }
    let inputs: SmallVec<[Input<'_>; 4]> = inputs
        .iter()
        .zip(&widened)
        .map(|(input, wide)| match (input, wide) {
            (_, Some(wide)) => Input::Tensor(wide),
            (Input::Tensor(tensor), None) => Input::Tensor(tensor),
            (Input::Output, None) => Input::Output,
        })
        .collect();
    let mut wide: SmallVec<[Option<(Storage, Meta)>; 4]> = SmallVec::new();
    for out in outputs.iter_mut() {
        wide.push(match out.meta.dtype.is_half() {
            true => Some(wide_output(op, out)?),
            false => None,
        });
    }
    {
        let mut results: SmallVec<[Output<'_>; 4]> = SmallVec::new();
        for (out, wide) in outputs.iter_mut().zip(&mut wide) {
            results.push(match wide {
                Some((storage, meta)) => match storage.exclusive() {
                    Some(memory) => memory.output(meta),
                    None => return Err(Error::argument(op.name(), "internal: shared memory")),
                },
                None => {
                    Output { buffer: out.buffer, cuda: out.cuda.as_deref_mut(), meta: out.meta }
                }
            });
        }
        match super::native(op, &inputs, &mut results) {
            Some(done) => done?,
            None => return Ok(None),
        }
    }
    for (out, wide) in outputs.iter_mut().zip(wide) {
        let Some((storage, meta)) = wide else { continue };
        let (to, layout) = (kind(out.meta.dtype), Layout::contiguous(meta.shape));
        let wide = Tensor::from_parts(storage, layout, DType::F32, Tag::NONE);
        told(op, map::cast(array(op, &wide)?, Some(to), target(op, out)?))?;
    }
    Ok(Some(()))
}

/// A tensor as f32; what broadcasts still does.
fn widen(op: &Op, tensor: &Tensor) -> Result<Tensor> {
    let Distinct { once, layout } = Distinct::of(tensor);
    let mut storage = Storage::new(op.name(), once.len() * size_of::<f32>(), tensor.device())?;
    if let Some(memory) = storage.exclusive().and_then(|memory| memory.cuda) {
        told(op, map::cast(array(op, &once)?, Some(Type::F32), memory))?;
    }
    Ok(Tensor::from_parts(storage, layout, DType::F32, Tag::NONE))
}

/// Room for a result in f32; an update finds the old contents there.
fn wide_output(op: &Op, out: &mut Output<'_>) -> Result<(Storage, Meta)> {
    let meta = Meta { dtype: DType::F32, ..out.meta.clone() };
    let from = kind(out.meta.dtype);
    let memory: &DeviceBuffer = target(op, out)?;
    let len = memory.len() / from.size();
    let mut storage = Storage::new(op.name(), len * size_of::<f32>(), meta.device)?;
    if let (Op::Optimize(_), Some(to)) = (op, storage.exclusive().and_then(|memory| memory.cuda)) {
        let shape = [len];
        let old = Array::new(memory, from, 0, &shape, &[1])
            .map_err(|error| Error::from_kernel(op.name(), error))?;
        told(op, map::cast(old, Some(Type::F32), to))?;
    }
    Ok((storage, meta))
}
