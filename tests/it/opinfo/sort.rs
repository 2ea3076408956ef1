//! Sorting and searching.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one, two};

pub(super) fn call(op: &str, args: &Args) -> Called {
    let x = args.tensor(0)?;
    let dim = |place: usize| args.get(place, "dim").map_or(Some(-1), Arg::int);
    let flag = |place: usize, name: &str, usual: bool| {
        args.get(place, name).map_or(Some(usual), Arg::bool)
    };
    match op {
        "sort" => two(x.sort(dim(1)?, flag(2, "descending", false)?)),
        "argsort" => one(x.argsort(dim(1)?, flag(2, "descending", false)?)),
        "msort" => one(x.msort()),
        "topk" => {
            let k = usize::try_from(args.get(1, "k")?.int()?).ok()?;
            two(x.topk(k, dim(2)?, flag(3, "largest", true)?))
        }
        "kthvalue" => {
            let k = usize::try_from(args.get(1, "k")?.int()?).ok()?;
            two(match flag(3, "keepdim", false)? {
                true => x.kthvalue_keep(k, dim(2)?),
                false => x.kthvalue(k, dim(2)?),
            })
        }
        "median" => match args.get(1, "dim") {
            None => one(x.median(..).map(|(value, _)| value)),
            Some(dim) => two(match flag(2, "keepdim", false)? {
                true => x.median_keep(dim.int()?),
                false => x.median(dim.int()?),
            }),
        },
        "searchsorted" => {
            let right = flag(9, "right", false)? || args.asks("side", "left");
            let sorted = match args.named.get("sorter") {
                Some(sorter) => x.gather(-1, sorter.tensor()?),
                None => Ok(x.clone()),
            };
            one(match args.list.get(1)? {
                Arg::Tensor(values) => sorted.searchsorted(values, right),
                value => sorted.searchsorted(value.number()?, right),
            })
        }
        "bucketize" => one(x.bucketize(args.tensor(1)?, flag(9, "right", false)?)),
        _ => None,
    }
}
