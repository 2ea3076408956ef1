//! Singular vectors and values.

use ferrotape_tensor::chain::ProductChain;
use ferrotape_tensor::{Result, Tensor};

use super::{Cx, Formulas, Rule, Slot};

const U: Slot = Slot::Output(0);
const S: Slot = Slot::Output(1);
const VH: Slot = Slot::Output(2);

pub(super) const SVD: &Rule = &Rule { keep: &[U, S, VH], formulas: Formulas::Any(gradient) };

/// `u (..) vh`, where the middle has the gradient of s on its diagonal and beside it what turns the vectors among
/// themselves; then what turns them out of their space.
fn gradient(cx: &Cx<'_>, _: usize) -> Result<Option<Tensor>> {
    let (u, s, vh) = (cx.kept(U)?, cx.kept(S)?, cx.kept(VH)?);
    let [gu, gs, gvh] = [0, 1, 2].map(|place| cx.outputs.get(place).and_then(Option::as_ref));
    let row = s.unsqueeze(-2)?;
    let column = s.unsqueeze(-1)?;
    let diagonal = Tensor::eye(s.shape().last().copied().unwrap_or(0), s)?;
    let mut middle = match gs {
        Some(gs) => diagonal.mul(gs.unsqueeze(-2)?)?,
        None => diagonal.mul(row.zeros_like()?)?,
    };
    // 1 / (s_j^2 - s_i^2), of which the diagonal is not used.
    let gaps = || row.sub(&column)?.mul(row.add(&column)?)?.add(&diagonal)?.reciprocal();
    if let Some(gu) = gu {
        middle = middle.add(skew(u.t().matmul(gu)?)?.mul(gaps()?)?.mul(&row)?)?;
    }
    if let Some(gvh) = gvh {
        middle = middle.add(skew(vh.matmul(gvh.t()?)?)?.mul(gaps()?)?.mul(&column)?)?;
    }
    let mut g = u.matmul(&middle)?;
    if let (Some(gu), true) = (gu, !is_square(u)) {
        g = g.add(gu.sub(u.matmul(u.t().matmul(gu)?)?)?.div(&row)?)?;
    }
    g = g.matmul(vh)?;
    if let (Some(gvh), true) = (gvh, !is_square(vh)) {
        let outside = gvh.sub(gvh.matmul(vh.t()?)?.matmul(vh)?)?;
        g = g.add(u.matmul(outside.div(&column)?)?)?;
    }
    Ok(Some(g))
}

fn skew(x: Tensor) -> Result<Tensor> {
    x.sub(x.t()?)
}

fn is_square(x: &Tensor) -> bool {
    matches!(x.shape(), [.., m, n] if m == n)
}
