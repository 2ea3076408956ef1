//! Selection by index tensors and masks.

use crate::apply::{Operand, apply_one};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{IndexOp, Op};
use crate::ops::chain::{BinaryChain as _, ShapeChain as _, UnaryChain as _};
use crate::ops::{look, methods};
use crate::shape::{self, Dims};
use crate::tensor::Tensor;

/// A scalar as a vector of one; anything else as it is.
pub(super) fn raised(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 0 { x.reshape(1) } else { Ok(x.clone()) }
}

/// An index tensor as the kernels take it: i32 becomes i64.
fn long(index: &Tensor) -> Result<Tensor> {
    if index.dtype() == DType::I32 { index.to_dtype(DType::I64) } else { Ok(index.clone()) }
}

/// [`long`] and [`raised`].
pub(super) fn places(index: &Tensor) -> Result<Tensor> {
    raised(&long(index)?)
}

/// The part of `source` that `index` covers, as PyTorch takes it.
pub(super) fn covered(op: &'static str, source: &Tensor, index: &Tensor) -> Result<Tensor> {
    let (s, i) = (source.shape(), index.shape());
    if s.len() != i.len() || s.iter().zip(i).any(|(s, i)| s < i) {
        return Err(Error::shape(op, format!("index {i:?} is larger than the source {s:?}")));
    }
    let mut part = source.clone();
    for (d, &size) in i.iter().enumerate() {
        part = part.cut(d, 0, size, 1)?;
    }
    Ok(part)
}

/// The tensor that an operand is; a number as a scalar like `x`.
pub(super) fn value(op: &'static str, x: &Tensor, value: Operand<'_>) -> Result<Tensor> {
    match value {
        Operand::Scalar(number) => Tensor::scalar(number, x.dtype(), x.device()),
        Operand::Failed(error) => Err(error),
        other => look(op, &other).cloned(),
    }
}

fn gather(x: &Tensor, dim: i64, index: &Tensor) -> Result<Tensor> {
    let dim = shape::lent_dim("gather", dim, x.rank())?;
    let op = Op::Index(IndexOp::Gather(dim));
    let y = apply_one(&op, &mut [raised(x)?.into(), places(index)?.into()]);
    y.reshape(index.shape())
}

fn index_select(x: Operand<'_>, dim: i64, index: &Tensor) -> Result<Tensor> {
    let rank = look("index_select", &x)?.rank();
    let dim = shape::lent_dim("index_select", dim, rank)?;
    let op = Op::Index(IndexOp::Select(dim));
    if rank > 0 {
        return apply_one(&op, &mut [x, places(index)?.into()]);
    }
    if index.len() != 1 {
        let message = format!("{} indices into a scalar", index.len());
        return Err(Error::shape("index_select", message));
    }
    let raised_x = raised(look("index_select", &x)?)?;
    apply_one(&op, &mut [raised_x.into(), places(index)?.into()]).reshape(())
}

/// Negative indices counted from the end.
fn wrapped(index: &Tensor, size: usize) -> Result<Tensor> {
    index.lt(0.0).select(index.add(size as f64), index)
}

fn masked_select(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let common = shape::broadcast("masked_select", x.shape(), mask.shape())?;
    let places = raised(&mask.expand(&common)?)?.flatten(0, -1)?.nonzero()?.squeeze(1)?;
    raised(&x.expand(&common)?)?.flatten(0, -1)?.index_select(0, &places)
}

methods! {
    /// Selection by index tensors, on `Result<Tensor>`.
    trait SelectChain;

    /// `y[i][j] = x[index[i][j]][j]` along dim 0, and so on: PyTorch's `gather`. index: i64 or i32, of the result's shape.
    fn gather(x, dim: i64, index: &Tensor) -> Tensor { gather(look("gather", &x)?, dim, index) }

    /// Slices of dim `dim` by number: PyTorch's `index_select`. index: a vector of i64 or i32.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let rows = Tensor::from([[1f32, 2.], [3., 4.]]).index_select(0, &Tensor::from([1i64, 1]))?;
    /// assert_eq!(rows.to_vec::<f32>()?, [3., 4., 3., 4.]);
    /// # Ok(()) }
    /// ```
    fn index_select(x, dim: i64, index: &Tensor) -> Tensor { index_select(x, dim, index) }

    /// `x` plus, for every element of `index`, the element of `source` in the same place, added where `index` names along dim `dim`:
    /// PyTorch's `scatter_add`, in ascending order of the source.
    fn scatter_add<'b>(x, dim: i64, index: &Tensor, source: impl Into<Operand<'b>>) -> Tensor {
        let x = look("scatter_add", &x)?;
        let dim = shape::lent_dim("scatter_add", dim, x.rank())?;
        let index = places(index)?;
        let source = covered("scatter_add", &raised(&value("scatter_add", x, source.into())?)?, &index)?;
        let shape = Dims::from_slice(raised(x)?.shape());
        let op = Op::Index(IndexOp::ScatterAdd { dim, shape });
        // Integers are added as i64, which wraps as they do; of booleans that is "or".
        let source = if source.dtype().is_float() { source } else { source.to_dtype(DType::I64)? };
        let added = apply_one(&op, &mut [source.into(), (&index).into()]).reshape(x.shape())?;
        match x.dtype().is_float() || added.dtype().is_float() {
            true => x.add(added),
            false => added.add(x.to_dtype(DType::I64)).to_dtype(x.dtype()),
        }
    }

    /// `x` plus the slices of `source`, each at the place that `index` names along dim `dim`, in ascending order: PyTorch's `index_add`
    /// (for its `alpha`, multiply the source).
    fn index_add<'b>(x, dim: i64, index: &Tensor, source: impl Into<Operand<'b>>) -> Tensor {
        let x = look("index_add", &x)?;
        let dim = shape::lent_dim("index_add", dim, x.rank())?;
        let raised_x = raised(x)?;
        let size = raised_x.shape()[dim];
        let source = raised(&value("index_add", x, source.into())?)?;
        if !source.dtype().is_float() {
            let sizes = source.shape().iter().zip(raised_x.shape()).enumerate();
            if source.rank() != raised_x.rank() || sizes.clone().any(|(d, (a, b))| d != dim && a != b) {
                let message = format!("slices {:?} for {:?} (dim {dim})", source.shape(), x.shape());
                return Err(Error::shape("index_add", message));
            }
            let index = super::scatter::along("index_add", index, source.shape(), dim)?;
            return raised_x.scatter_add(dim as i64, &index, &source).reshape(x.shape());
        }
        let op = Op::Index(IndexOp::Add { dim, size });
        let added = apply_one(&op, &mut [source.into(), places(index)?.into()])?;
        if x.rank() == 0 { x.add(added.reshape(())) } else { x.add(added) }
    }

    /// The elements of the flattened tensor at `index` (i64 or i32 of any shape, which is the result's; negative counts from the end): PyTorch's
    /// `take`.
    fn take(x, index: &Tensor) -> Tensor {
        let x = look("take", &x)?;
        let flat = wrapped(&index.reshape(-1)?, x.len())?;
        x.reshape([x.len()]).index_select(0, &flat).reshape(index.shape())
    }

    /// [`gather`](Self::gather) with `index` broadcast against `x` beside dim `dim`; without a dim, of both flattened. PyTorch's
    /// `take_along_dim`, as for the indices that an argsort gives.
    fn take_along_dim(x, index: &Tensor, dim: Option<i64>) -> Tensor {
        let x = look("take_along_dim", &x)?;
        let Some(dim) = dim else {
            return x.flatten(0, -1)?.gather(0, &wrapped(&index.flatten(0, -1)?, x.len())?);
        };
        let at = shape::resolve_dim("take_along_dim", dim, x.rank())?;
        if index.rank() != x.rank() {
            let message = format!("index {:?} for {:?}", index.shape(), x.shape());
            return Err(Error::shape("take_along_dim", message));
        }
        let index = wrapped(index, x.shape()[at])?;
        let (mut a, mut b) = (Dims::from_slice(x.shape()), Dims::from_slice(index.shape()));
        (a[at], b[at]) = (1, 1);
        let (mut a, mut b) = {
            let common = shape::broadcast("take_along_dim", &a, &b)?;
            (common.clone(), common)
        };
        (a[at], b[at]) = (x.shape()[at], index.shape()[at]);
        x.expand(&a)?.gather(dim, &index.expand(&b)?)
    }

    /// The elements where `mask` (bool, broadcast with `x`) is true, row-major, as a vector: PyTorch's `masked_select`. How many there are
    /// depends on the mask's values.
    fn masked_select(x, mask: &Tensor) -> Tensor { masked_select(look("masked_select", &x)?, mask) }

    /// The places of all elements that are not 0 (of a mask: that are true), `[number, rank]` of i64 in row-major order: PyTorch's
    /// `nonzero`. How many there are depends on the values.
    fn nonzero(x) -> Tensor {
        let x = look("nonzero", &x)?;
        let mask = if x.dtype() == DType::Bool { x.clone() } else { x.ne(0.0)? };
        let mask = mask.to_vec::<bool>()?;
        let mut places: Vec<i64> = Vec::new();
        for i in mask.iter().enumerate().filter(|(_, is)| **is).map(|(i, _)| i) {
            let (mut rest, start) = (i, places.len());
            for &size in x.shape().iter().rev() {
                places.push((rest % size) as i64);
                rest /= size;
            }
            places[start..].reverse();
        }
        let count = mask.iter().filter(|is| **is).count();
        Tensor::from_vec(places, [count, x.rank()]).to_device(x.device())
    }

    /// Rows of a table, x, by number: PyTorch's `embedding`. index: i64 or i32 of any shape, `[.., ]` gives `[.., columns]`. The row
    /// `padding_idx` gets no gradient.
    ///
    /// # Errors
    /// A table that is no matrix; an index that is no row.
    fn embedding(x, index: &Tensor, padding_idx: Option<i64>) -> Tensor {
        let table = look("embedding", &x)?;
        let &[rows, columns] = table.shape() else {
            return Err(Error::shape("embedding", format!("a table of shape {:?}", table.shape())));
        };
        let mut shape = Dims::from_slice(index.shape());
        shape.push(columns);
        let y = table.index_select(0, &index.reshape([index.len()])?).reshape(shape)?;
        let Some(padding) = padding_idx else { return Ok(y) };
        let padding = crate::index::place(padding, rows, false)?;
        index.eq(padding as f64).unsqueeze(-1).select(y.detach(), &y)
    }
}
