//! Layer normalisation and its gradients.

use ferrotape_kernels::Float;
use ferrotape_kernels::cpu::norm;

use super::{Dense, Input, Output, float_type, tensor, told};
use crate::error::{Error, Result};
use crate::op::Op;

pub(super) fn execute(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    let dtype = tensor(op, inputs, 0)?.dtype();
    float_type!(op, dtype, T => run::<T>(op, inputs, outputs))
}

fn run<T: Float>(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    let dense = |place| Dense::<T>::new(op, tensor(op, inputs, place)?);
    let optional = |place| if place < inputs.len() { dense(place).map(Some) } else { Ok(None) };
    match (op, outputs) {
        (Op::LayerNorm { eps }, [y, stats]) => {
            let (x, weight, bias) = (dense(0)?, optional(1)?, optional(2)?);
            let size = y.meta.shape.last().copied().unwrap_or(1);
            let parameters = [&weight, &bias].map(|p| p.as_ref().map(Dense::slice));
            let (y, stats) = (y.buffer.as_mut_slice(), stats.buffer.as_mut_slice());
            told(op, norm::layer_norm(size, *eps, x.slice(), parameters, y, stats))
        }
        (Op::LayerNormInput { .. }, [out]) => {
            let (g, x, stats, weight) = (dense(0)?, dense(1)?, dense(2)?, optional(3)?);
            let weight = weight.as_ref().map(Dense::slice);
            let out = out.buffer.as_mut_slice();
            told(op, norm::layer_norm_input(g.slice(), x.slice(), stats.slice(), weight, out))
        }
        (Op::LayerNormWeight { .. }, [out]) => {
            let (g, x, stats) = (dense(0)?, dense(1)?, dense(2)?);
            let out = out.buffer.as_mut_slice();
            told(op, norm::layer_norm_weight(g.slice(), x.slice(), stats.slice(), out))
        }
        _ => Err(Error::argument(op.name(), "is no normalisation")),
    }
}
