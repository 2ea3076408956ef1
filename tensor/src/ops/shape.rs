//! Views and shapes: reshape, permute, expand, squeeze, slices, concatenation.

use smallvec::SmallVec;

use crate::apply::{Operand, apply_one};
use crate::error::{Error, Result};
use crate::op::{Op, ReduceDims, ViewOp};
use crate::ops::{look, methods};
use crate::shape::{self, Dims, IntoDims, IntoShape, IntoSizes};
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::reduce::ReduceOp;

/// Sums `x` back to `shape`, from which it was broadcast.
pub(crate) fn sum_to(x: &Tensor, to: &[usize]) -> Result<Tensor> {
    let lead = x.rank().saturating_sub(to.len());
    let spread = |d: usize| d < lead || (to[d - lead] == 1 && x.shape()[d] != 1);
    let dims: Dims = (0..x.rank()).filter(|&d| spread(d)).collect();
    let summed = match dims.is_empty() {
        true => x.clone(),
        false => apply_one(
            &Op::Reduce(ReduceOp::Sum, ReduceDims { dims, keep: true }),
            &mut [Operand::Ref(x)],
        )?,
    };
    if summed.shape() == to { Ok(summed) } else { summed.reshape(to) }
}

fn checked_sum_to(x: &Tensor, to: &[usize]) -> Result<Tensor> {
    if shape::broadcast("sum_to", to, x.shape())?[..] != *x.shape() {
        let message = format!("{:?} is no broadcast of {to:?}", x.shape());
        return Err(Error::shape("sum_to", message));
    }
    sum_to(x, to)
}

fn reshape(x: Operand<'_>, to: Dims) -> Result<Tensor> {
    let tensor = look("reshape", &x)?;
    if tensor.shape() == &to[..] {
        return Ok(tensor.clone());
    }
    if shape::checked_len("reshape", &to)? == tensor.len() && tensor.layout().reshape(&to).is_none()
    {
        let dense = tensor.contiguous_copy()?;
        return apply_one(&Op::View(ViewOp::Reshape(to)), &mut [Operand::Own(dense)]);
    }
    apply_one(&Op::View(ViewOp::Reshape(to)), &mut [x])
}

/// [`reshape`] where one size may be -1.
fn resized(x: Operand<'_>, sizes: &[i128]) -> Result<Tensor> {
    let to = shape::with_rest("reshape", sizes, look("reshape", &x)?.len())?;
    reshape(x, to)
}

fn expand(x: Operand<'_>, sizes: &[i128]) -> Result<Tensor> {
    let to = expanded(look("expand", &x)?.shape(), sizes)?;
    if look("expand", &x)?.shape() == &to[..] {
        return look("expand", &x).cloned();
    }
    view(x, ViewOp::Expand(to))
}

/// Sizes of which those that are -1 stay as they are.
fn expanded(from: &[usize], sizes: &[i128]) -> Result<Dims> {
    let lead = sizes.len().checked_sub(from.len());
    let kept = |d: usize| lead.and_then(|lead| d.checked_sub(lead)).map(|d| from[d]);
    let sizes_of = sizes.iter().enumerate().map(|(d, &size)| match size {
        -1 => kept(d),
        size => usize::try_from(size).ok(),
    });
    sizes_of.collect::<Option<_>>().ok_or_else(|| {
        Error::shape(
            "expand",
            format!("{sizes:?} of {from:?}: a size is negative, or -1 for a new dim"),
        )
    })
}

pub(super) fn view(x: Operand<'_>, view: ViewOp) -> Result<Tensor> {
    apply_one(&Op::View(view), &mut [x])
}

methods! {
    /// Views and shapes, on `Result<Tensor>`.
    trait ShapeChain;

    /// The same elements under another shape of the same length, of which one size may be -1: the one that fits. Copies only where the
    /// layout demands it.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// assert_eq!(Tensor::from([1f32, 2., 3., 4.]).reshape([2, -1])?.shape(), [2, 2]);
    /// # Ok(()) }
    /// ```
    fn reshape(x, shape: impl IntoSizes) -> Tensor {
        resized(x, &shape.into_sizes())
    }

    /// The dims `from..=to` as one: PyTorch's `flatten(start_dim, end_dim)`.
    fn flatten(x, from: i64, to: i64) -> Tensor {
        let tensor = look("flatten", &x)?;
        let from = shape::lent_dim("flatten", from, tensor.rank())?;
        let to = shape::lent_dim("flatten", to, tensor.rank())?;
        if tensor.rank() == 0 {
            return reshape(x, Dims::from_slice(&[1]));
        }
        if from > to {
            return Err(Error::argument("flatten", format!("dim {from} comes after dim {to}")));
        }
        let old = tensor.shape();
        let mut new = Dims::from_slice(&old[..from]);
        new.push(shape::checked_len("flatten", &old[from..=to])?);
        new.extend_from_slice(&old[to + 1..]);
        reshape(x, new)
    }

    /// Dims in another order: dim `d` of the result is dim `order[d]`.
    fn permute(x, order: impl IntoDims) -> Tensor {
        let rank = look("permute", &x)?.rank();
        let order = order.into_dims();
        let order = order.iter().map(|&d| shape::resolve_dim("permute", d, rank)).collect::<Result<Dims>>()?;
        view(x, ViewOp::Permute(order))
    }

    /// Two dims exchanged.
    fn transpose(x, first: i64, second: i64) -> Tensor {
        let rank = look("transpose", &x)?.rank();
        let first = shape::lent_dim("transpose", first, rank)?;
        let second = shape::lent_dim("transpose", second, rank)?;
        if first == second {
            return look("transpose", &x).cloned();
        }
        let mut order = shape::all_dims(rank);
        order.swap(first, second);
        view(x, ViewOp::Permute(order))
    }

    /// The last two dims exchanged: a matrix transposed. Vectors and scalars stay as they are, as in PyTorch's `t`.
    fn t(x) -> Tensor {
        let rank = look("t", &x)?.rank();
        if rank < 2 {
            return look("t", &x).cloned();
        }
        let mut order = shape::all_dims(rank);
        order.swap(rank - 1, rank - 2);
        view(x, ViewOp::Permute(order))
    }

    /// Broadcast to a larger shape, without a copy; -1 keeps a size. PyTorch's `expand` and `broadcast_to`.
    fn expand(x, shape: impl IntoSizes) -> Tensor {
        expand(x, &shape.into_sizes())
    }

    /// Summed back to `shape`, of which this one's shape is a broadcast.
    fn sum_to(x, shape: impl IntoShape) -> Tensor {
        checked_sum_to(look("sum_to", &x)?, &shape.into_shape())
    }

    /// A new dim of size 1 before dim `dim` (`-1`: at the end).
    fn unsqueeze(x, dim: i64) -> Tensor {
        let tensor = look("unsqueeze", &x)?;
        let dim = shape::resolve_dim("unsqueeze", dim, tensor.rank() + 1)?;
        let mut to = Dims::from_slice(tensor.shape());
        to.insert(dim, 1);
        reshape(x, to)
    }

    /// Without those of the dims (`..`: of all) that have size 1.
    fn squeeze(x, dims: impl IntoDims) -> Tensor {
        let tensor = look("squeeze", &x)?;
        let dims = shape::named_dims("squeeze", dims, tensor.rank())?;
        let sizes = tensor.shape().iter().enumerate();
        let to = sizes.filter(|&(d, &size)| size != 1 || !dims.contains(&d)).map(|(_, &size)| size);
        let to = to.collect();
        reshape(x, to)
    }

    /// `length` slices of dim `dim` from `start` on: PyTorch's `narrow`.
    fn narrow(x, dim: i64, start: usize, length: usize) -> Tensor {
        let tensor = look("narrow", &x)?;
        let dim = shape::resolve_dim("narrow", dim, tensor.rank())?;
        let size = tensor.shape()[dim];
        if start.checked_add(length).is_none_or(|end| end > size) {
            let message = format!("{length} from {start} on leave size {size} of dim {dim}");
            return Err(Error::argument("narrow", message));
        }
        view(x, ViewOp::Slice { dim, start, length, step: 1 })
    }

    /// The elements of some dims (`..`: of all; `[]`: of none) in opposite order, as a view.
    fn flip(x, dims: impl IntoDims) -> Tensor {
        let mut y = look("flip", &x)?.clone();
        for dim in shape::named_dims("flip", dims, y.rank())? {
            if y.rank() == 0 {
                break;
            }
            let length = y.shape()[dim];
            let slice = ViewOp::Slice { dim, start: length.saturating_sub(1), length, step: -1 };
            y = view(Operand::Own(y), slice)?;
        }
        Ok(y)
    }

    /// The same elements row-major without gaps; itself if they lie so already.
    fn contiguous(x) -> Tensor {
        let tensor = look("contiguous", &x)?;
        if tensor.is_contiguous() { Ok(tensor.clone()) } else { tensor.contiguous_copy() }
    }

    /// A copy in memory of its own.
    fn copy(x) -> Tensor { look("copy", &x)?.contiguous_copy() }
}

impl Tensor {
    /// Tensors one after the other along dim `dim`; their other sizes must be equal (an empty vector is no exception, as it is in
    /// PyTorch). Types promote.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (a, b) = (Tensor::from([[1f32], [2.]]), Tensor::from([[3f32], [4.]]));
    /// assert_eq!(Tensor::cat(&[&a, &b], 1)?.to_vec::<f32>()?, [1., 3., 2., 4.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// No tensors; shapes that differ.
    #[track_caller]
    pub fn cat(tensors: &[&Tensor], dim: i64) -> Result<Tensor> {
        let here = std::panic::Location::caller();
        let cat = || {
            let first = tensors.first().ok_or_else(|| Error::argument("cat", "no tensors"))?;
            let dim = shape::resolve_dim("cat", dim, first.rank())?;
            let dtype = tensors.iter().fold(first.dtype(), |all, t| all.promote_types(t.dtype()));
            let mut operands: SmallVec<[Operand<'_>; 4]> = SmallVec::new();
            for &tensor in tensors {
                operands.push(match tensor.dtype() == dtype {
                    true => tensor.into(),
                    false => tensor.to_dtype(dtype)?.into(),
                });
            }
            apply_one(&Op::Concat(dim), &mut operands)
        };
        cat().map_err(|error| error.at(here))
    }

    /// Tensors of one shape one beside the other along a new dim `dim`.
    ///
    /// # Errors
    /// No tensors; shapes or types that differ.
    #[track_caller]
    pub fn stack(tensors: &[&Tensor], dim: i64) -> Result<Tensor> {
        let here = std::panic::Location::caller();
        let stack = || {
            let raised = tensors.iter().map(|t| t.unsqueeze(dim)).collect::<Result<Vec<_>>>()?;
            let raised: Vec<&Tensor> = raised.iter().collect();
            let rank = tensors.first().map_or(1, |t| t.rank() + 1);
            Tensor::cat(&raised, shape::resolve_dim("stack", dim, rank)? as i64)
        };
        stack().map_err(|error| error.at(here))
    }
}
