//! Differences and sums of neighbours; the trace.

use smallvec::SmallVec;

use crate::apply::{Operand, apply_one};
use crate::error::{Error, Result};
use crate::op::{Op, ViewOp};
use crate::ops::chain::{BinaryChain as _, ReduceChain as _};
use crate::ops::{look, methods};
use crate::shape;
use crate::tensor::Tensor;

/// All but the first and all but the last along a dim.
fn neighbours(x: &Tensor, dim: usize) -> Result<[Tensor; 2]> {
    let n = x.shape()[dim];
    let (dim, length) = (dim as i64, n.saturating_sub(1));
    Ok([x.narrow(dim, n - length, length)?, x.narrow(dim, 0, length)?])
}

/// Sum of neighbours' means times their distances.
fn trapezoid(y: &Tensor, dim: usize, dx: Operand<'_>) -> Result<Tensor> {
    let [right, left] = neighbours(y, dim)?;
    right.add(left).mul(dx).sum(dim as i64).div(2.0)
}

methods! {
    /// Differences and sums of neighbours, on `Result<Tensor>`.
    trait DifferenceChain;

    /// The `n`-th difference of neighbours along a dim, `prepend` and `append` set before and after x: PyTorch's `diff`.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let y = Tensor::from([1f32, 4., 9., 16.]).diff(2, 0, None, None)?;
    /// assert_eq!(y.to_vec::<f32>()?, [2., 2.]);
    /// # Ok(()) }
    /// ```
    fn diff(x, n: usize, dim: i64, prepend: Option<&Tensor>, append: Option<&Tensor>) -> Tensor {
        let x = look("diff", &x)?;
        let dim = shape::resolve_dim("diff", dim, x.rank())?;
        let parts: SmallVec<[&Tensor; 3]> = [prepend, Some(x), append].into_iter().flatten().collect();
        let mut y = match parts.len() {
            1 => x.clone(),
            _ if n == 0 => x.clone(),
            _ => Tensor::cat(&parts, dim as i64)?,
        };
        for _ in 0..n.min(y.shape()[dim]) {
            let [right, left] = neighbours(&y, dim)?;
            y = right.sub(left)?;
        }
        Ok(y)
    }

    /// The integral along a dim by the trapezoid rule, neighbours being `dx` apart: PyTorch's `trapezoid(dx=dx)`.
    fn trapezoid(x, dx: f64, dim: i64) -> Tensor {
        let y = look("trapezoid", &x)?;
        trapezoid(y, shape::resolve_dim("trapezoid", dim, y.rank())?, dx.into())
    }

    /// The integral along a dim by the trapezoid rule, the elements standing at `points` (a vector, or of a shape that
    /// broadcasts with x): PyTorch's `trapezoid(x=points)`.
    fn trapezoid_at(x, points: &Tensor, dim: i64) -> Tensor {
        let y = look("trapezoid", &x)?;
        let dim = shape::resolve_dim("trapezoid", dim, y.rank())?;
        let rank = y.rank().max(points.rank());
        let mut to = shape::Dims::from_elem(1, rank);
        if points.rank() == 1 {
            to[dim] = points.len();
        } else {
            to[rank - points.rank()..].copy_from_slice(points.shape());
        }
        let points = points.reshape(&to)?;
        let dim_of_points = dim + (rank - y.rank());
        let [right, left] = neighbours(&points, dim_of_points)?;
        let mut raised = shape::Dims::from_elem(1, rank - y.rank());
        raised.extend_from_slice(y.shape());
        trapezoid(&y.reshape(&raised)?, dim_of_points, right.sub(left).into())
    }

    /// The sum of a matrix's diagonal.
    fn trace(x) -> Tensor {
        let x = look("trace", &x)?;
        let &[rows, columns] = x.shape() else {
            return Err(Error::shape("trace", format!("{:?}: a matrix is expected", x.shape())));
        };
        let length = if x.is_empty() { 0 } else { rows.min(columns) };
        let step = isize::try_from(columns).unwrap_or(isize::MAX).saturating_add(1);
        let diagonal = ViewOp::Slice { dim: 0, start: 0, length, step };
        apply_one(&Op::View(diagonal), &mut [x.reshape([x.len()])?.into()]).sum(..)
    }
}
