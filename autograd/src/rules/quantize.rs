//! Quantization. a: numbers or codes, b: scale, c: zero point, y: the result. Rounding passes the gradient "straight through".

use ferrotape_tensor::chain::{BinaryChain, UnaryChain};
use ferrotape_tensor::{DType, FakeQuantizeOp, Op, Result, Tensor};

use super::{Cx, None_, Rule, rule};

pub(super) const DEQUANTIZE: &Rule =
    rule!([a, c] | g, cx | None_, shared(cx, g, &steps(cx, g, a, c)?), None_);

/// The step size's gradient is that of *Learned Step Size Quantization* (Esser et al., 2020): of `scale * round(x / scale)`, with rounding taken
/// for the identity, it is `(y - x) / scale`; of a clamped code's `scale * (bound - zero)`, `y / scale`.
pub(super) const FAKE_QUANTIZE: &Rule = rule!(
    [a, b, c, y] | g,
    cx | inside(cx, a, b, c)?.select(g, 0.0),
    {
        let wide = cx.meta(1).dtype;
        // Selected before, so that an infinity that was clamped adds nothing.
        let passed = inside(cx, a, b, c)?.select(a.to_dtype(wide), 0.0)?;
        shared(cx, g, &y.to_dtype(wide).sub(passed)?).div(b)
    },
    None_
);

/// Whose axis.
fn axis(cx: &Cx<'_>) -> Result<Option<usize>> {
    match cx.op() {
        Op::Dequantize { axis } | Op::FakeQuantize(FakeQuantizeOp { axis, .. }) => Ok(*axis),
        _ => Err(cx.bug("does not quantize")),
    }
}

/// A scale or a zero point so that it broadcasts.
fn along(cx: &Cx<'_>, vector: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1usize; cx.meta(0).shape.len()];
    match (axis(cx)?.and_then(|axis| shape.get_mut(axis)), vector.shape()) {
        (Some(size), &[channels]) => *size = channels,
        _ => return Ok(vector.clone()),
    }
    vector.reshape(&shape[..])
}

/// The sum of `g * factor` over what a scale is shared by.
fn shared(cx: &Cx<'_>, g: &Tensor, factor: &Tensor) -> Result<Tensor> {
    let product = g.to_dtype(cx.meta(1).dtype).mul(factor)?;
    match (axis(cx)?, cx.meta(1).shape.len()) {
        (Some(axis), 1) => {
            let others: Vec<i64> =
                (0..product.rank()).filter(|&dim| dim != axis).map(|dim| dim as i64).collect();
            if others.is_empty() { Ok(product) } else { product.sum(&others[..]) }
        }
        _ => product.sum(..),
    }
}

/// `code - zero`, as numbers of the result's type.
fn steps(cx: &Cx<'_>, g: &Tensor, codes: &Tensor, zero: &Tensor) -> Result<Tensor> {
    let zero = along(cx, zero)?.to_dtype(DType::I64)?;
    codes.to_dtype(DType::I64).sub(zero).to_dtype(g.dtype())
}

/// True where a number's code lies within the bounds before it is clamped to them.
fn inside(cx: &Cx<'_>, x: &Tensor, scale: &Tensor, zero: &Tensor) -> Result<Tensor> {
    let Op::FakeQuantize(FakeQuantizeOp { low, high, .. }) = *cx.op() else {
        return Err(cx.bug("does not quantize"));
    };
    let wide = cx.meta(1).dtype;
    let zero = along(cx, zero)?.to_dtype(DType::I64)?;
    // As the kernel rounds: a product with the reciprocal.
    let step = x.detach()?.to_dtype(wide).mul(along(cx, &scale.detach()?)?.reciprocal()).round()?;
    let bound = |code: i32| zero.neg().add(f64::from(code)).to_dtype(wide);
    step.ge(bound(low)).logical_and(step.le(bound(high)))
}
