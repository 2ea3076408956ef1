//! Sorting, selecting by rank, searching. Gradients go to the elements that were selected; indices have none.

use crate::apply::{Operand, apply_one};
use crate::error::{Error, Result};
use crate::op::Op;
use crate::ops::reduce::one_line;
use crate::ops::scan::pair;
use crate::ops::{lent, look, methods, promoted};
use crate::shape::{self, IntoDims};
use crate::tensor::Tensor;

fn sort(
    name: &'static str,
    x: Operand<'_>,
    dim: i64,
    descending: bool,
    count: Option<usize>,
) -> Result<(Tensor, Tensor)> {
    let [values, indices] = lent(name, x, |x| {
        let tensor = look(name, &x)?;
        let dim = shape::resolve_dim(name, dim, tensor.rank())?;
        let n = tensor.shape()[dim];
        if let Some(count) = count.filter(|&count| count > n) {
            return Err(Error::argument(name, format!("{count} of {n} elements")));
        }
        let [values, indices] = pair(&Op::Sort { dim, descending }, x)?;
        match count {
            Some(count) => {
                Ok([values.narrow(dim as i64, 0, count)?, indices.narrow(dim as i64, 0, count)?])
            }
            None => Ok([values, indices]),
        }
    })?;
    Ok((values, indices))
}

fn kthvalue(x: Operand<'_>, k: usize, dim: i64, keep: bool) -> Result<(Tensor, Tensor)> {
    let name = "kthvalue";
    let body = |x: &Tensor, dim: usize| {
        let n = x.shape()[dim];
        let place = k.checked_sub(1).filter(|&place| place < n);
        let place = place.ok_or_else(|| Error::argument(name, format!("{k} of {n} elements")))?;
        let (values, indices) = x.sort(dim as i64, false)?;
        Ok([values.narrow(dim as i64, place, 1)?, indices.narrow(dim as i64, place, 1)?])
    };
    let [value, index] = one_line(name, look(name, &x)?, &[dim], keep, body)?;
    Ok((value, index))
}

fn median(x: Operand<'_>, dims: impl IntoDims, keep: bool) -> Result<(Tensor, Tensor)> {
    let body = |x: &Tensor, dim: usize| {
        let (n, d) = (x.shape()[dim], dim as i64);
        let middle = n.checked_sub(1).ok_or_else(|| Error::argument("median", "of nothing"))? / 2;
        let (values, indices) = x.sort(d, false)?;
        if !x.dtype().is_float() {
            return Ok([values.narrow(d, middle, 1)?, indices.narrow(d, middle, 1)?]);
        }
        // NaN propagates: it stands at the end, and argmax finds the first of them.
        let last = values.narrow(d, n - 1, 1)?.detach()?;
        let place = last.ne(&last)?.select(values.argmax_keep(d)?, middle as f64)?;
        Ok([values.gather(d, &place)?, indices.gather(d, &place)?])
    };
    let [value, index] = one_line("median", look("median", &x)?, &dims.into_dims(), keep, body)?;
    Ok((value, index))
}

methods! {
    /// Sorting and searching, on `Result<Tensor>`.
    trait SortChain;

    /// The elements sorted along a dim, and where they stood: PyTorch's `sort(stable=True)`. Equals keep their order,
    /// descending too; NaN is the largest. Of any type.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (values, indices) = Tensor::from([3f32, 1., 2., 1.]).sort(0, false)?;
    /// assert_eq!(values.to_vec::<f32>()?, [1., 1., 2., 3.]);
    /// assert_eq!(indices.to_vec::<i64>()?, [1, 3, 2, 0]);
    /// # Ok(()) }
    /// ```
    fn sort(x, dim: i64, descending: bool) -> (Tensor, Tensor) { sort("sort", x, dim, descending, None) }

    /// The indices of [`sort`](Self::sort).
    fn argsort(x, dim: i64, descending: bool) -> Tensor {
        Ok(sort("argsort", x, dim, descending, None)?.1)
    }

    /// The values of [`sort`](Self::sort) along dim 0, ascending.
    fn msort(x) -> Tensor { Ok(sort("msort", x, 0, false, None)?.0) }

    /// The `k` largest (else smallest) elements along a dim, sorted, and where they stood. Ties: the lowest index first.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (values, indices) = Tensor::from([3f32, 9., 5.]).topk(2, 0, true)?;
    /// assert_eq!((values.to_vec::<f32>()?, indices.to_vec::<i64>()?), (vec![9., 5.], vec![1, 2]));
    /// # Ok(()) }
    /// ```
    fn topk(x, k: usize, dim: i64, largest: bool) -> (Tensor, Tensor) { sort("topk", x, dim, largest, Some(k)) }

    /// The `k`-th smallest element along a dim (`k` counts from 1) and where it stood.
    fn kthvalue(x, k: usize, dim: i64) -> (Tensor, Tensor) { kthvalue(x, k, dim, false) }
    /// As [`kthvalue`](Self::kthvalue); the dim stays with size 1.
    fn kthvalue_keep(x, k: usize, dim: i64) -> (Tensor, Tensor) { kthvalue(x, k, dim, true) }

    /// The median along a dim, or of all elements (`..`), and where it stood. Of two in the middle the smaller; NaN wins.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// assert_eq!(Tensor::from([3f32, 1., 9., 2.]).median(..)?.0.item::<f32>()?, 2.);
    /// # Ok(()) }
    /// ```
    fn median(x, dims: impl IntoDims) -> (Tensor, Tensor) { median(x, dims, false) }
    /// As [`median`](Self::median); the dims stay with size 1.
    fn median_keep(x, dims: impl IntoDims) -> (Tensor, Tensor) { median(x, dims, true) }

    /// For each of `values`: how many elements of the sorted row x are smaller (`right`: smaller or equal), that is, where it
    /// belongs. x: `[n]`, values of any shape; or x: `[.., n]`, values: `[.., m]`, row by row. i64. For PyTorch's `sorter`, give
    /// `x.gather(-1, &sorter)`.
    fn searchsorted<'b>(x, values: impl Into<Operand<'b>>, right: bool) -> Tensor {
        apply_one(&Op::SearchSorted { right }, &mut promoted("searchsorted", x, values.into())?)
    }

    /// For each element of x: the number of its bucket between sorted `boundaries: [n]`, 0 to n. `right`: a boundary
    /// belongs to the bucket above it.
    fn bucketize(x, boundaries: &Tensor, right: bool) -> Tensor {
        if boundaries.rank() != 1 {
            let message = format!("boundaries of shape {:?}: a vector is expected", boundaries.shape());
            return Err(Error::shape("bucketize", message));
        }
        apply_one(&Op::SearchSorted { right }, &mut promoted("bucketize", boundaries.into(), x)?)
    }
}
