//! Layer normalisation and cross entropy, with their gradients.

use ferrotape_kernels::cuda::{Array, Type, norm, softmax};

use super::dense::Dense;
use super::{kind, target};
use crate::error::{Error, Result};
use crate::execute::rows::class;
use crate::execute::{Input, Output, tensor, told};
use crate::op::Op;

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    let normalizes = match op {
        Op::LayerNorm { .. } | Op::LayerNormInput { .. } | Op::LayerNormWeight { .. } => true,
        Op::CrossEntropy | Op::CrossEntropyInput => false,
        _ => return None,
    };
    let Some(Input::Tensor(x)) = inputs.first() else { return None };
    if !matches!(kind(x.dtype()), Type::F32 | Type::F64) {
        return None;
    }
    Some(if normalizes { normalize(op, inputs, outputs) } else { lose(op, inputs, outputs) })
}

/// The operands row-major, as kernels take them.
fn with_operands(
    op: &Op,
    inputs: &[Input<'_>],
    body: impl FnOnce(&[Array<'_>]) -> Result<()>,
) -> Result<()> {
    let mut dense: smallvec::SmallVec<[(Dense<'_>, [usize; 1]); 4]> = smallvec::SmallVec::new();
    for place in 0..inputs.len() {
        let x = tensor(op, inputs, place)?;
        dense.push((Dense::new(op, x)?, [x.len()]));
    }
    let arrays: Result<smallvec::SmallVec<[Array<'_>; 4]>> =
        dense.iter().map(|(x, len)| x.array(op, len, &[1])).collect();
    body(&arrays?)
}

fn normalize(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    with_operands(op, inputs, |operands| {
        let optional = |place: usize| operands.get(place).copied();
        match (op, operands, outputs) {
            (Op::LayerNorm { eps }, [x, ..], [y, stats]) => {
                let size = y.meta.shape.last().copied().unwrap_or(1);
                let parameters = [optional(1), optional(2)];
                let (y, stats) = (target(op, y)?, target(op, stats)?);
                told(op, norm::layer_norm(size, *eps, *x, parameters, y, stats))
            }
            (Op::LayerNormInput { .. }, [g, x, stats, ..], [out]) => {
                told(op, norm::layer_norm_input(*g, *x, *stats, optional(3), target(op, out)?))
            }
            (Op::LayerNormWeight { .. }, [g, x, stats], [out]) => {
                told(op, norm::layer_norm_weight(*g, *x, *stats, target(op, out)?))
            }
            _ => Err(Error::argument(op.name(), "is no normalisation")),
        }
    })
}

fn lose(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    let classes = tensor(op, inputs, 0)?.shape().get(1).copied().unwrap_or(0);
    with_operands(op, inputs, |operands| match (op, operands, outputs) {
        (Op::CrossEntropy, [x, targets], [loss]) => {
            class(op, softmax::cross_entropy(classes, *x, *targets, target(op, loss)?))
        }
        (Op::CrossEntropyInput, [x, targets, weight], [out]) => {
            let out = target(op, out)?;
            class(op, softmax::cross_entropy_grad(classes, *x, *targets, *weight, out))
        }
        _ => Err(Error::argument(op.name(), "is no loss")),
    })
}
