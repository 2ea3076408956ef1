//! Elementwise methods of two operands; types promote as in PyTorch, shapes broadcast.

use crate::apply::{Operand, apply_one, plain_binary};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::Op;
use crate::ops::{look, methods};
use crate::tensor::Tensor;
use ferrotape_kernels::elementwise::{BinaryOp, CompareOp, LogicalOp};

/// What a number becomes beside a tensor.
#[derive(Clone, Copy, PartialEq)]
enum Numbers {
    /// One of the tensor's type.
    Typed,
    /// The same, but f32 beside a 2-byte float, which would round it: it is computed with in f32 anyway.
    Whole,
    /// One of the tensor's type, or i64 beside an integer type that can't hold it.
    Exact,
}

/// Both operands as tensors of the promoted type. A number takes the tensor's type if it can: one with a fraction makes an
/// integer tensor f32, as in PyTorch.
pub(crate) fn promoted<'a>(
    op: &'static str,
    a: Operand<'a>,
    b: Operand<'a>,
) -> Result<[Operand<'a>; 2]> {
    promoted_with(op, a, b, Numbers::Typed)
}

fn promoted_with<'a>(
    op: &'static str,
    a: Operand<'a>,
    b: Operand<'a>,
    numbers: Numbers,
) -> Result<[Operand<'a>; 2]> {
    let tensor_meta = |x: &Operand<'_>| x.tensor().map(|t| (t.dtype(), t.rank()));
    match (a, b) {
        (Operand::Failed(error), _) | (_, Operand::Failed(error)) => Err(error),
        (Operand::Scalar(number), b) => {
            let (scalar, b) = scalar_beside(op, number, b, numbers)?;
            Ok([scalar, b])
        }
        (a, Operand::Scalar(number)) => {
            let (scalar, a) = scalar_beside(op, number, a, numbers)?;
            Ok([a, scalar])
        }
        (a, b) => match (tensor_meta(&a), tensor_meta(&b)) {
            (Some(x), Some(y)) if x.0 != y.0 => {
                let dtype = DType::promote(x, y);
                let kept = |x: (DType, usize)| {
                    numbers == Numbers::Whole && dtype.is_half() && x == (DType::F32, 0)
                };
                let a = if kept(x) { a } else { cast(a, dtype)? };
                Ok([a, if kept(y) { b } else { cast(b, dtype)? }])
            }
            _ => Ok([a, b]),
        },
    }
}

fn scalar_beside<'a>(
    op: &'static str,
    number: f64,
    x: Operand<'a>,
    numbers: Numbers,
) -> Result<(Operand<'a>, Operand<'a>)> {
    let (dtype, device) = {
        let tensor = look(op, &x)?;
        (tensor.dtype().promote_number(number), tensor.device())
    };
    let held = (dtype.min()..=dtype.max()).contains(&number);
    let dtype = match numbers {
        Numbers::Exact if dtype.is_integer() && !held => DType::I64,
        _ => dtype,
    };
    let own = match numbers {
        Numbers::Whole if dtype.is_half() => DType::F32,
        _ => dtype,
    };
    let scalar = Operand::Own(Tensor::scalar(number, own, device)?);
    Ok((scalar, cast(x, dtype)?))
}

fn cast(x: Operand<'_>, dtype: DType) -> Result<Operand<'_>> {
    match x.tensor() {
        Some(tensor) if tensor.dtype() != dtype => {
            Ok(Operand::Own(apply_one(&Op::Cast(dtype), &mut [x])?))
        }
        _ => Ok(x),
    }
}

pub(crate) fn binary(op: BinaryOp, a: Operand<'_>, b: Operand<'_>) -> Result<Tensor> {
    if let (Operand::Ref(x), Operand::Ref(y)) = (&a, &b)
        && let Some(output) = plain_binary(op, x, y)
    {
        return output;
    }
    other_binary(op, a, b)
}

/// What is no case for the short way.
#[inline(never)]
fn other_binary(op: BinaryOp, a: Operand<'_>, b: Operand<'_>) -> Result<Tensor> {
    if let (Operand::Ref(x), Operand::Ref(y)) = (&a, &b)
        && x.dtype() == y.dtype()
        && x.dtype().is_float()
    {
        return apply_one(&Op::Binary(op), &mut [a, b]);
    }
    let [a, b] = match op {
        BinaryOp::Div | BinaryOp::Atan2 | BinaryOp::Hypot => floats([a, b])?,
        _ => [a, b],
    };
    apply_one(&Op::Binary(op), &mut promoted_with(op.name(), a, b, Numbers::Whole)?)
}

/// Operands of which none is a float as f32, as in PyTorch: before a number beside them would take their type, which may not hold it.
pub(crate) fn floats<'a>(operands: [Operand<'a>; 2]) -> Result<[Operand<'a>; 2]> {
    if operands.iter().any(|x| x.tensor().is_some_and(|t| t.dtype().is_float())) {
        return Ok(operands);
    }
    let [a, b] = operands;
    Ok([cast(a, DType::F32)?, cast(b, DType::F32)?])
}

fn compare(op: CompareOp, a: Operand<'_>, b: Operand<'_>) -> Result<Tensor> {
    apply_one(&Op::Compare(op), &mut promoted_with(op.name(), a, b, Numbers::Exact)?)
}

fn logical(op: LogicalOp, a: Operand<'_>, b: Operand<'_>) -> Result<Tensor> {
    let device = a.tensor().or(b.tensor()).map_or(Device::Cpu, Tensor::device);
    apply_one(&Op::Logical(op), &mut [truth(a, device)?, truth(b, device)?])
}

/// An operand as a boolean.
fn truth(x: Operand<'_>, device: Device) -> Result<Operand<'_>> {
    match x {
        Operand::Scalar(number) => Ok(Operand::Own(Tensor::scalar(number, DType::Bool, device)?)),
        x => cast(x, DType::Bool),
    }
}

fn select(x: Operand<'_>, yes: Operand<'_>, no: Operand<'_>) -> Result<Tensor> {
    let device = look("where", &x)?.device();
    let [yes, no] = match (&yes, &no) {
        (Operand::Scalar(_), Operand::Scalar(_)) => [yes, no].map(|n| match n {
            Operand::Scalar(n) => Tensor::scalar(n, DType::F32, device).into(),
            other => other,
        }),
        _ => promoted("where", yes, no)?,
    };
    if let Operand::Failed(error) = yes {
        return Err(error);
    }
    if x.tensor().is_some_and(|t| t.dtype() != DType::Bool) {
        return Err(Error::dtype("where", "the condition must be bool"));
    }
    apply_one(&Op::Select, &mut [x, yes, no])
}

methods! {
    /// Elementwise methods of two operands, on `Result<Tensor>`.
    trait BinaryChain;

    /// `x + other`
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let y = Tensor::from([[1f32], [2.]]).add(Tensor::from([10f32, 20.]))?;
    /// assert_eq!(y.to_vec::<f32>()?, [11., 21., 12., 22.]);
    /// # Ok(()) }
    /// ```
    fn add<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::Add, x, other.into()) }
    /// `x - other`
    fn sub<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::Sub, x, other.into()) }
    /// `x * other`
    fn mul<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::Mul, x, other.into()) }
    /// `x / other`; integers divide as f32.
    fn div<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::Div, x, other.into()) }
    /// `x ^ other`. Integers give integers (wrapping; a negative exponent gives 0, or a power of 1 or -1); with a fraction f32.
    fn pow<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::Pow, x, other.into()) }
    /// The larger of both; NaN wins.
    fn maximum<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::Maximum, x, other.into()) }
    /// The smaller of both; NaN wins.
    fn minimum<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::Minimum, x, other.into()) }
    /// `y > 0 ? x : 0`, x where y is NaN: what relu's derivative does to x, from relu's output y.
    fn relu_grad<'b>(x, y: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::ReluGrad, x, y.into()) }
    /// `x * (1 - y^2)`: what tanh's derivative does to x, from tanh's output y.
    fn tanh_grad<'b>(x, y: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::TanhGrad, x, y.into()) }
    /// `x * y * (1 - y)`: what sigmoid's derivative does to x, from sigmoid's output y.
    fn sigmoid_grad<'b>(x, y: impl Into<Operand<'b>>) -> Tensor { binary(BinaryOp::SigmoidGrad, x, y.into()) }

    /// `x == other`
    fn eq<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { compare(CompareOp::Eq, x, other.into()) }
    /// `x != other`
    fn ne<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { compare(CompareOp::Ne, x, other.into()) }
    /// `x < other`
    fn lt<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { compare(CompareOp::Lt, x, other.into()) }
    /// `x <= other`
    fn le<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { compare(CompareOp::Le, x, other.into()) }
    /// `x > other`
    fn gt<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { compare(CompareOp::Gt, x, other.into()) }
    /// `x >= other`
    fn ge<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { compare(CompareOp::Ge, x, other.into()) }

    /// Both; numbers count as true unless 0.
    fn logical_and<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { logical(LogicalOp::And, x, other.into()) }
    /// Either; numbers count as true unless 0.
    fn logical_or<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { logical(LogicalOp::Or, x, other.into()) }
    /// Exactly one; numbers count as true unless 0.
    fn logical_xor<'b>(x, other: impl Into<Operand<'b>>) -> Tensor { logical(LogicalOp::Xor, x, other.into()) }

    /// `condition ? yes : no`, x being the condition: PyTorch's `where`.
    fn select<'b>(x, yes: impl Into<Operand<'b>>, no: impl Into<Operand<'b>>) -> Tensor {
        select(x, yes.into(), no.into())
    }
}
