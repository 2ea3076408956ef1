//! What networks are made of.

use ferrotape::prelude::*;

use super::{Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    one(network(op, args, args.tensor(0)?)?)
}

fn network(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    Some(match op {
        "linear" => {
            let weight = args.tensor(1).filter(|w| w.rank() == 2)?;
            x.linear(weight, args.tensor(2))
        }
        _ => return None,
    })
}
