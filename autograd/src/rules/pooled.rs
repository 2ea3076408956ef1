//! A convolution with its max pool, and its two adjoints.

use ferrotape_tensor::chain::ImageChain;
use ferrotape_tensor::{Conv2dOp, Op, Outputs, Pool2dOp, Result, Tensor, apply, apply_one};
use smallvec::SmallVec;

use super::{Cx, Derivative, Formulas, Gradients, Rule, keep, slot};

pub(super) fn rule(op: &Op) -> Derivative {
    Derivative::Rule(match op {
        Op::Conv2dMaxPool2d(..) => FORWARD,
        Op::Conv2dMaxPool2dInput(..) => INPUT,
        Op::Conv2dMaxPool2dWeight(..) => WEIGHT,
        _ => return Derivative::Missing,
    })
}

const FORWARD: &Rule = &Rule { keep: keep!([a, b, z]), formulas: Formulas::All(forward) };
const INPUT: &Rule = &Rule { keep: keep!([a, b, c]), formulas: Formulas::Any(input) };
const WEIGHT: &Rule = &Rule { keep: keep!([a, b, c]), formulas: Formulas::Any(weight) };

fn forward(cx: &Cx<'_>, needed: &[bool]) -> Result<Gradients> {
    let (a, b, taps) = (cx.kept(slot("a"))?, cx.kept(slot("b"))?, cx.kept(slot("z"))?);
    let g = cx.g()?;
    let needs = |place: usize| needed.get(place).copied().unwrap_or(false);
    let mut gradients: Gradients = SmallVec::from_elem(None, needed.len());
    if needs(0) {
        gradients[0] = Some(to_input(cx, g, b, taps, plane(cx, 0))?);
    }
    if needs(1) || needs(2) {
        let both = to_weight(cx, a, g, taps, plane(cx, 1))?;
        for (place, gradient) in [1, 2].into_iter().zip(both).filter(|(place, _)| needs(*place)) {
            gradients[place] = Some(gradient);
        }
    }
    Ok(gradients)
}

/// a: like y, b: weight, c: taps
fn input(cx: &Cx<'_>, place: usize) -> Result<Option<Tensor>> {
    let (g, taps) = (cx.g()?, cx.kept(slot("c"))?);
    match place {
        0 => {
            let (conv, pool) = settings(cx)?;
            g.conv2d(cx.kept(slot("b"))?, None, conv).max_pool2d_gather(taps, pool).map(Some)
        }
        1 => {
            let both = to_weight(cx, g, cx.kept(slot("a"))?, taps, plane(cx, 1))?;
            Ok(both.into_iter().next())
        }
        _ => Ok(None),
    }
}

/// a: x, b: like y, c: taps; gradients of the weight's and of the bias's.
fn weight(cx: &Cx<'_>, place: usize) -> Result<Option<Tensor>> {
    let (u, v) = (cx.outputs.first().and_then(Option::as_ref), cx.outputs.get(1));
    let v = v.and_then(Option::as_ref);
    let taps = cx.kept(slot("c"))?;
    match (place, u, v) {
        (0, Some(u), _) => to_input(cx, cx.kept(slot("b"))?, u, taps, plane(cx, 0)).map(Some),
        (1, Some(u), v) => {
            let (conv, pool) = settings(cx)?;
            cx.kept(slot("a"))?.conv2d(u, v, conv).max_pool2d_gather(taps, pool).map(Some)
        }
        // Every winner counts once.
        (1, None, Some(v)) => v.reshape([v.len(), 1, 1])?.expand(&cx.meta(1).shape).map(Some),
        _ => Ok(None),
    }
}

fn to_input(
    cx: &Cx<'_>,
    g: &Tensor,
    weight: &Tensor,
    taps: &Tensor,
    size: [usize; 2],
) -> Result<Tensor> {
    let (conv, pool) = settings(cx)?;
    let op = Op::Conv2dMaxPool2dInput(conv, pool, size);
    apply_one(&op, &mut [g.into(), weight.into(), taps.into()])
}

fn to_weight(
    cx: &Cx<'_>,
    x: &Tensor,
    g: &Tensor,
    taps: &Tensor,
    size: [usize; 2],
) -> Result<Outputs> {
    let (conv, pool) = settings(cx)?;
    let op = Op::Conv2dMaxPool2dWeight(conv, pool, size);
    apply(&op, &mut [x.into(), g.into(), taps.into()])
}

fn settings(cx: &Cx<'_>) -> Result<(Conv2dOp, Pool2dOp)> {
    match cx.op() {
        Op::Conv2dMaxPool2d(conv, pool)
        | Op::Conv2dMaxPool2dInput(conv, pool, _)
        | Op::Conv2dMaxPool2dWeight(conv, pool, _) => Ok((*conv, *pool)),
        _ => Err(cx.bug("is no convolution with a pool")),
    }
}

/// Height and width of operand `place`.
fn plane(cx: &Cx<'_>, place: usize) -> [usize; 2] {
    let shape = &cx.meta(place).shape;
    [shape[2], shape[3]]
}
