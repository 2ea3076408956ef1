//! Reductions.

use ferrotape_tensor::chain::{BinaryChain, UnaryChain};
use ferrotape_tensor::{Dims, Op, ReduceOp, Result, Tensor};

use super::{Cx, Derivative, rule};

pub(super) fn reduce(op: ReduceOp) -> Derivative {
    Derivative::Rule(match op {
        ReduceOp::Sum => rule!([] | g, cx | kept_dims(cx, g)?.expand(&cx.meta(0).shape)),
        ReduceOp::Max | ReduceOp::Min => rule!([a, y] | g, cx | extreme(cx, g, a, y)),
        _ => return Derivative::Missing,
    })
}

/// A result with the reduced dims back, size 1.
fn kept_dims(cx: &Cx<'_>, result: &Tensor) -> Result<Tensor> {
    let Op::Reduce(_, reduced) = cx.op() else { return Err(cx.bug("is no reduction")) };
    let sizes = cx.meta(0).shape.iter().enumerate();
    let shape: Dims =
        sizes.map(|(d, &size)| if reduced.dims.contains(&d) { 1 } else { size }).collect();
    result.reshape(shape)
}

/// Equal extremes share the gradient, as PyTorch's amax.
fn extreme(cx: &Cx<'_>, g: &Tensor, a: &Tensor, y: &Tensor) -> Result<Tensor> {
    let Op::Reduce(_, reduced) = cx.op() else { return Err(cx.bug("is no reduction")) };
    let won = a.eq(kept_dims(cx, y)?).to_dtype(a.dtype())?;
    let share = match reduced.dims.is_empty() {
        true => won,
        false => won.div(won.sum_keep(&reduced.dims[..]))?,
    };
    Ok(share).mul(kept_dims(cx, g)?)
}
