//! Selection by index and its adjoints.

use ferrotape_kernels::cpu::gather::ScatterOp;
use ferrotape_kernels::cuda::{Type, copy, index};

use super::{array, kind};
use crate::error::{Error, Result};
use crate::execute::{Input, Output, tensor, told};
use crate::op::{IndexOp, Op};

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    let (Op::Index(how), [out]) = (op, outputs) else { return None };
    match how {
        IndexOp::Gather(_) | IndexOp::Select(_) | IndexOp::Scatter { how: ScatterOp::Last, .. } => {
            Some(run(op, how, inputs, out))
        }
        IndexOp::ScatterAdd { .. }
        | IndexOp::Add { .. }
        | IndexOp::Fold { .. }
        | IndexOp::Scatter { .. } => match kind(out.meta.dtype) {
            // 2-byte floats are combined as f32.
            Type::F32 | Type::F64 | Type::I64 => Some(run(op, how, inputs, out)),
            _ => None,
        },
        _ => None,
    }
}

fn run(op: &Op, how: &IndexOp, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let x = array(op, tensor(op, inputs, 0)?)?;
    let operand = |place: usize| array(op, tensor(op, inputs, place)?);
    let shape = &out.meta.shape;
    let Some(memory) = &mut out.cuda else {
        return Err(Error::argument(op.name(), "its result is not on the GPU"));
    };
    told(
        op,
        match how {
            IndexOp::Gather(dim) => index::gather(x, *dim, operand(1)?, memory),
            IndexOp::Select(dim) => index::index_select(x, *dim, operand(1)?, memory),
            IndexOp::ScatterAdd { dim, .. } => {
                told(op, memory.zero())?;
                index::scatter(None, x, *dim, operand(1)?, shape, memory)
            }
            IndexOp::Add { dim, .. } => {
                told(op, memory.zero())?;
                index::index_add(x, *dim, operand(1)?, shape, memory)
            }
            IndexOp::Fold { dim, step, .. } => index::fold(x, *dim, *step, shape, memory),
            IndexOp::Scatter { dim, how } => {
                told(op, copy::copy(x, memory))?;
                index::scatter(Some(*how), operand(2)?, *dim, operand(1)?, shape, memory)
            }
            _ => return Err(Error::argument(op.name(), "does not select")),
        },
    )
}
