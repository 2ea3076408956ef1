//! Reductions.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    one(reduction(op, args, args.tensor(0)?)?)
}

fn reduction(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let keep = args.get(2, "keepdim").map_or(Some(false), Arg::bool)?;
    let place = if op == "var/unbiased" { 9 } else { 1 };
    let dims = args.get(place, "dim").map_or(Some(Vec::new()), Arg::ints)?;
    // PyTorch lends a scalar one dim; we don't.
    if x.rank() == 0 && !dims.is_empty() {
        return None;
    }
    let dims = &dims[..];
    let again = |y: Result<Tensor>| if keep { y.reshape(kept(x, dims)) } else { y };
    Some(match op {
        "sum" => x.sum_with(dims, keep),
        "mean" => again(x.mean(dims)),
        "amax" => again(x.max(dims)),
        "amin" => again(x.min(dims)),
        "argmax" | "argmin" => {
            let arg = |x: &Tensor, dim| if op == "argmax" { x.argmax(dim) } else { x.argmin(dim) };
            match dims {
                [] => arg(&x.flatten(0, -1).ok()?, 0),
                [dim] => again(arg(x, *dim)),
                _ => return None,
            }
        }
        "var" | "var/unbiased" => {
            let unbiased = args.get(if op == "var" { 9 } else { 1 }, "unbiased");
            let unbiased = unbiased.map_or(Some(true), Arg::bool)?;
            let usual = f64::from(u8::from(unbiased));
            let correction = args.get(9, "correction").map_or(Some(usual), Arg::number)?;
            again(x.var(dims, correction))
        }
        "logsumexp" => {
            let keep = args.get(2, "keepdim")?.bool()?;
            match dims {
                [dim] if keep => x.logsumexp(*dim).unsqueeze(*dim),
                [dim] => x.logsumexp(*dim),
                _ => return None,
            }
        }
        "softmax" | "softmax/with_dtype" | "log_softmax" | "log_softmax/with_dtype" => {
            let [dim] = dims else { return None };
            let x = match op.ends_with("with_dtype") {
                true => x.to_dtype(DType::F64).ok()?,
                false => x.clone(),
            };
            if op.starts_with("log") { x.log_softmax(*dim) } else { x.softmax(*dim) }
        }
        _ => return None,
    })
}

fn kept(x: &Tensor, dims: &[i64]) -> Vec<usize> {
    let rank = x.rank() as i64;
    let reduced =
        |d: usize| dims.is_empty() || dims.iter().any(|&dim| (dim + rank) % rank == d as i64);
    x.shape().iter().enumerate().map(|(d, &size)| if reduced(d) { 1 } else { size }).collect()
}
