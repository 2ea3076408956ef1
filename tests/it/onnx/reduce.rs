//! Over dims.

use ferrotape::prelude::*;

use super::{Called, Node, one};

pub(super) fn call(node: &Node<'_>) -> Called {
    let x = node.x(0)?;
    one(reduce(node, x).or_else(|| extreme(node, x)).or_else(|| running(node, x))?)
}

fn reduce(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    let axes = node.ints_or("axes", 1).unwrap_or_default();
    if !node.op.starts_with("Reduce") {
        return None;
    }
    if axes.is_empty() && node.int("noop_with_empty_axes", 0) == 1 {
        return Some(Ok(x.clone()));
    }
    let dims = &axes[..];
    let kept = match node.op {
        "ReduceL1" => x.abs().sum_keep(dims),
        "ReduceL2" => x.square().sum_keep(dims).sqrt(),
        "ReduceLogSum" => x.sum_keep(dims).log(),
        "ReduceLogSumExp" => x.logsumexp_keep(dims),
        // The largest of nothing is -inf there, an error here.
        "ReduceMax" | "ReduceMin" if x.is_empty() => return None,
        "ReduceMax" => x.max_keep(dims),
        "ReduceMin" => x.min_keep(dims),
        "ReduceMean" => x.mean_keep(dims),
        "ReduceProd" => x.prod_keep(dims),
        "ReduceSum" => x.sum_keep(dims),
        "ReduceSumSquare" => x.square().sum_keep(dims),
        _ => return None,
    };
    Some(kept.and_then(|y| match (node.int("keepdims", 1), dims) {
        (1, _) => Ok(y),
        (_, []) => y.reshape(()),
        (_, dims) => y.squeeze(dims),
    }))
}

fn extreme(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    let axis = node.int("axis", 0);
    let last = node.int("select_last_index", 0) == 1;
    let of = |x: &Tensor| match node.op {
        "ArgMax" => x.argmax_keep(axis),
        _ => x.argmin_keep(axis),
    };
    if !matches!(node.op, "ArgMax" | "ArgMin") {
        return None;
    }
    let kept = || {
        if last {
            let size = x.size(axis)? as f64;
            return of(&x.flip(axis)?)?.rsub(size - 1.0);
        }
        of(x)
    };
    Some(kept().and_then(|y| if node.int("keepdims", 1) == 1 { Ok(y) } else { y.squeeze(axis) }))
}

fn running(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    match node.op {
        "CumSum" => Some(cumsum(node, x, node.numbers(1)?[0])),
        _ => None,
    }
}

fn cumsum(node: &Node<'_>, x: &Tensor, axis: i64) -> Result<Tensor> {
    let reverse = node.int("reverse", 0) == 1;
    let x = if reverse { x.flip(axis)? } else { x.clone() };
    let mut y = x.cumsum(axis)?;
    if node.int("exclusive", 0) == 1 {
        y = y.sub(&x)?;
    }
    if reverse { y.flip(axis) } else { Ok(y) }
}
