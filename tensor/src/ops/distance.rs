//! Norms of vectors and matrices, and the distances made of them.

use smallvec::SmallVec;

use crate::apply::{Operand, apply};
use crate::error::{Error, Result};
use crate::op::Op;
use crate::ops::chain::{BinaryChain as _, ReduceChain as _, ShapeChain as _, UnaryChain as _};
use crate::ops::statistics::{root, unless_zero};
use crate::ops::{look, methods, through_f32};
use crate::shape::{self, IntoDims};
use crate::tensor::Tensor;

/// A norm of matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MatrixNorm {
    /// Root of the sum of squares: PyTorch's `"fro"`.
    Frobenius,
    /// The largest sum of magnitudes of a column: `1`.
    One,
    /// The smallest of these: `-1`.
    MinusOne,
    /// The largest sum of magnitudes of a row: `inf`.
    Infinity,
    /// The smallest of these: `-inf`.
    MinusInfinity,
    /// The sum of the singular values: `"nuc"`.
    Nuclear,
    /// The largest singular value: `2`.
    Two,
    /// The smallest singular value: `-2`.
    MinusTwo,
}

fn norm(x: Operand<'_>, p: f64, dims: impl IntoDims, keep: bool) -> Result<Tensor> {
    let dims = dims.into_dims();
    through_f32("norm", x, |x| float_norm(look("norm", &x)?, p, &dims, keep))
}

fn float_norm(x: &Tensor, p: f64, dims: &[i64], keep: bool) -> Result<Tensor> {
    match p {
        0.0 => x.ne(0.0)?.to_dtype(x.dtype()).sum_with(dims, keep),
        1.0 => x.abs().sum_with(dims, keep),
        2.0 => root(&x.square().sum_with(dims, keep)?),
        f64::INFINITY if keep => x.abs().max_keep(dims),
        f64::INFINITY => x.abs().max(dims),
        f64::NEG_INFINITY if keep => x.abs().min_keep(dims),
        f64::NEG_INFINITY => x.abs().min(dims),
        p if p.is_nan() => Err(Error::argument("norm", "of order NaN")),
        p => {
            // What 0 to a power is, without the derivative that it has not.
            let zero = if p > 0.0 { 0.0 } else { f64::INFINITY };
            let powers = unless_zero(&x.abs()?, zero, |x| x.pow(p))?;
            unless_zero(&powers.sum_with(dims, keep)?, zero, |sum| sum.pow(1.0 / p))
        }
    }
}

fn matrix_norm(x: Operand<'_>, kind: MatrixNorm, dims: [i64; 2], keep: bool) -> Result<Tensor> {
    let name = "matrix_norm";
    let x = look(name, &x)?;
    let [row, column] = dims;
    let [row, column] =
        [shape::resolve_dim(name, row, x.rank())?, shape::resolve_dim(name, column, x.rank())?];
    if row == column {
        return Err(Error::argument(name, format!("dim {row} is named twice")));
    }
    let dims = [row as i64, column as i64];
    let [row, column] = dims;
    let y = match kind {
        MatrixNorm::Frobenius => x.norm_keep(2.0, dims),
        MatrixNorm::One => x.abs().sum_keep(row).max_keep(column),
        MatrixNorm::MinusOne => x.abs().sum_keep(row).min_keep(column),
        MatrixNorm::Infinity => x.abs().sum_keep(column).max_keep(row),
        MatrixNorm::MinusInfinity => x.abs().sum_keep(column).min_keep(row),
        MatrixNorm::Nuclear => spectrum(x, dims).sum_keep(dims),
        MatrixNorm::Two => spectrum(x, dims).max_keep(dims),
        MatrixNorm::MinusTwo => spectrum(x, dims).min_keep(dims),
    };
    if keep { y } else { y.squeeze(row.max(column)).squeeze(row.min(column)) }
}

/// Singular vectors and values.
fn svd(x: Operand<'_>) -> Result<[Tensor; 3]> {
    let outputs: SmallVec<[Tensor; 3]> = apply(&Op::Svd, &mut [x])?.into_iter().collect();
    outputs.into_inner().map_err(|_| Error::argument("svd", "has not three outputs"))
}

/// The singular values of the matrices in two dims, in the place of the rows; the columns have size 1.
fn spectrum(x: &Tensor, [row, column]: [i64; 2]) -> Result<Tensor> {
    let last = x.rank() as i64 - 1;
    let others = (0..=last).filter(|&d| d != row && d != column);
    let order: SmallVec<[i64; 6]> = others.chain([row, column]).collect();
    let mut back: SmallVec<[i64; 6]> = order.clone();
    for (to, &from) in order.iter().enumerate() {
        if let Some(place) = back.get_mut(from as usize) {
            *place = to as i64;
        }
    }
    let [_, values, _] = svd(x.permute(&order[..])?.into())?;
    values.unsqueeze(-1).permute(&back[..])
}

/// At least `low`; where that changes a value, the gradient passes all the same, as PyTorch has it here.
pub(super) fn at_least(x: &Tensor, low: f64) -> Result<Tensor> {
    x.lt(low)?.select(x.sub(x.detach()).add(low), x)
}

methods! {
    /// Norms and distances, on `Result<Tensor>`.
    trait DistanceChain;

    /// The `p`-norm over dims, `sum(|x|^p)^(1/p)`: PyTorch's `linalg.vector_norm` and `norm`. `p` = 0 counts what is not zero,
    /// infinite ones give the largest and smallest magnitude. Where a norm has no derivative at 0, it is taken as 0.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([3f32, -4.]);
    /// assert_eq!(x.norm(2.0, ..)?.item::<f32>()?, 5.);
    /// assert_eq!(x.norm(f64::INFINITY, ..)?.item::<f32>()?, 4.);
    /// # Ok(()) }
    /// ```
    fn norm(x, p: f64, dims: impl IntoDims) -> Tensor { norm(x, p, dims, false) }
    /// The `p`-norm over dims, which stay with size 1.
    fn norm_keep(x, p: f64, dims: impl IntoDims) -> Tensor { norm(x, p, dims, true) }

    /// A norm of the matrices in two dims, rows and columns: PyTorch's `linalg.matrix_norm`.
    fn matrix_norm(x, kind: MatrixNorm, dims: [i64; 2]) -> Tensor { matrix_norm(x, kind, dims, false) }
    /// A norm of the matrices in two dims, which stay with size 1.
    fn matrix_norm_keep(x, kind: MatrixNorm, dims: [i64; 2]) -> Tensor { matrix_norm(x, kind, dims, true) }

    /// Singular vectors and values of each matrix `[.., m, n]`: `x = u diag(s) vh`, `k = min(m, n)`, u: `[.., m, k]`, s: `[.., k]`
    /// descending, vh: `[.., k, n]`. PyTorch's `linalg.svd(full_matrices=False)`. Vectors are determined up to their common
    /// sign; those of equal values, and their gradients, are not determined at all. What is not finite gives NaN.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (_, s, _) = Tensor::from([[3f64, 0.], [0., -4.]]).svd()?;
    /// assert_eq!(s.to_vec::<f64>()?, [4., 3.]);
    /// # Ok(()) }
    /// ```
    fn svd(x) -> (Tensor, Tensor, Tensor) {
        let [u, s, vh] = svd(x)?;
        Ok((u, s, vh))
    }

    /// `x / max(norm(x), eps)` along a dim: PyTorch's `normalize` (there `p = 2`, `dim = 1`, `eps = 1e-12` by default).
    fn normalize(x, p: f64, dim: i64, eps: f64) -> Tensor {
        let x = look("normalize", &x)?;
        x.div(x.norm_keep(p, dim).clamp(eps, f64::INFINITY))
    }

    /// The cosine of the angle between x and `other` along a dim, each norm at least `eps`: PyTorch's `cosine_similarity`
    /// (there `dim = 1`, `eps = 1e-8` by default). Shapes broadcast.
    fn cosine_similarity(x, other: &Tensor, dim: i64, eps: f64) -> Tensor {
        let name = "cosine_similarity";
        let x = look(name, &x)?;
        let shape = shape::broadcast(name, x.shape(), other.shape())?;
        let unit = |x: &Tensor| {
            let x = x.expand(&shape)?;
            x.div(at_least(&x.norm_keep(2.0, dim)?, eps))
        };
        unit(x)?.mul(unit(other)).sum(dim)
    }

    /// `norm(x - other + eps)` over the last dim: PyTorch's `pairwise_distance` (there `p = 2`, `eps = 1e-6` by default).
    fn pairwise_distance(x, other: &Tensor, p: f64, eps: f64) -> Tensor {
        look("pairwise_distance", &x)?.sub(other).add(eps).norm(p, -1)
    }
    /// As [`pairwise_distance`](Self::pairwise_distance); the last dim stays with size 1.
    fn pairwise_distance_keep(x, other: &Tensor, p: f64, eps: f64) -> Tensor {
        look("pairwise_distance", &x)?.sub(other).add(eps).norm_keep(p, -1)
    }
}
