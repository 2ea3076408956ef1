//! Elementwise operations.

use ferrotape_kernels::cuda::map::{self, Source};
use ferrotape_kernels::cuda::{Array, DeviceBuffer};
use ferrotape_kernels::elementwise::BinaryOp;

use super::{array, kind, target};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::execute::{Input, Output, broadcast_strides, tensor, told};
use crate::layout::BroadcastStrides;
use crate::op::Op;
use crate::tensor::Tensor;

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    let out = outputs.first_mut()?;
    // 2-byte floats beside a number that is f32 are widened.
    let mixed = matches!(inputs, [Input::Tensor(a), Input::Tensor(b)] if a.dtype() != b.dtype());
    Some(match op {
        Op::Binary(_) if mixed => return None,
        Op::Unary(_) => unary(op, inputs, out),
        Op::Binary(_) => binary(op, inputs, out),
        Op::Compare(_) | Op::Logical(_) => to_bool(op, inputs, out),
        Op::Select => select(op, inputs, out),
        Op::Cast(to) => cast(op, *to, inputs, out),
        _ => return None,
    })
}

/// The element type of the operands.
fn dtype_of(inputs: &[Input<'_>], out: &Output<'_>) -> DType {
    match inputs.first() {
        Some(Input::Tensor(tensor)) => tensor.dtype(),
        _ => out.meta.dtype,
    }
}

fn unary(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let Op::Unary(unary) = op else { return Err(Error::argument(op.name(), "is not unary")) };
    let kind = kind(dtype_of(inputs, out));
    let x = match inputs.first() {
        Some(Input::Output) => Source::Output,
        _ => Source::Array(array(op, tensor(op, inputs, 0)?)?),
    };
    told(op, map::unary(*unary, kind, x, target(op, out)?))
}

/// Strides of an operand in the result's shape; nothing for one that lies in the output.
fn strides<'a>(input: Option<&Input<'a>>, shape: &[usize]) -> BroadcastStrides<'a> {
    match input {
        Some(Input::Tensor(tensor)) => broadcast_strides(tensor, shape),
        _ => BroadcastStrides::Own(&[]),
    }
}

/// An operand in the result's shape.
fn broadcast<'a>(
    op: &Op,
    tensor: &'a Tensor,
    shape: &'a [usize],
    strides: &'a [isize],
) -> Result<Array<'a>> {
    let own = array(op, tensor)?;
    Array::new(own.buffer(), own.kind(), own.offset(), shape, strides)
        .map_err(|error| Error::from_kernel(op.name(), error))
}

fn binary(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let Op::Binary(known) = op else { return Err(Error::argument(op.name(), "is not binary")) };
    let dtype = dtype_of(inputs, out);
    // Booleans are 0 and 1: `or` is their sum, `and` their product.
    let how = match (out.meta.dtype, known) {
        (DType::Bool, BinaryOp::Add) => BinaryOp::Maximum,
        (DType::Bool, BinaryOp::Mul) => BinaryOp::Minimum,
        (_, known) => *known,
    };
    let shape = &out.meta.shape;
    let all = [strides(inputs.first(), shape), strides(inputs.get(1), shape)];
    let source = |i: usize| match inputs.get(i) {
        Some(Input::Output) => Ok(Source::Output),
        _ => broadcast(op, tensor(op, inputs, i)?, shape, &all[i]).map(Source::Array),
    };
    let (a, b) = (source(0)?, source(1)?);
    told(op, map::binary(how, kind(dtype), a, b, cuda(op, &mut out.cuda)?))
}

/// The GPU's memory of a destination whose meta is still in use.
fn cuda<'a>(op: &Op, memory: &'a mut Option<&mut DeviceBuffer>) -> Result<&'a mut DeviceBuffer> {
    match memory {
        Some(memory) => Ok(memory),
        None => Err(Error::argument(op.name(), "its result is not on the GPU")),
    }
}

fn to_bool(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let shape = &out.meta.shape;
    let all = [strides(inputs.first(), shape), strides(inputs.get(1), shape)];
    let a = broadcast(op, tensor(op, inputs, 0)?, shape, &all[0])?;
    let b = broadcast(op, tensor(op, inputs, 1)?, shape, &all[1])?;
    let memory = cuda(op, &mut out.cuda)?;
    told(
        op,
        match op {
            Op::Compare(compare) => map::compare(*compare, a, b, memory),
            Op::Logical(logical) => map::logical(*logical, a, b, memory),
            _ => return Err(Error::argument(op.name(), "gives no booleans")),
        },
    )
}

fn select(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let shape = &out.meta.shape;
    let all = [0, 1, 2].map(|i| strides(inputs.get(i), shape));
    let operand = |i: usize| broadcast(op, tensor(op, inputs, i)?, shape, &all[i]);
    let (condition, a, b) = (operand(0)?, operand(1)?, operand(2)?);
    told(op, map::select(condition, a, b, cuda(op, &mut out.cuda)?))
}

fn cast(op: &Op, to: DType, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let x = array(op, tensor(op, inputs, 0)?)?;
    let to = (to != DType::Bool).then(|| kind(to));
    told(op, map::cast(x, to, target(op, out)?))
}
