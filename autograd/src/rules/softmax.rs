//! Softmax and cross entropy.

use ferrotape_tensor::chain::{BinaryChain, ReduceChain};
use ferrotape_tensor::{Op, Result, Tensor, apply_one};

use super::{Cx, Derivative, None_, Rule, rule};

pub(super) fn softmax(log: bool) -> Derivative {
    Derivative::Rule(match log {
        false => rule!([y] | g, cx | softmax_back(g, y, dim(cx)?)),
        true => rule!([y] | g, cx | g.sub(y.exp().mul(g.sum_keep(dim(cx)?)))),
    })
}

fn dim(cx: &Cx<'_>) -> Result<i64> {
    match cx.op() {
        Op::Softmax { dim, .. } => Ok(*dim as i64),
        _ => Err(cx.bug("is no softmax")),
    }
}

/// `y (g - sum(g y))`
fn softmax_back(g: &Tensor, y: &Tensor, dim: i64) -> Result<Tensor> {
    g.sub(g.mul(y).sum_keep(dim)).mul(y)
}

pub(super) const CROSS_ENTROPY: &Rule = rule!(
    [a, b] | g | apply_one(&Op::CrossEntropyInput, &mut [a.into(), b.into(), g.into()]),
    None_,
);

/// Through the decomposition `(softmax(a) - one_hot(b)) c`.
pub(super) const CROSS_ENTROPY_INPUT: &Rule = rule!(
    [a, b, c] | g | softmax_back(&g.mul(column(c)?)?, &a.softmax(1)?, 1),
    None_,
    a.softmax(1).sub(b.one_hot(a.shape()[1], a.dtype())).mul(g).sum(1),
);

/// One weight a row, as a column.
fn column(c: &Tensor) -> Result<Tensor> {
    if c.rank() == 0 { Ok(c.clone()) } else { c.unsqueeze(1) }
}
