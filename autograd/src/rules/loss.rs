//! Losses.

use ferrotape_tensor::chain::{BinaryChain, ReduceChain, UnaryChain};
use ferrotape_tensor::{Op, Result, Tensor, apply_one};

use super::{Rule, rule};

/// The mean of `(a - b)^2`.
pub(super) const MSE_LOSS: &Rule = rule!([a, b] | g | input(a, b, g), input(a, b, g).neg());

/// `2 (a - b) c / n`
pub(super) const MSE_LOSS_INPUT: &Rule =
    rule!([a, b, c] | g, cx | scaled(g, c), scaled(g, c).neg(), a.sub(b).mul(g).mean(..).mul(2.0));

fn input(a: &Tensor, b: &Tensor, g: &Tensor) -> Result<Tensor> {
    apply_one(&Op::MseLossInput, &mut [a.into(), b.into(), g.into()])
}

/// `2 g c / n`
fn scaled(g: &Tensor, c: &Tensor) -> Result<Tensor> {
    g.mul(c).mul(2.0).div(g.len() as f64)
}
