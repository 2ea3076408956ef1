//! Convolution and pooling: two families closed under taking adjoints.

use ferrotape_tensor::{Activation, Conv2dOp, Divisor, Op, Pool2dOp, Result, WindowsOp};
use smallvec::SmallVec;

use super::{Cx, Derivative, Formulas, Gradients, None_, Rule, keep, rule, slot};

pub(super) fn convolution(op: &Op) -> Derivative {
    Derivative::Rule(match op {
        Op::Conv2d(_, Activation::None) => rule!(
            [a, b] | g,
            cx | g.conv2d_input(b, conv(cx)?, plane(cx, 0)),
            a.conv2d_weight(g, conv(cx)?, plane(cx, 1)),
            g.sum([0, 2, 3]),
        ),
        Op::Conv2d(_, Activation::Relu) => CONV2D_RELU,
        Op::Conv2dInput(..) => rule!(
            [a, b] | g,
            cx | g.conv2d(b, None, conv(cx)?),
            g.conv2d_weight(a, conv(cx)?, plane(cx, 1)),
        ),
        Op::Conv2dWeight(..) => rule!(
            [a, b] | g,
            cx | b.conv2d_input(g, conv(cx)?, plane(cx, 0)),
            a.conv2d(g, None, conv(cx)?),
        ),
        _ => return Derivative::Missing,
    })
}

const CONV2D_RELU: &Rule = &Rule { keep: keep!([a, b, y]), formulas: Formulas::All(conv2d_relu) };

fn conv2d_relu(cx: &Cx<'_>, needed: &[bool]) -> Result<Gradients> {
    let (a, b, conv) = (cx.kept(slot("a"))?, cx.kept(slot("b"))?, conv(cx)?);
    let g = cx.g()?.relu_grad(cx.kept(slot("y"))?)?;
    let mut gradients: Gradients = SmallVec::from_elem(None, needed.len());
    for (place, gradient) in gradients.iter_mut().enumerate() {
        if needed[place] {
            *gradient = Some(match place {
                0 => g.conv2d_input(b, conv, plane(cx, 0))?,
                1 => a.conv2d_weight(&g, conv, plane(cx, 1))?,
                _ => g.sum([0, 2, 3])?,
            });
        }
    }
    Ok(gradients)
}

fn conv(cx: &Cx<'_>) -> Result<Conv2dOp> {
    match cx.op() {
        Op::Conv2d(conv, _) | Op::Conv2dInput(conv, _) | Op::Conv2dWeight(conv, _) => Ok(*conv),
        _ => Err(cx.bug("is no convolution")),
    }
}

/// Height and width of operand `place`.
fn plane(cx: &Cx<'_>, place: usize) -> [usize; 2] {
    let shape = &cx.meta(place).shape;
    [shape[2], shape[3]]
}

pub(super) fn pooling(op: &Op) -> Derivative {
    Derivative::Rule(match op {
        Op::MaxPool2d(_) => rule!([z] | g, cx | g.max_pool2d_scatter(z, pool(cx)?, plane(cx, 0))),
        Op::MaxPool2dScatter(..) => rule!([b] | g, cx | g.max_pool2d_gather(b, pool(cx)?), None_),
        Op::MaxPool2dGather(_) => {
            rule!([b] | g, cx | g.max_pool2d_scatter(b, pool(cx)?, plane(cx, 0)), None_,)
        }
        _ => return Derivative::Missing,
    })
}

fn pool(cx: &Cx<'_>) -> Result<Pool2dOp> {
    match cx.op() {
        Op::MaxPool2d(pool) | Op::MaxPool2dScatter(pool, _) | Op::MaxPool2dGather(pool) => {
            Ok(*pool)
        }
        _ => Err(cx.bug("is no pooling")),
    }
}

pub(super) fn mean_pooling(op: &Op) -> Derivative {
    Derivative::Rule(match op {
        Op::AvgPool2d(..) => {
            rule!([] | g, cx | g.window_mean_input(means(cx)?.0, means(cx)?.1, plane(cx, 0)))
        }
        Op::AvgPool2dInput(..) => {
            rule!([] | g, cx | g.window_mean(means(cx)?.0, means(cx)?.1))
        }
        _ => return Derivative::Missing,
    })
}

fn means(cx: &Cx<'_>) -> Result<(WindowsOp, Divisor)> {
    match cx.op() {
        Op::AvgPool2d(windows, by) | Op::AvgPool2dInput(windows, by, _) => Ok((*windows, *by)),
        _ => Err(cx.bug("is no mean of windows")),
    }
}
