//! Scans: every element of the result is made of all elements up to it along a dim.

use smallvec::SmallVec;

use crate::apply::{Operand, apply, apply_one};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::Op;
use crate::ops::chain::{BinaryChain as _, UnaryChain as _};
use crate::ops::statistics::unless_zero;
use crate::ops::{lent, look, methods};
use crate::shape;
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::scan::ScanOp;

fn scan(op: ScanOp, name: &'static str, x: Operand<'_>, dim: i64) -> Result<Tensor> {
    let [y] = lent(name, x, |x| {
        let dim = shape::resolve_dim(name, dim, look(name, &x)?.rank())?;
        Ok([apply_one(&Op::Scan(op, dim), &mut [long(name, x)?])?])
    })?;
    Ok(y)
}

fn extremes(op: ScanOp, name: &'static str, x: Operand<'_>, dim: i64) -> Result<(Tensor, Tensor)> {
    let [y, z] = lent(name, x, |x| {
        let dim = shape::resolve_dim(name, dim, look(name, &x)?.rank())?;
        let dtype = look(name, &x)?.dtype();
        let [y, z] = pair(&Op::Scan(op, dim), long(name, x)?)?;
        Ok([y.to_dtype(dtype)?, z])
    })?;
    Ok((y, z))
}

/// Integers as i64, in which they are scanned.
fn long<'a>(op: &'static str, x: Operand<'a>) -> Result<Operand<'a>> {
    let tensor = look(op, &x)?;
    if tensor.dtype().is_float() { Ok(x) } else { Ok(tensor.to_dtype(DType::I64)?.into()) }
}

/// Both results of an operation with two.
pub(crate) fn pair(op: &Op, x: Operand<'_>) -> Result<[Tensor; 2]> {
    let outputs: SmallVec<[Tensor; 2]> = apply(op, &mut [x])?;
    outputs.into_inner().map_err(|_| Error::argument(op.name(), "has not two outputs"))
}

/// `x` moved by one towards the end of dim `dim`, `first` in the free place.
fn moved(x: &Tensor, dim: usize, first: f64) -> Result<Tensor> {
    let n = x.shape()[dim];
    let head = Tensor::full(x.narrow(dim as i64, 0, n.min(1))?.shape(), first, x)?;
    Tensor::cat(&[&head, &x.narrow(dim as i64, 0, n.saturating_sub(1))?], dim as i64)
}

/// The running maximum, where it is finite: a shift that keeps `exp` in range.
fn finite(max: &Tensor) -> Result<Tensor> {
    max.abs().lt(f64::INFINITY)?.select(max, 0.0)
}

fn logcumsumexp(x: &Tensor, dim: usize) -> Result<Tensor> {
    let (max, _) = x.detach()?.cummax(dim as i64)?;
    let before = moved(&max, dim, f64::NEG_INFINITY)?;
    let shift = finite(&max)?;
    // s[i] = sum over j <= i of exp(x[j] - shift[i]): what is summed already is rescaled when the maximum grows. Where all
    // was -inf nothing is summed yet.
    let scale = before.eq(f64::NEG_INFINITY)?.select(0.0, finite(&before)?.sub(&shift).exp())?;
    let sum = scale.linear_scan(&x.sub(&shift).exp()?, dim as i64)?;
    unless_zero(&sum, f64::NEG_INFINITY, |sum| sum.log()).add(&shift)
}

methods! {
    /// Scans, on `Result<Tensor>`.
    trait ScanChain;

    /// Running sums along a dim: `y[i] = x[0] + .. + x[i]`. The sum is carried in f64; of integers it is i64 and wraps.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[1f32, 2., 3.], [4., 5., 6.]]);
    /// assert_eq!(x.cumsum(1)?.to_vec::<f32>()?, [1., 3., 6., 4., 9., 15.]);
    /// # Ok(()) }
    /// ```
    fn cumsum(x, dim: i64) -> Tensor { scan(ScanOp::Sum, "cumsum", x, dim) }

    /// Running products along a dim: `y[i] = x[0] * .. * x[i]`. The product is carried in f64; of integers it is i64 and wraps.
    fn cumprod(x, dim: i64) -> Tensor { scan(ScanOp::Prod, "cumprod", x, dim) }

    /// Running maxima along a dim and their indices; NaN is the largest, of equals the last has the index,
    /// and the gradient. Integers, too.
    fn cummax(x, dim: i64) -> (Tensor, Tensor) { extremes(ScanOp::Max, "cummax", x, dim) }

    /// Running minima along a dim and their indices; NaN is the smallest, of equals the last has the index,
    /// and the gradient. Integers, too.
    fn cummin(x, dim: i64) -> (Tensor, Tensor) { extremes(ScanOp::Min, "cummin", x, dim) }

    /// `y[i] = log(e^x[0] + .. + e^x[i])` along a dim, shifted by the running maximum.
    fn logcumsumexp(x, dim: i64) -> Tensor {
        let [y] = lent("logcumsumexp", x, |x| {
            let x = look("logcumsumexp", &x)?;
            Ok([logcumsumexp(x, shape::resolve_dim("logcumsumexp", dim, x.rank())?)?])
        })?;
        Ok(y)
    }

    /// `y[i] = x[i] * y[i - 1] + b[i]` along a dim, `y[-1] = 0`: a linear recurrence. b: of x's shape. Carried in f64.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (decay, x) = (Tensor::from([0.5f32, 0.5, 0.5]), Tensor::from([8f32, 0., 1.]));
    /// assert_eq!(decay.linear_scan(&x, 0)?.to_vec::<f32>()?, [8., 4., 3.]);
    /// # Ok(()) }
    /// ```
    fn linear_scan<'b>(x, b: impl Into<Operand<'b>>, dim: i64) -> Tensor {
        let dim = shape::resolve_dim("linear_scan", dim, look("linear_scan", &x)?.rank())?;
        apply_one(&Op::Scan(ScanOp::Linear, dim), &mut [x, b.into()])
    }
}
