//! Sums of products of codes as they are: `matmul_integer`, `conv_integer`. Their zero points are looked at on the host.

use ferrotape_kernels::Error as Refused;
use ferrotape_kernels::cpu::int8::{Conv2dShape, Ending, Order, Zero};
use ferrotape_kernels::cuda::int8::{self, Conv2d, Packed};
use ferrotape_kernels::cuda::{Array, DeviceBuffer, Type, copy};
use smallvec::SmallVec;

use super::dense::Dense;
use super::{brought, kind, target};
use crate::error::{Error, Result};
use crate::execute::products::batch_offsets;
use crate::execute::quantize::{expanded, zeros};
use crate::execute::{Input, Output, tensor};
use crate::layout::Layout;
use crate::observe::Tag;
use crate::op::{Conv2dOp, Op};
use crate::shape::Dims;
use crate::tensor::Tensor;

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    let done = match (op, outputs) {
        (Op::MatmulInteger, [out]) => matmul(op, inputs, out),
        (Op::ConvInteger(settings), [out]) => convolve(op, settings, inputs, out),
        _ => return None,
    };
    done.transpose()
}

/// `None` where the kernels refuse: the host computes in i64, or says what is wrong.
fn taken(op: &Op, done: ferrotape_kernels::Result<()>) -> Result<Option<()>> {
    match done {
        Err(Refused::Contract(_)) => Ok(None),
        done => done.map(Some).map_err(|error| Error::from_kernel(op.name(), error)),
    }
}

/// The operands with the zero points on the host.
fn parameters(op: &Op, inputs: &[Input<'_>]) -> Result<SmallVec<[Tensor; 4]>> {
    let mut here: SmallVec<[Tensor; 4]> = SmallVec::new();
    for place in 0..inputs.len() {
        let x = tensor(op, inputs, place)?;
        here.push(if place < 2 { x.clone() } else { brought(x)? });
    }
    Ok(here)
}

fn matmul(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<Option<()>> {
    let (a, b) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let shape = out.meta.shape.clone();
    let lead = shape.len() - 2;
    let (batch, m, n, k) = (&shape[..lead], shape[lead], shape[lead + 1], a.shape()[a.rank() - 1]);
    let of = |sizes: [usize; 2]| batch.iter().copied().chain(sizes).collect::<Dims>();
    let here = parameters(op, inputs)?;
    let here: SmallVec<[Input<'_>; 4]> = here.iter().map(Input::Tensor).collect();
    let a_zeros = zeros(op, &here, 2, a.dtype(), of([m, 1]))?;
    let b_zeros = zeros(op, &here, 3, b.dtype(), of([1, n]))?;
    let to = target(op, out)?;
    if k == 0 || to.is_empty() {
        let zeroed = to.zero().map_err(|error| Error::from_kernel(op.name(), error));
        return zeroed.map(Some);
    }
    let a = expanded(a, of([m, k]));
    let a = Dense::new(op, &a)?;
    let rows = Layout::contiguous(Dims::from_slice(b.shape()));
    let places = b.seen_as(rows, b.dtype(), Tag::NONE);
    let places = batch_offsets(&places, batch);
    let one = b_zeros.one && places.iter().all(|&place| place == 0);
    let (count, m) = if one { (1, places.len() * m) } else { (places.len(), m) };
    let weights = Dense::new(op, b)?;
    let len = [b.len()];
    let weights = weights.array(op, &len, &[1])?;
    let (whole, sizes, strides) = ([count * m * k], [m, k], [k as isize, 1]);
    let rows = a.array(op, &whole, &[1])?;
    let run = |to: &mut DeviceBuffer| {
        let gpu = to.gpu();
        let mut part = DeviceBuffer::new(gpu, if count > 1 { m * n * 4 } else { 0 })?;
        for (i, &place) in places.iter().enumerate().take(count) {
            let (at, codes) = (weights.offset() + place as usize, [k * n]);
            let codes = Array::new(weights.buffer(), weights.kind(), at, &codes, &[1])?;
            let packed = Packed::new(Order::InOut, k, n, codes)?;
            let at = rows.offset() + i * m * k;
            let left = Array::new(rows.buffer(), rows.kind(), at, &sizes, &strides)?;
            let (zero, columns) = (a_zeros.part(i, m), Some(b_zeros.part(i, n)));
            let alone = if count > 1 { &mut part } else { &mut *to };
            int8::gemm(left, zero, &packed, columns, None, Ending::I32, alone, n)?;
            if count > 1 {
                to.copy_part(&part, 0, i * m * n * 4, m * n * 4)?;
            }
        }
        Ok(())
    };
    taken(op, run(to))
}

/// NCHW to NHWC, the convolution, and back.
fn convolve(
    op: &Op,
    settings: &Conv2dOp,
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
) -> Result<Option<()>> {
    let (x, w) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let (&[batch, channels, h, width], &[o, _, kh, kw]) = (x.shape(), w.shape()) else {
        return Err(Error::argument(op.name(), "is a convolution of images"));
    };
    let here = parameters(op, inputs)?;
    let here: SmallVec<[Input<'_>; 4]> = here.iter().map(Input::Tensor).collect();
    let x_zero = zeros(op, &here, 2, x.dtype(), Dims::new())?;
    let w_zeros = zeros(op, &here, 3, w.dtype(), Dims::from_slice(&[o]))?;
    let to_shape = out.meta.shape.clone();
    let to = target(op, out)?;
    if w.is_empty() || x.is_empty() {
        let zeroed = to.zero().map_err(|error| Error::from_kernel(op.name(), error));
        return zeroed.map(Some);
    }
    let shape = Conv2dShape {
        in_channels: channels,
        out_channels: o,
        kernel: [kh, kw],
        stride: settings.stride,
        padding: settings.padding,
        dilation: settings.dilation,
        groups: settings.groups,
    };
    let weights = Dense::new(op, w)?;
    let (weight_len, from) = ([w.len()], super::array(op, x)?);
    let weights = weights.array(op, &weight_len, &[1])?;
    let (sizes, len) = ([batch, h, width, channels], [x.len()]);
    let strides = [0, 2, 3, 1].map(|d: usize| from.strides().get(d).copied().unwrap_or(0));
    let &[_, _, oh, ow] = &to_shape[..] else { return Ok(None) };
    let row = (ow * o) as isize;
    let back = [oh as isize * row, 1, row, o as isize];
    let run = |to: &mut DeviceBuffer| {
        let gpu = to.gpu();
        let conv = Conv2d::new(&shape, weights)?;
        let (mut images, mut planes) =
            (DeviceBuffer::new(gpu, x.len())?, DeviceBuffer::new(gpu, to.len())?);
        let places = Array::new(from.buffer(), from.kind(), from.offset(), &sizes, &strides)?;
        copy::copy(places, &mut images)?;
        let images = Array::new(&images, kind(x.dtype()), 0, &len, &[1])?;
        let (zero, columns) =
            (Zero::All(x_zero.values.first().copied().unwrap_or(0)), Some(w_zeros.zero()));
        let size = [h, width];
        int8::conv2d(&conv, batch, size, images, zero, columns, None, Ending::I32, &mut planes)?;
        copy::copy(Array::new(&planes, Type::I32, 0, &to_shape, &back)?, to)
    };
    taken(op, run(to))
}
