//! Products and linear algebra.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    let op = op.split('/').next()?;
    if let (Some(Arg::List(operands)), "einsum") = (args.list.first(), op) {
        let operands: Vec<&Tensor> = operands.iter().map(Arg::tensor).collect::<Option<_>>()?;
        let Arg::Text(equation) = args.list.get(1)? else { return None };
        // The file writes spaces so.
        return one(Tensor::einsum(&equation.replace('_', " "), &operands));
    }
    let x = args.tensor(0)?;
    one(product(op, args, x).or_else(|| network(op, args, x))?)
}

fn product(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let other = args.tensor(1)?;
    let factor = |name: &str| args.named.get(name).map_or(Some(1.0), Arg::number);
    Some(match op {
        "matmul" => x.matmul(other),
        "__rmatmul__" => other.matmul(x),
        "mm" => x.mm(other),
        "bmm" => x.bmm(other),
        "mv" => x.mv(other),
        "dot" => x.dot(other),
        "outer" => x.outer(other),
        "kron" => x.kron(other),
        "cross" => x.cross(other, args.named.get("dim").map(|dim| dim.int().unwrap())),
        "addmm" => x.addmm(other, args.tensor(2)?, factor("beta")?, factor("alpha")?),
        "addmv" => x.addmv(other, args.tensor(2)?, factor("beta")?, factor("alpha")?),
        "baddbmm" => x.baddbmm(other, args.tensor(2)?, factor("beta")?, factor("alpha")?),
        "tensordot" => match args.named.get("dims")? {
            Arg::Int(count) => {
                let (last, first): (Vec<i64>, Vec<i64>) =
                    ((-count..0).collect(), (0..*count).collect());
                x.tensordot(other, &last[..], &first[..])
            }
            Arg::List(dims) => x.tensordot(other, &dims[0].ints()?[..], &dims[1].ints()?[..]),
            _ => return None,
        },
        _ => return None,
    })
}

fn network(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    Some(match op {
        "linear" => x.linear(args.tensor(1)?, args.tensor(2)),
        "bilinear" => x.bilinear(args.tensor(1)?, args.tensor(2)?, args.tensor(3)),
        "scaled_dot_product_attention" => {
            // Dropout draws PyTorch's own random numbers.
            if args.named.get("dropout_p").map_or(Some(0.0), Arg::number)? != 0.0 {
                return None;
            }
            let bool = |name: &str| args.named.get(name).map_or(Some(false), Arg::bool);
            let settings = AttentionOp {
                mask: args.named.get("attn_mask").and_then(Arg::tensor),
                is_causal: bool("is_causal")?,
                scale: None,
                enable_gqa: bool("enable_gqa")?,
            };
            x.scaled_dot_product_attention(args.tensor(1)?, args.tensor(2)?, settings)
        }
        _ => return None,
    })
}
