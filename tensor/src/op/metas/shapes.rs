//! Views, concatenation, selection.

use super::{like, require_dtype, require_float, require_rank};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{IndexOp, Meta, Op, ViewOp};
use crate::shape;

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
                let mut sorted = order.clone();
                sorted.sort_unstable();
                if !sorted.iter().copied().eq(0..from.len()) {
                    return Err(Error::argument(
                        op,
                        format!("{order:?} does not permute the dims of {from:?}"),
                    ));
                }
                order.iter().map(|&d| from[d]).collect()
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
        },
    ))
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
        IndexOp::Unslice { .. } => {}
    }
    Ok(like(input, shape))
}
