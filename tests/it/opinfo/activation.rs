//! Activations.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    let x = args.tensor(0)?;
    let number = |place, name, usual| args.get(place, name).map_or(Some(usual), Arg::number);
    let dim = |usual| args.get(1, "dim").map_or(Some(usual), Arg::int);
    one(match op {
        "sigmoid" => x.sigmoid(),
        "relu" => x.relu(),
        "relu6" => x.relu6(),
        "silu" => x.silu(),
        "mish" => x.mish(),
        "selu" => x.selu(),
        "elu" => x.elu(number(1, "alpha", 1.0)?),
        "celu" => x.celu(number(1, "alpha", 1.0)?),
        "gelu" if args.asks("approximate", "none") => x.gelu_tanh(),
        "gelu" => x.gelu(),
        "glu" => x.glu(dim(-1)?),
        "hardshrink" => x.hardshrink(number(1, "lambd", 0.5)?),
        "softshrink" => x.softshrink(number(1, "lambd", 0.5)?),
        "tanhshrink" => x.tanhshrink(),
        "hardsigmoid" => x.hardsigmoid(),
        "hardswish" => x.hardswish(),
        "hardtanh" => x.hardtanh(number(1, "min_val", -1.0)?, number(2, "max_val", 1.0)?),
        "leaky_relu" => x.leaky_relu(number(1, "negative_slope", 0.01)?),
        "logsigmoid" => x.logsigmoid(),
        "prelu" => x.prelu(args.get(1, "weight")?.tensor()?),
        "softmin" => x.softmin(dim(-1)?),
        "softmin/with_dtype" => x.to_dtype(args.dtype()?).softmin(dim(-1)?),
        "softplus" => x.softplus_with(number(1, "beta", 1.0)?, number(2, "threshold", 20.0)?),
        "softsign" => x.softsign(),
        "threshold" => x.threshold(number(1, "threshold", 0.0)?, number(2, "value", 0.0)?),
        _ => return None,
    })
}
