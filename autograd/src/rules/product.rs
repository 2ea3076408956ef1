//! Matrix products.

use ferrotape_tensor::chain::ProductChain;
use ferrotape_tensor::{Device, Dims, LinearActivation, Op, Result, Tensor, apply};
use smallvec::SmallVec;

use super::{Cx, Derivative, Formulas, Gradients, Rule, keep, rule, slot};

pub(super) fn product(op: &Op) -> Derivative {
    Derivative::Rule(match op {
        Op::Matmul => rule!([a, b] | g | g.matmul(b.t()), a.t().matmul(g)),
        Op::Linear(LinearActivation::None) => LINEAR,
        Op::Linear(_) => LINEAR_ACTIVATED,
        Op::LinearWeight => LINEAR_WEIGHT,
        _ => return Derivative::Missing,
    })
}

const LINEAR: &Rule = &Rule { keep: keep!([a, b]), formulas: Formulas::All(linear) };
const LINEAR_ACTIVATED: &Rule =
    &Rule { keep: keep!([a, b, y]), formulas: Formulas::All(linear_activated) };
const LINEAR_WEIGHT: &Rule = &Rule { keep: keep!([a, b]), formulas: Formulas::Any(linear_weight) };

fn linear(cx: &Cx<'_>, needed: &[bool]) -> Result<Gradients> {
    backward(cx, cx.g()?, needed)
}

fn linear_activated(cx: &Cx<'_>, needed: &[bool]) -> Result<Gradients> {
    let (g, y) = (cx.g()?, cx.kept(slot("y"))?);
    let g = match cx.op() {
        Op::Linear(LinearActivation::Relu) => g.relu_grad(y)?,
        Op::Linear(LinearActivation::Sigmoid) => g.sigmoid_grad(y)?,
        Op::Linear(LinearActivation::Tanh) => g.tanh_grad(y)?,
        _ => return Err(cx.bug("has no such activation")),
    };
    backward(cx, &g, needed)
}

/// The gradients of `a b^T + c`.
fn backward(cx: &Cx<'_>, g: &Tensor, needed: &[bool]) -> Result<Gradients> {
    let (a, b) = (cx.kept(slot("a"))?, cx.kept(slot("b"))?);
    let needs = |place: usize| needed.get(place).copied().unwrap_or(false);
    let mut gradients: Gradients = SmallVec::from_elem(None, needed.len());
    if needs(0) {
        gradients[0] = Some(g.matmul(b)?);
    }
    let rows_of_g = rows(g)?;
    if needs(1) && needs(2) && g.device() == Device::Cpu {
        let both = apply(&Op::LinearWeight, &mut [rows_of_g.into(), rows(a)?.into()])?;
        for (place, gradient) in [1, 2].into_iter().zip(both) {
            gradients[place] = Some(gradient);
        }
        return Ok(gradients);
    }
    if needs(1) {
        gradients[1] = Some(rows_of_g.t().matmul(rows(a))?);
    }
    if needs(2) {
        gradients[2] = Some(rows_of_g.sum(0)?);
    }
    Ok(gradients)
}

/// a: g, b: x: `y = a^T b`, `z` = the sum of the rows of a.
fn linear_weight(cx: &Cx<'_>, place: usize) -> Result<Option<Tensor>> {
    let (u, v) = (cx.outputs.first().and_then(Option::as_ref), cx.outputs.get(1));
    let v = v.and_then(Option::as_ref);
    match (place, u, v) {
        (0, Some(u), v) => cx.kept(slot("b"))?.linear(u, v).map(Some),
        (0, None, Some(v)) => v.expand(&cx.meta(0).shape).map(Some),
        (1, Some(u), _) => cx.kept(slot("a"))?.matmul(u).map(Some),
        _ => Ok(None),
    }
}

/// All vectors of the last dim as the rows of one matrix.
pub(super) fn rows(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 2 {
        return Ok(x.clone());
    }
    let (last, lead) = x.shape().split_last().map_or((1, &[][..]), |(last, lead)| (*last, lead));
    // Saturating: beside a size 0 others may multiply to more than a usize.
    let rows = lead.iter().fold(1usize, |rows, &size| rows.saturating_mul(size));
    x.reshape(Dims::from_slice(&[rows, last]))
}
