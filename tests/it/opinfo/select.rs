//! Selection by position or by index.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    one(selection(op, args, args.tensor(0)?)?)
}

fn selection(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    // PyTorch lends a scalar one dim; we don't.
    if x.rank() == 0 {
        return None;
    }
    let dim = || args.list.get(1)?.int();
    let index = || args.tensor(2).filter(|index| index.dtype() == DType::I64);
    Some(match op {
        "gather" => x.gather(dim()?, index()?),
        "index_select" => x.index_select(dim()?, index()?),
        "scatter_add" if index()?.shape() == args.tensor(3)?.shape() => {
            x.scatter_add(dim()?, index()?, args.tensor(3)?)
        }
        "index_add" => {
            let alpha = args.get(9, "alpha").map_or(Some(1.0), Arg::number)?;
            x.index_add(dim()?, index()?, args.tensor(3)?.mul(alpha))
        }
        "select" => {
            let (dim, at) = (dim()?, args.list.get(2)?.int()?);
            let axis = if dim < 0 { dim + x.rank() as i64 } else { dim } as usize;
            let mut indices = vec![ferrotape::Index::Range(0, None); axis];
            indices.push(ferrotape::Index::At(at));
            x.i(&indices[..])
        }
        _ => return None,
    })
}
