//! Views and what only moves elements.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    let op = op.split('/').next()?;
    if let Some(Arg::List(list)) = args.list.first() {
        return one(joined(op, args, list)?);
    }
    let x = args.tensor(0)?;
    match pieces(op, args, x) {
        None => one(view(op, args, x).or_else(|| moved(op, args, x))?),
        some => some,
    }
}

fn joined(op: &str, args: &Args, list: &[Arg]) -> Option<Result<Tensor>> {
    let mut tensors: Vec<&Tensor> = list.iter().map(Arg::tensor).collect::<Option<_>>()?;
    let dim = args.get(1, "dim").map_or(Some(0), Arg::int)?;
    Some(match op {
        "cat" => {
            // PyTorch's legacy: an empty vector fits beside anything.
            if tensors.iter().any(|t| t.rank() > 1) {
                tensors.retain(|t| t.shape() != [0]);
            }
            Tensor::cat(&tensors, dim)
        }
        "stack" => Tensor::stack(&tensors, dim),
        "hstack" => Tensor::hstack(&tensors),
        "vstack" => Tensor::vstack(&tensors),
        _ => return None,
    })
}

fn pieces(op: &str, args: &Args, x: &Tensor) -> Called {
    let dim = args.get(2, "dim").map_or(Some(0), Arg::int)?;
    let sizes = || args.list.get(1)?.sizes();
    Some(match op {
        "chunk" => x.chunk(sizes()?[0], dim),
        "split" if matches!(args.list[1], Arg::Int(_)) => x.split(sizes()?[0], dim),
        "split" | "split_with_sizes" => x.split_with_sizes(&sizes()?, dim),
        "tensor_split" => match &args.list[1] {
            Arg::Int(_) => x.tensor_split(sizes()?[0], dim),
            Arg::Tensor(at) if at.rank() == 0 => {
                x.tensor_split(at.item::<i64>().ok()? as usize, dim)
            }
            Arg::Tensor(at) => x.tensor_split_at(&at.to_vec::<i64>().ok()?, dim),
            places => x.tensor_split_at(&places.ints()?, dim),
        },
        "unbind" => x.unbind(args.get(1, "dim").map_or(Some(0), Arg::int)?),
        _ => return None,
    })
}

fn view(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let list = || args.get(1, "shape")?.ints();
    let int = |place: usize, name: &str| args.get(place, name)?.int();
    let or =
        |place: usize, name: &str, usual: i64| args.get(place, name).map_or(Some(usual), Arg::int);
    Some(match op {
        "reshape" | "view" => x.reshape(list()?),
        "expand" | "broadcast_to" => x.expand(list()?),
        "permute" => x.permute(&list()?[..]),
        "movedim" => x.movedim(&list()?[..], &args.list.get(2)?.ints()?[..]),
        "transpose" => x.transpose(int(1, "dim0")?, int(2, "dim1")?),
        "t" => x.t(),
        "unsqueeze" => x.unsqueeze(int(1, "dim")?),
        "squeeze" => match args.get(1, "dim") {
            None => x.squeeze(..),
            Some(dims) => x.squeeze(&dims.ints()?[..]),
        },
        "flatten" => x.flatten(or(1, "start_dim", 0)?, or(2, "end_dim", -1)?),
        "unflatten" => x.unflatten(int(1, "dim")?, args.list.get(2)?.ints()?),
        "narrow" => {
            let start = match args.list.get(2)? {
                Arg::Tensor(start) => start.item::<i64>().ok()?,
                start => start.int()?,
            };
            // It may count from the end.
            let size = x.size(int(1, "dim")?).ok()? as i64;
            let start = if start < 0 { start + size } else { start };
            x.narrow(int(1, "dim")?, start as usize, int(3, "length")? as usize)
        }
        "slice" => x.slice(or(1, "dim", 0)?, None, None, 1),
        "select" => x.select_at(int(1, "dim")?, int(2, "index")?),
        "flip" => x.flip(&args.get(1, "dims")?.ints()?[..]),
        "diagonal" => x.diagonal(or(9, "offset", 0)?, or(9, "dim1", 0)?, or(9, "dim2", 1)?),
        "diag_embed" => x.diag_embed(or(9, "offset", 0)?, or(9, "dim1", -2)?, or(9, "dim2", -1)?),
        // Tensor.unfold; that of nn.functional has other arguments.
        "unfold" if args.list.len() == 4 => {
            x.unfold(int(1, "dim")?, int(2, "size")? as usize, int(3, "step")? as usize)
        }
        _ => return None,
    })
}

fn moved(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let sizes = || args.list.get(1)?.sizes();
    let or =
        |place: usize, name: &str, usual: i64| args.get(place, name).map_or(Some(usual), Arg::int);
    Some(match op {
        "repeat" => x.repeat(&sizes()?),
        "tile" => x.tile(&sizes()?),
        "repeat_interleave" => {
            let dim = args.named.get("dim").map(|dim| dim.int().unwrap());
            match args.get(1, "repeats")? {
                Arg::Tensor(repeats) => x.repeat_interleave_by(repeats, dim),
                repeats => x.repeat_interleave(repeats.int()? as usize, dim),
            }
        }
        "roll" => {
            let shifts = args.list.get(1)?.ints()?;
            match args.get(2, "dims") {
                None => x.roll(&shifts[..], ..),
                Some(dims) => x.roll(&shifts[..], &dims.ints()?[..]),
            }
        }
        "rot90" => {
            let dims = args.get(2, "dims").map_or(Some(vec![0, 1]), Arg::ints)?;
            x.rot90(or(1, "k", 1)?, dims.try_into().ok()?)
        }
        "tril" => x.tril(or(1, "diagonal", 0)?),
        "triu" => x.triu(or(1, "diagonal", 0)?),
        "pad" => {
            let mode = match args.get(2, "mode") {
                None => PadMode::Constant(0.0),
                Some(Arg::Text(mode)) => match &mode[..] {
                    "constant" => {
                        PadMode::Constant(args.get(3, "value").map_or(Some(0.0), Arg::number)?)
                    }
                    "reflect" => PadMode::Reflect,
                    "replicate" => PadMode::Replicate,
                    "circular" => PadMode::Circular,
                    _ => return None,
                },
                _ => return None,
            };
            x.pad(&args.list.get(1)?.ints()?, mode)
        }
        "pixel_shuffle" => x.pixel_shuffle(args.get(1, "upscale_factor")?.int()? as usize),
        "unfold" => {
            let pair = |place: usize, usual: usize| match args.list.get(place) {
                None => Some([usual, usual]),
                Some(arg) => arg.pair(),
            };
            let settings = Conv2dOp::default().dilation(pair(2, 1)?).padding(pair(3, 0)?);
            x.im2col(pair(1, 1)?, settings.stride(pair(4, 1)?))
        }
        _ => return None,
    })
}
