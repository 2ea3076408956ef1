//! Elements combined at chosen places: a: what is there, b: where, c: what comes, y: the result.

use ferrotape_tensor::chain::{BinaryChain, SelectChain, UnaryChain};
use ferrotape_tensor::{IndexOp, Op, Result, ScatterOp, Tensor, apply_one};

use super::{Cx, Derivative, None_, rule};

pub(super) fn rule(how: ScatterOp) -> Derivative {
    Derivative::Rule(match how {
        ScatterOp::Last => rule!([b] | g, cx | untouched(cx, g, b), None_, won(cx, g, b)),
        ScatterOp::Prod => rule!(
            [a, b, c] | g,
            cx | scatter(cx, &g.ones_like()?, b, c)?.mul(g),
            None_,
            factors(cx, g, a, b, c),
        ),
        ScatterOp::Max | ScatterOp::Min => rule!(
            [a, b, c, y] | g,
            cx | a.eq(y).select(share(cx, g, a, b, c, y), 0.0),
            None_,
            c.eq(there(cx, y, b)).select(there(cx, &share(cx, g, a, b, c, y)?, b), 0.0),
        ),
    })
}

fn dim(cx: &Cx<'_>) -> Result<i64> {
    match cx.op() {
        Op::Index(IndexOp::Scatter { dim, .. }) => Ok(*dim as i64),
        _ => Err(cx.bug("does not scatter")),
    }
}

/// The same operation on others.
fn scatter(cx: &Cx<'_>, x: &Tensor, index: &Tensor, source: &Tensor) -> Result<Tensor> {
    apply_one(cx.op(), &mut [x.into(), index.into(), source.into()])
}

/// What stands at the places of the index.
fn there(cx: &Cx<'_>, x: &Tensor, index: &Tensor) -> Result<Tensor> {
    x.gather(dim(cx)?, index)
}

/// `g` where nothing was written, 0 elsewhere.
fn untouched(cx: &Cx<'_>, g: &Tensor, index: &Tensor) -> Result<Tensor> {
    scatter(cx, g, index, &Tensor::zeros(index.shape(), g)?)
}

/// `g` for the elements that stayed, 0 for those that a later one replaced.
fn won(cx: &Cx<'_>, g: &Tensor, index: &Tensor) -> Result<Tensor> {
    let number = Tensor::arange(0.0, 1.0, index.len(), index)?.reshape(index.shape())?;
    let last = scatter(cx, &Tensor::zeros(g.shape(), index)?, index, &number)?;
    there(cx, &last, index)?.eq(&number).select(there(cx, g, index), 0.0)
}

/// `g` over the number of elements that are the extreme.
fn share(
    cx: &Cx<'_>,
    g: &Tensor,
    a: &Tensor,
    index: &Tensor,
    c: &Tensor,
    y: &Tensor,
) -> Result<Tensor> {
    let came = c.eq(there(cx, y, index)).to_dtype(g.dtype())?;
    let equal = a.eq(y).to_dtype(g.dtype()).scatter_add(dim(cx)?, index, &came);
    // A NaN equals nothing.
    g.div(equal.maximum(1.0))
}

/// `g` times all other factors of each source's place, also where one or two of them are 0.
fn factors(cx: &Cx<'_>, g: &Tensor, a: &Tensor, index: &Tensor, c: &Tensor) -> Result<Tensor> {
    let zero = c.eq(0.0)?;
    let whole = zero.select(1.0, c)?;
    let sum = |of: &Tensor| {
        let all = a.zeros_like().scatter_add(dim(cx)?, index, of)?;
        there(cx, &all, index)
    };
    let zeros = sum(&zero.to_dtype(g.dtype())?)?;
    // The other zero, where there are two: the product is 0, its derivative is not.
    let small = zero.select(c, 0.0)?;
    let other = sum(&small)?.sub(&small)?;
    let rest = there(cx, &scatter(cx, a, index, &whole)?, index)?;
    let of_zero = zeros.eq(1.0).select(1.0, zeros.eq(2.0).select(other, 0.0));
    let of_other = there(cx, &scatter(cx, a, index, c)?, index).div(&whole);
    zero.select(rest.mul(of_zero), of_other).mul(there(cx, g, index))
}
