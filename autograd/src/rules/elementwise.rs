//! Elementwise operations.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LN_2, LN_10};

use ferrotape_tensor::chain::{BinaryChain, UnaryChain};
use ferrotape_tensor::{BinaryOp, Result, Tensor, UnaryOp};

use super::{Derivative, None_, Rule, rule};

/// Casts and copies: the gradient passes (and is cast back once, outside the rules).
pub(super) const PASS: &Rule = rule!([] | g | g);

/// `a ? b : c`
pub(super) const SELECT: &Rule = rule!([a] | g | None_, a.select(g, 0.0), a.select(0.0, g));

pub(super) fn unary(op: UnaryOp) -> Derivative {
    use UnaryOp::*;
    Derivative::Rule(match op {
        Neg => rule!([] | g | g.neg()),
        Abs => rule!([a] | g | a.sign().mul(g)),
        Sign | Floor | Ceil | Round | Trunc => rule!([] | g | g.zeros_like()),
        Reciprocal => rule!([y] | g | y.square().mul(g).neg()),
        Square => rule!([a] | g | g.mul(a).mul(2.0)),
        Sqrt => rule!([y] | g | g.div(y).mul(0.5)),
        Rsqrt => rule!([y] | g | y.square().mul(y).mul(g).mul(-0.5)),
        Exp => rule!([y] | g | g.mul(y)),
        // Not y + 1, which has no digits left far below 0.
        Expm1 => rule!([a] | g | a.exp().mul(g)),
        Log => rule!([a] | g | g.div(a)),
        Log1p => rule!([a] | g | g.div(a.add(1.0))),
        Sin => rule!([a] | g | a.cos().mul(g)),
        Cos => rule!([a] | g | a.sin().mul(g).neg()),
        Tanh => rule!([y] | g | g.tanh_grad(y)),
        Sigmoid => rule!([y] | g | g.sigmoid_grad(y)),
        Erf => rule!([a] | g | a.square().neg().exp().mul(FRAC_2_SQRT_PI).mul(g)),
        Relu => rule!([y] | g | g.relu_grad(y)),
        Gelu => rule!([a] | g | gelu_slope(a).mul(g)),
        Erfc => rule!([a] | g | a.square().neg().exp().mul(-FRAC_2_SQRT_PI).mul(g)),
        Tan => rule!([y] | g | y.square().add(1.0).mul(g)),
        Asin => rule!([a] | g | circle(a).mul(g)),
        Acos => rule!([a] | g | circle(a).mul(g).neg()),
        Atan => rule!([a] | g | g.div(a.square().add(1.0))),
        Sinh => rule!([a] | g | a.cosh().mul(g)),
        Cosh => rule!([a] | g | a.sinh().mul(g)),
        Asinh => rule!([a] | g | a.square().add(1.0).rsqrt().mul(g)),
        Acosh => rule!([a] | g | a.sub(1.0).mul(a.add(1.0)).rsqrt().mul(g)),
        Atanh => rule!([a] | g | g.div(a.rsub(1.0).mul(a.add(1.0)))),
        Exp2 => rule!([y] | g | g.mul(y).mul(LN_2)),
        Log2 => rule!([a] | g | g.div(a.mul(LN_2))),
        Log10 => rule!([a] | g | g.div(a.mul(LN_10))),
        _ => return Derivative::Missing,
    })
}

/// `1 / sqrt(1 - a^2)`
fn circle(a: &Tensor) -> Result<Tensor> {
    a.rsub(1.0).mul(a.add(1.0)).rsqrt()
}

/// `Phi(a) + a phi(a)`
fn gelu_slope(a: &Tensor) -> Result<Tensor> {
    let density = a.square().mul(-0.5).exp().mul(0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2);
    let cumulated = a.mul(FRAC_1_SQRT_2).erf().add(1.0).mul(0.5);
    density.mul(a).add(cumulated)
}

pub(super) fn binary(op: BinaryOp) -> Derivative {
    use BinaryOp::*;
    Derivative::Rule(match op {
        Add => rule!([] | g | g, g),
        Sub => rule!([] | g | g, g.neg()),
        Mul => rule!([a, b] | g | g.mul(b), g.mul(a)),
        Div => rule!([a, b] | g | g.div(b), g.mul(a).div(b.square()).neg()),
        Pow => rule!([a, b, y] | g | pow_base(g, a, b), pow_exponent(g, a, b, y)),
        // Of equals each gets half, as in PyTorch.
        Maximum => rule!([a, b] | g | winner(g, a.lt(b), a.eq(b)), winner(g, b.lt(a), a.eq(b))),
        Minimum => rule!([a, b] | g | winner(g, b.lt(a), a.eq(b)), winner(g, a.lt(b), a.eq(b))),
        ReluGrad => rule!([b] | g | g.relu_grad(b), g.zeros_like()),
        TanhGrad => rule!([a, b] | g | g.tanh_grad(b), g.mul(a).mul(b).mul(-2.0)),
        SigmoidGrad => rule!([a, b] | g | g.sigmoid_grad(b), b.mul(-2.0).add(1.0).mul(a).mul(g)),
        TruncDivide | FloorDivide => rule!([] | g | g.zeros_like(), g.zeros_like()),
        Fmod => rule!([a, b] | g | g, a.trunc_divide(b).mul(g).neg()),
        Remainder => rule!([a, b] | g | g, a.floor_divide(b).mul(g).neg()),
        Atan2 => rule!([a, b] | g | b.div(radius(a, b)).mul(g), a.div(radius(a, b)).mul(g).neg()),
        Hypot => rule!([a, b, y] | g | a.div(length(y)).mul(g), b.div(length(y)).mul(g)),
        _ => return Derivative::Missing,
    })
}

/// `a^2 + b^2`, infinite at the origin: no direction there, and 0 is PyTorch's gradient.
fn radius(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let square = a.square().add(b.square())?;
    square.eq(0.0)?.select(f64::INFINITY, square)
}

/// A length that is divided by: infinite instead of 0, where a gradient would be NaN.
fn length(y: &Tensor) -> Result<Tensor> {
    y.eq(0.0)?.select(f64::INFINITY, y)
}

/// `g` where an operand won, half of it where both are equal, 0 where it lost.
fn winner(g: &Tensor, lost: Result<Tensor>, equal: Result<Tensor>) -> Result<Tensor> {
    lost.select(0.0, equal.select(g.mul(0.5), g))
}

/// `b a^(b - 1)`, and 0 where b is 0, also where the power is infinite.
fn pow_base(g: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let infinite = a.reciprocal().abs().eq(f64::INFINITY);
    // 0 * inf would be NaN, in this order or the next: take the power of 1 there.
    let base = infinite.logical_and(b.eq(0.0)).select(1.0, a);
    base.pow(b.sub(1.0)).mul(b).mul(g)
}

/// `a^b log(a)`, and 0 where a is 0 and b is not negative (elsewhere at 0 it is infinite).
fn pow_exponent(g: &Tensor, a: &Tensor, b: &Tensor, y: &Tensor) -> Result<Tensor> {
    use ferrotape_tensor::chain::BinaryChain as _;
    let flat = a.eq(0.0).logical_and(b.ge(0.0))?;
    // log(0) = -inf would make 0 * inf = NaN in a second derivative: take the logarithm of 1 there.
    let base = flat.select(1.0, a);
    flat.select(0.0, base.log().mul(y).mul(g))
}
