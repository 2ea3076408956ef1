//! Matrix products.

use ferrotape_kernels::cpu::gemm::Activation;
use ferrotape_kernels::cuda::gemm::{self, Product};
use ferrotape_kernels::cuda::{Array, Strided, integers, precision};

use super::dense::Dense;
use super::{array, kind, target};
use crate::error::{Error, Result};
use crate::execute::{Input, Output, tensor, told};
use crate::layout::Strides;
use crate::op::{LinearActivation, Op};
use crate::tensor::Tensor;

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    let out = outputs.first_mut()?;
    if !gemm::computes(kind(out.meta.dtype)) && !matches!(op, Op::Matmul) {
        return None;
    }
    match op {
        Op::Matmul => matmul(op, inputs, out),
        Op::Linear(LinearActivation::None) => Some(linear(op, Activation::None, inputs, out)),
        Op::Linear(LinearActivation::Relu) => Some(linear(op, Activation::Relu, inputs, out)),
        _ => None,
    }
}

/// `None` if the matrices of a batch lie in more ways than a kernel can be told.
fn matmul(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Option<Result<()>> {
    let operands = || Ok((tensor(op, inputs, 0)?, tensor(op, inputs, 1)?));
    let (a, b) = match operands() {
        Ok(operands) => operands,
        Err(error) => return Some(Err(error)),
    };
    let lead = out.meta.shape.len().saturating_sub(2);
    let (a, b) =
        (Batched::new(a, &out.meta.shape[..lead]), Batched::new(b, &out.meta.shape[..lead]));
    let known = |x: &Batched<'_>| Strided::new(0, &x.shape[..lead], &x.strides[..lead]).is_ok();
    if !known(&a) || !known(&b) {
        return None;
    }
    let mut run = || {
        let (a, b) = (a.array(op)?, b.array(op)?);
        if a.kind().is_integer() {
            return told(op, integers::matmul(a, b, target(op, out)?));
        }
        let product = Product {
            a,
            b,
            row_bias: None,
            column_bias: None,
            accumulate: false,
            activation: Activation::None,
        };
        told(op, precision::multiply(&product, target(op, out)?))
    };
    Some(run())
}

/// An operand broadcast to the dims of the batch.
struct Batched<'a> {
    tensor: &'a Tensor,
    shape: Vec<usize>,
    strides: Strides,
}

impl<'a> Batched<'a> {
    fn new(tensor: &'a Tensor, batch: &[usize]) -> Self {
        let own = tensor.rank().saturating_sub(2);
        let mut shape = batch.to_vec();
        shape.extend_from_slice(&tensor.shape()[own..]);
        let strides = tensor.layout().broadcast_strides(&shape);
        Batched { tensor, shape, strides }
    }

    fn array(&self, op: &Op) -> Result<Array<'_>> {
        let own = array(op, self.tensor)?;
        Array::new(own.buffer(), own.kind(), own.offset(), &self.shape, &self.strides)
            .map_err(|error| Error::from_kernel(op.name(), error))
    }
}

/// `x w^T + b` as one product over all rows.
fn linear(
    op: &Op,
    activation: Activation,
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
) -> Result<()> {
    let (x, w) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let &[outputs, features] = w.shape() else {
        return Err(Error::argument(op.name(), "its weight has two dims"));
    };
    let &[output_stride, feature_stride] = w.layout().strides() else {
        return Err(Error::argument(op.name(), "its weight has two dims"));
    };
    let rows = out.meta.shape[..out.meta.shape.len() - 1].iter().product();
    let failed = |error| Error::from_kernel(op.name(), error);
    let (flat, flat_strides) = ([rows, features], [features as isize, 1]);
    let dense;
    let a = if x.rank() == 2 {
        array(op, x)?
    } else {
        dense = Dense::new(op, x)?;
        dense.array(op, &flat, &flat_strides)?
    };
    let w = array(op, w)?;
    let (across, across_strides) = ([features, outputs], [feature_stride, output_stride]);
    let b =
        Array::new(w.buffer(), w.kind(), w.offset(), &across, &across_strides).map_err(failed)?;
    let bias = match inputs.len() {
        3 => Some(Dense::new(op, tensor(op, inputs, 2)?)?),
        _ => None,
    };
    let bias_shape = [outputs];
    let column_bias = match &bias {
        Some(bias) => Some(bias.array(op, &bias_shape, &[1])?),
        None => None,
    };
    let product = Product { a, b, row_bias: None, column_bias, accumulate: false, activation };
    told(op, precision::multiply(&product, target(op, out)?))
}
