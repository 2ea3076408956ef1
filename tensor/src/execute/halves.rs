//! The 2-byte floats f16 and bf16: every operation that computes with them does so in f32. Its operands are widened, the f32
//! kernel runs, each result is rounded once, to the nearest. Operations that only move elements use the 2 bytes as they are.

use ferrotape_kernels::buffer::Buffer;
use ferrotape_kernels::cpu::gather::ScatterOp;
use ferrotape_kernels::cpu::halves::{self, Convert};
use ferrotape_kernels::{bf16, f16};
use smallvec::SmallVec;

use super::{Dense, Input, Output, told};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::observe::Tag;
use crate::op::{IndexOp, Meta, Op};
use crate::shape::Dims;
use crate::storage::Storage;
use crate::tensor::Tensor;

/// True if `op` computes with 2-byte floats. What is not known to move elements only is widened: slower at worst, never wrong.
pub(super) fn computes(op: &Op, inputs: &[Input<'_>], outputs: &[Output<'_>]) -> bool {
    let half = |input: &Input<'_>| matches!(input, Input::Tensor(t) if t.dtype().is_half());
    let involved = outputs.iter().any(|out| out.meta.dtype.is_half()) || inputs.iter().any(half);
    involved
        && !matches!(
            op,
            Op::Copy
                | Op::Concat(_)
                | Op::Select
                | Op::Assign
                | Op::Cast(_)
                | Op::Index(
                    IndexOp::Gather(_)
                        | IndexOp::Select(_)
                        | IndexOp::Unslice { .. }
                        | IndexOp::Undiagonal { .. }
                        | IndexOp::Scatter { how: ScatterOp::Last, .. }
                )
        )
}

/// Runs `op` on f32 copies of its 2-byte operands.
pub(super) fn execute(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
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
    let mut wide: SmallVec<[Option<(Buffer, Meta)>; 4]> = SmallVec::new();
    for out in outputs.iter() {
        wide.push(match out.meta.dtype.is_half() {
            true => Some(wide_output(op, out)?),
            false => None,
        });
    }
    {
        let mut wide: SmallVec<[Output<'_>; 4]> = outputs
            .iter_mut()
            .zip(&mut wide)
            .map(|(out, wide)| match wide {
                Some((buffer, meta)) => Output { buffer, cuda: None, meta },
                None => Output { buffer: out.buffer, cuda: None, meta: out.meta },
            })
            .collect();
        super::dispatch(op, &inputs, &mut wide)?;
    }
    for (out, wide) in outputs.iter_mut().zip(&wide) {
        let Some((buffer, _)) = wide else { continue };
        narrow_into(op, buffer.as_slice(), out)?;
    }
    Ok(())
}

/// A tensor's elements each once, and the layout of a row-major copy of them that broadcasts as the tensor does.
pub(super) struct Distinct {
    pub(super) once: Tensor,
    pub(super) layout: Layout,
}

impl Distinct {
    pub(super) fn of(tensor: &Tensor) -> Self {
        let layout = tensor.layout();
        let pairs = || layout.shape().iter().zip(layout.strides());
        let distinct: Dims = pairs()
            .map(|(&size, &stride)| if stride == 0 && size > 1 { 1 } else { size })
            .collect();
        let narrowed = Layout {
            shape: Dims::from_slice(&distinct),
            strides: layout.strides.clone(),
            offset: layout.offset,
        };
        let once = tensor.seen_as(narrowed, tensor.dtype(), Tag::NONE);
        let mut wide = Layout::contiguous(distinct);
        for (d, (&size, &stride)) in pairs().enumerate() {
            if stride == 0 && size > 1 {
                (wide.shape[d], wide.strides[d]) = (size, 0);
            }
        }
        Distinct { once, layout: wide }
    }
}

/// A tensor as f32; what broadcasts still does.
fn widen(op: &Op, tensor: &Tensor) -> Result<Tensor> {
    let Distinct { once, layout } = Distinct::of(tensor);
    let mut storage = Storage::new(op.name(), once.len() * size_of::<f32>(), tensor.device())?;
    if let Some(memory) = storage.exclusive() {
        widen_into(op, &once, memory.buffer.as_mut_slice())?;
    }
    Ok(Tensor::from_parts(storage, layout, DType::F32, Tag::NONE))
}

/// The elements of a 2-byte tensor, row-major, as f32.
pub(super) fn widen_into(op: &Op, tensor: &Tensor, out: &mut [f32]) -> Result<()> {
    fn run<T: Convert>(op: &Op, tensor: &Tensor, out: &mut [f32]) -> Result<()> {
        told(op, halves::widen(Dense::<T>::new(op, tensor)?.slice(), out))
    }
    match tensor.dtype() {
        DType::F16 => run::<f16>(op, tensor, out),
        DType::BF16 => run::<bf16>(op, tensor, out),
        other => Err(Error::unsupported(op.name(), other)),
    }
}

/// The result `x` rounded to the output's 2-byte type.
pub(super) fn narrow_into(op: &Op, x: &[f32], out: &mut Output<'_>) -> Result<()> {
    match out.meta.dtype {
        DType::F16 => told(op, halves::narrow::<f16>(x, out.buffer.as_mut_slice())),
        DType::BF16 => told(op, halves::narrow::<bf16>(x, out.buffer.as_mut_slice())),
        other => Err(Error::unsupported(op.name(), other)),
    }
}

/// Room for a result in f32; an update finds the old contents there.
fn wide_output(op: &Op, out: &Output<'_>) -> Result<(Buffer, Meta)> {
    let bytes = out.buffer.len() / 2 * size_of::<f32>();
    let failed = |error| Error::from_kernel(op.name(), error);
    let mut buffer = Buffer::new(bytes).map_err(failed)?;
    if let Op::Optimize(_) = op {
        let to = buffer.as_mut_slice();
        told(
            op,
            match out.meta.dtype {
                DType::F16 => halves::widen::<f16>(out.buffer.as_slice(), to),
                _ => halves::widen::<bf16>(out.buffer.as_slice(), to),
            },
        )?;
    }
    let meta = Meta { dtype: DType::F32, ..out.meta.clone() };
    Ok((buffer, meta))
}
