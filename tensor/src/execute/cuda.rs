//! Operations on GPUs. Where there is no kernel, the CPU's computes on copies of the operands: the same bits, only slower; how often
//! that happened is counted.

mod copies;
mod dense;
mod halves;
mod images;
mod indices;
mod int8;
mod integers;
mod maps;
mod norms;
mod pools;
mod products;
mod quantize;
mod random;
mod reductions;
mod scans;
mod sequence;
mod updates;

use std::sync::atomic::{AtomicU64, Ordering};

use ferrotape_kernels::buffer::Buffer;
use ferrotape_kernels::cuda::{Array, DeviceBuffer, Type};
use smallvec::SmallVec;

use super::{Input, Output, told};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::observe::Tag;
use crate::op::{Meta, Op};
use crate::storage::Storage;
use crate::tensor::Tensor;

/// How many operations on GPU tensors had no kernel there and were computed by the CPU.
pub(crate) fn host_fallbacks() -> u64 {
    FALLBACKS.load(Ordering::Relaxed)
}

static FALLBACKS: AtomicU64 = AtomicU64::new(0);

/// Runs the kernel of `op`, or the CPU's on copies: also where the layouts are beyond what the kernel takes.
pub(super) fn execute(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    outputs.iter_mut().filter_map(|out| out.cuda.as_mut()).for_each(|cuda| cuda.forget());
    let done = native(op, inputs, outputs).or_else(|| halves::execute(op, inputs, outputs));
    match done {
        Some(Err(error)) if error.is_beyond_kernels() => on_host(op, inputs, outputs),
        Some(done) => done,
        None => on_host(op, inputs, outputs),
    }
}

/// The GPU's kernel; `None` where it has none for these operands. One family after another; each knows its operations.
fn native(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Option<Result<()>> {
    copies::execute(op, inputs, outputs)
        .or_else(|| maps::execute(op, inputs, outputs))
        .or_else(|| reductions::execute(op, inputs, outputs))
        .or_else(|| indices::execute(op, inputs, outputs))
        .or_else(|| scans::execute(op, inputs, outputs))
        .or_else(|| products::execute(op, inputs, outputs))
        .or_else(|| images::execute(op, inputs, outputs))
        .or_else(|| norms::execute(op, inputs, outputs))
        .or_else(|| pools::execute(op, inputs, outputs))
        .or_else(|| random::execute(op, outputs))
        .or_else(|| updates::execute(op, inputs, outputs))
        .or_else(|| sequence::execute(op, inputs, outputs))
        .or_else(|| quantize::execute(op, inputs, outputs))
        .or_else(|| int8::execute(op, inputs, outputs))
        .or_else(|| integers::execute(op, inputs, outputs))
}

/// The kernels' name of an element type.
fn kind(dtype: DType) -> Type {
    match dtype {
        DType::F32 => Type::F32,
        DType::F64 => Type::F64,
        DType::F16 => Type::F16,
        DType::BF16 => Type::BF16,
        DType::I64 => Type::I64,
        DType::I32 => Type::I32,
        DType::I8 => Type::I8,
        DType::U8 | DType::Bool => Type::U8,
    }
}

/// An operand as the kernels take it.
fn array<'a>(op: &Op, tensor: &'a Tensor) -> Result<Array<'a>> {
    let layout = tensor.layout();
    let Some(buffer) = tensor.0.storage.cuda() else {
        return Err(Error::argument(op.name(), "an operand is not on the GPU"));
    };
    let (shape, strides) = (layout.shape(), layout.strides());
    Array::new(buffer, kind(tensor.dtype()), layout.offset(), shape, strides)
        .map_err(|error| Error::from_kernel(op.name(), error))
}

/// The value in the CPU's memory, known to no tape.
pub(crate) fn brought(tensor: &Tensor) -> Result<Tensor> {
    let failed = |error| Error::from_kernel("to_device", error);
    let Some(cuda) = tensor.0.storage.cuda() else { return Ok(tensor.clone()) };
    let (dtype, layout) = (tensor.dtype(), tensor.layout());
    let (start, bytes, layout) = match layout.is_contiguous() {
        true => {
            let shape = layout.shape.clone();
            let bytes = tensor.len() * dtype.size();
            (layout.offset() * dtype.size(), bytes, Layout::contiguous(shape))
        }
        false => (0, cuda.len(), layout.clone()),
    };
    let mut buffer = Buffer::new(bytes).map_err(failed)?;
    if bytes > 0 {
        cuda.download(start, buffer.as_mut_slice()).map_err(failed)?;
    }
    Ok(Tensor::from_parts(Storage::of(buffer), layout, dtype, Tag::NONE))
}

/// Brings a tensor to the device of the output.
pub(super) fn transfer(op: &Op, x: &Tensor, outputs: &mut [Output<'_>]) -> Result<()> {
    let Some(out) = outputs.first_mut() else {
        return Err(Error::argument(op.name(), "has nowhere to write"));
    };
    let here = brought(x)?;
    match &mut out.cuda {
        None => super::dispatch(&Op::Copy, &[Input::Tensor(&here)], std::slice::from_mut(out)),
        Some(cuda) => {
            let here = if here.is_contiguous() { here } else { here.contiguous_copy()? };
            let start = here.layout().offset() * here.dtype().size();
            let bytes = here.0.storage.buffer().as_slice::<u8>();
            let len = cuda.len();
            told(op, cuda.upload(bytes.get(start..start + len).unwrap_or_default()))
        }
    }
}

/// The CPU's kernel on copies of the operands; its results are brought back.
fn on_host(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    FALLBACKS.fetch_add(1, Ordering::Relaxed);
    let mut brought_here: SmallVec<[Option<Tensor>; 4]> = SmallVec::new();
    for input in inputs {
        brought_here.push(match input {
            Input::Tensor(tensor) => Some(brought(tensor)?),
            Input::Output => None,
        });
    }
    let here: SmallVec<[Input<'_>; 4]> = brought_here
        .iter()
        .map(|tensor| tensor.as_ref().map_or(Input::Output, Input::Tensor))
        .collect();
    // What an update, or a result that takes over an operand's place, finds there.
    let reads = matches!(op, Op::Optimize(_)) || inputs.iter().any(|i| matches!(i, Input::Output));
    let mut results: SmallVec<[(Buffer, Meta); 2]> = SmallVec::new();
    for out in outputs.iter() {
        let bytes = out.cuda.as_ref().map_or(0, |cuda| cuda.len());
        let mut buffer = Buffer::new(bytes).map_err(|e| Error::from_kernel(op.name(), e))?;
        if let (true, Some(cuda)) = (reads, &out.cuda) {
            told(op, cuda.download(0, buffer.as_mut_slice()))?;
        }
        results.push((buffer, Meta { device: Device::Cpu, ..out.meta.clone() }));
    }
    {
        let mut results: SmallVec<[Output<'_>; 2]> =
            results.iter_mut().map(|(buffer, meta)| Output { buffer, cuda: None, meta }).collect();
        super::execute(op, &here, &mut results)?;
    }
    for (out, (buffer, _)) in outputs.iter_mut().zip(&results) {
        if let Some(cuda) = &mut out.cuda {
            told(op, cuda.upload(buffer.as_slice()))?;
        }
    }
    Ok(())
}

/// The GPU's memory of a destination.
fn target<'a>(op: &Op, out: &'a mut Output<'_>) -> Result<&'a mut DeviceBuffer> {
    match &mut out.cuda {
        Some(cuda) => Ok(cuda),
        None => Err(Error::argument(op.name(), "its result is not on the GPU")),
    }
}
