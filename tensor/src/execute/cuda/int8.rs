//! Operations on codes of 8 bits.

use std::sync::{Arc, PoisonError};

use ferrotape_kernels::cpu::int8::scheme::Rule;
use ferrotape_kernels::cpu::int8::{Ending, Order, Pool2d, Zero};
use ferrotape_kernels::cuda::int8::{self, Conv2d, Dynamic, Operand, Packed};
use ferrotape_kernels::cuda::{Array, DeviceBuffer, Gpu, Type};
use smallvec::SmallVec;

use super::dense::Dense;
use super::{kind, target};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::execute::int8::{affine, planes};
use crate::execute::{Input, Output, tensor, told};
use crate::op::{
    Encoding, Int8Call, Int8Dynamic, Int8Op, Int8Weights, Op, PackedThere, PackedWeights,
    PlacedWeights,
};

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    match (op, outputs) {
        (Op::Int8(Int8Op::Layer(call)), [out]) => Some(layer(op, call, inputs, out)),
        (Op::Int8(Int8Op::Dynamic(layer)), [out]) => Some(dynamic(op, layer, inputs, out)),
        // Steps follow each other; the CPU does them.
        (Op::Int8(Int8Op::Recurrent(_)), _) => None,
        (Op::Int8(int8), [out]) => Some(between(op, int8, inputs, out)),
        _ => None,
    }
}

/// All but layers.
fn between(op: &Op, int8: &Int8Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let x = tensor(op, inputs, 0)?;
    let shape = out.meta.shape.clone();
    let to = target(op, out)?;
    let mut all: SmallVec<[(Dense<'_>, [usize; 1]); 4]> = SmallVec::new();
    for place in 0..inputs.len() {
        let x = tensor(op, inputs, place)?;
        all.push((Dense::new(op, x)?, [x.len()]));
    }
    let mut arrays: SmallVec<[Array<'_>; 4]> = SmallVec::new();
    for (dense, len) in &all {
        arrays.push(dense.array(op, len, &[1])?);
    }
    let Some(&first) = arrays.first() else {
        return Err(Error::argument(op.name(), "has no operand"));
    };
    let operand = |codes, encoding: &Encoding| {
        let Encoding { scale, zero_point: zero, .. } = *encoding;
        Operand { codes, scale, zero }
    };
    let all = [1, 1, x.len()];
    told(
        op,
        match int8 {
            Int8Op::Encode { to: encoding, images } => {
                let (formula, kind) = (affine(encoding), kind(encoding.dtype));
                match images {
                    true => int8::nhwc_from_nchw(planes(x.shape()), first, &formula, kind, to),
                    false => int8::quantize(all, first, &formula, kind, to),
                }
            }
            Int8Op::Decode { from, images: true } => {
                int8::nchw_from_nhwc(planes(&shape), first, &affine(from), to)
            }
            Int8Op::Decode { from, .. } => int8::dequantize(all, first, &affine(from), to),
            Int8Op::MaxPool2d(pool) => {
                let pool =
                    Pool2d { kernel: pool.kernel, stride: pool.stride, padding: pool.padding };
                let &[n, h, w, c] = x.shape() else {
                    return Err(Error::shape(op.name(), "four dims expected"));
                };
                int8::max_pool2d(&pool, [n, h, w, c], first, to)
            }
            Int8Op::Add { a, b, to: encoding, relu } => {
                let second = arrays.get(1).copied().unwrap_or(first);
                let (left, right) = (operand(first, a), operand(second, b));
                let (formula, kind) = (affine(encoding), kind(encoding.dtype));
                int8::add(&left, &right, &formula, *relu, kind, to)
            }
            Int8Op::Concat { from, to: encoding } => {
                let mut parts: SmallVec<[(Operand<'_>, usize); 4]> = SmallVec::new();
                for (place, (array, from)) in arrays.iter().zip(from).enumerate() {
                    let width = tensor(op, inputs, place)?.shape().last().copied().unwrap_or(0);
                    parts.push((operand(*array, from), width));
                }
                let total = shape.last().copied().unwrap_or(0);
                let places = to.len().checked_div(total).unwrap_or(0);
                int8::concat(places, &parts, &affine(encoding), kind(encoding.dtype), to)
            }
            Int8Op::Layer(_) | Int8Op::Dynamic(_) | Int8Op::Recurrent(_) => {
                return Err(Error::argument(op.name(), "internal: it was computed elsewhere"));
            }
        },
    )
}

fn layer(op: &Op, call: &Int8Call, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let (factors, relu) = (&call.factors[..], call.relu);
    let ending = match call.to {
        Some(Encoding { dtype, zero_point: zero, .. }) => {
            Ending::Codes { signed: dtype == DType::I8, multiplier: factors, zero, relu }
        }
        None => {
            let bias = (!call.float_bias.is_empty()).then_some(&call.float_bias[..]);
            Ending::F32 { scale: factors, row_scale: None, bias, relu }
        }
    };
    let x = tensor(op, inputs, 0)?;
    let codes = Dense::new(op, x)?;
    let to = target(op, out)?;
    let weights = &call.weights;
    let zero = Zero::All(call.x.zero_point);
    let weight_zero = (!weights.zero.is_empty()).then_some(Zero::Each(&weights.zero));
    let bias = (!call.bias.is_empty()).then_some(&call.bias[..]);
    let placed = placed(op, weights, to.gpu())?;
    match &placed.packed {
        PackedThere::Linear(packed) => {
            let (k, n) = (packed.k(), packed.n());
            let rows = crate::shape::len(&x.shape()[..x.rank().saturating_sub(1)]);
            let (shape, strides) = ([rows, k], [k as isize, 1]);
            let a = codes.array(op, &shape, &strides)?;
            told(op, int8::gemm(a, zero, packed, weight_zero, bias, ending, to, n))
        }
        PackedThere::Conv2d(conv) => {
            let &[batch, h, w, _] = x.shape() else {
                return Err(Error::shape(op.name(), "four dims expected"));
            };
            let len = [x.len()];
            let images = codes.array(op, &len, &[1])?;
            let size = [h, w];
            told(op, int8::conv2d(conv, batch, size, images, zero, weight_zero, bias, ending, to))
        }
    }
}

/// Codes of each row (of each image), then the layer. It waits for the device: numbers that have no codes must be said.
fn dynamic(op: &Op, layer: &Int8Dynamic, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let x = tensor(op, inputs, 0)?;
    let (dense, len) = (Dense::new(op, x)?, [x.len()]);
    let numbers = dense.array(op, &len, &[1])?;
    let weights = &layer.weights;
    let bias = (!layer.bias.is_empty()).then_some(&layer.bias[..]);
    let after = Dynamic { scale: &weights.scale, bias, relu: layer.relu };
    let weight_zero = (!weights.zero.is_empty()).then_some(Zero::Each(&weights.zero));
    let to = target(op, out)?;
    let placed = placed(op, weights, to.gpu())?;
    let (rule, kind) = (Rule::Reciprocal, Type::U8);
    let mut run = || match (&placed.packed, x.shape()) {
        (PackedThere::Conv2d(conv), &[n, c, h, w]) => {
            let images = int8::quantize_images([n, c, h * w], numbers, rule, kind)?;
            int8::conv2d_dynamic(conv, [h, w], &images, weight_zero, &after, to)?;
            images.told()
        }
        (PackedThere::Linear(packed), [rest @ .., k]) => {
            let rows = crate::shape::len(rest);
            let rows = int8::quantize_rows([rows, *k], numbers, rule, kind)?;
            int8::gemm_dynamic(&rows, packed, weight_zero, &after, to)?;
            rows.told()
        }
        _ => Err(ferrotape_kernels::Error::Contract("images have four dims")),
    };
    told(op, run())
}

/// A layer's weights on this device: sent there at the first call.
fn placed(op: &Op, weights: &Int8Weights, gpu: &'static Gpu) -> Result<Arc<PlacedWeights>> {
    let mut there = weights.placed.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(placed) = there.iter().find(|placed| placed.ordinal == gpu.ordinal()) {
        return Ok(placed.clone());
    }
    let codes = match &weights.packed {
        PackedWeights::Linear(packed) => packed.codes_out_in(),
        PackedWeights::Conv2d(conv) => conv.codes(),
    };
    let bytes: Vec<u8> = codes.iter().map(|code| *code as u8).collect();
    let pack = || {
        let mut buffer = DeviceBuffer::new(gpu, bytes.len())?;
        buffer.upload(&bytes)?;
        let len = [bytes.len()];
        let codes = Array::new(&buffer, Type::I8, 0, &len, &[1])?;
        Ok(match &weights.packed {
            PackedWeights::Linear(packed) => {
                PackedThere::Linear(Packed::new(Order::OutIn, packed.k(), packed.n(), codes)?)
            }
            PackedWeights::Conv2d(conv) => PackedThere::Conv2d(Conv2d::new(conv.shape(), codes)?),
        })
    };
    let packed = pack().map_err(|error| Error::from_kernel(op.name(), error))?;
    let placed = Arc::new(PlacedWeights { ordinal: gpu.ordinal(), packed });
    there.push(placed.clone());
    Ok(placed)
}
