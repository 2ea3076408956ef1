//! What the optimizers without a kernel share.

use ferrotape_tensor::chain::BinaryChain;
use ferrotape_tensor::{Error, ErrorKind, Result, Tensor};

use super::method::Now;

impl<'a> Now<'a> {
    /// The two states.
    pub(super) fn states(&self) -> Result<[&'a Tensor; 2]> {
        match self.state {
            [first, second] => Ok([first, second]),
            _ => Err(Error::new(ErrorKind::Module("internal: two states expected".into()))),
        }
    }
}

/// `base^exponent` with the same bits on every system, which the standard library's is not.
pub(super) fn power(base: f64, exponent: f64) -> Result<f64> {
    match exponent.fract() == 0.0 {
        true => Ok(crate::schedule::power(base, exponent)),
        false => Tensor::from(base).pow(exponent)?.item(),
    }
}

/// `old + (1 - beta) (new - old)`
pub(super) fn followed(old: &Tensor, new: &Tensor, beta: f64) -> Result<Tensor> {
    old.add(new.sub(old).mul(1.0 - beta))
}

/// The gradient, downhill, with an L2 penalty.
pub(super) fn penalised(now: &Now<'_>, weight_decay: f64, maximize: bool) -> Result<Tensor> {
    let g = if maximize { now.gradient.neg()? } else { now.gradient.clone() };
    if weight_decay == 0.0 { Ok(g) } else { g.add(now.weight.mul(weight_decay)) }
}

/// The weight, shrunk if the decay is `decoupled`, and the gradient, with a penalty if not.
pub(super) fn decayed(
    now: &Now<'_>,
    lr: f64,
    weight_decay: f64,
    decoupled: bool,
    maximize: bool,
) -> Result<(Tensor, Tensor)> {
    match decoupled && weight_decay != 0.0 {
        true => Ok((now.weight.mul(1.0 - lr * weight_decay)?, penalised(now, 0.0, maximize)?)),
        false => Ok((now.weight.clone(), penalised(now, weight_decay, maximize)?)),
    }
}
