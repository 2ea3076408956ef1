//! Convolution and pooling.

use ferrotape_kernels::Float;
use ferrotape_kernels::cpu::{conv, pool};

use super::{Dense, Input, Output, float_type, tensor, told};
use crate::error::{Error, Result};
use crate::op::{Conv2dOp, Op, Pool2dOp, WindowsOp};

pub(super) fn execute(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    let dtype = match op {
        Op::MaxPool2dIndex(_) => tensor(op, inputs, 0)?.dtype(),
        _ => outputs[0].meta.dtype,
    };
    float_type!(op, dtype, T => match op {
        Op::Conv2d(..) | Op::Conv2dInput(..) | Op::Conv2dWeight(..) => convolve::<T>(op, inputs, &mut outputs[0]),
        Op::MaxPool2dIndex(_) | Op::AvgPool2d(..) | Op::AvgPool2dInput(..) => {
            windows::<T>(op, inputs, &mut outputs[0])
        }
        Op::Conv2dMaxPool2d(..)
        | Op::Conv2dMaxPool2dInput(..)
        | Op::Conv2dMaxPool2dWeight(..) => conv_and_pool::<T>(op, inputs, outputs),
        _ => max_pool::<T>(op, inputs, outputs),
    })
}

fn convolve<T: Float>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let (a, b) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let (x, y) = (Dense::<T>::new(op, a)?, Dense::<T>::new(op, b)?);
    let shape_of = |conv: &Conv2dOp, input: &[usize], weight: &[usize]| conv.shape(input, weight);
    let data = out.buffer.as_mut_slice::<T>();
    told(
        op,
        match op {
            Op::Conv2d(settings, activation) => {
                let bias = match inputs.len() {
                    3 => Some(Dense::<T>::new(op, tensor(op, inputs, 2)?)?),
                    _ => None,
                };
                let shape = shape_of(settings, a.shape(), b.shape());
                let bias = bias.as_ref().map(Dense::slice);
                conv::conv2d(&shape, x.slice(), y.slice(), bias, *activation, data)
            }
            Op::Conv2dInput(settings, _) => {
                let shape = shape_of(settings, &out.meta.shape, b.shape());
                conv::conv2d_input_grad(&shape, x.slice(), y.slice(), data)
            }
            Op::Conv2dWeight(settings, _) => {
                let shape = shape_of(settings, a.shape(), &out.meta.shape);
                conv::conv2d_weight_grad(&shape, x.slice(), y.slice(), data)
            }
            _ => return Err(Error::argument(op.name(), "is no convolution")),
        },
    )
}

fn max_pool<T: Float>(op: &Op, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
    let a = tensor(op, inputs, 0)?;
    let x = Dense::<T>::new(op, a)?;
    let shape_of = |settings: &Pool2dOp, input: &[usize]| {
        settings.shape(input[0] * input[1], [input[2], input[3]])
    };
    let result = match (op, outputs) {
        (Op::MaxPool2d(settings), [y, taps]) => {
            let shape = shape_of(settings, a.shape());
            pool::max_pool2d(&shape, x.slice(), y.buffer.as_mut_slice(), taps.buffer.as_mut_slice())
        }
        (Op::MaxPool2dScatter(settings, _), [out]) => {
            let taps = Dense::<u8>::new(op, tensor(op, inputs, 1)?)?;
            let shape = shape_of(settings, &out.meta.shape);
            pool::max_pool2d_grad(&shape, x.slice(), taps.slice(), out.buffer.as_mut_slice())
        }
        (Op::MaxPool2dGather(settings), [out]) => {
            let taps = Dense::<u8>::new(op, tensor(op, inputs, 1)?)?;
            let shape = shape_of(settings, a.shape());
            pool::max_pool2d_gather(&shape, x.slice(), taps.slice(), out.buffer.as_mut_slice())
        }
        _ => return Err(Error::argument(op.name(), "is no pooling")),
    };
    pooled(op, result)
}

fn conv_and_pool<T: Float>(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Result<()> {
    let (a, b) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let (x, y) = (Dense::<T>::new(op, a)?, Dense::<T>::new(op, b)?);
    let shape_of = |conv: &Conv2dOp, pool: &Pool2dOp, input: &[usize], weight: &[usize]| {
        let conv = conv.shape(input, weight);
        let planes = conv.batch.saturating_mul(conv.out_channels);
        let output = conv.output().ok_or_else(|| Error::argument(op.name(), "does not fit"))?;
        Ok::<_, Error>(conv::PooledShape { conv, pool: pool.shape(planes, output) })
    };
    let result = match (op, outputs) {
        (Op::Conv2dMaxPool2d(conv, pool), [out, taps]) => {
            let bias = match inputs.len() {
                3 => Some(Dense::<T>::new(op, tensor(op, inputs, 2)?)?),
                _ => None,
            };
            let shape = shape_of(conv, pool, a.shape(), b.shape())?;
            let bias = bias.as_ref().map(Dense::slice);
            let (out, taps) = (out.buffer.as_mut_slice(), taps.buffer.as_mut_slice());
            conv::conv2d_max_pool2d(&shape, x.slice(), y.slice(), bias, out, taps)
        }
        (Op::Conv2dMaxPool2dInput(conv, pool, _), [out]) => {
            let taps = Dense::<u8>::new(op, tensor(op, inputs, 2)?)?;
            let shape = shape_of(conv, pool, &out.meta.shape, b.shape())?;
            let (taps, out) = (taps.slice(), out.buffer.as_mut_slice());
            conv::conv2d_max_pool2d_input_grad(&shape, x.slice(), taps, y.slice(), out)
        }
        (Op::Conv2dMaxPool2dWeight(conv, pool, _), [weight, bias]) => {
            let taps = Dense::<u8>::new(op, tensor(op, inputs, 2)?)?;
            let shape = shape_of(conv, pool, a.shape(), &weight.meta.shape)?;
            let (weight, bias) = (weight.buffer.as_mut_slice(), bias.buffer.as_mut_slice());
            let (x, grad, taps) = (x.slice(), y.slice(), taps.slice());
            conv::conv2d_max_pool2d_weight_grad(&shape, x, grad, taps, weight, bias)
        }
        _ => return Err(Error::argument(op.name(), "is no convolution with a pool")),
    };
    pooled(op, result)
}

/// The kernel's result. What else it asks was checked; the taps are data.
pub(super) fn pooled(op: &Op, result: ferrotape_kernels::Result<()>) -> Result<()> {
    result.map_err(|error| match error {
        ferrotape_kernels::Error::Contract(message) => Error::argument(op.name(), message),
        other => Error::from_kernel(op.name(), other),
    })
}

fn windows<T: Float>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let a = tensor(op, inputs, 0)?;
    let x = Dense::<T>::new(op, a)?;
    let over = |windows: &WindowsOp, input: &[usize]| {
        windows.windows(input[0] * input[1], [input[2], input[3]])
    };
    told(
        op,
        match op {
            Op::MaxPool2dIndex(windows) => {
                let index = out.buffer.as_mut_slice::<i64>();
                pool::max_pool2d_index(&over(windows, a.shape()), x.slice(), index)
            }
            Op::AvgPool2d(windows, divisor) => {
                let y = out.buffer.as_mut_slice::<T>();
                pool::average_pool2d(&over(windows, a.shape()), *divisor, x.slice(), y)
            }
            Op::AvgPool2dInput(windows, divisor, _) => {
                let windows = over(windows, &out.meta.shape);
                let y = out.buffer.as_mut_slice::<T>();
                pool::average_pool2d_grad(&windows, *divisor, x.slice(), y)
            }
            _ => return Err(Error::argument(op.name(), "has no windows")),
        },
    )
}
