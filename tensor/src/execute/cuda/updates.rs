//! Optimizer steps.

use ferrotape_kernels::cuda::DeviceBuffer;
use ferrotape_kernels::cuda::optimize::{self, Step};
use smallvec::SmallVec;

use super::dense::Dense;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::execute::{Input, Output, tensor, told};
use crate::op::{Op, OptimizeOp};

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    match (op, outputs.first()?.meta.dtype) {
        (Op::Optimize(how), DType::F32 | DType::F64) => Some(update(op, how, inputs, outputs)),
        _ => None,
    }
}

/// `outputs` are the parameter and the states that are used, `inputs[0]` what they follow.
fn update(
    op: &Op,
    how: &OptimizeOp,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Result<()> {
    let follow = tensor(op, inputs, 0)?;
    let dense = Dense::new(op, follow)?;
    let flat = [follow.len()];
    let follow = dense.array(op, &flat, &[1])?;
    let mut there: SmallVec<[&mut DeviceBuffer; 4]> =
        outputs.iter_mut().filter_map(|out| out.cuda.as_deref_mut()).collect();
    let Some((weight, states)) = there.split_first_mut() else {
        return Err(Error::argument(op.name(), "changes nothing"));
    };
    let step = match how {
        OptimizeOp::Sgd(step) => Step::Sgd(step),
        OptimizeOp::Adam(step) => Step::Adam(step),
        OptimizeOp::RmsProp(step) => Step::RmsProp(step),
        OptimizeOp::Adagrad(step) => Step::Adagrad(step),
    };
    told(op, optimize::step(step, weight, follow, states))
}
