//! Normalisations.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    one(norm(op, args, args.tensor(0)?)?)
}

fn norm(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let eps = args.named.get("eps").map_or(Some(1e-5), Arg::number)?;
    let tensor = |place, name| args.get(place, name).and_then(Arg::tensor);
    Some(match op {
        "layer_norm" => {
            let shape = args.list.get(1)?.sizes()?;
            x.layer_norm(shape, tensor(2, "weight"), tensor(3, "bias"), eps)
        }
        "rms_norm" => {
            let eps = args.named.get("eps").and_then(Arg::number);
            x.rms_norm(args.list.get(1)?.sizes()?, tensor(2, "weight"), eps)
        }
        "group_norm" => {
            let groups = usize::try_from(args.list.get(1)?.int()?).ok()?;
            x.group_norm(groups, tensor(2, "weight"), tensor(3, "bias"), eps)
        }
        "instance_norm" if !args.asks("use_input_stats", "true") => {
            x.instance_norm(tensor(3, "weight"), tensor(4, "bias"), eps)
        }
        "batch_norm" => {
            let (weight, bias) = (tensor(3, "weight"), tensor(4, "bias"));
            match args.get(5, "training").map_or(Some(false), Arg::bool)? {
                true => x.batch_norm_train(weight, bias, eps).map(|(y, _, _)| y),
                false => x.batch_norm(args.tensor(1)?, args.tensor(2)?, weight, bias, eps),
            }
        }
        _ => return None,
    })
}
