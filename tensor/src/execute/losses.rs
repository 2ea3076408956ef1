//! Losses in one operation each, with the bits of the expressions that they stand for.

use ferrotape_kernels::Float;
use ferrotape_kernels::buffer::Buffer;
use ferrotape_kernels::cpu::map::{self, Source};
use ferrotape_kernels::cpu::reduce::{self, ReduceOp};
use ferrotape_kernels::elementwise::{BinaryOp, UnaryOp};
use ferrotape_kernels::strided::View;
use smallvec::SmallVec;

use super::{Dense, Input, Output, float_type, tensor, told};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::op::Op;
use crate::shape::Dims;

pub(super) fn execute(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    float_type!(op, out.meta.dtype, T => match op {
        Op::MseLoss => mse_loss::<T>(op, inputs, out),
        _ => mse_loss_input::<T>(op, inputs, out),
    })
}

/// `((a - b)^2).sum() / n`
fn mse_loss<T: Float>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let (a, b) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let (x, y) = (Dense::<T>::new(op, a)?, Dense::<T>::new(op, b)?);
    let failed = |error| Error::from_kernel(op.name(), error);
    let mut squares = Buffer::new(size_of_val(x.slice())).map_err(failed)?;
    let place = squares.as_mut_slice::<T>();
    let (x, y) = (Source::Slice(x.slice()), Source::Slice(y.slice()));
    told(op, map::binary(BinaryOp::Sub, x, y, place))?;
    told(op, map::unary(UnaryOp::Square, Source::Output, place))?;
    // Summed in the operands' shape, on which the order of a sum depends.
    let whole = Layout::contiguous(Dims::from_slice(a.shape()));
    let view = View::new(squares.as_slice::<T>(), 0, a.shape(), whole.strides()).map_err(failed)?;
    let all: SmallVec<[bool; 8]> = SmallVec::from_elem(true, a.rank());
    let mean = out.buffer.as_mut_slice::<T>();
    told(op, reduce::reduce(ReduceOp::Sum, view, &all, mean))?;
    let count = T::from_f64(a.len() as f64);
    told(op, map::binary(BinaryOp::Div, Source::Output, Source::One(&count), mean))
}

/// `(c / n) (a - b) 2`
fn mse_loss_input<T: Float>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let (a, b) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let c = Dense::<T>::new(op, tensor(op, inputs, 2)?)?;
    let (x, y) = (Dense::<T>::new(op, a)?, Dense::<T>::new(op, b)?);
    let mut factor = [T::default()];
    let count = T::from_f64(a.len() as f64);
    let (c, count) = (Source::Slice(c.slice()), Source::One(&count));
    told(op, map::binary(BinaryOp::Div, c, count, &mut factor))?;
    let out = out.buffer.as_mut_slice::<T>();
    let (x, y) = (Source::Slice(x.slice()), Source::Slice(y.slice()));
    told(op, map::binary(BinaryOp::Sub, x, y, out))?;
    told(op, map::binary(BinaryOp::Mul, Source::Output, Source::One(&factor[0]), out))?;
    told(op, map::binary(BinaryOp::Mul, Source::Output, Source::One(&T::from_f64(2.0)), out))
}
