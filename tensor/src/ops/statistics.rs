//! Statistics made of reductions: variances, counts, what skips NaN, logarithms of sums.

use crate::apply::Operand;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::chain::{BinaryChain as _, ReduceChain as _, UnaryChain as _};
use crate::ops::reduce::count;
use crate::ops::{look, methods, through_f32};
use crate::shape::IntoDims;
use crate::tensor::Tensor;

/// Variance and mean, in two passes: `sum((x - mean)^2) / (n - correction)`.
fn moments(
    name: &'static str,
    x: Operand<'_>,
    dims: &[i64],
    correction: f64,
    keep: bool,
) -> Result<(Tensor, Tensor)> {
    let x = look(name, &x)?;
    if x.dtype().is_half() {
        let (var, mean) = moments(name, x.to_dtype(DType::F32)?.into(), dims, correction, keep)?;
        return Ok((var.to_dtype(x.dtype())?, mean.to_dtype(x.dtype())?));
    }
    let count = count(name, x, dims)?;
    let mean = x.mean_keep(dims)?;
    let sum = x.sub(&mean).square().sum_with(dims, keep);
    let var = sum.div((count - correction).max(0.0))?;
    let mean = mean.reshape(var.shape())?;
    Ok((var, mean))
}

/// The square root; its gradient at 0 is 0, as of PyTorch's std and norm.
pub(crate) fn root(x: &Tensor) -> Result<Tensor> {
    unless_zero(x, 0.0, |x| x.sqrt())
}

/// `f(x)`, but `value`, a constant, where x is 0.
pub(crate) fn unless_zero(
    x: &Tensor,
    value: f64,
    f: impl FnOnce(Result<Tensor>) -> Result<Tensor>,
) -> Result<Tensor> {
    let zero = x.eq(0.0)?;
    let inside = f(zero.select(1.0, x))?;
    zero.select(value, inside)
}

/// Integers as f32.
fn float<'a>(op: &'static str, x: Operand<'a>) -> Result<Operand<'a>> {
    let tensor = look(op, &x)?;
    if tensor.dtype().is_float() { Ok(x) } else { Ok(tensor.to_dtype(DType::F32)?.into()) }
}

fn logsumexp(x: &Tensor, dims: &[i64], keep: bool) -> Result<Tensor> {
    if count("logsumexp", x, dims)? == 0.0 {
        return x.exp().sum_with(dims, keep).log();
    }
    let max = x.detach().max_keep(dims)?;
    let shift = max.abs().lt(f64::INFINITY)?.select(&max, 0.0)?;
    let sum = x.sub(&shift).exp().sum_with(dims, keep)?;
    let log = unless_zero(&sum, f64::NEG_INFINITY, |sum| sum.log())?;
    log.add(shift.reshape(log.shape()))
}

methods! {
    /// Statistics, on `Result<Tensor>`.
    trait StatisticsChain;

    /// Variance over dims, divided by `n - correction` (PyTorch's default correction is 1), in two passes.
    fn var(x, dims: impl IntoDims, correction: f64) -> Tensor { Ok(moments("var", x, &dims.into_dims(), correction, false)?.0) }
    /// Variance over dims, which stay with size 1.
    fn var_keep(x, dims: impl IntoDims, correction: f64) -> Tensor { Ok(moments("var", x, &dims.into_dims(), correction, true)?.0) }
    /// Variance and mean over dims.
    fn var_mean(x, dims: impl IntoDims, correction: f64) -> (Tensor, Tensor) {
        moments("var_mean", x, &dims.into_dims(), correction, false)
    }
    /// Variance and mean over dims, which stay with size 1.
    fn var_mean_keep(x, dims: impl IntoDims, correction: f64) -> (Tensor, Tensor) {
        moments("var_mean", x, &dims.into_dims(), correction, true)
    }
    /// Standard deviation over dims: the root of [`var`](Self::var). Where it is 0 its gradient is 0, as in PyTorch.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// assert_eq!(Tensor::from([1f32, 3.]).std(0, 0.0)?.item::<f32>()?, 1.);
    /// # Ok(()) }
    /// ```
    fn std(x, dims: impl IntoDims, correction: f64) -> Tensor {
        root(&moments("std", x, &dims.into_dims(), correction, false)?.0)
    }
    /// Standard deviation over dims, which stay with size 1.
    fn std_keep(x, dims: impl IntoDims, correction: f64) -> Tensor {
        root(&moments("std", x, &dims.into_dims(), correction, true)?.0)
    }
    /// Standard deviation and mean over dims.
    fn std_mean(x, dims: impl IntoDims, correction: f64) -> (Tensor, Tensor) {
        let (var, mean) = moments("std_mean", x, &dims.into_dims(), correction, false)?;
        Ok((root(&var)?, mean))
    }
    /// Standard deviation and mean over dims, which stay with size 1.
    fn std_mean_keep(x, dims: impl IntoDims, correction: f64) -> (Tensor, Tensor) {
        let (var, mean) = moments("std_mean", x, &dims.into_dims(), correction, true)?;
        Ok((root(&var)?, mean))
    }

    /// Sum over dims of what is not NaN.
    fn nansum(x, dims: impl IntoDims) -> Tensor {
        let x = look("nansum", &x)?;
        x.eq(x)?.select(x, 0.0).sum(dims)
    }
    /// Sum over dims, which stay with size 1, of what is not NaN.
    fn nansum_keep(x, dims: impl IntoDims) -> Tensor {
        let x = look("nansum", &x)?;
        x.eq(x)?.select(x, 0.0).sum_keep(dims)
    }
    /// Mean over dims of what is not NaN (NaN if nothing is left).
    fn nanmean(x, dims: impl IntoDims) -> Tensor {
        let dims = dims.into_dims();
        through_f32("nanmean", x, |x| {
            let x = look("nanmean", &x)?;
            x.nansum(&dims[..]).div(x.eq(x)?.to_dtype(x.dtype())?.sum(&dims[..]))
        })
    }
    /// Mean over dims, which stay with size 1, of what is not NaN.
    fn nanmean_keep(x, dims: impl IntoDims) -> Tensor {
        let dims = dims.into_dims();
        through_f32("nanmean", x, |x| {
            let x = look("nanmean", &x)?;
            x.nansum_keep(&dims[..]).div(x.eq(x)?.to_dtype(x.dtype())?.sum_keep(&dims[..]))
        })
    }

    /// Whether any element over dims is not zero (NaN is not); of any type, gives bool.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[0f32, 2.], [0., 0.]]);
    /// assert_eq!(x.any(1)?.to_vec::<bool>()?, [true, false]);
    /// assert_eq!(x.all(1)?.to_vec::<bool>()?, [false, false]);
    /// # Ok(()) }
    /// ```
    fn any(x, dims: impl IntoDims) -> Tensor { look("any", &x)?.ne(0.0).sum(dims).ne(0.0) }
    /// As [`any`](Self::any); the dims stay with size 1.
    fn any_keep(x, dims: impl IntoDims) -> Tensor { look("any", &x)?.ne(0.0).sum_keep(dims).ne(0.0) }
    /// Whether all elements over dims are not zero (NaN is not); of any type, gives bool.
    fn all(x, dims: impl IntoDims) -> Tensor { look("all", &x)?.eq(0.0).sum(dims).eq(0.0) }
    /// As [`all`](Self::all); the dims stay with size 1.
    fn all_keep(x, dims: impl IntoDims) -> Tensor { look("all", &x)?.eq(0.0).sum_keep(dims).eq(0.0) }
    /// How many elements over dims are not zero, i64; of any type.
    fn count_nonzero(x, dims: impl IntoDims) -> Tensor {
        look("count_nonzero", &x)?.ne(0.0).sum(dims)
    }

    /// `log(sum(e^x))` over dims, shifted by the maximum. An infinite maximum stays. Integers become f32.
    fn logsumexp(x, dims: impl IntoDims) -> Tensor {
        let dims = dims.into_dims();
        through_f32("logsumexp", float("logsumexp", x)?, |x| logsumexp(look("logsumexp", &x)?, &dims, false))
    }
    /// `log(sum(e^x))` over dims, which stay with size 1.
    fn logsumexp_keep(x, dims: impl IntoDims) -> Tensor {
        let dims = dims.into_dims();
        through_f32("logsumexp", float("logsumexp", x)?, |x| logsumexp(look("logsumexp", &x)?, &dims, true))
    }
}
