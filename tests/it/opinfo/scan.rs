//! Scans, differences, integrals.

use super::{Arg, Args, Called, one, two};

pub(super) fn call(op: &str, args: &Args) -> Called {
    let x = args.tensor(0)?;
    let dim = || args.get(1, "dim")?.int();
    // A float type in the arguments is the run's own.
    match op {
        "cumsum" => one(x.cumsum(dim()?)),
        "cumprod" => one(x.cumprod(dim()?)),
        "logcumsumexp" => one(x.logcumsumexp(dim()?)),
        "cummax" => two(x.cummax(dim()?)),
        "cummin" => two(x.cummin(dim()?)),
        "diff" => {
            let n = args.get(1, "n").map_or(Some(1), Arg::int)?;
            let dim = args.get(2, "dim").map_or(Some(-1), Arg::int)?;
            let beside = |place| args.list.get(place).and_then(Arg::tensor);
            one(x.diff(usize::try_from(n).ok()?, dim, beside(3), beside(4)))
        }
        "trapezoid" => {
            let dim = args.named.get("dim").map_or(Some(-1), Arg::int)?;
            let dx = args.named.get("dx").map_or(Some(1.0), Arg::number)?;
            one(match args.tensor(1) {
                Some(points) => x.trapezoid_at(points, dim),
                None => x.trapezoid(dx, dim),
            })
        }
        _ => None,
    }
}
