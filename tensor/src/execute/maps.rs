//! Elementwise operations.

use ferrotape_kernels::cpu::map::{self, Source};
use ferrotape_kernels::elementwise::BinaryOp;
use ferrotape_kernels::{Float, Integer, Number, Pod};

use super::{
    Dense, Input, Output, any_type, broadcast_strides, broadcast_view, float_type, halves,
    integer_type, sized_type, tensor, told, view,
};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::BroadcastStrides;
use crate::op::Op;
use crate::tensor::Tensor;

pub(super) fn execute(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let dtype = match inputs.first() {
        Some(Input::Tensor(tensor)) => tensor.dtype(),
        _ => out.meta.dtype,
    };
    match op {
        Op::Unary(unary) if !dtype.is_float() => {
            let x = tensor(op, inputs, 0)?;
            integer_type!(op, dtype, T => {
                told(op, map::unary_integer::<T>(*unary, view(op, x)?, out.buffer.as_mut_slice()))
            })
        }
        Op::Unary(unary) => float_type!(op, dtype, T => {
            let x = match &inputs[0] {
                Input::Tensor(x) => match x.elements::<T>() {
                    Some(slice) => Source::Slice(slice),
                    None => Source::View(view::<T>(op, x)?),
                },
                Input::Output => Source::Output,
            };
            told(op, map::unary(*unary, x, out.buffer.as_mut_slice::<T>()))
        }),
        Op::Binary(_) if !dtype.is_float() => {
            integer_type!(op, dtype, T => integer::<T>(op, inputs, out))
        }
        Op::Binary(_) => float_type!(op, dtype, T => binary::<T>(op, inputs, out)),
        Op::Compare(_) if !dtype.is_float() => {
            integer_type!(op, dtype, T => compare::<T>(op, inputs, out))
        }
        Op::Compare(_) => float_type!(op, dtype, T => compare::<T>(op, inputs, out)),
        Op::Logical(logical) => {
            pairs(op, inputs, out, |a, b, out| map::logical(*logical, a, b, out))
        }
        Op::Select => sized_type!(out.meta.dtype, T => select::<T>(op, inputs, out)),
        Op::Cast(to) => cast(op, tensor(op, inputs, 0)?, *to, out),
        _ => Err(Error::argument(op.name(), "is not elementwise")),
    }
}

fn cast(op: &Op, x: &Tensor, to: DType, out: &mut Output<'_>) -> Result<()> {
    use DType::{BF16, Bool, F16, F32, F64, U8};
    match (x.dtype(), to) {
        // The usual ones have loops of their own.
        (U8 | Bool, F32) => {
            told(op, map::cast_direct::<u8, f32>(view(op, x)?, out.buffer.as_mut_slice()))
        }
        (F32, F64) => {
            told(op, map::cast_direct::<f32, f64>(view(op, x)?, out.buffer.as_mut_slice()))
        }
        (F64, F32) => {
            told(op, map::cast_direct::<f64, f32>(view(op, x)?, out.buffer.as_mut_slice()))
        }
        (F16 | BF16, F32) => halves::widen_into(op, x, out.buffer.as_mut_slice()),
        (F32, F16 | BF16) => {
            let x = Dense::<f32>::new(op, x)?;
            halves::narrow_into(op, x.slice(), out)
        }
        (from, Bool) => any_type!(from, A => {
            told(op, map::cast_to_bool(view::<A>(op, x)?, out.buffer.as_mut_slice()))
        }),
        (from, to) => any_type!(from, A => any_type!(to, B => {
            told(op, map::cast(view::<A>(op, x)?, out.buffer.as_mut_slice::<B>()))
        })),
    }
}

/// Broadcast strides of an operand; nothing for one that lies in the output.
fn strides<'a>(input: &Input<'a>, shape: &[usize]) -> BroadcastStrides<'a> {
    match input {
        Input::Tensor(tensor) => broadcast_strides(tensor, shape),
        Input::Output => BroadcastStrides::Own(&[]),
    }
}

/// An operand that lies like the result, or is one value: most are, and need no strides.
fn plain<'a, T: Float>(input: &Input<'a>, shape: &[usize]) -> Option<Source<'a, T>> {
    match input {
        Input::Output => Some(Source::Output),
        Input::Tensor(tensor) if tensor.shape() == shape => tensor.elements().map(Source::Slice),
        Input::Tensor(tensor) if tensor.len() == 1 => {
            let data = tensor.0.storage.buffer().as_slice::<T>();
            data.get(tensor.layout().offset()).map(Source::One)
        }
        Input::Tensor(_) => None,
    }
}

fn source<'a, T: Float>(
    op: &Op,
    input: &'a Input<'_>,
    shape: &'a [usize],
    strides: &'a [isize],
) -> Result<Source<'a, T>> {
    match input {
        Input::Tensor(tensor) => Ok(Source::View(broadcast_view(op, tensor, shape, strides)?)),
        Input::Output => Ok(Source::Output),
    }
}

fn binary<T: Float>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let Op::Binary(kind) = op else { return Err(Error::argument(op.name(), "is not binary")) };
    let shape = &out.meta.shape;
    if let (Some(a), Some(b)) = (plain(&inputs[0], shape), plain(&inputs[1], shape)) {
        return told(op, map::binary(*kind, a, b, out.buffer.as_mut_slice::<T>()));
    }
    let (a_strides, b_strides) = (strides(&inputs[0], shape), strides(&inputs[1], shape));
    let a = source::<T>(op, &inputs[0], shape, &a_strides)?;
    let b = source::<T>(op, &inputs[1], shape, &b_strides)?;
    told(op, map::binary(*kind, a, b, out.buffer.as_mut_slice()))
}

/// Two broadcast views of one type, and an output of any.
fn pairs<T: Pod, O: Pod>(
    op: &Op,
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
    kernel: impl FnOnce(
        ferrotape_kernels::strided::View<'_, T>,
        ferrotape_kernels::strided::View<'_, T>,
        &mut [O],
    ) -> ferrotape_kernels::Result<()>,
) -> Result<()> {
    let shape = &out.meta.shape;
    let (a, b) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let (a_strides, b_strides) = (broadcast_strides(a, shape), broadcast_strides(b, shape));
    let a = broadcast_view::<T>(op, a, shape, &a_strides)?;
    let b = broadcast_view::<T>(op, b, shape, &b_strides)?;
    told(op, kernel(a, b, out.buffer.as_mut_slice()))
}

fn integer<T: Integer>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let Op::Binary(kind) = op else { return Err(Error::argument(op.name(), "is not binary")) };
    // Booleans are 0 and 1: `or` is their sum, `and` their product.
    let kind = match (out.meta.dtype, kind) {
        (DType::Bool, BinaryOp::Add) => BinaryOp::Maximum,
        (DType::Bool, BinaryOp::Mul) => BinaryOp::Minimum,
        (_, kind) => *kind,
    };
    pairs::<T, T>(op, inputs, out, |a, b, out| map::binary_integer(kind, a, b, out))
}

fn compare<T: Number>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let Op::Compare(kind) = op else { return Err(Error::argument(op.name(), "does not compare")) };
    pairs::<T, u8>(op, inputs, out, |a, b, out| map::compare(*kind, a, b, out))
}

fn select<T: Pod>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let shape = &out.meta.shape;
    let condition = tensor(op, inputs, 0)?;
    let (a, b) = (tensor(op, inputs, 1)?, tensor(op, inputs, 2)?);
    let strides = [condition, a, b].map(|t| broadcast_strides(t, shape));
    let condition = broadcast_view::<u8>(op, condition, shape, &strides[0])?;
    let a = broadcast_view::<T>(op, a, shape, &strides[1])?;
    let b = broadcast_view::<T>(op, b, shape, &strides[2])?;
    told(op, map::select(condition, a, b, out.buffer.as_mut_slice()))
}
