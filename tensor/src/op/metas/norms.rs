//! Layer normalisation and its gradients.

use smallvec::smallvec;

use super::{Metas, like, require_float};
use crate::error::{Error, Result};
use crate::op::{Meta, Op};
use crate::shape::Dims;

/// The result and the statistics `[.., 2]`.
pub(super) fn layer_norm(op: &'static str, inputs: &[Meta]) -> Result<Metas> {
    let size = row_size(op, &inputs[0])?;
    for (what, parameter) in ["weight", "bias"].into_iter().zip(&inputs[1..]) {
        check_parameter(op, what, parameter, size)?;
    }
    Ok(smallvec![inputs[0].clone(), like(&inputs[0], statistics(&inputs[0]))])
}

/// Operands: gradient, input, statistics and, for the gradient in the input, perhaps a weight.
pub(super) fn gradient(op: &Op, inputs: &[Meta]) -> Result<Meta> {
    let name = op.name();
    let x = &inputs[1];
    let size = row_size(name, x)?;
    if inputs[0].shape != x.shape {
        let message = format!("gradient {:?} for an input {:?}", inputs[0].shape, x.shape);
        return Err(Error::shape(name, message));
    }
    if inputs[2].shape != statistics(x) {
        let message = format!("statistics {:?} for an input {:?}", inputs[2].shape, x.shape);
        return Err(Error::shape(name, message));
    }
    if let Some(weight) = inputs.get(3) {
        check_parameter(name, "weight", weight, size)?;
    }
    Ok(match op {
        Op::LayerNormWeight { .. } => like(x, Dims::from_slice(&[size])),
        _ => x.clone(),
    })
}

fn row_size(op: &'static str, x: &Meta) -> Result<usize> {
    require_float(op, x.dtype)?;
    x.shape.last().copied().ok_or_else(|| Error::shape(op, "a scalar has no rows"))
}

/// Two numbers a row.
fn statistics(x: &Meta) -> Dims {
    let mut shape = x.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = 2;
    }
    shape
}

fn check_parameter(op: &'static str, what: &str, meta: &Meta, size: usize) -> Result<()> {
    if meta.shape[..] == [size] {
        return Ok(());
    }
    Err(Error::shape(op, format!("{what} {:?} for rows of {size}", meta.shape)))
}
