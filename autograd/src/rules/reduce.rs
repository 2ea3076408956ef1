//! Reductions.

use ferrotape_tensor::chain::{BinaryChain, ScanChain, ShapeChain, UnaryChain};
use ferrotape_tensor::{Dims, Op, ReduceOp, Result, Tensor};

use super::scan::moved;
use super::{Cx, Derivative, rule};

pub(super) fn reduce(op: ReduceOp) -> Derivative {
    Derivative::Rule(match op {
        ReduceOp::Sum => rule!([] | g, cx | kept_dims(cx, g)?.expand(&cx.meta(0).shape)),
        ReduceOp::Max | ReduceOp::Min => rule!([a, y] | g, cx | extreme(cx, g, a, y)),
        ReduceOp::Prod => rule!([a] | g, cx | product(cx, g, a)),
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

/// The product of all other elements, of those before and of those after: no division, so zeros don't matter.
fn product(cx: &Cx<'_>, g: &Tensor, a: &Tensor) -> Result<Tensor> {
    let Op::Reduce(_, reduced) = cx.op() else { return Err(cx.bug("is no reduction")) };
    let g = kept_dims(cx, g)?;
    match reduced.dims[..] {
        [] => Ok(g),
        [dim] => others(a, dim as i64)?.mul(g),
        _ => {
            let reduces = |d: &usize| reduced.dims.contains(d);
            let kept = (0..a.rank()).filter(|d| !reduces(d));
            let order: Dims = kept.chain(reduced.dims.iter().copied()).collect();
            let mut inverse = Dims::from_elem(0, order.len());
            order.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
            let rows = a.permute(&order[..])?;
            let first = (a.rank() - reduced.dims.len()) as i64;
            let line = rows.flatten(first, -1)?;
            others(&line, first)?.reshape(rows.shape()).permute(&inverse[..]).mul(g)
        }
    }
}

/// The product along a dim of all elements but the one itself.
fn others(a: &Tensor, dim: i64) -> Result<Tensor> {
    let before = moved(&a.cumprod(dim)?, dim, 1.0)?;
    let after = moved(&a.flip(dim).cumprod(dim)?, dim, 1.0).flip(dim);
    before.mul(after)
}
