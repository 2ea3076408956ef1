//! Pools of images.

use ferrotape_kernels::cuda::{Type, pool};

use super::dense::Dense;
use super::{kind, target};
use crate::error::{Error, Result};
use crate::execute::images::pooled;
use crate::execute::{Input, Output, tensor, told};
use crate::op::{Op, Pool2dOp, WindowsOp};

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    let windows = match op {
        Op::MaxPool2d(_) | Op::MaxPool2dScatter(..) | Op::MaxPool2dGather(_) => false,
        Op::MaxPool2dIndex(_) | Op::AvgPool2d(..) | Op::AvgPool2dInput(..) => true,
        _ => return None,
    };
    let Some(Input::Tensor(x)) = inputs.first() else { return None };
    if !matches!(kind(x.dtype()), Type::F32 | Type::F64) {
        return None;
    }
    Some(if windows { means(op, inputs, outputs) } else { maxima(op, inputs, outputs) })
}

fn maxima(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    let a = tensor(op, inputs, 0)?;
    let (x, len) = (Dense::new(op, a)?, [a.len()]);
    let x = x.array(op, &len, &[1])?;
    let shape_of = |settings: &Pool2dOp, input: &[usize]| {
        settings.shape(input[0] * input[1], [input[2], input[3]])
    };
    if let (Op::MaxPool2d(settings), [y, taps]) = (op, &mut *outputs) {
        let (y, taps) = (target(op, y)?, target(op, taps)?);
        return pooled(op, pool::max_pool2d(&shape_of(settings, a.shape()), x, y, taps));
    }
    let b = tensor(op, inputs, 1)?;
    let (taps, taps_len) = (Dense::new(op, b)?, [b.len()]);
    let taps = taps.array(op, &taps_len, &[1])?;
    match (op, outputs) {
        (Op::MaxPool2dScatter(settings, _), [out]) => {
            let shape = shape_of(settings, &out.meta.shape);
            pooled(op, pool::max_pool2d_grad(&shape, x, taps, target(op, out)?))
        }
        (Op::MaxPool2dGather(settings), [out]) => {
            let shape = shape_of(settings, a.shape());
            pooled(op, pool::max_pool2d_gather(&shape, x, taps, target(op, out)?))
        }
        _ => Err(Error::argument(op.name(), "is no pooling")),
    }
}

fn means(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    let a = tensor(op, inputs, 0)?;
    let (x, len) = (Dense::new(op, a)?, [a.len()]);
    let x = x.array(op, &len, &[1])?;
    let over = |windows: &WindowsOp, input: &[usize]| {
        windows.windows(input[0] * input[1], [input[2], input[3]])
    };
    let [out] = outputs else { return Err(Error::argument(op.name(), "has one result")) };
    told(
        op,
        match op {
            Op::MaxPool2dIndex(windows) => {
                pool::max_pool2d_index(&over(windows, a.shape()), x, target(op, out)?)
            }
            Op::AvgPool2d(windows, divisor) => {
                let windows = over(windows, a.shape());
                pool::average_pool2d(&windows, *divisor, x, target(op, out)?)
            }
            Op::AvgPool2dInput(windows, divisor, _) => {
                let windows = over(windows, &out.meta.shape);
                pool::average_pool2d_grad(&windows, *divisor, x, target(op, out)?)
            }
            _ => return Err(Error::argument(op.name(), "has no windows")),
        },
    )
}
