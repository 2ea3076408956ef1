//! Operations on codes of 8 bits: what stands between a network's input and its output when it runs in integers.

mod recurrent;

use std::sync::{Arc, Mutex};

use ferrotape_kernels::cpu::int8::{Conv2d, Conv2dShape, Order, Packed};
use ferrotape_kernels::cuda;

use super::{Conv2dOp, Meta, Pool2dOp};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Dims;
use crate::tensor::Tensor;

pub use recurrent::{Int8Recurrent, Int8RecurrentWeights};

/// What codes stand for: `(code - zero_point) * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Encoding {
    /// Above 0, finite.
    pub scale: f32,
    /// A code.
    pub zero_point: i32,
    /// [`DType::U8`] or [`DType::I8`].
    pub dtype: DType,
}

impl Encoding {
    /// Checked.
    ///
    /// # Errors
    /// A scale that is not positive and finite or whose reciprocal is not, a zero point that is no code, codes of another type.
    pub fn new(scale: f32, zero_point: i32, dtype: DType) -> Result<Encoding> {
        let encoding = Encoding { scale, zero_point, dtype };
        encoding.check("encoding")?;
        Ok(encoding)
    }

    fn check(&self, op: &'static str) -> Result<()> {
        let Encoding { scale, zero_point, dtype } = *self;
        let codes = match dtype {
            DType::U8 => 0..=255,
            DType::I8 => -128..=127,
            other => return Err(Error::dtype(op, format!("codes of {other}: u8 or i8 expected"))),
        };
        if !(scale > 0.0 && scale.is_finite() && scale.recip().is_finite()) {
            return Err(Error::argument(op, format!("scale {scale} is not positive and finite")));
        }
        match codes.contains(&zero_point) {
            true => Ok(()),
            false => {
                Err(Error::argument(op, format!("zero point {zero_point} is no code of {dtype}")))
            }
        }
    }
}

/// Weights of a layer as the kernels read them: i8 codes in panels, a scale and a zero point for each output.
#[derive(Debug)]
pub struct Int8Weights {
    pub(crate) packed: PackedWeights,
    pub(crate) scale: Vec<f32>,
    /// Empty where all are 0.
    pub(crate) zero: Vec<i32>,
    /// The same on GPUs, from the first call there on.
    pub(crate) placed: Mutex<Vec<Arc<PlacedWeights>>>,
}

/// Weights on a GPU.
#[derive(Debug)]
pub(crate) struct PlacedWeights {
    pub(crate) ordinal: usize,
    pub(crate) packed: PackedThere,
}

#[derive(Debug)]
pub(crate) enum PackedThere {
    Linear(cuda::int8::Packed),
    Conv2d(cuda::int8::Conv2d),
}

#[derive(Debug)]
pub(crate) enum PackedWeights {
    Linear(Packed),
    Conv2d(Conv2d),
}

const WEIGHTS: &str = "int8_weights";

/// One element for each of `outputs`; one alone counts for all.
fn each<T: Copy>(what: &str, values: &[T], outputs: usize) -> Result<Vec<T>> {
    match values {
        [all] => Ok(vec![*all; outputs]),
        _ if values.len() == outputs => Ok(values.to_vec()),
        _ => {
            let message = format!("{} {what} for {outputs} outputs", values.len());
            Err(Error::argument(WEIGHTS, message))
        }
    }
}

impl Int8Weights {
    /// Of `x W^T`: codes `[out, in]` of i8, with a scale and a zero point for all outputs or for each.
    ///
    /// # Errors
    /// Codes of another type or rank; a wrong number of scales or zero points, or such as are none; memory over the limit.
    pub fn linear(codes: &Tensor, scale: &[f32], zero_point: &[i32]) -> Result<Int8Weights> {
        let &[outputs, inputs] = codes.shape() else {
            let message = format!("codes of shape {:?}: [out, in] expected", codes.shape());
            return Err(Error::shape(WEIGHTS, message));
        };
        let packed = Packed::new(Order::OutIn, inputs, outputs, &codes.to_vec::<i8>()?);
        let packed = packed.map_err(|error| Error::from_kernel(WEIGHTS, error))?;
        Self::new(PackedWeights::Linear(packed), outputs, scale, zero_point)
    }

    /// Of a convolution: codes `[out, in / groups, kh, kw]` of i8, as [`linear`](Self::linear).
    ///
    /// # Errors
    /// As `linear`; settings that are none.
    pub fn conv2d(
        codes: &Tensor,
        settings: Conv2dOp,
        scale: &[f32],
        zero_point: &[i32],
    ) -> Result<Int8Weights> {
        let &[outputs, inputs, kh, kw] = codes.shape() else {
            let message = format!("codes of shape {:?}: [out, in, kh, kw] expected", codes.shape());
            return Err(Error::shape(WEIGHTS, message));
        };
        let shape = Conv2dShape {
            in_channels: inputs.saturating_mul(settings.groups),
            out_channels: outputs,
            kernel: [kh, kw],
            stride: settings.stride,
            padding: settings.padding,
            dilation: settings.dilation,
            groups: settings.groups,
        };
        let packed = Conv2d::new(&shape, &codes.to_vec::<i8>()?);
        let packed = packed.map_err(|error| Error::from_kernel(WEIGHTS, error))?;
        Self::new(PackedWeights::Conv2d(packed), outputs, scale, zero_point)
    }

    fn new(packed: PackedWeights, outputs: usize, scale: &[f32], zero: &[i32]) -> Result<Self> {
        let (scale, mut zero) = (each("scales", scale, outputs)?, each("zeros", zero, outputs)?);
        for (&scale, &zero_point) in scale.iter().zip(&zero) {
            Encoding { scale, zero_point, dtype: DType::I8 }.check(WEIGHTS)?;
        }
        if zero.iter().all(|zero| *zero == 0) {
            zero.clear();
        }
        Ok(Int8Weights { packed, scale, zero, placed: Mutex::default() })
    }

    /// The codes, of the shape that they were given in.
    ///
    /// # Errors
    /// Another shape's length; memory over the limit.
    pub fn codes(&self, shape: &[usize]) -> Result<Tensor> {
        let codes = match &self.packed {
            PackedWeights::Linear(packed) => packed.codes_out_in(),
            PackedWeights::Conv2d(conv) => conv.codes(),
        };
        Tensor::from_vec(codes, shape.to_vec())
    }

    /// How many outputs (channels) it has.
    pub fn outputs(&self) -> usize {
        self.scale.len()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let packed = match &self.packed {
            PackedWeights::Linear(packed) => packed.bytes(),
            PackedWeights::Conv2d(conv) => conv.bytes(),
        };
        packed + 4 * (self.scale.len() + self.zero.len())
    }
}

/// A layer with all numbers that its kernel needs.
#[derive(Debug)]
pub struct Int8Call {
    pub(crate) weights: Arc<Int8Weights>,
    pub(crate) x: Encoding,
    /// In units of a product of codes, for codes as output; empty: none.
    pub(crate) bias: Vec<i32>,
    /// As it is, for f32 as output; empty: none.
    pub(crate) float_bias: Vec<f32>,
    /// What sums are multiplied by.
    pub(crate) factors: Vec<f32>,
    pub(crate) to: Option<Encoding>,
    pub(crate) relu: bool,
}

impl Int8Call {
    /// For input codes of `x`. The output is codes of `to`, or without it f32:
    ///
    /// - f32: `sum * (x.scale * w.scale) + bias`, then with `relu` `max(_, 0)`;
    /// - codes: `round((sum + round(bias / (x.scale * w.scale))) * (x.scale * w.scale / to.scale)) + to.zero_point`, half to even, held
    ///   to the codes, with `relu` to those from the zero point on.
    ///
    /// The sum is that of `(code - x.zero_point) * (w - w.zero_point)`, exact.
    ///
    /// # Errors
    /// An encoding that is none; a bias of another length or that is not finite; factors beyond f32.
    pub fn new(
        weights: Arc<Int8Weights>,
        x: Encoding,
        bias: Option<&[f32]>,
        to: Option<Encoding>,
        relu: bool,
    ) -> Result<Int8Call> {
        const OP: &str = "int8_layer";
        x.check(OP)?;
        check_bias(bias, weights.outputs())?;
        let mut factors: Vec<f32> = weights.scale.iter().map(|scale| x.scale * scale).collect();
        let (mut codes, mut float) = (Vec::new(), Vec::new());
        match (to, bias) {
            (Some(_), Some(bias)) => {
                let unit = |(bias, factor): (&f32, &f32)| {
                    (f64::from(*bias) / f64::from(*factor)).round_ties_even() as i32
                };
                codes = bias.iter().zip(&factors).map(unit).collect();
            }
            (None, Some(bias)) => float = bias.to_vec(),
            (_, None) => {}
        }
        if let Some(to) = to {
            to.check(OP)?;
            factors.iter_mut().for_each(|factor| *factor /= to.scale);
        }
        if !factors.iter().all(|factor| factor.is_finite()) {
            return Err(Error::argument(OP, "scales whose product is beyond f32"));
        }
        Ok(Int8Call { weights, x, bias: codes, float_bias: float, factors, to, relu })
    }
}

/// A layer whose input is quantized when it comes along: each row of a product, each image of a convolution, by its own range.
#[derive(Debug)]
pub struct Int8Dynamic {
    pub(crate) weights: Arc<Int8Weights>,
    /// Empty: none.
    pub(crate) bias: Vec<f32>,
    pub(crate) relu: bool,
}

impl Int8Dynamic {
    /// `sum * (x_scale * w.scale) + bias`, with `relu` then `max(_, 0)`, where `x_scale` and the zero point in the exact sum are those of u8 codes
    /// for the row's range, widened to hold 0.
    ///
    /// # Errors
    /// A bias of another length or that is not finite.
    pub fn new(weights: Arc<Int8Weights>, bias: Option<&[f32]>, relu: bool) -> Result<Self> {
        check_bias(bias, weights.outputs())?;
        Ok(Int8Dynamic { weights, bias: bias.unwrap_or(&[]).to_vec(), relu })
    }
}

fn check_bias(bias: Option<&[f32]>, outputs: usize) -> Result<()> {
    match bias {
        Some(bias) if bias.len() != outputs || !bias.iter().all(|bias| bias.is_finite()) => {
            let message = format!("bias: {outputs} finite numbers expected, {} given", bias.len());
            Err(Error::argument("int8_layer", message))
        }
        _ => Ok(()),
    }
}

/// An operation on codes. Images lie `[n, h, w, c]`.
#[derive(Debug, Clone)]
pub enum Int8Op {
    /// `y` = the codes of a (f32); of images, which then go from `[n, c, h, w]` to `[n, h, w, c]`
    Encode {
        /// What the codes stand for.
        to: Encoding,
        /// Are they images?
        images: bool,
    },
    /// `y: f32` = what codes stand for; images go back to `[n, c, h, w]`
    Decode {
        /// What the codes stand for.
        from: Encoding,
        /// Are they images?
        images: bool,
    },
    /// `y = a W^T + bias` for `[.., in]`, or the convolution of images
    Layer(Arc<Int8Call>),
    /// The same for f32 with codes of its own range; images go from `[n, c, h, w]` to `[n, oh, ow, o]`
    Dynamic(Arc<Int8Dynamic>),
    /// A recurrent layer on f32: x `[steps, batch, input]`, h0 and c0 (LSTM) `[batch, hidden]`, lengths `[batch]`: i64 (if it has any) to y, h_n
    /// and c_n (LSTM)
    Recurrent(Arc<Int8Recurrent>),
    /// `y` = the largest code of each window; not dilated, no window hangs over
    MaxPool2d(Pool2dOp),
    /// `y = a + b`, of one shape
    Add {
        /// What the codes of a stand for.
        a: Encoding,
        /// And those of b.
        b: Encoding,
        /// And those of y.
        to: Encoding,
        /// Negative sums become 0.
        relu: bool,
    },
    /// All operands one after the other along the last dim
    Concat {
        /// What the codes of each stand for.
        from: Vec<Encoding>,
        /// And those of y.
        to: Encoding,
    },
}

impl Int8Op {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Int8Op::Encode { .. } => "int8_encode",
            Int8Op::Decode { .. } => "int8_decode",
            Int8Op::Layer(call) => match call.weights.packed {
                PackedWeights::Linear(_) => "int8_linear",
                PackedWeights::Conv2d(_) => "int8_conv2d",
            },
            Int8Op::Dynamic(layer) => match layer.weights.packed {
                PackedWeights::Linear(_) => "int8_dynamic_linear",
                PackedWeights::Conv2d(_) => "int8_dynamic_conv2d",
            },
            Int8Op::Recurrent(_) => "int8_sequence",
            Int8Op::MaxPool2d(_) => "int8_max_pool2d",
            Int8Op::Add { .. } => "int8_add",
            Int8Op::Concat { .. } => "int8_cat",
        }
    }

    pub(crate) fn operands(&self) -> usize {
        match self {
            Int8Op::Recurrent(layer) => layer.operands(),
            Int8Op::Add { .. } => 2,
            Int8Op::Concat { from, .. } => from.len().max(1),
            _ => 1,
        }
    }

    /// The output, and the check of the operands.
    pub(crate) fn output(&self, inputs: &[Meta]) -> Result<Meta> {
        let name = self.name();
        let a = &inputs[0];
        let made = |shape: Dims, dtype: DType| Meta { shape, dtype, device: a.device };
        let is = |meta: &Meta, dtype: DType| match meta.dtype == dtype {
            true => Ok(()),
            false => Err(Error::dtype(name, format!("{} where {dtype} is expected", meta.dtype))),
        };
        let images_in = |images: bool, order: [usize; 4]| match (images, &a.shape[..]) {
            (false, shape) => Ok(Dims::from_slice(shape)),
            (true, shape @ &[_, _, _, _]) => Ok(order.iter().map(|&dim| shape[dim]).collect()),
            (true, shape) => Err(Error::shape(name, format!("{shape:?}: four dims expected"))),
        };
        Ok(match self {
            Int8Op::Encode { to, images: are } => {
                to.check(name)?;
                is(a, DType::F32)?;
                made(images_in(*are, [0, 2, 3, 1])?, to.dtype)
            }
            Int8Op::Decode { from, images: are } => {
                from.check(name)?;
                is(a, from.dtype)?;
                made(images_in(*are, [0, 3, 1, 2])?, DType::F32)
            }
            Int8Op::Layer(call) => {
                is(a, call.x.dtype)?;
                made(
                    layer(name, &call.weights, &a.shape)?,
                    call.to.map_or(DType::F32, |to| to.dtype),
                )
            }
            Int8Op::Dynamic(dynamic) => {
                is(a, DType::F32)?;
                let images = matches!(dynamic.weights.packed, PackedWeights::Conv2d(_));
                let shape = images_in(images, [0, 2, 3, 1])?;
                made(layer(name, &dynamic.weights, &shape)?, DType::F32)
            }
            Int8Op::Recurrent(_) => return Err(Error::argument(name, "has no single output")),
            Int8Op::MaxPool2d(pool) => {
                let fits = matches!(a.dtype, DType::U8 | DType::I8)
                    && pool.dilation == [1, 1]
                    && !pool.ceil_mode;
                if !fits {
                    let message = "codes, dilation 1 and windows that lie within are expected";
                    return Err(Error::argument(name, message));
                }
                // Windows are checked where those of floats are.
                let chw = made(images_in(true, [0, 3, 1, 2])?, DType::F32);
                let y = super::metas::images::pooled(name, pool, &chw)?;
                made(Dims::from_slice(&[y[0], y[2], y[3], y[1]]), a.dtype)
            }
            Int8Op::Add { a: x, b: y, to, .. } => {
                [x, y, to].into_iter().try_for_each(|encoding| encoding.check(name))?;
                is(a, x.dtype)?;
                is(&inputs[1], y.dtype)?;
                if a.shape != inputs[1].shape {
                    let message = format!("{:?} and {:?} differ", a.shape, inputs[1].shape);
                    return Err(Error::shape(name, message));
                }
                made(a.shape.clone(), to.dtype)
            }
            Int8Op::Concat { from, to } => {
                to.check(name)?;
                let mut width = 0usize;
                for (meta, from) in inputs.iter().zip(from) {
                    from.check(name)?;
                    is(meta, from.dtype)?;
                    let (Some((last, rest)), Some((_, first))) =
                        (meta.shape.split_last(), a.shape.split_last())
                    else {
                        return Err(Error::shape(name, "a scalar has no last dim"));
                    };
                    if rest != first {
                        let message = format!("{:?} beside {:?}", meta.shape, a.shape);
                        return Err(Error::shape(name, message));
                    }
                    width = width.saturating_add(*last);
                }
                let mut shape = a.shape.clone();
                if let Some(last) = shape.last_mut() {
                    *last = width;
                }
                made(shape, to.dtype)
            }
        })
    }
}

fn layer(name: &'static str, weights: &Int8Weights, x: &[usize]) -> Result<Dims> {
    let wrong = |expected: String| {
        Err(Error::shape(name, format!("input of shape {x:?}: {expected} expected")))
    };
    match (&weights.packed, x) {
        (PackedWeights::Linear(packed), [rest @ .., last]) if *last == packed.k() => {
            let mut shape = Dims::from_slice(rest);
            shape.push(packed.n());
            Ok(shape)
        }
        (PackedWeights::Linear(packed), _) => wrong(format!("[.., {}]", packed.k())),
        (PackedWeights::Conv2d(conv), &[n, h, w, c]) if c == conv.shape().in_channels => {
            match conv.shape().output([h, w]) {
                Some([oh, ow]) => Ok(Dims::from_slice(&[n, oh, ow, conv.shape().out_channels])),
                None => wrong("an image that the kernel fits into".to_string()),
            }
        }
        (PackedWeights::Conv2d(conv), _) => {
            wrong(format!("[n, h, w, {}]", conv.shape().in_channels))
        }
    }
}
