//! Selection by position or by index.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    let (op, variant) = op.split_once('/').unwrap_or((op, ""));
    let x = args.tensor(0)?;
    one(selection(op, args, x).or_else(|| scattered(op, variant, args, x))?)
}

fn selection(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let dim = || args.list.get(1)?.int();
    let index = || args.tensor(2);
    Some(match op {
        "gather" if index()?.is_empty() => {
            // An index without elements may have any type there, and any number of dims.
            let index = index()?.to_dtype(DType::I64).ok()?;
            let more = (x.rank()..index.rank()).try_fold(x.clone(), |x, _| x.unsqueeze(-1));
            more.gather(dim()?, &index)
        }
        "gather" => x.gather(dim()?, index()?),
        "index_select" => x.index_select(dim()?, index()?),
        "take" => x.take(args.tensor(1)?),
        "take_along_dim" => {
            let dim = args.get(2, "dim").map(|dim| dim.int().unwrap());
            x.take_along_dim(args.tensor(1)?, dim)
        }
        "masked_select" => x.masked_select(args.tensor(1)?),
        "embedding" => x.embedding(args.tensor(1)?, None),
        "__getitem__" => {
            let indices: Vec<Index> = match args.list.get(1)? {
                // A list of numbers is an index tensor, any other a tuple.
                numbers if numbers.ints().is_some() => vec![position(numbers)?],
                Arg::List(list) => list.iter().map(position).collect::<Option<_>>()?,
                one => vec![position(one)?],
            };
            x.i(&indices[..])
        }
        _ => return None,
    })
}

fn position(arg: &Arg) -> Option<Index> {
    Some(match arg {
        Arg::Int(at) => Index::At(*at),
        Arg::Range([start, end, step]) => Index::step(*start, *end, step.unwrap_or(1)),
        Arg::Ellipsis => Index::Ellipsis,
        Arg::None => Index::NewDim,
        Arg::Tensor(tensor) => tensor.into(),
        Arg::List(_) => Tensor::from(arg.ints()?).into(),
        _ => return None,
    })
}

fn scattered(op: &str, variant: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let dim = || args.list.get(1)?.int();
    let index = || args.tensor(2);
    let source = || args.tensor(3);
    Some(match op {
        "scatter" => match args.list.get(3)? {
            Arg::Tensor(source) => x.scatter(dim()?, index()?, source),
            value => x.scatter(dim()?, index()?, value.number()?),
        },
        "scatter_add" => x.scatter_add(dim()?, index()?, source()?),
        "scatter_reduce" => {
            let reduce = match variant {
                "sum" => ScatterReduce::Sum,
                "prod" => ScatterReduce::Prod,
                "mean" => ScatterReduce::Mean,
                "amax" => ScatterReduce::Amax,
                "amin" => ScatterReduce::Amin,
                _ => return None,
            };
            let include_self = args.named.get("include_self").map_or(Some(true), Arg::bool)?;
            x.scatter_reduce(dim()?, index()?, source()?, reduce, include_self)
        }
        "index_add" => {
            let alpha = args.get(9, "alpha").map_or(Some(1.0), Arg::number)?;
            x.index_add(dim()?, index()?, source()?.mul(alpha))
        }
        "index_copy" => x.index_copy(dim()?, index()?, source()?),
        "index_fill" => match args.list.get(3)? {
            Arg::Tensor(value) => x.index_fill(dim()?, index()?, value),
            value => x.index_fill(dim()?, index()?, value.number()?),
        },
        "select_scatter" => {
            x.select_scatter(args.tensor(1)?, args.list.get(2)?.int()?, args.list.get(3)?.int()?)
        }
        "masked_fill" => match args.list.get(2)? {
            Arg::Tensor(value) => x.masked_fill(args.tensor(1)?, value),
            value => x.masked_fill(args.tensor(1)?, value.number()?),
        },
        _ => return None,
    })
}
