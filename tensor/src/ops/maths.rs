//! The rarer elementwise functions, of one operand and of more.

use std::f64::consts::PI;

use crate::apply::{Operand, apply_one};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::Op;
use crate::ops::chain::{BinaryChain as _, UnaryChain as _};
use crate::ops::{binary, floats, look, methods, promoted};
use crate::tensor::Tensor;
use ferrotape_kernels::elementwise::{BinaryOp, UnaryOp};

/// An operand as a tensor: for expressions that name it more than once.
pub(super) fn held(op: &'static str, x: Operand<'_>) -> Result<Tensor> {
    match x {
        Operand::Own(tensor) => Ok(tensor),
        Operand::Failed(error) => Err(error),
        other => look(op, &other).cloned(),
    }
}

/// Two operands as tensors of the promoted type.
fn both(op: &'static str, a: Operand<'_>, b: Operand<'_>) -> Result<[Tensor; 2]> {
    let [a, b] = promoted(op, a, b)?;
    Ok([held(op, a)?, held(op, b)?])
}

/// Two operands as tensors of one floating-point type; integers become f32.
fn both_floats(op: &'static str, a: Operand<'_>, b: Operand<'_>) -> Result<[Tensor; 2]> {
    let [a, b] = floats([a, b])?;
    both(op, a, b)
}

methods! {
    /// The rarer elementwise functions, on `Result<Tensor>`.
    trait MathsChain;

    /// Tangent of radians.
    fn tan(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Tan), &mut [x]) }
    /// Inverse sine, in radians from `-pi/2` to `pi/2`; NaN outside `-1..=1`.
    fn asin(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Asin), &mut [x]) }
    /// Inverse cosine, in radians from 0 to `pi`; NaN outside `-1..=1`.
    fn acos(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Acos), &mut [x]) }
    /// Inverse tangent, in radians from `-pi/2` to `pi/2`.
    fn atan(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Atan), &mut [x]) }
    /// Hyperbolic sine, `(e^x - e^-x) / 2`.
    fn sinh(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Sinh), &mut [x]) }
    /// Hyperbolic cosine, `(e^x + e^-x) / 2`.
    fn cosh(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Cosh), &mut [x]) }
    /// Inverse hyperbolic sine.
    fn asinh(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Asinh), &mut [x]) }
    /// Inverse hyperbolic cosine; NaN below 1.
    fn acosh(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Acosh), &mut [x]) }
    /// Inverse hyperbolic tangent; infinite at -1 and 1, NaN beyond.
    fn atanh(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Atanh), &mut [x]) }
    /// `2^x`
    fn exp2(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Exp2), &mut [x]) }
    /// Logarithm to base 2; `-inf` at 0, NaN below.
    fn log2(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Log2), &mut [x]) }
    /// Logarithm to base 10; `-inf` at 0, NaN below.
    fn log10(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Log10), &mut [x]) }
    /// The complementary error function, `1 - erf(x)`, to the last digits of its tail.
    fn erfc(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Erfc), &mut [x]) }
    /// Integer part: the fraction cut off.
    fn trunc(x) -> Tensor { apply_one(&Op::Unary(UnaryOp::Trunc), &mut [x]) }

    /// The nearest multiple of `10^-decimals`, ties to an even one: PyTorch's `round(decimals=)`. Its derivative is 0.
    fn round_decimals(x, decimals: i32) -> Tensor {
        let scale = 10f64.powi(decimals.saturating_abs());
        let x = look("round", &x)?;
        if decimals >= 0 { x.mul(scale).round().div(scale) } else { x.div(scale).round().mul(scale) }
    }

    /// `sin(pi x) / (pi x)`, 1 at 0.
    fn sinc(x) -> Tensor {
        let turned = look("sinc", &x)?.mul(PI)?;
        let near = turned.abs().lt(0.01)?;
        // Near 0 its series, whose derivatives of every order are right there too; elsewhere never divided by 0.
        let square = turned.square()?;
        let series = square.mul(-1.0 / 5040.0).add(1.0 / 120.0).mul(&square).add(-1.0 / 6.0).mul(&square).add(1.0);
        let away = near.select(1.0, &turned)?;
        near.select(series, away.sin().div(&away))
    }

    /// True where NaN.
    fn isnan(x) -> Tensor {
        let x = look("isnan", &x)?;
        x.ne(x)
    }
    /// True where plus or minus infinity.
    fn isinf(x) -> Tensor {
        let x = look("isinf", &x)?;
        x.eq(f64::INFINITY).logical_or(x.eq(f64::NEG_INFINITY))
    }
    /// True where neither infinite nor NaN.
    fn isfinite(x) -> Tensor {
        let x = look("isfinite", &x)?;
        x.lt(f64::INFINITY).logical_and(x.gt(f64::NEG_INFINITY))
    }

    /// `floor(x / other)`: PyTorch's `div(rounding_mode="floor")` and Python's `//`. Its derivative is 0. Of integers, as the three
    /// that follow, an integer.
    ///
    /// # Errors
    /// An integer divided by 0.
    fn floor_divide<'b>(x, other: impl Into<Operand<'b>>) -> Tensor {
        binary(BinaryOp::FloorDivide, x, other.into())
    }
    /// `trunc(x / other)`: PyTorch's `div(rounding_mode="trunc")`. Its derivative is 0.
    fn trunc_divide<'b>(x, other: impl Into<Operand<'b>>) -> Tensor {
        binary(BinaryOp::TruncDivide, x, other.into())
    }
    /// `x - other trunc(x / other)`, exact, with the sign of x.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([-3f32, 5.5]);
    /// assert_eq!(x.fmod(2.0)?.to_vec::<f32>()?, [-1., 1.5]);
    /// assert_eq!(x.remainder(2.0)?.to_vec::<f32>()?, [1., 1.5]);
    /// # Ok(()) }
    /// ```
    fn fmod<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::Fmod, x, other.into()) }
    /// `x - other floor(x / other)`, with the sign of other: Python's `%`.
    fn remainder<'b>(x, other: impl Into<Operand<'b>>) -> Tensor {
        binary(BinaryOp::Remainder, x, other.into())
    }
    /// The angle of the point `(other, x)` in radians, from `-pi` to `pi`.
    fn atan2<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::Atan2, x, other.into()) }
    /// `sqrt(x^2 + other^2)` without overflow.
    fn hypot<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::Hypot, x, other.into()) }

    /// `other - x`
    fn rsub<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::Sub, other.into(), x) }
    /// `x ^ other` in f64.
    fn float_power<'b>(x, other: impl Into<Operand<'b>>) -> Tensor {
        look("float_power", &x)?.to_dtype(DType::F64)?.pow(other)
    }

    /// `log(e^x + e^other)`, which overflows nowhere.
    fn logaddexp<'b>(x, other: impl Into<Operand<'b>>) -> Tensor {
        let [a, b] = both_floats("logaddexp", x, other.into())?;
        let first = a.ge(&b)?;
        let (high, low) = (first.select(&a, &b)?, first.select(&b, &a)?);
        // Equal infinities differ by nothing, not by NaN.
        let infinite = high.eq(&low).logical_and(high.isinf())?;
        let difference = infinite.select(0.0, low.sub(&high))?;
        infinite.select(&high, high.add(difference.exp().log1p()))
    }

    /// `x log(other)`, and 0 where x is 0, whatever other is but NaN.
    fn xlogy<'b>(x, other: impl Into<Operand<'b>>) -> Tensor {
        let [x, y] = both_floats("xlogy", x, other.into())?;
        // Where the logarithm is infinite or NaN, take that of 1: neither 0 * inf nor its derivatives arise.
        let strange = y.le(0.0).logical_or(y.eq(f64::INFINITY));
        let y = x.eq(0.0).logical_and(strange)?.select(1.0, &y)?;
        x.mul(y.log())
    }

    /// `x + weight (end - x)`; from a weight of 1/2 on, the same seen from the end, as PyTorch.
    fn lerp<'b, 'c>(x, end: impl Into<Operand<'b>>, weight: impl Into<Operand<'c>>) -> Tensor {
        let [x, end] = both("lerp", x, end.into())?;
        let distance = end.sub(&x)?;
        match weight.into() {
            Operand::Scalar(weight) if weight.abs() < 0.5 => x.add(distance.mul(weight)),
            Operand::Scalar(weight) => end.sub(distance.mul(1.0 - weight)),
            weight => {
                let weight = held("lerp", weight)?;
                let near = x.add(weight.mul(&distance));
                let far = end.sub(distance.mul(weight.rsub(1.0)));
                weight.abs().lt(0.5)?.select(near, far)
            }
        }
    }
    /// `x + value a b`
    fn addcmul<'b, 'c>(x, a: impl Into<Operand<'b>>, b: impl Into<Operand<'c>>, value: f64) -> Tensor {
        let product = binary(BinaryOp::Mul, a.into(), b.into());
        binary(BinaryOp::Add, x, scaled(product, value).into())
    }
    /// `x + value a / b`
    fn addcdiv<'b, 'c>(x, a: impl Into<Operand<'b>>, b: impl Into<Operand<'c>>, value: f64) -> Tensor {
        let quotient = binary(BinaryOp::Div, a.into(), b.into());
        binary(BinaryOp::Add, x, scaled(quotient, value).into())
    }

    /// The larger of x and `low`, NaN wins. Of equals each has half the gradient; where `low` is a number, x has none.
    fn clamp_min<'b>(x, low: impl Into<Operand<'b>>) -> Tensor {
        match low.into() {
            Operand::Scalar(low) if !low.is_nan() => {
                let x = look("clamp_min", &x)?;
                x.le(low)?.select(low, x)
            }
            low => binary(BinaryOp::Maximum, x, low),
        }
    }
    /// The smaller of x and `high`, NaN wins. Of equals each has half the gradient; where `high` is a number, x has none.
    fn clamp_max<'b>(x, high: impl Into<Operand<'b>>) -> Tensor {
        match high.into() {
            Operand::Scalar(high) if !high.is_nan() => {
                let x = look("clamp_max", &x)?;
                x.ge(high)?.select(high, x)
            }
            high => binary(BinaryOp::Minimum, x, high),
        }
    }

    /// `value`, a number or a tensor of one element without dims, where `mask` is true, x elsewhere; in x's type.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[1f32, 2.], [3., 4.]]);
    /// let y = x.masked_fill(&Tensor::from([true, false]), 0.0)?;
    /// assert_eq!(y.to_vec::<f32>()?, [0., 2., 0., 4.]);
    /// # Ok(()) }
    /// ```
    fn masked_fill<'b>(x, mask: &Tensor, value: impl Into<Operand<'b>>) -> Tensor {
        let tensor = look("masked_fill", &x)?;
        let value = match value.into() {
            Operand::Scalar(number) => Tensor::scalar(number, tensor.dtype(), tensor.device())?,
            value => held("masked_fill", value)?.to_dtype(tensor.dtype())?,
        };
        if value.rank() != 0 {
            let message = format!("a value of shape {:?}, expected one number", value.shape());
            return Err(Error::shape("masked_fill", message));
        }
        if mask.dtype() != DType::Bool {
            return Err(Error::dtype("masked_fill", "the mask must be bool"));
        }
        apply_one(&Op::Select, &mut [mask.into(), value.into(), x])
    }

    /// True where x is 0 (for bool: false).
    fn logical_not(x) -> Tensor { look("logical_not", &x)?.eq(0.0) }

    /// A tensor of x's type and device, all `value`.
    fn new_full(x, shape: impl crate::shape::IntoShape, value: f64) -> Tensor {
        Tensor::full(shape, value, look("new_full", &x)?)
    }
    /// A tensor of x's shape, type and device, all `value`.
    fn full_like(x, value: f64) -> Tensor {
        let x = look("full_like", &x)?;
        Tensor::full(x.shape(), value, x)
    }
}

/// `value x`
pub(super) fn scaled(x: Result<Tensor>, value: f64) -> Result<Tensor> {
    if value == 1.0 { x } else { x.mul(value) }
}
