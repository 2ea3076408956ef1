//! Elementwise operations.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    let x = args.tensor(0)?;
    one(unary(op, args, x).or_else(|| binary(op, args, x))?)
}

fn unary(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    if args.list.len() > 1 {
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
        "exp2" => x.exp2(),
        "expm1" => x.expm1(),
        "log" => x.log(),
        "log1p" => x.log1p(),
        "log2" => x.log2(),
        "log10" => x.log10(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tan" => x.tan(),
        "asin" => x.asin(),
        "acos" => x.acos(),
        "atan" => x.atan(),
        "sinh" => x.sinh(),
        "cosh" => x.cosh(),
        "tanh" => x.tanh(),
        "asinh" => x.asinh(),
        "acosh" => x.acosh(),
        "atanh" => x.atanh(),
        "sinc" => x.sinc(),
        "erf" => x.erf(),
        "erfc" => x.erfc(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        "trunc" => x.trunc(),
        "round" => x.round(),
        "round/decimals_0" | "round/decimals_3" | "round/decimals_neg_3" => {
            x.round_decimals(args.get(1, "decimals")?.int()?.try_into().ok()?)
        }
        "isnan" => x.isnan(),
        "isinf" => x.isinf(),
        "isfinite" => x.isfinite(),
        "logical_not" => x.logical_not(),
        "zeros_like" => like(args, x)?.zeros_like(),
        "ones_like" => like(args, x)?.ones_like(),
        _ => return None,
    })
}

/// `x` as the type that is asked for.
fn like(args: &Args, x: &Tensor) -> Option<Tensor> {
    if args.get(9, "dtype").is_none() { Some(x.clone()) } else { x.to_dtype(args.dtype()?).ok() }
}

fn clamp(args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let bound = |place, name| args.get(place, name).map(|arg| arg.tensor());
    let x = match bound(1, "min") {
        Some(low) => x.maximum(low?),
        None => Ok(x.clone()),
    };
    Some(match bound(2, "max") {
        Some(high) => x.minimum(high?),
        None => x,
    })
}

fn binary(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let op = op.strip_suffix("/binary").unwrap_or(op);
    match op {
        "clamp" => return clamp(args, x),
        "new_full" => {
            return Some(
                like(args, x)?.new_full(args.list.get(1)?.sizes()?, args.list.get(2)?.number()?),
            );
        }
        _ => {}
    }
    let other = args.tensor(1)?;
    let third = || args.list.get(2).and_then(Arg::tensor);
    let alpha = args.get(9, "alpha").map_or(Some(1.0), Arg::number)?;
    let value = args.get(9, "value").map_or(Some(1.0), Arg::number)?;
    let scaled = || if alpha == 1.0 { Ok(other.clone()) } else { other.mul(alpha) };
    Some(match op {
        "add" => x.add(scaled()),
        "sub" => x.sub(scaled()),
        "rsub" if alpha == 1.0 => x.rsub(other),
        "rsub" => x.mul(alpha).rsub(other),
        "mul" => x.mul(other),
        "div/no_rounding_mode" => x.div(other),
        "div/floor_rounding" => x.floor_divide(other),
        "div/trunc_rounding" => x.trunc_divide(other),
        "fmod" => x.fmod(other),
        "remainder" => x.remainder(other),
        "pow" => x.pow(other),
        "float_power" => x.float_power(other),
        "atan2" => x.atan2(other),
        "hypot" => x.hypot(other),
        "logaddexp" => x.logaddexp(other),
        "xlogy" => x.xlogy(other),
        "lerp" => match args.list.get(2).or_else(|| args.named.get("weight"))? {
            Arg::Tensor(weight) => x.lerp(other, weight),
            weight => x.lerp(other, weight.number()?),
        },
        "addcmul" => x.addcmul(other, third()?, value),
        "addcdiv" => x.addcdiv(other, third()?, value),
        "maximum" | "max" => x.maximum(other),
        "minimum" | "min" => x.minimum(other),
        "clamp_min" => x.clamp_min(other),
        "clamp_max" => x.clamp_max(other),
        "eq" => x.eq(other),
        "ne" => x.ne(other),
        "lt" => x.lt(other),
        "le" => x.le(other),
        "gt" => x.gt(other),
        "ge" => x.ge(other),
        "logical_and" => x.logical_and(other),
        "logical_or" => x.logical_or(other),
        "logical_xor" => x.logical_xor(other),
        "where" => other.select(x, third()?),
        "masked_fill" => match args.list.get(2)? {
            Arg::Tensor(value) => x.masked_fill(other, value),
            value => x.masked_fill(other, value.number()?),
        },
        "matmul" | "mm" | "bmm" | "mv" | "dot" => x.matmul(other),
        "__rmatmul__" => other.matmul(x),
        _ => return None,
    })
}
