//! Reductions.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one, two};

pub(super) fn call(op: &str, args: &Args) -> Called {
    let x = args.tensor(0)?;
    let (name, variant) = op.split_once('/').unwrap_or((op, ""));
    let keep = args.get(2, "keepdim").map_or(Some(false), Arg::bool)?;
    match name {
        "max" | "min" if variant == "reduction_with_dim" => {
            let dim = args.get(1, "dim")?.int()?;
            two(match (name, keep) {
                ("max", false) => x.max_with_indices(dim),
                ("max", _) => x.max_with_indices_keep(dim),
                (_, false) => x.min_with_indices(dim),
                _ => x.min_with_indices_keep(dim),
            })
        }
        "max" if variant == "reduction_no_dim" => one(x.max(..)),
        "min" if variant == "reduction_no_dim" => one(x.min(..)),
        "var" | "std" | "var_mean" | "std_mean" => moments(name, variant, args, x),
        _ => one(reduction(op, args, x, keep)?),
    }
}

fn moments(op: &str, variant: &str, args: &Args, x: &Tensor) -> Called {
    let positional = variant == "unbiased";
    let place = if positional { 9 } else { 1 };
    let dims = args.get(place, "dim").map_or(Some(Vec::new()), Arg::ints)?;
    let dims = &dims[..];
    let keep = args.get(9, "keepdim").map_or(Some(false), Arg::bool)?;
    let unbiased = args.get(if positional { 1 } else { 9 }, "unbiased");
    let unbiased = unbiased.map_or(Some(true), Arg::bool)?;
    let usual = f64::from(u8::from(unbiased));
    let correction = args.get(9, "correction").map_or(Some(usual), Arg::number)?;
    match (op, keep) {
        ("var", false) => one(x.var(dims, correction)),
        ("var", _) => one(x.var_keep(dims, correction)),
        ("std", false) => one(x.std(dims, correction)),
        ("std", _) => one(x.std_keep(dims, correction)),
        ("var_mean", false) => two(x.var_mean(dims, correction)),
        ("var_mean", _) => two(x.var_mean_keep(dims, correction)),
        (_, false) => two(x.std_mean(dims, correction)),
        _ => two(x.std_mean_keep(dims, correction)),
    }
}

fn reduction(op: &str, args: &Args, x: &Tensor, keep: bool) -> Option<Result<Tensor>> {
    let dims = args.get(1, "dim").map_or(Some(Vec::new()), Arg::ints)?;
    let dims = &dims[..];
    Some(match (op, keep) {
        ("sum", _) => x.sum_with(dims, keep),
        ("mean", false) => x.mean(dims),
        ("mean", _) => x.mean_keep(dims),
        ("prod", false) => x.prod(dims),
        ("prod", _) => x.prod_keep(dims),
        ("nansum", false) => x.nansum(dims),
        ("nansum", _) => x.nansum_keep(dims),
        ("nanmean", false) => x.nanmean(dims),
        ("nanmean", _) => x.nanmean_keep(dims),
        ("amax", false) => x.amax(dims),
        ("amax", _) => x.max_keep(dims),
        ("amin", false) => x.amin(dims),
        ("amin", _) => x.min_keep(dims),
        ("argmax", false) => x.argmax(dims),
        ("argmax", _) => x.argmax_keep(dims),
        ("argmin", false) => x.argmin(dims),
        ("argmin", _) => x.argmin_keep(dims),
        ("any", false) => x.any(dims),
        ("any", _) => x.any_keep(dims),
        ("all", false) => x.all(dims),
        ("all", _) => x.all_keep(dims),
        ("count_nonzero", _) => x.count_nonzero(dims),
        ("logsumexp", false) => x.logsumexp(dims),
        ("logsumexp", _) => x.logsumexp_keep(dims),
        ("softmax" | "log_softmax", _) => softmax(op, x, dims)?,
        ("softmax/with_dtype" | "log_softmax/with_dtype", _) => {
            softmax(op.split_once('/')?.0, &x.to_dtype(DType::F64).ok()?, dims)?
        }
        ("trace", _) => x.trace(),
        _ => return None,
    })
}

fn softmax(op: &str, x: &Tensor, dims: &[i64]) -> Option<Result<Tensor>> {
    let [dim] = *dims else { return None };
    Some(if op == "softmax" { x.softmax(dim) } else { x.log_softmax(dim) })
}
