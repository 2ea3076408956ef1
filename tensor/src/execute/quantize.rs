//! Quantization, products and convolutions of codes.

use ferrotape_kernels::Pod;
use ferrotape_kernels::buffer::Buffer;
use ferrotape_kernels::cpu::copy;
use ferrotape_kernels::cpu::int8::scheme::{self, Affine, Rule};
use ferrotape_kernels::cpu::int8::{self, Code, Codes, Zero, double};
use ferrotape_kernels::strided::View;
use smallvec::SmallVec;

use super::products::batch_offsets;
use super::{Dense, Input, Output, integer_type, tensor, told};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Layout, Strides};
use crate::observe::Tag;
use crate::op::{Conv2dOp, Op};
use crate::shape::Dims;
use crate::tensor::Tensor;

pub(super) fn execute(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    match op {
        Op::Quantize(settings) => {
            let parameters = Parameters::<f32>::new(op, inputs, range(settings.dtype), |scale| {
                let usable = settings.rule == Rule::Divide || scale.recip().is_finite();
                positive(f64::from(scale)) && usable
            })?;
            let affine = parameters.affine(settings.rule);
            let x = tensor(op, inputs, 0)?;
            let (shape, x) = (runs(x.shape(), settings.axis), Dense::<f32>::new(op, x)?);
            let x = x.slice();
            told(
                op,
                match settings.dtype {
                    DType::U8 => {
                        scheme::quantize(shape, x, &affine, out.buffer.as_mut_slice::<u8>())
                    }
                    _ => scheme::quantize(shape, x, &affine, out.buffer.as_mut_slice::<i8>()),
                },
            )
        }
        Op::Dequantize { axis } => {
            let x = tensor(op, inputs, 0)?;
            let shape = runs(x.shape(), *axis);
            match x.dtype() {
                DType::U8 => dequantize::<u8>(op, shape, inputs, out),
                _ => dequantize::<i8>(op, shape, inputs, out),
            }
        }
        Op::FakeQuantize(settings) => {
            let x = tensor(op, inputs, 0)?;
            let (shape, bounds) = (runs(x.shape(), settings.axis), [settings.low, settings.high]);
            if out.meta.dtype == DType::F64 {
                let right = |scale: f64| positive(scale) && scale.recip().is_finite();
                let parameters = Parameters::<f64>::new(op, inputs, bounds, right)?;
                let (x, to) = (Dense::<f64>::new(op, x)?, out.buffer.as_mut_slice());
                let (scale, zero) = (&parameters.scale, parameters.zero.zero());
                return told(op, double::fake_quantize(shape, x.slice(), scale, zero, bounds, to));
            }
            let right = |scale: f32| positive(f64::from(scale)) && scale.recip().is_finite();
            let parameters = Parameters::<f32>::new(op, inputs, bounds, right)?;
            let affine = Affine { bounds: Some(bounds), ..parameters.affine(Rule::Reciprocal) };
            let x = Dense::<f32>::new(op, x)?;
            told(op, scheme::fake_quantize(shape, x.slice(), &affine, out.buffer.as_mut_slice()))
        }
        Op::MatmulInteger => {
            let b = tensor(op, inputs, 1)?;
            match b.dtype() {
                DType::U8 => matmul::<u8>(op, inputs, out),
                _ => matmul::<i8>(op, inputs, out),
            }
        }
        Op::ConvInteger(settings) => {
            let w = tensor(op, inputs, 1)?;
            match w.dtype() {
                DType::U8 => convolve::<u8>(op, settings, inputs, out),
                _ => convolve::<i8>(op, settings, inputs, out),
            }
        }
        _ => Err(Error::argument(op.name(), "has nothing to do with codes")),
    }
}

/// The lowest and the highest code.
pub(super) fn range(dtype: DType) -> [i32; 2] {
    if dtype == DType::U8 { u8::RANGE } else { i8::RANGE }
}

pub(super) fn positive(scale: f64) -> bool {
    scale.is_finite() && scale > 0.0
}

/// A shape as `[outer, channels, inner]`.
pub(super) fn runs(shape: &[usize], axis: Option<usize>) -> [usize; 3] {
    let len = |sizes: &[usize]| sizes.iter().product();
    match axis {
        Some(axis) => [len(&shape[..axis]), shape[axis], len(&shape[axis + 1..])],
        None => [1, 1, len(shape)],
    }
}

/// What stands among several at place `i`, in words.
fn called(what: &str, i: usize, several: bool) -> String {
    if several { format!("{what} {i}") } else { format!("the {what}") }
}

/// Zero points: one, or as many as there are channels, rows or columns.
pub(super) struct Zeros {
    pub(super) values: SmallVec<[i32; 4]>,
    pub(super) one: bool,
}

impl Zeros {
    /// The elements of an integer tensor, all of them within the bounds.
    fn new(op: &Op, zero: &Tensor, bounds: [i32; 2]) -> Result<Zeros> {
        integer_type!(op, zero.dtype(), T => Zeros::of::<T>(op, zero, bounds))
    }

    fn of<T: Pod + Into<i64>>(op: &Op, zero: &Tensor, [low, high]: [i32; 2]) -> Result<Zeros> {
        let one = zero.rank() == 0;
        let code = |(i, &zero): (usize, &T)| {
            let zero: i64 = zero.into();
            let code = i32::try_from(zero).ok().filter(|code| (low..=high).contains(code));
            code.ok_or_else(|| {
                let name = called("zero point", i, !one);
                let message = format!("{name} is {zero}: a code from {low} to {high} expected");
                Error::argument(op.name(), message)
            })
        };
        let zeros = Dense::<T>::new(op, zero)?;
        let values = zeros.slice().iter().enumerate().map(code).collect::<Result<_>>()?;
        Ok(Zeros { values, one })
    }

    pub(super) fn zero(&self) -> Zero<'_> {
        self.part(0, self.values.len())
    }

    /// The `i`-th `len` of them.
    pub(super) fn part(&self, i: usize, len: usize) -> Zero<'_> {
        match &self.values[..] {
            [zero] if self.one => Zero::All(*zero),
            zeros => Zero::Each(zeros.get(i * len..(i + 1) * len).unwrap_or_default()),
        }
    }
}

/// Scales and zero points of operands 1 and 2, checked.
pub(super) struct Parameters<T> {
    scale: SmallVec<[T; 4]>,
    zero: Zeros,
}

impl<T: ferrotape_kernels::Float> Parameters<T> {
    pub(super) fn new(
        op: &Op,
        inputs: &[Input<'_>],
        range: [i32; 2],
        right: impl Fn(T) -> bool,
    ) -> Result<Self> {
        let scale = tensor(op, inputs, 1)?;
        let several = scale.rank() > 0;
        let scale = SmallVec::from_slice(Dense::<T>::new(op, scale)?.slice());
        if let Some(i) = scale.iter().position(|&scale| !right(scale)) {
            let (name, scale) = (called("scale", i, several), scale[i]);
            let message = format!("{name} is {scale:?}: a positive, finite number expected");
            return Err(Error::argument(op.name(), message));
        }
        Ok(Parameters { scale, zero: Zeros::new(op, tensor(op, inputs, 2)?, range)? })
    }
}

impl Parameters<f32> {
    pub(super) fn affine(&self, rule: Rule) -> Affine<'_> {
        Affine { scale: &self.scale, zero: self.zero.zero(), bounds: None, rule }
    }
}

fn dequantize<C: Code>(
    op: &Op,
    shape: [usize; 3],
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
) -> Result<()> {
    let codes = Dense::<C>::new(op, tensor(op, inputs, 0)?)?;
    if out.meta.dtype == DType::F64 {
        let parameters = Parameters::<f64>::new(op, inputs, C::RANGE, positive)?;
        let (scale, zero) = (&parameters.scale, parameters.zero.zero());
        let out = out.buffer.as_mut_slice();
        return told(op, double::dequantize(shape, codes.slice(), scale, zero, out));
    }
    let parameters = Parameters::<f32>::new(op, inputs, C::RANGE, |x| positive(f64::from(x)))?;
    let affine = parameters.affine(Rule::Divide);
    told(op, scheme::dequantize(shape, codes.slice(), &affine, out.buffer.as_mut_slice()))
}

/// A tensor broadcast to `shape`, known to no tape.
pub(super) fn expanded(x: &Tensor, shape: Dims) -> Tensor {
    let from = x.layout();
    let strides = from.broadcast_strides(&shape);
    let layout = Layout { shape, strides, offset: from.offset() };
    x.seen_as(layout, x.dtype(), Tag::NONE)
}

/// Codes of either type, row-major.
enum DenseCodes<'a> {
    U8(Dense<'a, u8>),
    I8(Dense<'a, i8>),
}

impl<'a> DenseCodes<'a> {
    fn new(op: &Op, x: &'a Tensor) -> Result<Self> {
        Ok(match x.dtype() {
            DType::U8 => DenseCodes::U8(Dense::new(op, x)?),
            _ => DenseCodes::I8(Dense::new(op, x)?),
        })
    }

    /// `len` of them.
    fn part(&self, start: usize, len: usize) -> Codes<'_> {
        match self {
            DenseCodes::U8(dense) => {
                Codes::U8(dense.slice().get(start..start + len).unwrap_or_default())
            }
            DenseCodes::I8(dense) => {
                Codes::I8(dense.slice().get(start..start + len).unwrap_or_default())
            }
        }
    }
}

/// What the kernels of products and convolutions check beyond shapes depends on sizes and values.
fn refused(op: &Op, error: ferrotape_kernels::Error) -> Error {
    match error {
        ferrotape_kernels::Error::Contract(message) => Error::argument(op.name(), message),
        other => Error::from_kernel(op.name(), other),
    }
}

/// Sums by `run`: as i32 if they fit for any codes, else in i64, and each must then fit.
fn sums(
    op: &Op,
    out: &mut [i32],
    run: impl Fn(int8::Output<'_>) -> ferrotape_kernels::Result<()>,
) -> Result<()> {
    match run(int8::Output::I32(out)) {
        Err(ferrotape_kernels::Error::Contract(_)) => {}
        done => return done.map_err(|error| refused(op, error)),
    }
    let mut wide = Buffer::new(size_of_val(out) * 2).map_err(|error| refused(op, error))?;
    let wide = wide.as_mut_slice::<i64>();
    run(int8::Output::I64(wide)).map_err(|error| refused(op, error))?;
    for (out, &sum) in out.iter_mut().zip(&*wide) {
        *out = i32::try_from(sum).map_err(|_| {
            Error::argument(op.name(), format!("a sum is {sum}, which i32 does not hold"))
        })?;
    }
    Ok(())
}

/// Zero points of operand `place`, broadcast to `shape`.
pub(super) fn zeros(
    op: &Op,
    inputs: &[Input<'_>],
    place: usize,
    codes: DType,
    shape: Dims,
) -> Result<Zeros> {
    if place >= inputs.len() {
        return Ok(Zeros { values: SmallVec::from_elem(0, 1), one: true });
    }
    let zero = tensor(op, inputs, place)?;
    let given = Zeros::new(op, zero, range(codes))?;
    if zero.len() == 1 {
        return Ok(Zeros { one: true, ..given });
    }
    Zeros::new(op, &expanded(zero, shape), range(codes))
}

/// A product for each matrix of the batch, or, where all have the same right one, of all rows under each other.
fn matmul<C: Code>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let (a, b) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let shape = &out.meta.shape;
    let lead = shape.len() - 2;
    let (batch, m, n, k) = (&shape[..lead], shape[lead], shape[lead + 1], a.shape()[a.rank() - 1]);
    let of = |sizes: [usize; 2]| batch.iter().copied().chain(sizes).collect::<Dims>();
    let a_zeros = zeros(op, inputs, 2, a.dtype(), of([m, 1]))?;
    let b_zeros = zeros(op, inputs, 3, b.dtype(), of([1, n]))?;
    let out = out.buffer.as_mut_slice::<i32>();
    if k == 0 {
        out.fill(0);
        return Ok(());
    }
    let a = expanded(a, of([m, k]));
    let a = DenseCodes::new(op, &a)?;
    let rows = Layout::contiguous(Dims::from_slice(b.shape()));
    let places = b.seen_as(rows, b.dtype(), Tag::NONE);
    let places = batch_offsets(&places, batch);
    let one = b_zeros.one && places.iter().all(|&place| place == 0);
    let (count, m) = if one { (1, places.len() * m) } else { (places.len(), m) };
    let b = Dense::<C>::new(op, b)?;
    // Matrices that follow each other may be the same one.
    let mut packed: Option<(isize, int8::Packed)> = None;
    for (i, &place) in places.iter().enumerate().take(count) {
        if packed.as_ref().is_none_or(|(last, _)| *last != place) {
            let codes = b.slice().get(place as usize..).and_then(|b| b.get(..k * n));
            let codes = codes.unwrap_or_default();
            let weights = int8::Packed::new(int8::Order::InOut, k, n, codes);
            packed = Some((place, weights.map_err(|error| refused(op, error))?));
        }
        let Some((_, weights)) = &packed else { continue };
        let zero = a_zeros.part(i, m);
        let activations = int8::Activations { codes: a.part(i * m * k, m * k), stride: k, zero };
        let columns = Some(b_zeros.part(i, n));
        let Some(out) = out.get_mut(i * m * n..(i + 1) * m * n) else { continue };
        sums(op, out, |to| int8::gemm(m, &activations, weights, columns, None, to, n))?;
    }
    Ok(())
}

/// NCHW to NHWC, the convolution, and back.
fn convolve<C: Code>(
    op: &Op,
    settings: &Conv2dOp,
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
) -> Result<()> {
    let (x, w) = (tensor(op, inputs, 0)?, tensor(op, inputs, 1)?);
    let (&[batch, channels, h, width], &[o, _, kh, kw]) = (x.shape(), w.shape()) else {
        return Err(Error::argument(op.name(), "is a convolution of images"));
    };
    let x_zero = zeros(op, inputs, 2, x.dtype(), Dims::new())?;
    let x_zero = x_zero.values.first().copied().unwrap_or(0);
    let w_zeros = zeros(op, inputs, 3, w.dtype(), Dims::from_slice(&[o]))?;
    let to = out.buffer.as_mut_slice::<i32>();
    if w.is_empty() || x.is_empty() {
        to.fill(0);
        return Ok(());
    }
    let shape = int8::Conv2dShape {
        in_channels: channels,
        out_channels: o,
        kernel: [kh, kw],
        stride: settings.stride,
        padding: settings.padding,
        dilation: settings.dilation,
        groups: settings.groups,
    };
    let weight = Dense::<C>::new(op, w)?;
    let conv = int8::Conv2d::new(&shape, weight.slice()).map_err(|error| refused(op, error))?;
    let from = x.layout();
    let last = Layout {
        shape: Dims::from_slice(&[batch, h, width, channels]),
        strides: [0, 2, 3, 1].into_iter().map(|d: usize| from.strides()[d]).collect(),
        offset: from.offset(),
    };
    let x = x.seen_as(last, x.dtype(), Tag::NONE);
    let x = DenseCodes::new(op, &x)?;
    let mut planes = Buffer::new(size_of_val(to)).map_err(|error| refused(op, error))?;
    let codes = x.part(0, batch * channels * h * width);
    let zeros = w_zeros.zero();
    sums(op, planes.as_mut_slice(), |output| {
        int8::conv2d(
            &conv,
            batch,
            [h, width],
            codes,
            int8::Zero::All(x_zero),
            Some(zeros),
            None,
            output,
        )
    })?;
    let [_, _, oh, ow] = out.meta.shape[..] else { return Ok(()) };
    let row = (ow * o) as isize;
    let strides = Strides::from_slice(&[oh as isize * row, 1, row, o as isize]);
    let view = View::new(planes.as_slice::<i32>(), 0, &out.meta.shape, &strides);
    let view = view.map_err(|error| refused(op, error))?;
    told(op, copy::copy(view, to))
}
