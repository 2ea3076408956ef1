//! Quantization, and products and convolutions of codes.

use smallvec::SmallVec;

use crate::apply::{Operand, apply_one};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Conv2dOp, FakeQuantizeOp, Op, QuantizeOp};
use crate::ops::chain::{BinaryChain as _, ShapeChain as _, UnaryChain as _};
use crate::ops::{look, methods};
use crate::shape;
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::int8::scheme::Rule;

/// A scale as a tensor beside `x`, of type `dtype` where it is said; one of one element as a scalar unless it is per place of a dim.
fn scale<'a>(
    op: &'static str,
    x: &Tensor,
    scale: Operand<'a>,
    axis: Option<usize>,
    dtype: Option<DType>,
) -> Result<Tensor> {
    let scale = match scale {
        Operand::Scalar(number) => {
            return Tensor::scalar(number, dtype.unwrap_or(DType::F32), x.device());
        }
        scale => plain(op, scale, axis)?,
    };
    match dtype {
        Some(dtype) if scale.dtype().is_float() => scale.to_dtype(dtype),
        _ => Ok(scale),
    }
}

/// A zero point as a tensor beside `x`.
fn zero(op: &'static str, x: &Tensor, zero: Operand<'_>, axis: Option<usize>) -> Result<Tensor> {
    match zero {
        Operand::Scalar(number) if number.fract() == 0.0 && number.abs() <= 1e9 => {
            Tensor::scalar(number, DType::I32, x.device())
        }
        Operand::Scalar(number) => {
            Err(Error::argument(op, format!("the zero point is {number}: a code expected")))
        }
        zero => plain(op, zero, axis),
    }
}

fn plain(op: &'static str, given: Operand<'_>, axis: Option<usize>) -> Result<Tensor> {
    if let Operand::Failed(error) = given {
        return Err(error);
    }
    let tensor = look(op, &given)?;
    if axis.is_none() && tensor.len() == 1 { tensor.reshape(()) } else { Ok(tensor.clone()) }
}

/// `run` of `[blocks, elements]`, a scale and a zero point a block: x's dims are cut into as many equal parts as the scale's say.
fn in_blocks(
    op: &'static str,
    x: &Tensor,
    scale: &Tensor,
    zero: &Tensor,
    run: impl FnOnce(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (sizes, parts) = (x.shape(), scale.shape());
    let zeros = zero.rank() == 0 || zero.shape() == parts;
    let divides = |(&size, &part): (&usize, &usize)| size == 0 || size.checked_rem(part) == Some(0);
    if sizes.len() != parts.len() || !zeros || !sizes.iter().zip(parts).all(divides) {
        let message = format!(
            "input {sizes:?}, scale {parts:?}, zero point {:?}: one of all, one for each place of the axis, or one a block",
            zero.shape()
        );
        return Err(Error::shape(op, message));
    }
    let rank = sizes.len() as i64;
    let block: Vec<usize> =
        sizes.iter().zip(parts).map(|(size, part)| size.checked_div(*part).unwrap_or(0)).collect();
    let cut: Vec<usize> = parts.iter().zip(&block).flat_map(|(&p, &b)| [p, b]).collect();
    let apart: Vec<i64> = (0..rank).map(|d| 2 * d).chain((0..rank).map(|d| 2 * d + 1)).collect();
    let back: Vec<i64> = (0..rank).flat_map(|d| [d, rank + d]).collect();
    let len = |sizes: &[usize]| shape::checked_len(op, sizes);
    let rows = x.reshape(cut)?.permute(&apart[..])?.reshape([len(parts)?, len(&block)?])?;
    let zero = if zero.rank() == 0 { zero.clone() } else { zero.reshape([zero.len()])? };
    let y = run(&rows, &scale.reshape([scale.len()])?, &zero)?;
    let apart: Vec<usize> = parts.iter().chain(&block).copied().collect();
    y.reshape(apart)?.permute(&back[..])?.reshape(sizes)
}

/// True if a scale or a zero point is one a block.
fn blocks(axis: Option<usize>, scale: &Tensor, zero: &Tensor) -> bool {
    axis.is_none() && (scale.rank() > 0 || zero.rank() > 0)
}

fn quantize(
    op: &'static str,
    x: Operand<'_>,
    by: Operand<'_>,
    zero_point: Operand<'_>,
    settings: QuantizeOp,
) -> Result<Tensor> {
    let x = look(op, &x)?;
    let by = scale(op, x, by, settings.axis, Some(DType::F32))?;
    let zero = zero(op, x, zero_point, settings.axis)?;
    if blocks(settings.axis, &by, &zero) {
        return in_blocks(op, x, &by, &zero, |x, by, zero| {
            apply_one(&Op::Quantize(settings.axis(0)), &mut [x.into(), by.into(), zero.into()])
        });
    }
    apply_one(&Op::Quantize(settings), &mut [x.into(), by.into(), zero.into()])
}

fn dequantize(x: &Tensor, by: &Tensor, zero: &Tensor, axis: Option<usize>) -> Result<Tensor> {
    if x.dtype() != DType::I32 {
        let op = Op::Dequantize { axis };
        return apply_one(&op, &mut [x.into(), by.into(), zero.into()]);
    }
    // Sums: exact, and rounded once.
    let at = |tensor: &Tensor| along("dequantize", x, tensor, axis);
    x.to_dtype(DType::I64).sub(at(&zero.to_dtype(DType::I64)?)).to_dtype(by.dtype()).mul(at(by))
}

/// A vector of one element for each place of a dim as one that broadcasts so.
fn along(op: &'static str, x: &Tensor, vector: &Tensor, axis: Option<usize>) -> Result<Tensor> {
    match (axis, vector.shape()) {
        (_, []) => Ok(vector.clone()),
        (Some(axis), &[size]) if x.shape().get(axis) == Some(&size) => {
            let mut shape: SmallVec<[usize; 6]> = SmallVec::from_elem(1, x.rank());
            shape[axis] = size;
            vector.reshape(&shape[..])
        }
        (_, shape) => {
            let message = format!(
                "input {:?}, axis {axis:?}: {shape:?} is not one for each place",
                x.shape()
            );
            Err(Error::shape(op, message))
        }
    }
}

fn matmul_integer(
    a: &Tensor,
    b: &Tensor,
    a_zero: Option<&Tensor>,
    b_zero: Option<&Tensor>,
) -> Result<Tensor> {
    let op = "matmul_integer";
    let fail = |what: &str| {
        let message = format!("{:?} x {:?}: {what}", a.shape(), b.shape());
        Err(Error::shape(op, message))
    };
    match (a.rank(), b.rank()) {
        (0, _) | (_, 0) => return fail("a scalar has no inner dim"),
        (1, 1) => {
            let (row, column) = (a.unsqueeze(0)?, b.unsqueeze(1)?);
            return matmul_integer(&row, &column, a_zero, b_zero).reshape(());
        }
        (1, _) => return matmul_integer(&a.unsqueeze(0)?, b, a_zero, b_zero).squeeze(-2),
        (_, 1) => return matmul_integer(a, &b.unsqueeze(1)?, a_zero, b_zero).squeeze(-1),
        _ => {}
    }
    // One a row stands beside the rows.
    let settled = |zero: &Tensor, of_rows: bool| match (zero.len(), zero.rank()) {
        (1, _) => zero.reshape(()),
        (_, 1) if of_rows => zero.unsqueeze(1),
        _ => Ok(zero.clone()),
    };
    let mut operands: SmallVec<[Operand<'_>; 4]> = SmallVec::from_iter([a.into(), b.into()]);
    match (a_zero, b_zero) {
        (Some(zero), _) => operands.push(settled(zero, true)?.into()),
        (None, Some(_)) => operands.push(Tensor::scalar(0.0, DType::I32, a.device())?.into()),
        (None, None) => {}
    }
    if let Some(zero) = b_zero {
        operands.push(settled(zero, false)?.into());
    }
    apply_one(&Op::MatmulInteger, &mut operands)
}

methods! {
    /// Quantization, on `Result<Tensor>`.
    trait QuantizeChain;

    /// Codes of 8 bits: `clamp(round_half_even(x / scale) + zero_point, lowest, highest)`, saturating; NaN becomes the zero point. PyTorch's
    /// `quantize_per_tensor` and, with [`axis`](QuantizeOp::axis), `quantize_per_channel`, with their codes bit for bit; with
    /// [`Rule::Divide`] ONNX's `QuantizeLinear`.
    ///
    /// scale: a number or a float tensor, zero_point: a whole number or an integer tensor, each one of all (`[]`), one for each place of the axis
    /// (`[channels]`), or, without an axis, of as many dims as x: one for each block, of x's dims cut into so many equal parts. Of f32; f16
    /// and bf16 are widened. Integers are constants to a tape: see [`fake_quantize`](Tensor::fake_quantize).
    ///
    /// # Errors
    /// x of another type; codes of another type than i8 and u8; shapes that don't fit; a scale that is not positive and finite (with PyTorch's rule
    /// its reciprocal, too); a zero point that is no code.
    ///
    /// ```
    /// # use ferrotape_tensor::{DType, QuantizeOp, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[-1f32, 0.75, 1.25], [0.5, 9.0, 200.]]);
    /// let codes = x.quantize(0.5, 10.0, QuantizeOp::new(DType::U8))?; // 1.5 and 2.5 are rounded to 2
    /// assert_eq!(codes.to_vec::<u8>()?, [8, 12, 12, 11, 28, 255]);
    /// let (scale, zero) = (Tensor::from([0.25f32, 2.]), Tensor::from([0i32, -3]));
    /// let codes = x.quantize(&scale, &zero, QuantizeOp::new(DType::I8).axis(0))?;
    /// assert_eq!(codes.to_vec::<i8>()?, [-4, 3, 5, -3, 1, 97]);
    /// let error = x.quantize(&scale, 300.0, QuantizeOp::new(DType::I8).axis(0)).unwrap_err().to_string();
    /// assert!(error.starts_with("quantize: the zero point is 300: a code from -128 to 127 expected"));
    /// # Ok(()) }
    /// ```
    fn quantize<'b>(
        x,
        scale: impl Into<Operand<'b>>,
        zero_point: impl Into<Operand<'b>>,
        settings: QuantizeOp,
    ) -> Tensor {
        quantize("quantize", x, scale.into(), zero_point.into(), settings)
    }

    /// What codes stand for: `(code - zero_point) * scale`, of the scale's type. scale and zero_point: as of [`quantize`](Tensor::quantize).
    /// PyTorch's `dequantize` and ONNX's `DequantizeLinear`. Codes are i8, u8 or, as sums of their products are, i32. Has a gradient in the
    /// scale.
    ///
    /// # Errors
    /// Codes of another type; shapes that don't fit; for 8 bits a scale that is not positive and finite or a zero point that is no code.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let codes = Tensor::from([[0u8, 10], [255, 11]]);
    /// assert_eq!(codes.dequantize(0.5, 10.0, None)?.to_vec::<f32>()?, [-5., 0., 122.5, 0.5]);
    /// # Ok(()) }
    /// ```
    fn dequantize<'b>(
        x,
        scale: impl Into<Operand<'b>>,
        zero_point: impl Into<Operand<'b>>,
        axis: Option<usize>,
    ) -> Tensor {
        let op = "dequantize";
        let x = look(op, &x)?;
        let (by, zero) = (self::scale(op, x, scale.into(), axis, None)?, zero(op, x, zero_point.into(), axis)?);
        if blocks(axis, &by, &zero) {
            return in_blocks(op, x, &by, &zero, |x, by, zero| dequantize(x, by, zero, Some(0)));
        }
        dequantize(x, &by, &zero, axis)
    }

    /// What x would be as codes from `low` to `high` of [`FakeQuantizeOp`]: `(clamp(round_half_even(x / scale) + zero_point, low, high) -
    /// zero_point) * scale`, for training with quantization. scale and zero_point: as of [`quantize`](Tensor::quantize). PyTorch's
    /// `fake_quantize_per_tensor_affine` and, with an axis, `fake_quantize_per_channel_affine`. Of f64 all of it is f64; f16 and bf16 are widened.
    ///
    /// The gradient in x passes where the code is not clamped ("straight through") and is 0 elsewhere. That in the scale is, as in *Learned Step
    /// Size Quantization* (Esser et al., 2020) and PyTorch's `_fake_quantize_learnable_per_tensor_affine`, the sum of
    /// `g * (y - x) / scale` where it passes and of `g * (low or high - zero_point)` where it doesn't.
    ///
    /// # Errors
    /// Integers; bounds in the wrong order, or more than 65535 apart; shapes that don't fit; a scale that is not positive and finite, or whose
    /// reciprocal is not; a zero point outside the bounds.
    ///
    /// ```
    /// # use ferrotape_tensor::{FakeQuantizeOp, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([-9f32, -0.3, 0.26, 0.8]);
    /// let y = x.fake_quantize(0.5, 0.0, FakeQuantizeOp::new(-8, 7))?; // 4 bits
    /// assert_eq!(y.to_vec::<f32>()?, [-4., -0.5, 0.5, 1.]);
    /// # Ok(()) }
    /// ```
    fn fake_quantize<'b>(
        x,
        scale: impl Into<Operand<'b>>,
        zero_point: impl Into<Operand<'b>>,
        settings: FakeQuantizeOp,
    ) -> Tensor {
        let op = "fake_quantize";
        let x = look(op, &x)?;
        let wide = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let by = self::scale(op, x, scale.into(), settings.axis, Some(wide))?;
        let zero = zero(op, x, zero_point.into(), settings.axis)?;
        let one = |x: &Tensor, by: &Tensor, zero: &Tensor, settings| {
            apply_one(&Op::FakeQuantize(settings), &mut [x.into(), by.into(), zero.into()])
        };
        match blocks(settings.axis, &by, &zero) {
            true => in_blocks(op, x, &by, &zero, |x, by, zero| one(x, by, zero, settings.axis(0))),
            false => one(x, &by, &zero, settings),
        }
    }

    /// Codes of i32 sums: `clamp(round_half_even(f32(x) * multiplier) + zero_point, lowest, highest)`, where the multiplier is the scale of the
    /// sums (that of the one operand times that of the other) over the scale of the codes. What stands between a product of codes and the next in
    /// ONNX's `QLinearMatMul` and `QLinearConv`. multiplier and zero_point: one of all or one for each place of the settings' axis.
    ///
    /// # Errors
    /// x of another type than i32; shapes that don't fit; a multiplier that is not finite; a zero point that is no code.
    ///
    /// ```
    /// # use ferrotape_tensor::{DType, QuantizeOp, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let sums = Tensor::from([1000i32, -30, 250, 70000]);
    /// let codes = sums.requantize(0.01, 100.0, QuantizeOp::new(DType::U8))?;
    /// assert_eq!(codes.to_vec::<u8>()?, [110, 100, 102, 255]);
    /// # Ok(()) }
    /// ```
    fn requantize<'b>(
        x,
        multiplier: impl Into<Operand<'b>>,
        zero_point: impl Into<Operand<'b>>,
        settings: QuantizeOp,
    ) -> Tensor {
        let op = "requantize";
        let x = look(op, &x)?;
        if x.dtype() != DType::I32 {
            return Err(Error::dtype(op, format!("sums of {}: i32 expected", x.dtype())));
        }
        let by = scale(op, x, multiplier.into(), settings.axis, Some(DType::F32))?;
        let by = if by.dtype().is_float() { by } else { by.to_dtype(DType::F32)? };
        if let Some((i, by)) = by.to_vec::<f32>()?.into_iter().enumerate().find(|(_, by)| !by.is_finite()) {
            return Err(Error::argument(op, format!("multiplier {i} is {by}: a finite number expected")));
        }
        let steps = x.to_dtype(DType::F32)?.mul(along(op, x, &by, settings.axis)?)?;
        quantize(op, steps.into(), 1.0.into(), zero_point.into(), settings.rule(Rule::Divide))
    }

    /// The product of codes as exact integers: `(a - a_zero) (b - b_zero)` for `[.., m, k] x [.., k, n]`, i8 or u8, each; i32. Batch dims
    /// broadcast, vectors as in [`matmul`](Tensor::matmul). Zero points (default: 0) are integers, one of all, or of a one a row (`[m]` or `[.., m, 1]`),
    /// of b one a column (`[n]` or `[.., 1, n]`). ONNX's `MatMulInteger`; without zero points PyTorch's `_int_mm`.
    ///
    /// b is packed at every call: a layer that multiplies by the same codes again and again should keep them packed.
    ///
    /// # Errors
    /// Operands of other types; shapes that don't fit; a zero point that is no code; a sum beyond i32 (none is up to k = 33,025).
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (a, b) = (Tensor::from([[255u8, 0, 3], [1, 2, 10]]), Tensor::from([[-128i8], [127], [5]]));
    /// assert_eq!(a.matmul_integer(&b, None, None)?.to_vec::<i32>()?, [-32625, 176]);
    /// let zero = Tensor::from([10i32]);
    /// assert_eq!(a.matmul_integer(&b, Some(&zero), None)?.to_vec::<i32>()?, [-32665, 136]);
    /// # Ok(()) }
    /// ```
    fn matmul_integer(x, other: &Tensor, a_zero: Option<&Tensor>, b_zero: Option<&Tensor>) -> Tensor {
        matmul_integer(look("matmul_integer", &x)?, other, a_zero, b_zero)
    }

    /// The convolution of codes as exact integers: [`conv2d`](Tensor::conv2d) of `x - x_zero`, NCHW, and `weight - weight_zero`, OIHW, i8 or
    /// u8, each; i32. Padding is x's zero point, so it contributes nothing. Zero points (default: 0) are integers, one of all; of the weight also one an
    /// output channel (`[O]`). ONNX's `ConvInteger`.
    ///
    /// # Errors
    /// Operands of other types; shapes and settings that don't fit; a zero point that is no code; a sum beyond i32.
    ///
    /// ```
    /// # use ferrotape_tensor::{Conv2dOp, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[[[2u8, 3, 4], [5, 6, 7], [8, 9, 10]]]]);
    /// let (w, zero) = (Tensor::from([[[[1u8, 1], [1, 1]]]]), Tensor::from(1i32));
    /// let y = x.conv_integer(&w, Some(&zero), None, Conv2dOp::default())?;
    /// assert_eq!(y.to_vec::<i32>()?, [12, 16, 24, 28]);
    /// # Ok(()) }
    /// ```
    fn conv_integer(
        x,
        weight: &Tensor,
        x_zero: Option<&Tensor>,
        weight_zero: Option<&Tensor>,
        settings: Conv2dOp,
    ) -> Tensor {
        let device = look("conv_integer", &x)?.device();
        let scalar = |zero: &Tensor| if zero.len() == 1 { zero.reshape(()) } else { Ok(zero.clone()) };
        let mut operands: SmallVec<[Operand<'_>; 4]> = SmallVec::from_iter([x, weight.into()]);
        match (x_zero, weight_zero) {
            (Some(zero), _) => operands.push(scalar(zero)?.into()),
            (None, Some(_)) => operands.push(Tensor::scalar(0.0, DType::I32, device)?.into()),
            (None, None) => {}
        }
        if let Some(zero) = weight_zero {
            operands.push(scalar(zero)?.into());
        }
        apply_one(&Op::ConvInteger(settings), &mut operands)
    }
}
