//! Losses.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    one(loss(op, args, args.tensor(0)?)?)
}

fn loss(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let target = args.tensor(1)?;
    let reduction = match args.named.get("reduction") {
        None => Reduction::Mean,
        Some(Arg::Text(text)) => match text.as_str() {
            "none" => Reduction::None,
            "mean" => Reduction::Mean,
            "sum" => Reduction::Sum,
            "batchmean" => Reduction::BatchMean,
            _ => return None,
        },
        Some(_) => return None,
    };
    let named = |name: &str| args.named.get(name).and_then(Arg::tensor);
    let number = |name: &str, usual: f64| args.named.get(name).map_or(Some(usual), Arg::number);
    let flag = |name: &str, usual: bool| args.named.get(name).map_or(Some(usual), Arg::bool);
    let ignored = args.named.get("ignore_index").map_or(Some(-100), Arg::int)?;
    match op {
        "cross_entropy" => {
            let settings = CrossEntropyLoss {
                weight: named("weight"),
                ignore_index: ignored,
                label_smoothing: number("label_smoothing", 0.0)?,
                reduction,
            };
            return Some(x.cross_entropy_with(target, settings));
        }
        "nll_loss" => {
            let settings = NLLLoss { weight: named("weight"), ignore_index: ignored, reduction };
            return Some(x.nll_loss_with(target, settings));
        }
        _ => {}
    }
    let (x, target) = (&like(x, target).ok()?, &like(target, x).ok()?);
    Some(match op {
        "mse_loss" => x.mse_loss_with(target, MSELoss { reduction }),
        "l1_loss" => x.l1_loss_with(target, L1Loss { reduction }),
        "smooth_l1_loss" => {
            x.smooth_l1_loss_with(target, SmoothL1Loss { beta: number("beta", 1.0)?, reduction })
        }
        "huber_loss" => {
            x.huber_loss_with(target, HuberLoss { delta: number("delta", 1.0)?, reduction })
        }
        "binary_cross_entropy" => {
            x.binary_cross_entropy_with(target, BCELoss { weight: named("weight"), reduction })
        }
        "binary_cross_entropy_with_logits" => {
            let (weight, pos_weight) = (named("weight"), named("pos_weight"));
            x.bce_with_logits_with(target, BCEWithLogitsLoss { weight, pos_weight, reduction })
        }
        "kl_div" => {
            let log_target = flag("log_target", false)?;
            x.kl_div_with(target, KLDivLoss { log_target, reduction })
        }
        "poisson_nll_loss" => {
            let (log_input, full) = (flag("log_input", true)?, flag("full", false)?);
            let eps = number("eps", 1e-8)?;
            x.poisson_nll_loss_with(target, PoissonNLLLoss { log_input, full, eps, reduction })
        }
        "hinge_embedding_loss" => {
            let settings = HingeEmbeddingLoss { margin: number("margin", 1.0)?, reduction };
            x.hinge_embedding_loss_with(target, settings)
        }
        _ => return None,
    })
}

/// `x` broadcast as it would be beside `other`: PyTorch does so, with a warning.
fn like(x: &Tensor, other: &Tensor) -> Result<Tensor> {
    match x.shape() == other.shape() {
        true => Ok(x.clone()),
        false => x.expand(x.eq(other)?.shape()),
    }
}
