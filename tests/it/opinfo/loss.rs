//! Losses.

use ferrotape::prelude::*;

use super::{Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    one(loss(op, args, args.tensor(0)?)?)
}

fn loss(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let target = args.tensor(1)?;
    let options = ["weight", "pos_weight", "ignore_index", "label_smoothing"];
    if options.iter().any(|name| args.asks(name, "")) || args.asks("reduction", "mean") {
        return None;
    }
    Some(match op {
        "mse_loss" => x.mse_loss(target),
        "binary_cross_entropy_with_logits" => x.bce_with_logits(target),
        "cross_entropy" if x.rank() == 2 && target.dtype() == DType::I64 => x.cross_entropy(target),
        _ => return None,
    })
}
