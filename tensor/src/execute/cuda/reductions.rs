//! Reductions and softmax.

use ferrotape_kernels::cpu::softmax::Rows;
use ferrotape_kernels::cuda::{reduce, softmax};
use smallvec::SmallVec;

use super::{array, kind, target};
use crate::error::Result;
use crate::execute::{Input, Output, tensor, told};
use crate::op::Op;

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    let out = outputs.first_mut()?;
    Some(match op {
        Op::Reduce(..) | Op::ArgReduce(..) => fold(op, inputs, out),
        Op::Softmax { dim, log } => normalize(op, [*dim, usize::from(*log)], inputs, out),
        _ => return None,
    })
}

fn fold(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let x = array(op, tensor(op, inputs, 0)?)?;
    let to = kind(out.meta.dtype);
    let out = target(op, out)?;
    told(
        op,
        match op {
            Op::ArgReduce(how, dims) => {
                reduce::arg_reduce(*how, x, dims.dims.first().copied().unwrap_or(0), out)
            }
            Op::Reduce(how, dims) => {
                let rank = x.shape().len();
                let reduced: SmallVec<[bool; 16]> =
                    (0..rank).map(|d| dims.dims.contains(&d)).collect();
                reduce::reduce(*how, x, &reduced, to, out)
            }
            _ => return Err(crate::error::Error::argument(op.name(), "does not reduce")),
        },
    )
}

fn normalize(
    op: &Op,
    [dim, log]: [usize; 2],
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
) -> Result<()> {
    let x = array(op, tensor(op, inputs, 0)?)?;
    let shape = x.shape();
    let rows = Rows {
        outer: shape[..dim].iter().product(),
        size: shape[dim],
        inner: shape[dim + 1..].iter().product(),
    };
    told(op, softmax::softmax(rows, log == 1, x, target(op, out)?))
}
