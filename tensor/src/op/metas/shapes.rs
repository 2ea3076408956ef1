//! Views, concatenation, selection.

use super::{like, require_dtype, require_float, require_rank};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Diagonal, IndexOp, Meta, Op, ViewOp};
use crate::shape::{self, Dims};
use ferrotape_kernels::cpu::gather::ScatterOp;

pub(super) fn output(op: &Op, inputs: &[Meta]) -> Result<Meta> {
    let name = op.name();
    match op {
        Op::View(view) => viewed(name, view, &inputs[0]),
        Op::Concat(dim) => concatenated(name, *dim, inputs),
        Op::Index(index) => indexed(name, index, inputs),
        _ => Err(Error::argument(name, "is neither view nor selection")),
    }
}

fn viewed(op: &'static str, view: &ViewOp, input: &Meta) -> Result<Meta> {
    let from = &input.shape;
    Ok(like(
        input,
        match view {
            ViewOp::Reshape(to) => {
                if shape::checked_len(op, to)? != shape::len(from) {
                    let (old, new) = (shape::len(from), shape::len(to));
                    let message = format!("{from:?} has {old} elements, {to:?} has {new}");
                    return Err(Error::shape(op, message));
                }
                to.clone()
            }
            ViewOp::Permute(order) => {
                if !permutes(order, from.len()) {
                    return Err(Error::argument(
                        op,
                        format!("{order:?} does not permute the dims of {from:?}"),
                    ));
                }
                let mut to = Dims::from_slice(order);
                to.iter_mut().for_each(|d| *d = from[*d]);
                to
            }
            ViewOp::Expand(to) => {
                if shape::broadcast(op, from, to)? != *to {
                    return Err(Error::shape(op, format!("{from:?} does not expand to {to:?}")));
                }
                to.clone()
            }
            ViewOp::Slice { dim, start, length, step } => {
                shape::check_dim(op, *dim, from.len())?;
                let size = from[*dim] as i128;
                let last = *start as i128 + (*length as i128 - 1) * *step as i128;
                let inside = |place: i128| (0..size).contains(&place);
                if *step == 0 || (*length > 0 && !(inside(*start as i128) && inside(last))) {
                    let message =
                        format!("start {start}, length {length}, step {step} leave size {size}");
                    return Err(Error::argument(op, message));
                }
                let mut to = from.clone();
                to[*dim] = *length;
                to
            }
            ViewOp::Diagonal(diagonal) => {
                let sizes = matrix(op, diagonal, from)?;
                let rest = from.iter().enumerate().filter(|(d, _)| !diagonal.dims.contains(d));
                rest.map(|(_, &size)| size).chain([diagonal.place(sizes).1]).collect()
            }
            ViewOp::Unfold { dim, size, step } => {
                shape::check_dim(op, *dim, from.len())?;
                let mut to = from.clone();
                to[*dim] = windows(op, from[*dim], *size, *step)?;
                to.push(*size);
                to
            }
        },
    ))
}

/// True if `order` names each of `rank` dims once.
fn permutes(order: &[usize], rank: usize) -> bool {
    let first = |(i, d): (usize, &usize)| *d < rank && !order[..i].contains(d);
    order.len() == rank && order.iter().enumerate().all(first)
}

/// The sizes of a diagonal's two dims.
fn matrix(op: &'static str, diagonal: &Diagonal, shape: &[usize]) -> Result<[usize; 2]> {
    let [first, second] = diagonal.dims;
    shape::check_dim(op, first, shape.len())?;
    shape::check_dim(op, second, shape.len())?;
    if first == second {
        return Err(Error::argument(op, format!("dim {first} is named twice")));
    }
    Ok([shape[first], shape[second]])
}

/// How many windows there are.
fn windows(op: &'static str, n: usize, size: usize, step: usize) -> Result<usize> {
    match n.checked_sub(size) {
        // Saturating: windows of no elements may be more than a usize counts.
        Some(rest) if step > 0 => Ok((rest / step).saturating_add(1)),
        _ => Err(Error::argument(op, format!("windows of {size}, {step} apart, in size {n}"))),
    }
}

fn concatenated(op: &'static str, dim: usize, inputs: &[Meta]) -> Result<Meta> {
    let first = &inputs[0];
    shape::check_dim(op, dim, first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[dim] = 0;
    for (i, input) in inputs.iter().enumerate() {
        let fits = input.shape.len() == shape.len()
            && (0..shape.len()).all(|d| d == dim || input.shape[d] == shape[d]);
        if !fits {
            let message = format!(
                "tensor {i} of shape {:?} and {:?} differ beside dim {dim}",
                input.shape, first.shape
            );
            return Err(Error::shape(op, message));
        }
        shape[dim] = shape[dim]
            .checked_add(input.shape[dim])
            .ok_or_else(|| Error::shape(op, "the result is too large"))?;
    }
    Ok(like(first, shape))
}

fn indexed(op: &'static str, index: &IndexOp, inputs: &[Meta]) -> Result<Meta> {
    let input = &inputs[0];
    let rank = input.shape.len();
    let mut shape = input.shape.clone();
    match index {
        IndexOp::Unslice { dim, start, step, size } => {
            shape::check_dim(op, *dim, rank)?;
            shape[*dim] = *size;
            let slice =
                ViewOp::Slice { dim: *dim, start: *start, length: input.shape[*dim], step: *step };
            viewed(op, &slice, &like(input, shape.clone()))?;
            return Ok(like(input, shape));
        }
        IndexOp::Undiagonal { diagonal, sizes } => return undiagonal(op, diagonal, sizes, input),
        IndexOp::Fold { dim, step, size } => {
            let taps = shape.pop().unwrap_or(1);
            shape::check_dim(op, *dim, shape.len())?;
            let count = windows(op, *size, taps, *step)?;
            if count != shape[*dim] {
                let message = format!("{} windows where size {size} has {count}", shape[*dim]);
                return Err(Error::shape(op, message));
            }
            shape[*dim] = *size;
            return Ok(like(input, shape));
        }
        IndexOp::Scatter { dim, how } => return scattered(op, *dim, *how, inputs),
        IndexOp::ScatterAdd { .. } if input.dtype == DType::I64 => {}
        IndexOp::Add { .. } | IndexOp::ScatterAdd { .. } => require_float(op, input.dtype)?,
        _ => {}
    }
    require_dtype(op, inputs[1].dtype, DType::I64)?;
    let indices = &inputs[1].shape;
    match index {
        IndexOp::Gather(dim) => {
            shape::check_dim(op, *dim, rank)?;
            let fits =
                indices.len() == rank && (0..rank).all(|d| d == *dim || indices[d] <= shape[d]);
            if !fits {
                let message =
                    format!("index of shape {indices:?} reaches beyond {shape:?} (dim {dim})");
                return Err(Error::shape(op, message));
            }
            shape = indices.clone();
        }
        IndexOp::ScatterAdd { dim, shape: to } => {
            shape::check_dim(op, *dim, rank)?;
            let fits = *indices == shape
                && to.len() == rank
                && (0..rank).all(|d| d == *dim || shape[d] <= to[d]);
            if !fits {
                let message = format!(
                    "source {shape:?}, index {indices:?} and result {to:?} don't fit (dim {dim})"
                );
                return Err(Error::shape(op, message));
            }
            shape = to.clone();
        }
        IndexOp::Select(dim) => {
            shape::check_dim(op, *dim, rank)?;
            require_rank(op, "index", &inputs[1], 1)?;
            shape[*dim] = indices[0];
        }
        IndexOp::Add { dim, size } => {
            shape::check_dim(op, *dim, rank)?;
            require_rank(op, "index", &inputs[1], 1)?;
            if shape[*dim] != indices[0] {
                let message =
                    format!("{} indices for {} slices of {shape:?}", indices[0], shape[*dim]);
                return Err(Error::shape(op, message));
            }
            shape[*dim] = *size;
        }
        _ => {}
    }
    Ok(like(input, shape))
}

fn undiagonal(
    op: &'static str,
    diagonal: &Diagonal,
    sizes: &[usize; 2],
    input: &Meta,
) -> Result<Meta> {
    let Some((&length, rest)) = input.shape.split_last() else {
        return Err(Error::shape(op, "a scalar is no diagonal"));
    };
    let [first, second] = diagonal.dims;
    let rank = rest.len() + 2;
    shape::check_dim(op, first, rank)?;
    shape::check_dim(op, second, rank)?;
    let mut shape = Dims::from_slice(rest);
    let (low, high) = if first < second { (0, 1) } else { (1, 0) };
    if first != second {
        shape.insert(diagonal.dims[low], sizes[low]);
        shape.insert(diagonal.dims[high], sizes[high]);
    }
    if diagonal.place(matrix(op, diagonal, &shape)?).1 != length {
        let message = format!("{length} elements on diagonal {} of {sizes:?}", diagonal.offset);
        return Err(Error::shape(op, message));
    }
    Ok(like(input, shape))
}

fn scattered(op: &'static str, dim: usize, how: ScatterOp, inputs: &[Meta]) -> Result<Meta> {
    let [x, index, source] = inputs else {
        return Err(Error::argument(op, "three operands expected"));
    };
    if how != ScatterOp::Last && x.dtype != DType::I64 {
        require_float(op, x.dtype)?;
    }
    require_dtype(op, index.dtype, DType::I64)?;
    require_dtype(op, source.dtype, x.dtype)?;
    shape::check_dim(op, dim, x.shape.len())?;
    let fits = index.shape == source.shape
        && index.shape.len() == x.shape.len()
        && (0..x.shape.len()).all(|d| d == dim || index.shape[d] <= x.shape[d]);
    if !fits {
        let (i, s, x) = (&index.shape, &source.shape, &x.shape);
        let message = format!("source {s:?}, index {i:?} and {x:?} don't fit (dim {dim})");
        return Err(Error::shape(op, message));
    }
    Ok(x.clone())
}
