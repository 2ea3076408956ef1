//! What only moves elements.

use ferrotape_kernels::cuda::copy;

use super::{array, target};
use crate::error::Result;
use crate::execute::{Input, Output, tensor, told};
use crate::layout::{Layout, Strides};
use crate::op::{IndexOp, Op};

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    Some(match op {
        Op::Copy | Op::Assign => copy(op, inputs, &mut outputs[0]),
        Op::Concat(dim) => concat(op, *dim, inputs, &mut outputs[0]),
        Op::Index(IndexOp::Unslice { .. } | IndexOp::Undiagonal { .. }) => {
            place(op, inputs, &mut outputs[0])
        }
        _ => return None,
    })
}

fn copy(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let x = array(op, tensor(op, inputs, 0)?)?;
    told(op, copy::copy(x, target(op, out)?))
}

fn concat(op: &Op, dim: usize, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let whole = Layout::contiguous(out.meta.shape.clone());
    let mut at = 0;
    for i in 0..inputs.len() {
        let part = tensor(op, inputs, i)?;
        let offset = at * whole.strides()[dim].unsigned_abs();
        at += part.shape()[dim];
        if !part.is_empty() {
            let x = array(op, part)?;
            told(op, copy::copy_into(x, target(op, out)?, offset, whole.strides()))?;
        }
    }
    Ok(())
}

/// The elements at some places, 0 at all others.
fn place(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let x = tensor(op, inputs, 0)?;
    let whole = Layout::contiguous(out.meta.shape.clone());
    let to = match op {
        Op::Index(IndexOp::Undiagonal { diagonal, .. }) => whole.diagonal(diagonal),
        Op::Index(IndexOp::Unslice { dim, start, step, .. }) => {
            let mut strides = Strides::from_slice(whole.strides());
            let offset = start.saturating_mul(strides[*dim].unsigned_abs());
            strides[*dim] = strides[*dim].saturating_mul(*step);
            Layout { offset, strides, shape: whole.shape }
        }
        _ => whole,
    };
    told(op, target(op, out)?.zero())?;
    if x.is_empty() {
        return Ok(());
    }
    told(op, copy::copy_into(array(op, x)?, target(op, out)?, to.offset(), to.strides()))
}
