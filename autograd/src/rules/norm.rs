//! Layer normalisation. With `x^ = (x - mean) rstd` and `P(v) = (v - mean(v) - x^ mean(v x^)) rstd`, which is symmetric, the gradient in x of
//! `x^ w` is `P(g w)`. The statistics are part of the function of x: what depends on x through them stands in the formulas of x.

use ferrotape_tensor::chain::{BinaryChain, ReduceChain, UnaryChain};
use ferrotape_tensor::{Error, ErrorKind, Op, Operand, Result, Tensor, apply_one};

use super::product::rows;
use super::{Cx, Formulas, Rule, Slot};

const A: Slot = Slot::Input(0);
const B: Slot = Slot::Input(1);
const C: Slot = Slot::Input(2);
const D: Slot = Slot::Input(3);
const Z: Slot = Slot::Output(1);

/// a: x, b: weight, c: bias.
pub(super) const LAYER_NORM: &Rule = &Rule { keep: &[A, B, Z], formulas: Formulas::Any(forward) };

fn forward(cx: &Cx<'_>, place: usize) -> Result<Option<Tensor>> {
    if cx.outputs.get(1).is_some_and(Option::is_some) {
        let message = "layer_norm: its statistics have no derivative of their own";
        return Err(Error::new(ErrorKind::Gradient(message.into())));
    }
    let (g, x, stats) = (cx.g()?, cx.kept(A)?, cx.kept(Z)?);
    match place {
        0 => projected(cx, g, x, stats, cx.kept(B).ok()),
        1 => weight(cx, g, x, stats),
        _ => rows(g)?.sum(0),
    }
    .map(Some)
}

/// a: g, b: x, c: statistics, d: weight: `y = P(g w)`.
pub(super) const LAYER_NORM_INPUT: &Rule =
    &Rule { keep: &[A, B, C, D], formulas: Formulas::Any(backward) };

fn backward(cx: &Cx<'_>, place: usize) -> Result<Option<Tensor>> {
    let (u, g, x, stats) = (cx.g()?, cx.kept(A)?, cx.kept(B)?, cx.kept(C)?);
    let w = cx.kept(D).ok();
    let times = |v: Result<Tensor>| if let Some(w) = w { v.mul(w) } else { v };
    match place {
        0 => times(projected(cx, u, x, stats, None)),
        1 => curvature(cx, u, &times(Ok(g.clone()))?, x, stats),
        2 => return Ok(None),
        _ => rows(&projected(cx, u, x, stats, None).mul(g)?)?.sum(0),
    }
    .map(Some)
}

/// The gradient in x of `<u, P(v)> = rstd n S`, `S = mean(u v) - mean(u) mean(v) - mean(u x^) mean(v x^)`:
/// `rstd P(q) - S rstd^2 x^` with `q = -(u mean(v x^) + v mean(u x^))`.
fn curvature(cx: &Cx<'_>, u: &Tensor, v: &Tensor, x: &Tensor, stats: &Tensor) -> Result<Tensor> {
    // From x, not from the statistics: an outer tape must see it.
    let centered = x.sub(x.mean_keep(-1))?;
    let rstd = centered.square().mean_keep(-1).add(eps(cx)?).rsqrt()?;
    let normal = centered.mul(&rstd)?;
    let (along_u, along_v) = (u.mul(&normal).mean_keep(-1)?, v.mul(&normal).mean_keep(-1)?);
    let q = u.mul(&along_v).add(v.mul(&along_u)).neg()?;
    let s = u.mul(v).mean_keep(-1).sub(u.mean_keep(-1).mul(v.mean_keep(-1)));
    let s = s.sub(along_u.mul(&along_v)).mul(&rstd).mul(&rstd);
    projected(cx, &q, x, stats, None).mul(&rstd).sub(normal.mul(s))
}

/// a: g, b: x, c: statistics: `y` = the sum over the rows of `g x^`.
pub(super) const LAYER_NORM_WEIGHT: &Rule =
    &Rule { keep: &[A, B, C], formulas: Formulas::Any(backward_weight) };

fn backward_weight(cx: &Cx<'_>, place: usize) -> Result<Option<Tensor>> {
    let (u, g, x, stats) = (cx.g()?, cx.kept(A)?, cx.kept(B)?, cx.kept(C)?);
    match place {
        0 => apply_one(&Op::LayerNorm { eps: eps(cx)? }, &mut [x.into(), u.into()]),
        1 => projected(cx, g, x, stats, Some(u)),
        _ => return Ok(None),
    }
    .map(Some)
}

fn eps(cx: &Cx<'_>) -> Result<f64> {
    match cx.op() {
        Op::LayerNorm { eps } | Op::LayerNormInput { eps } | Op::LayerNormWeight { eps } => {
            Ok(*eps)
        }
        _ => Err(cx.bug("is no normalisation")),
    }
}

/// `P(g w)`
fn projected(
    cx: &Cx<'_>,
    g: &Tensor,
    x: &Tensor,
    stats: &Tensor,
    w: Option<&Tensor>,
) -> Result<Tensor> {
    let op = Op::LayerNormInput { eps: eps(cx)? };
    let three: [Operand<'_>; 3] = [g.into(), x.into(), stats.into()];
    let mut operands: Vec<Operand<'_>> = three.into_iter().chain(w.map(Operand::Ref)).collect();
    apply_one(&op, &mut operands)
}

/// The sum over the rows of `g x^`.
fn weight(cx: &Cx<'_>, g: &Tensor, x: &Tensor, stats: &Tensor) -> Result<Tensor> {
    let op = Op::LayerNormWeight { eps: eps(cx)? };
    apply_one(&op, &mut [g.into(), x.into(), stats.into()])
}
