//! Selection by index tensors.

use crate::apply::{Operand, apply_one};
use crate::error::Result;
use crate::op::{IndexOp, Op};
use crate::ops::{look, methods};
use crate::shape::{self, Dims};
use crate::tensor::Tensor;

fn dim_of(op: &'static str, x: &Operand<'_>, dim: i64) -> Result<usize> {
    shape::resolve_dim(op, dim, look(op, x)?.rank())
}

methods! {
    /// Selection by index tensors, on `Result<Tensor>`.
    trait SelectChain;

    /// `y[i][j] = x[index[i][j]][j]` along dim 0, and so on: PyTorch's `gather`. index: i64, of the result's shape.
    fn gather(x, dim: i64, index: &Tensor) -> Tensor {
        let dim = dim_of("gather", &x, dim)?;
        apply_one(&Op::Index(IndexOp::Gather(dim)), &mut [x, index.into()])
    }

    /// Slices of dim `dim` by number: PyTorch's `index_select`. index: a vector of i64.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let rows = Tensor::from([[1f32, 2.], [3., 4.]]).index_select(0, &Tensor::from([1i64, 1]))?;
    /// assert_eq!(rows.to_vec::<f32>()?, [3., 4., 3., 4.]);
    /// # Ok(()) }
    /// ```
    fn index_select(x, dim: i64, index: &Tensor) -> Tensor {
        let dim = dim_of("index_select", &x, dim)?;
        apply_one(&Op::Index(IndexOp::Select(dim)), &mut [x, index.into()])
    }

    /// `x` plus, for every element of `source`, that element at the place that `index` names along dim `dim`: PyTorch's
    /// `scatter_add`, in ascending order of the source.
    fn scatter_add<'b>(x, dim: i64, index: &Tensor, source: impl Into<Operand<'b>>) -> Tensor {
        let dim = dim_of("scatter_add", &x, dim)?;
        let shape = Dims::from_slice(look("scatter_add", &x)?.shape());
        let added = apply_one(&Op::Index(IndexOp::ScatterAdd { dim, shape }), &mut [source.into(), index.into()])?;
        look("scatter_add", &x)?.add(added)
    }

    /// `x` plus the slices of `source`, each at the place that `index` names along dim `dim`: PyTorch's `index_add`.
    fn index_add<'b>(x, dim: i64, index: &Tensor, source: impl Into<Operand<'b>>) -> Tensor {
        let dim = dim_of("index_add", &x, dim)?;
        let size = look("index_add", &x)?.shape()[dim];
        let added = apply_one(&Op::Index(IndexOp::Add { dim, size }), &mut [source.into(), index.into()])?;
        look("index_add", &x)?.add(added)
    }
}
