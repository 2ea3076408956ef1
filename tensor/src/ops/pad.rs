//! Padding.

use crate::apply::apply_one;
use crate::error::{Error, Result};
use crate::op::{IndexOp, Op};
use crate::ops::chain::UnaryChain as _;
use crate::ops::{look, methods};
use crate::shape::Dims;
use crate::tensor::Tensor;

/// What stands beside a tensor that is [padded](Tensor::pad).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum PadMode {
    /// This number.
    Constant(f64),
    /// The elements mirrored at the edge, which is not repeated.
    Reflect,
    /// The edge.
    Replicate,
    /// The other end.
    Circular,
}

fn too_large(op: &'static str) -> Error {
    Error::shape(op, "the result is too large")
}

/// Zeros on both sides of a dim.
pub(super) fn zeros(
    op: &'static str,
    x: &Tensor,
    dim: usize,
    left: usize,
    right: usize,
) -> Result<Tensor> {
    if (left, right) == (0, 0) {
        return Ok(x.clone());
    }
    let size = x.shape()[dim].checked_add(left).and_then(|size| size.checked_add(right));
    let size = size.ok_or_else(|| too_large(op))?;
    // A slice without elements may start anywhere but beyond the end.
    let start = left.min(size.saturating_sub(1));
    apply_one(&Op::Index(IndexOp::Unslice { dim, start, step: 1, size }), &mut [x.into()])
}

/// `value` on both sides of a dim.
fn constant(x: &Tensor, dim: usize, left: usize, right: usize, value: f64) -> Result<Tensor> {
    if value == 0.0 && value.is_sign_positive() {
        return zeros("pad", x, dim, left, right);
    }
    let beside = |size: usize| {
        let mut shape = Dims::from_slice(x.shape());
        shape[dim] = size;
        Tensor::full(&shape, value, x)
    };
    let (left, right) = (beside(left)?, beside(right)?);
    let parts = [&left, x, &right].into_iter().filter(|part| part.shape()[dim] > 0);
    match &parts.collect::<Vec<_>>()[..] {
        [] => Ok(x.clone()),
        parts => Tensor::cat(parts, dim as i64),
    }
}

/// Element `i` of a padded dim that is not constant: where in the old one it is from.
fn source(i: i64, size: i64, mode: PadMode) -> i64 {
    match mode {
        PadMode::Replicate => i.clamp(0, size - 1),
        PadMode::Circular => i.rem_euclid(size),
        _ if i < 0 => -i,
        _ if i >= size => 2 * (size - 1) - i,
        _ => i,
    }
}

fn mirrored(x: &Tensor, dim: usize, left: i64, right: i64, mode: PadMode) -> Result<Tensor> {
    // Circles close around what is left of them; the others look at the whole.
    let (x, left, right) = match mode {
        PadMode::Circular => (cropped(x, dim, left, right)?, left.max(0), right.max(0)),
        _ => (x.clone(), left, right),
    };
    let size = i64::try_from(x.shape()[dim]).map_err(|_| too_large("pad"))?;
    let most = match mode {
        PadMode::Reflect => size - 1,
        PadMode::Circular => size,
        _ if size == 0 => 0,
        _ => i64::MAX,
    };
    let end = size.checked_add(right).filter(|_| left <= most && right <= most);
    let total = end.and_then(|end| end.checked_add(left));
    let (Some(end), Some(total)) = (end, total.and_then(|total| usize::try_from(total).ok()))
    else {
        let message = format!("{left} and {right} beside size {size} of dim {dim} ({mode:?})");
        return Err(Error::argument("pad", message));
    };
    let mut index: Vec<i64> = Vec::new();
    index.try_reserve_exact(total).map_err(|_| too_large("pad"))?;
    index.extend((-left..end).map(|i| source(i, size, mode)));
    x.index_select(dim as i64, &Tensor::from_vec(index, [total]).to_device(x.device())?)
}

/// Without what negative padding takes away.
fn cropped(x: &Tensor, dim: usize, left: i64, right: i64) -> Result<Tensor> {
    let size = x.shape()[dim];
    let off = |side: i64| usize::try_from(side.min(0).unsigned_abs()).unwrap_or(usize::MAX);
    match size.checked_sub(off(left)).and_then(|size| size.checked_sub(off(right))) {
        Some(length) => x.clone().cut(dim, off(left).min(size), length, 1),
        None => {
            let message = format!("{left} and {right} take more than size {size} of dim {dim}");
            Err(Error::argument("pad", message))
        }
    }
}

fn pad(x: &Tensor, padding: &[i64], mode: PadMode) -> Result<Tensor> {
    let sides = padding.chunks_exact(2);
    if !sides.remainder().is_empty() || sides.len() > x.rank() {
        let message = format!("{} numbers for shape {:?}", padding.len(), x.shape());
        return Err(Error::argument("pad", message));
    }
    let mut y = x.clone();
    for (sides, dim) in sides.zip((0..x.rank()).rev()) {
        let (left, right) = (sides[0], sides[1]);
        if (left, right) == (0, 0) {
            continue;
        }
        y = match mode {
            PadMode::Constant(value) => {
                let wide = |side: i64| usize::try_from(side.max(0)).unwrap_or(usize::MAX);
                constant(&cropped(&y, dim, left, right)?, dim, wide(left), wide(right), value)?
            }
            mode => mirrored(&y, dim, left, right, mode)?,
        };
    }
    Ok(y)
}

methods! {
    /// Padding, on `Result<Tensor>`.
    trait PadChain;

    /// Elements beside the tensor: `padding` holds two numbers, before and after, for the last dim, then for the one before it, and so on;
    /// negative ones take away. PyTorch's `nn.functional.pad`.
    ///
    /// ```
    /// # use ferrotape_tensor::{PadMode, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([1f32, 2., 3.]);
    /// assert_eq!(x.pad(&[1, 2], PadMode::Reflect)?.to_vec::<f32>()?, [2., 1., 2., 3., 2., 1.]);
    /// assert_eq!(x.pad(&[-1, 1], PadMode::Constant(9.0))?.to_vec::<f32>()?, [2., 3., 9.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// More numbers than sides; more taken away than there is; a mirror or a circle wider than the tensor.
    fn pad(x, padding: &[i64], mode: PadMode) -> Tensor { pad(look("pad", &x)?, padding, mode) }
}
