//! Views and what only moves elements.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    if let ("cat" | "stack", Some(Arg::List(list))) = (op, args.list.first()) {
        return one(joined(op, args, list)?);
    }
    one(shape(op, args, args.tensor(0)?)?)
}

fn joined(op: &str, args: &Args, list: &[Arg]) -> Option<Result<Tensor>> {
    let tensors: Vec<&Tensor> = list.iter().map(Arg::tensor).collect::<Option<_>>()?;
    // PyTorch's legacy: an empty vector fits beside anything.
    if op == "cat" && tensors.iter().any(|t| t.rank() != tensors[0].rank()) {
        return None;
    }
    let dim = args.get(1, "dim").map_or(Some(0), Arg::int)?;
    Some(if op == "cat" { Tensor::cat(&tensors, dim) } else { Tensor::stack(&tensors, dim) })
}

fn shape(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let list = || args.get(1, "shape")?.ints();
    let int = |place: usize, name: &str| args.get(place, name)?.int();
    // PyTorch lends a scalar one dim; we don't.
    let lent = x.rank() == 0 && args.list.len() > 1;
    Some(match op {
        "reshape" | "view" => {
            let mut to = list()?;
            let rest: i64 = to.iter().filter(|&&size| size >= 0).product();
            // We have no -1; its meaning is plain.
            let hidden = x.len() as i64 / rest.max(1);
            to.iter_mut().filter(|size| **size < 0).for_each(|size| *size = hidden);
            x.reshape(to.iter().map(|&size| size as usize).collect::<Vec<_>>())
        }
        "expand" | "broadcast_to" => x.expand(args.get(1, "size")?.sizes()?),
        "permute" => x.permute(&list()?[..]),
        "transpose" if !lent => x.transpose(int(1, "dim0")?, int(2, "dim1")?),
        "t" if x.rank() == 2 => x.t(),
        "unsqueeze" => x.unsqueeze(int(1, "dim")?),
        "squeeze" if !lent && args.list.len() > 1 => x.squeeze(int(1, "dim")?),
        "flatten" => {
            let dim = |place, name, usual| args.get(place, name).map_or(Some(usual), Arg::int);
            x.flatten(dim(1, "start_dim", 0)?, dim(2, "end_dim", -1)?)
        }
        "narrow" => {
            let size = |place: usize| usize::try_from(args.list.get(place)?.int()?).ok();
            x.narrow(int(1, "dim")?, size(2)?, size(3)?)
        }
        "flip" => match &args.get(1, "dims")?.ints()?[..] {
            // Ours means all of them, PyTorch's none.
            [] => return None,
            dims => x.flip(dims),
        },
        _ => return None,
    })
}
