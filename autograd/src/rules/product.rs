//! Matrix products.

use ferrotape_tensor::chain::{ProductChain, ShapeChain};
use ferrotape_tensor::{Activation, Dims, Op, Result, Tensor};

use super::{Derivative, rule};

pub(super) fn product(op: &Op) -> Derivative {
    Derivative::Rule(match op {
        Op::Matmul => rule!([a, b] | g | g.matmul(b.t()), a.t().matmul(g)),
        Op::Linear(Activation::None) => {
            rule!([a, b] | g | g.matmul(b), rows(g).t().matmul(rows(a)), rows(g)?.sum(0),)
        }
        Op::Linear(Activation::Relu) => rule!(
            [a, b, y] | g | g.relu_grad(y).matmul(b),
            rows(&g.relu_grad(y)?).t().matmul(rows(a)),
            rows(&g.relu_grad(y)?)?.sum(0),
        ),
        _ => return Derivative::Missing,
    })
}

/// All vectors of the last dim as the rows of one matrix.
pub(super) fn rows(x: &Tensor) -> Result<Tensor> {
    let (last, lead) = x.shape().split_last().map_or((1, &[][..]), |(last, lead)| (*last, lead));
    // Saturating: beside a size 0 others may multiply to more than a usize.
    let rows = lead.iter().fold(1usize, |rows, &size| rows.saturating_mul(size));
    x.reshape(Dims::from_slice(&[rows, last]))
}
