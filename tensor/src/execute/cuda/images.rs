//! Convolutions.

use ferrotape_kernels::cuda::conv::{self, Convolution};

use super::dense::Dense;
use super::{kind, target};
use crate::error::{Error, Result};
use crate::execute::{Input, Output, tensor, told};
use crate::layout::Layout;
use crate::op::{Conv2dOp, Op};

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    match (op, outputs) {
        (Op::Conv2d(..) | Op::Conv2dInput(..) | Op::Conv2dWeight(..), [out]) => {
            convolve(op, inputs, out).transpose()
        }
        _ => None,
    }
}

/// `None` if the kernels lack the type or can't count so many places.
fn convolve(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<Option<()>> {
    let (a, b) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let of = |conv: &Conv2dOp, input: &[usize], weight: &[usize]| conv.shape(input, weight);
    let shape = match op {
        Op::Conv2d(settings, _) => of(settings, a.shape(), b.shape()),
        Op::Conv2dInput(settings, _) => of(settings, &out.meta.shape, b.shape()),
        Op::Conv2dWeight(settings, _) => of(settings, a.shape(), &out.meta.shape),
        _ => return Err(Error::argument(op.name(), "is no convolution")),
    };
    if !conv::computes(&shape, kind(out.meta.dtype)) {
        return Ok(None);
    }
    let (x, y) = (Dense::new(op, a)?, Dense::new(op, b)?);
    let whole = |shape: &[usize]| Layout::contiguous(shape.iter().copied().collect());
    let (x_layout, y_layout) = (whole(a.shape()), whole(b.shape()));
    let first = x.array(op, a.shape(), x_layout.strides())?;
    let second = y.array(op, b.shape(), y_layout.strides())?;
    let bias = match inputs.len() {
        3 => Some(Dense::new(op, tensor(op, inputs, 2)?)?),
        _ => None,
    };
    let bias_shape = [shape.out_channels];
    let bias = match &bias {
        Some(bias) => Some(bias.array(op, &bias_shape, &[1])?),
        None => None,
    };
    let convolution = match op {
        Op::Conv2d(_, activation) => {
            Convolution::Forward { x: first, weight: second, bias, activation: *activation }
        }
        Op::Conv2dInput(..) => Convolution::Input { grad: first, weight: second },
        _ => Convolution::Weight { x: first, grad: second },
    };
    told(op, conv::conv2d(&shape, &convolution, target(op, out)?)).map(Some)
}
