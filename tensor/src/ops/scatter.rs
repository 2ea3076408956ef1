//! Elements written to places that index tensors name.

use crate::apply::{Operand, apply_one};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{IndexOp, Op};
use crate::ops::chain::{BinaryChain as _, MathsChain as _, ShapeChain as _, UnaryChain as _};
use crate::ops::select::{covered, places, raised, value};
use crate::ops::{look, methods};
use crate::shape::{self, Dims};
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::gather::ScatterOp;

/// How elements that meet are combined by [`scatter_reduce`](Tensor::scatter_reduce).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScatterReduce {
    /// Their sum.
    Sum,
    /// Their product.
    Prod,
    /// Their mean.
    Mean,
    /// The largest; equal ones share the gradient.
    Amax,
    /// The smallest; equal ones share the gradient.
    Amin,
}

fn scatter(
    how: ScatterOp,
    x: &Tensor,
    dim: i64,
    index: &Tensor,
    source: &Tensor,
) -> Result<Tensor> {
    let name = if how == ScatterOp::Last { "scatter" } else { "scatter_reduce" };
    let dim = shape::lent_dim(name, dim, x.rank())?;
    let index = places(index)?;
    let source = match source.rank() {
        // A number for every place.
        0 => source.expand(index.shape())?,
        _ => covered(name, source, &index)?,
    };
    let op = Op::Index(IndexOp::Scatter { dim, how });
    let y = apply_one(&op, &mut [raised(x)?.into(), (&index).into(), source.into()]);
    if x.rank() == 0 { y.reshape(()) } else { y }
}

fn scatter_reduce(
    x: &Tensor,
    dim: i64,
    index: &Tensor,
    source: &Tensor,
    reduce: ScatterReduce,
    include_self: bool,
) -> Result<Tensor> {
    if !x.dtype().is_float() && x.dtype() != DType::I64 {
        // What wraps wraps the same later; the product of booleans is "and".
        let [wide, source] = [x, source].map(|tensor| tensor.to_dtype(DType::I64));
        let y = scatter_reduce(&wide?, dim, index, &source?, reduce, include_self)?;
        return y.to_dtype(x.dtype());
    }
    let start = match (include_self, reduce) {
        (true, _) => x.clone(),
        (false, how) => {
            let neutral = match how {
                ScatterReduce::Sum | ScatterReduce::Mean => 0.0,
                ScatterReduce::Prod => 1.0,
                ScatterReduce::Amax => f64::NEG_INFINITY,
                ScatterReduce::Amin => f64::INFINITY,
            };
            x.scatter(dim, index, neutral)?
        }
    };
    match reduce {
        ScatterReduce::Prod => scatter(ScatterOp::Prod, &start, dim, index, source),
        ScatterReduce::Amax => scatter(ScatterOp::Max, &start, dim, index, source),
        ScatterReduce::Amin => scatter(ScatterOp::Min, &start, dim, index, source),
        ScatterReduce::Sum => start.scatter_add(dim, index, source),
        ScatterReduce::Mean => {
            let ones = Tensor::ones(index.shape(), x)?;
            let first = if include_self { x.ones_like()? } else { x.zeros_like()? };
            let count = first.scatter_add(dim, index, &ones).maximum(1.0);
            let sum = start.scatter_add(dim, index, source);
            if x.dtype().is_float() { sum.div(count) } else { sum.floor_divide(count) }
        }
    }
}

/// A vector of indices along `dim` for every element of `shape`.
pub(super) fn along(
    op: &'static str,
    index: &Tensor,
    shape: &[usize],
    dim: usize,
) -> Result<Tensor> {
    let index = places(index)?;
    if index.rank() != 1 || index.len() != shape[dim] {
        let message = format!("index {:?} for dim {dim} of {shape:?}", index.shape());
        return Err(Error::shape(op, message));
    }
    let mut column = Dims::from_elem(1, shape.len());
    column[dim] = index.len();
    index.reshape(column).expand(shape)
}

methods! {
    /// Elements written to chosen places, on `Result<Tensor>`.
    trait ScatterChain;

    /// `x` with, for every element of `index`, the element of `source` in the same place written where `index` names along dim `dim`:
    /// PyTorch's `scatter`; a number is written everywhere. Of several that meet, the last in row-major order of `index` stays, and it
    /// alone gets the gradient.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let y = Tensor::from([1f32, 2., 3.]).scatter(0, &Tensor::from([2i64, 0, 2]), Tensor::from([7f32, 8., 9.]))?;
    /// assert_eq!(y.to_vec::<f32>()?, [8., 2., 9.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Shapes or types that don't fit, an index out of range.
    fn scatter<'b>(x, dim: i64, index: &Tensor, source: impl Into<Operand<'b>>) -> Tensor {
        let x = look("scatter", &x)?;
        scatter(ScatterOp::Last, x, dim, index, &value("scatter", x, source.into())?)
    }

    /// As [`scatter`](Self::scatter), with the elements that meet combined, in ascending order of the source: PyTorch's `scatter_reduce`.
    /// `include_self`: with the element of `x` that is there, too; else that one counts only where nothing is written.
    ///
    /// # Errors
    /// As [`scatter`](Self::scatter).
    fn scatter_reduce(x, dim: i64, index: &Tensor, source: &Tensor, reduce: ScatterReduce, include_self: bool) -> Tensor {
        scatter_reduce(look("scatter_reduce", &x)?, dim, index, source, reduce, include_self)
    }

    /// `x` with the slices of `source` at the places that `index`, a vector, names along dim `dim`: PyTorch's `index_copy`. Of several that
    /// meet the last stays.
    fn index_copy(x, dim: i64, index: &Tensor, source: &Tensor) -> Tensor {
        let x = look("index_copy", &x)?;
        let at = shape::lent_dim("index_copy", dim, x.rank())?;
        let (whole, source) = (raised(x)?, raised(source)?);
        let beside = |shape: &[usize]| {
            shape.iter().enumerate().filter(|(d, _)| *d != at).map(|(_, &size)| size).collect::<Dims>()
        };
        if source.rank() != whole.rank() || beside(source.shape()) != beside(whole.shape()) {
            let message = format!("slices {:?} for {:?} (dim {at})", source.shape(), x.shape());
            return Err(Error::shape("index_copy", message));
        }
        let index = along("index_copy", index, source.shape(), at)?;
        whole.scatter(at as i64, &index, &source).reshape(x.shape())
    }

    /// `x` with `value` (a number or a scalar tensor) in the slices that `index`, a vector, names along dim `dim`: PyTorch's `index_fill`.
    fn index_fill<'b>(x, dim: i64, index: &Tensor, value: impl Into<Operand<'b>>) -> Tensor {
        let x = look("index_fill", &x)?;
        let whole = raised(x)?;
        let at = shape::lent_dim("index_fill", dim, x.rank())?;
        let size = whole.shape()[at];
        let hit = Tensor::zeros([size], (DType::I64, x.device()))?.scatter(0, index, Tensor::scalar(1.0, DType::I64, x.device()))?;
        let mask = along("index_fill", &hit.to_dtype(DType::Bool)?, whole.shape(), at)?;
        whole.masked_fill(&mask, value).reshape(x.shape())
    }

    /// `x` with `source` in place of slice `index` of dim `dim`: PyTorch's `select_scatter`.
    fn select_scatter(x, source: &Tensor, dim: i64, index: i64) -> Tensor {
        let x = look("select_scatter", &x)?;
        let at = shape::resolve_dim("select_scatter", dim, x.rank())?;
        let index = crate::index::place(index, x.shape()[at], false).map_err(|error| error.of_dim(at))?;
        let slice = source.unsqueeze(at as i64)?;
        x.index_copy(dim, &Tensor::from_vec(vec![index as i64], [1]).to_device(x.device())?, &slice)
    }
}
