//! Elementwise operations.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    let x = args.tensor(0)?;
    one(unary(op, args, x).or_else(|| binary(op, args, x))?)
}

fn unary(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    if args.list.len() > 1 && op != "leaky_relu" {
        return None;
    }
    Some(match op {
        "neg" => x.neg(),
        "abs" => x.abs(),
        "sign" => x.sign(),
        "reciprocal" => x.reciprocal(),
        "square" => x.square(),
        "sqrt" => x.sqrt(),
        "rsqrt" => x.rsqrt(),
        "exp" => x.exp(),
        "expm1" => x.expm1(),
        "log" => x.log(),
        "log1p" => x.log1p(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tanh" => x.tanh(),
        "sigmoid" => x.sigmoid(),
        "erf" => x.erf(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        "round" => x.round(),
        "relu" => x.relu(),
        "silu" => x.silu(),
        "gelu" if !args.asks("approximate", "none") => x.gelu(),
        "softplus" => {
            let beta = args.get(1, "beta").map_or(Some(1.0), Arg::number)?;
            // Above the threshold PyTorch gives x itself: at 20 that is no difference, at less it is.
            if args.get(2, "threshold").map_or(Some(20.0), Arg::number)? < 20.0 {
                return None;
            }
            x.mul(beta).softplus().div(beta)
        }
        "leaky_relu" => {
            x.leaky_relu(args.get(1, "negative_slope").map_or(Some(0.01), Arg::number)?)
        }
        _ => return None,
    })
}

fn binary(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let op = op.strip_suffix("/binary").unwrap_or(op);
    if op == "clamp" {
        let bound = |place, name| args.get(place, name).map(|arg| arg.tensor());
        let x = match bound(1, "min") {
            Some(low) => x.maximum(low?),
            None => Ok(x.clone()),
        };
        return Some(match bound(2, "max") {
            Some(high) => x.minimum(high?),
            None => x,
        });
    }
    let other = args.tensor(1)?;
    let alpha = args.get(9, "alpha").map_or(Some(1.0), Arg::number)?;
    let scaled = || if alpha == 1.0 { Ok(other.clone()) } else { other.mul(alpha) };
    Some(match op {
        "add" => x.add(scaled()),
        "sub" => x.sub(scaled()),
        "rsub" if alpha == 1.0 => other.sub(x),
        "rsub" => other.sub(x.mul(alpha)),
        "mul" => x.mul(other),
        "div/no_rounding_mode" => x.div(other),
        "pow" => x.pow(other),
        "maximum" | "max" | "clamp_min" => x.maximum(other),
        "minimum" | "min" | "clamp_max" => x.minimum(other),
        "eq" => x.eq(other),
        "ne" => x.ne(other),
        "lt" => x.lt(other),
        "le" => x.le(other),
        "gt" => x.gt(other),
        "ge" => x.ge(other),
        "where" => other.select(x, args.tensor(2)?),
        _ => return None,
    })
}
