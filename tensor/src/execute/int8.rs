//! Operations on codes of 8 bits.

mod recurrent;

use ferrotape_kernels::buffer::Buffer;
use ferrotape_kernels::cpu::int8::scheme::{self, Affine, Rule};
use ferrotape_kernels::cpu::int8::{self, Activations, Code, Codes, Output as To, Pool2d, Zero};
use smallvec::SmallVec;

use super::{Dense, Input, Output, tensor, told};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Encoding, Int8Call, Int8Dynamic, Int8Op, Int8Weights, Op, PackedWeights};

pub(super) use recurrent::recurrent;

pub(super) fn execute(
    op: &Op,
    int8: &Int8Op,
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
) -> Result<()> {
    match (int8, out.meta.dtype) {
        (Int8Op::Layer(call), _) => layer(op, call, inputs, out),
        (Int8Op::Dynamic(layer), _) => dynamic(op, layer, inputs, out),
        (Int8Op::Decode { from, images }, _) if from.dtype == DType::I8 => {
            decode::<i8>(op, from, *images, inputs, out)
        }
        (Int8Op::Decode { from, images }, _) => decode::<u8>(op, from, *images, inputs, out),
        (_, DType::I8) => codes::<i8>(op, int8, inputs, out),
        _ => codes::<u8>(op, int8, inputs, out),
    }
}

pub(super) fn affine(encoding: &Encoding) -> Affine<'_> {
    Affine::per_tensor(&encoding.scale, encoding.zero_point)
}

/// `[n, c, places]` of images `[n, c, h, w]`.
pub(super) fn planes(shape: &[usize]) -> [usize; 3] {
    match shape {
        [n, c, h, w] => [*n, *c, h * w],
        _ => [1, 1, crate::shape::len(shape)],
    }
}

/// An operand's codes of either type.
enum AnyCodes<'a> {
    U8(Dense<'a, u8>),
    I8(Dense<'a, i8>),
}

impl<'a> AnyCodes<'a> {
    fn new(op: &Op, inputs: &'a [Input<'_>], place: usize) -> Result<Self> {
        let x = tensor(op, inputs, place)?;
        Ok(match x.dtype() {
            DType::I8 => AnyCodes::I8(Dense::new(op, x)?),
            _ => AnyCodes::U8(Dense::new(op, x)?),
        })
    }

    fn get(&self) -> Codes<'_> {
        match self {
            AnyCodes::U8(codes) => Codes::U8(codes.slice()),
            AnyCodes::I8(codes) => Codes::I8(codes.slice()),
        }
    }

    fn operand(&self, encoding: &Encoding) -> int8::Operand<'_> {
        let Encoding { scale, zero_point: zero, .. } = *encoding;
        int8::Operand { codes: self.get(), scale, zero }
    }
}

/// What has codes as output, but for layers.
fn codes<C: Code>(
    op: &Op,
    int8: &Int8Op,
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
) -> Result<()> {
    let x = tensor(op, inputs, 0)?;
    let y = out.buffer.as_mut_slice::<C>();
    told(
        op,
        match int8 {
            Int8Op::Encode { to, images } => {
                let numbers = Dense::<f32>::new(op, x)?;
                match images {
                    true => {
                        int8::nhwc_from_nchw(planes(x.shape()), numbers.slice(), &affine(to), y)
                    }
                    false => scheme::quantize([1, 1, x.len()], numbers.slice(), &affine(to), y),
                }
            }
            Int8Op::MaxPool2d(pool) => {
                let pool =
                    Pool2d { kernel: pool.kernel, stride: pool.stride, padding: pool.padding };
                let &[n, h, w, c] = x.shape() else {
                    return Err(Error::shape(op.name(), "four dims expected"));
                };
                int8::max_pool2d(&pool, [n, h, w, c], Dense::<C>::new(op, x)?.slice(), y)
            }
            Int8Op::Add { a, b, to, relu } => {
                let (x, z) = (AnyCodes::new(op, inputs, 0)?, AnyCodes::new(op, inputs, 1)?);
                int8::add(&x.operand(a), &z.operand(b), &affine(to), *relu, y)
            }
            Int8Op::Concat { from, to } => {
                let all = (0..inputs.len()).map(|place| AnyCodes::new(op, inputs, place));
                let all: SmallVec<[AnyCodes<'_>; 4]> = all.collect::<Result<_>>()?;
                let width = |place: usize| {
                    Ok(tensor(op, inputs, place)?.shape().last().copied().unwrap_or(0))
                };
                let mut parts: SmallVec<[(int8::Operand<'_>, usize); 4]> = SmallVec::new();
                for (place, (codes, from)) in all.iter().zip(from).enumerate() {
                    parts.push((codes.operand(from), width(place)?));
                }
                let total = out.meta.shape.last().copied().unwrap_or(0);
                let places = y.len().checked_div(total).unwrap_or(0);
                int8::concat(places, &parts, &affine(to), y)
            }
            Int8Op::Layer(_)
            | Int8Op::Dynamic(_)
            | Int8Op::Recurrent(_)
            | Int8Op::Decode { .. } => {
                return Err(Error::argument(op.name(), "internal: it was computed elsewhere"));
            }
        },
    )
}

fn decode<C: Code>(
    op: &Op,
    from: &Encoding,
    images: bool,
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
) -> Result<()> {
    let x = Dense::<C>::new(op, tensor(op, inputs, 0)?)?;
    let (shape, y) = (&out.meta.shape, out.buffer.as_mut_slice());
    told(
        op,
        match images {
            true => int8::nchw_from_nhwc(planes(shape), x.slice(), &affine(from), y),
            false => scheme::dequantize([1, 1, x.slice().len()], x.slice(), &affine(from), y),
        },
    )
}

fn layer(op: &Op, call: &Int8Call, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let (factors, relu) = (&call.factors[..], call.relu);
    let to = match call.to {
        Some(Encoding { dtype: DType::I8, zero_point: zero, .. }) => {
            To::I8 { out: out.buffer.as_mut_slice(), multiplier: factors, zero, relu }
        }
        Some(Encoding { zero_point: zero, .. }) => {
            To::U8 { out: out.buffer.as_mut_slice(), multiplier: factors, zero, relu }
        }
        None => {
            let bias = (!call.float_bias.is_empty()).then_some(&call.float_bias[..]);
            To::F32 { out: out.buffer.as_mut_slice(), scale: factors, row_scale: None, bias, relu }
        }
    };
    let x = tensor(op, inputs, 0)?;
    let codes = AnyCodes::new(op, inputs, 0)?;
    let bias = (!call.bias.is_empty()).then_some(&call.bias[..]);
    let zero = Zero::All(call.x.zero_point);
    let rows = crate::shape::len(&x.shape()[..x.rank().saturating_sub(1)]);
    let images = x.shape().get(..3).unwrap_or(&[]);
    multiply(op, &call.weights, images, rows, codes.get(), zero, bias, to)
}

/// Codes of each row (of each image), then the layer.
fn dynamic(op: &Op, layer: &Int8Dynamic, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let x = tensor(op, inputs, 0)?;
    let numbers = Dense::<f32>::new(op, x)?;
    let weights = &layer.weights;
    let (rows, images) = match (&weights.packed, x.shape()) {
        (PackedWeights::Conv2d(_), &[n, c, h, w]) => (n, Some([n, c, h * w])),
        (_, shape) => (crate::shape::len(&shape[..shape.len().saturating_sub(1)]), None),
    };
    let failed = |error| Error::from_kernel(op.name(), error);
    let mut codes = Buffer::new(x.len()).map_err(failed)?;
    let mut scales = Buffer::new(rows * size_of::<f32>()).map_err(failed)?;
    let mut zeros = Buffer::new(rows * size_of::<i32>()).map_err(failed)?;
    {
        let (codes, scale) = (codes.as_mut_slice::<u8>(), scales.as_mut_slice::<f32>());
        let (zero, x) = (zeros.as_mut_slice::<i32>(), numbers.slice());
        let made = match images {
            Some(shape) => scheme::quantize_images(shape, x, Rule::Reciprocal, codes, scale, zero),
            None => {
                let k = x.len().checked_div(rows).unwrap_or(0);
                scheme::quantize_rows([rows, k], x, Rule::Reciprocal, codes, scale, zero)
            }
        };
        told(op, made)?;
    }
    let bias = (!layer.bias.is_empty()).then_some(&layer.bias[..]);
    let to = To::F32 {
        out: out.buffer.as_mut_slice(),
        scale: &weights.scale,
        row_scale: Some(scales.as_slice()),
        bias,
        relu: layer.relu,
    };
    let zero = Zero::Each(zeros.as_slice());
    let images = match x.shape() {
        &[n, _, h, w] => [n, h, w],
        _ => [0; 3],
    };
    multiply(op, weights, &images, rows, Codes::U8(codes.as_slice()), zero, None, to)
}

/// The product of `rows`, or the convolution of `images`: `[n, h, w]`.
#[allow(clippy::too_many_arguments)]
fn multiply(
    op: &Op,
    weights: &Int8Weights,
    images: &[usize],
    rows: usize,
    codes: Codes<'_>,
    zero: Zero<'_>,
    bias: Option<&[i32]>,
    to: To<'_>,
) -> Result<()> {
    let weight_zero = (!weights.zero.is_empty()).then_some(Zero::Each(&weights.zero));
    told(
        op,
        match &weights.packed {
            PackedWeights::Linear(packed) => {
                let (k, n) = (packed.k(), packed.n());
                let a = Activations { codes, stride: k, zero };
                int8::gemm(rows, &a, packed, weight_zero, bias, to, n)
            }
            PackedWeights::Conv2d(conv) => {
                let &[batch, h, w] = images else {
                    return Err(Error::shape(op.name(), "four dims expected"));
                };
                int8::conv2d(conv, batch, [h, w], codes, zero, weight_zero, bias, to)
            }
        },
    )
}
