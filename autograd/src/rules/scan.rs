//! Scans and sorting. A scan's adjoint is a scan from the end.

use ferrotape_tensor::chain::{BinaryChain, ScanChain, ShapeChain};
use ferrotape_tensor::{IndexOp, Op, Result, ScanOp, Tensor, apply_one};

use super::{Cx, Derivative, Rule, rule};

pub(super) fn scan(op: ScanOp) -> Derivative {
    Derivative::Rule(match op {
        ScanOp::Sum => rule!([] | g, cx | from_the_end(g, dim(cx)?)),
        ScanOp::Prod => rule!(
            [a, y] | g,
            cx | {
                let dim = dim(cx)?;
                decayed(a, g, dim).mul(moved(y, dim, 1.0))
            }
        ),
        ScanOp::Max | ScanOp::Min => rule!([z] | g, cx | scattered(cx, g, z, dim(cx)?)),
        ScanOp::Linear => rule!(
            [a, y] | g,
            cx | {
                let dim = dim(cx)?;
                decayed(a, g, dim).mul(moved(y, dim, 0.0))
            },
            decayed(a, g, dim(cx)?),
        ),
        _ => return Derivative::Missing,
    })
}

pub(super) const SORT: &Rule = rule!([z] | g, cx | scattered(cx, g, z, dim(cx)?));

fn dim(cx: &Cx<'_>) -> Result<i64> {
    match cx.op() {
        Op::Scan(_, dim) | Op::Sort { dim, .. } => Ok(*dim as i64),
        _ => Err(cx.bug("neither scans nor sorts")),
    }
}

/// Running sums from the end.
fn from_the_end(g: &Tensor, dim: i64) -> Result<Tensor> {
    g.flip(dim).cumsum(dim).flip(dim)
}

/// `r[i] = g[i] + a[i + 1] * r[i + 1]`: what reaches element i of a linear recurrence (of a product: from all later ones).
fn decayed(a: &Tensor, g: &Tensor, dim: i64) -> Result<Tensor> {
    moved(&a.flip(dim)?, dim, 0.0)?.linear_scan(g.flip(dim), dim).flip(dim)
}

/// `x` moved by one towards the end, `first` in the free place.
pub(super) fn moved(x: &Tensor, dim: i64, first: f64) -> Result<Tensor> {
    let n = x.shape().get(dim as usize).copied().unwrap_or(0);
    let head = Tensor::full(x.narrow(dim, 0, n.min(1))?.shape(), first, x)?;
    Tensor::cat(&[&head, &x.narrow(dim, 0, n.saturating_sub(1))?], dim)
}

/// Each element's gradient to where it came from.
fn scattered(cx: &Cx<'_>, g: &Tensor, from: &Tensor, dim: i64) -> Result<Tensor> {
    let to = IndexOp::ScatterAdd { dim: dim as usize, shape: cx.meta(0).shape.clone() };
    apply_one(&Op::Index(to), &mut [g.into(), from.into()])
}
