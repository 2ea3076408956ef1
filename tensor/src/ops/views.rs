//! More views: diagonals, windows, parts. None of them copies.

use crate::apply::{Operand, apply_one};
use crate::error::{Error, Result};
use crate::index;
use crate::op::{Diagonal, IndexOp, Op, ViewOp};
use crate::ops::chain::ShapeChain as _;
use crate::ops::shape::view;
use crate::ops::{look, methods};
use crate::shape::{self, Dims, IntoDims, IntoSizes};
use crate::tensor::Tensor;

fn movedim(x: &Tensor, from: &[i64], to: &[i64]) -> Result<Tensor> {
    if from.len() != to.len() {
        let message = format!("{} dims moved to {} places", from.len(), to.len());
        return Err(Error::argument("movedim", message));
    }
    let rank = x.rank();
    // Refuses a dim that is named twice.
    if !from.is_empty() {
        shape::resolve_dims("movedim", from, rank.max(1))?;
        shape::resolve_dims("movedim", to, rank.max(1))?;
    }
    if rank == 0 {
        return Ok(x.clone());
    }
    let mut order: Vec<Option<usize>> = vec![None; rank];
    let mut moved = Dims::new();
    for (&from, &to) in from.iter().zip(to) {
        let from = shape::resolve_dim("movedim", from, rank)?;
        order[shape::resolve_dim("movedim", to, rank)?] = Some(from);
        moved.push(from);
    }
    let mut rest = (0..rank).filter(|d| !moved.contains(d));
    let order: Dims = order.into_iter().filter_map(|place| place.or_else(|| rest.next())).collect();
    x.permute(&order[..])
}

methods! {
    /// Diagonals, windows, parts, on `Result<Tensor>`.
    trait ViewChain;

    /// The elements whose indices in dims `dim1` and `dim2` differ by `offset` (positive: above), as the last dim, a view: PyTorch's
    /// `diagonal`.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[1f32, 2., 3.], [4., 5., 6.]]);
    /// assert_eq!(x.diagonal(1, 0, 1)?.to_vec::<f32>()?, [2., 6.]);
    /// # Ok(()) }
    /// ```
    fn diagonal(x, offset: i64, dim1: i64, dim2: i64) -> Tensor {
        let rank = look("diagonal", &x)?.rank();
        let dims = [shape::resolve_dim("diagonal", dim1, rank)?, shape::resolve_dim("diagonal", dim2, rank)?];
        view(x, ViewOp::Diagonal(Diagonal { offset, dims }))
    }

    /// Zeros with the last dim of `x` on a diagonal of the new dims `dim1` and `dim2` of the result: PyTorch's `diag_embed` (there by
    /// default 0, -2, -1).
    fn diag_embed(x, offset: i64, dim1: i64, dim2: i64) -> Tensor {
        let tensor = look("diag_embed", &x)?;
        let dim = |dim| shape::resolve_dim("diag_embed", dim, tensor.rank() + 1);
        let dims = [dim(dim1)?, dim(dim2)?];
        let length = tensor.shape().last().copied().unwrap_or(1);
        let shift = usize::try_from(offset.unsigned_abs()).ok();
        let Some(size) = shift.and_then(|shift| length.checked_add(shift)) else {
            return Err(Error::argument("diag_embed", format!("an offset of {offset}")));
        };
        let diagonal = Diagonal { offset, dims };
        apply_one(&Op::Index(IndexOp::Undiagonal { diagonal, sizes: [size; 2] }), &mut [x])
    }

    /// Windows of `size` elements of dim `dim`, `step` apart, as a view: dim `dim` counts them, and a new last dim lies along them.
    /// PyTorch's `unfold` of tensors; that of images is [`im2col`](Tensor::im2col).
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let y = Tensor::from([1f32, 2., 3., 4.]).unfold(0, 3, 1)?;
    /// assert_eq!((y.shape(), y.to_vec::<f32>()?), (&[2, 3][..], vec![1., 2., 3., 2., 3., 4.]));
    /// # Ok(()) }
    /// ```
    fn unfold(x, dim: i64, size: usize, step: usize) -> Tensor {
        let tensor = look("unfold", &x)?;
        let dim = shape::lent_dim("unfold", dim, tensor.rank())?;
        if tensor.rank() == 0 {
            return view(Operand::Own(tensor.reshape(1)?), ViewOp::Unfold { dim, size, step })
                .flatten(0, -1);
        }
        view(x, ViewOp::Unfold { dim, size, step })
    }

    /// Dims `source` moved to the places `destination`; the others keep their order. PyTorch's `movedim`.
    fn movedim(x, source: impl IntoDims, destination: impl IntoDims) -> Tensor {
        movedim(look("movedim", &x)?, &source.into_dims(), &destination.into_dims())
    }

    /// Slice `index` of dim `dim`, which goes: PyTorch's `select`.
    fn select_at(x, dim: i64, index: i64) -> Tensor {
        let tensor = look("select_at", &x)?;
        let dim = shape::resolve_dim("select_at", dim, tensor.rank())?;
        let place = index::place(index, tensor.shape()[dim], false).map_err(|error| error.of_dim(dim))?;
        tensor.clone().cut(dim, place, 1, 1)?.squeeze(dim as i64)
    }

    /// Python's `start:end:step` of dim `dim`, cut to its size, as a view; the step may be negative. Where leaving the dim is an error:
    /// [`i`](Tensor::i).
    fn slice(x, dim: i64, start: Option<i64>, end: Option<i64>, step: i64) -> Tensor {
        let tensor = look("slice", &x)?;
        let dim = shape::resolve_dim("slice", dim, tensor.rank())?;
        let (start, length) = index::steps([start, end], step, tensor.shape()[dim], true)?;
        tensor.clone().cut(dim, start, length, step)
    }

    /// Dim `dim` as several, of which one size may be -1: PyTorch's `unflatten`.
    fn unflatten(x, dim: i64, sizes: impl IntoSizes) -> Tensor {
        let tensor = look("unflatten", &x)?;
        let dim = shape::resolve_dim("unflatten", dim, tensor.rank())?;
        let old = tensor.shape();
        let sizes = shape::with_rest("unflatten", &sizes.into_sizes(), old[dim])?;
        if sizes.is_empty() || shape::checked_len("unflatten", &sizes)? != old[dim] {
            let message = format!("size {} as {:?}", old[dim], &sizes[..]);
            return Err(Error::shape("unflatten", message));
        }
        tensor.reshape([&old[..dim], &sizes, &old[dim + 1..]].concat())
    }
}
