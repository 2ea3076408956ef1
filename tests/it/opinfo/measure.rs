//! Norms and distances.

use ferrotape::MatrixNorm;
use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    one(measure(op, args, args.tensor(0)?)?)
}

fn measure(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let number = |name: &str, usual: f64| args.named.get(name).map_or(Some(usual), Arg::number);
    let keep = args.get(3, "keepdim").map_or(Some(false), Arg::bool)?;
    let dims = |place: usize| args.get(place, "dim").map_or(Some(Vec::new()), Arg::ints);
    Some(match op {
        "linalg.vector_norm" => vector(x, number("ord", 2.0)?, &dims(9)?, keep),
        "norm" | "norm/inf" => vector(x, args.list.get(1)?.number()?, &dims(2)?, keep),
        "norm/fro" => vector(x, 2.0, &dims(2)?, keep),
        "norm/nuc" => {
            let dims = if args.list.len() > 2 { dims(2)? } else { vec![0, 1] };
            matrix(x, "nuc", &dims, keep)?
        }
        "linalg.matrix_norm" => {
            let kind = match args.list.get(1)? {
                Arg::Text(text) => text.clone(),
                number => number.number()?.to_string(),
            };
            matrix(x, &kind, &dims(2)?, keep)?
        }
        "normalize" => {
            let dim = args.named.get("dim").map_or(Some(1), Arg::int)?;
            x.normalize(number("p", 2.0)?, dim, number("eps", 1e-12)?)
        }
        "cosine_similarity" => {
            let dim = args.named.get("dim").map_or(Some(1), Arg::int)?;
            x.cosine_similarity(args.tensor(1)?, dim, number("eps", 1e-8)?)
        }
        "pairwise_distance" => {
            let (p, eps) = (number("p", 2.0)?, number("eps", 1e-6)?);
            match keep {
                true => x.pairwise_distance_keep(args.tensor(1)?, p, eps),
                false => x.pairwise_distance(args.tensor(1)?, p, eps),
            }
        }
        _ => return None,
    })
}

fn vector(x: &Tensor, p: f64, dims: &[i64], keep: bool) -> Result<Tensor> {
    if keep { x.norm_keep(p, dims) } else { x.norm(p, dims) }
}

fn matrix(x: &Tensor, kind: &str, dims: &[i64], keep: bool) -> Option<Result<Tensor>> {
    let kind = match kind {
        "fro" => MatrixNorm::Frobenius,
        "1" => MatrixNorm::One,
        "-1" => MatrixNorm::MinusOne,
        "inf" => MatrixNorm::Infinity,
        "-inf" => MatrixNorm::MinusInfinity,
        "nuc" => MatrixNorm::Nuclear,
        "2" => MatrixNorm::Two,
        "-2" => MatrixNorm::MinusTwo,
        _ => return None,
    };
    let dims = <[i64; 2]>::try_from(dims).ok()?;
    Some(if keep { x.matrix_norm_keep(kind, dims) } else { x.matrix_norm(kind, dims) })
}
