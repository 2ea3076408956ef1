//! Integers, comparisons, booleans and selections: nothing rounds, so these are plain loops that the compiler vectorises.

use super::plain;
use crate::cpu::copy;
use crate::element::{Integer, Number, Pod};
use crate::elementwise::{BinaryOp, CompareOp, LogicalOp, UnaryOp};
use crate::error::{Error, Result};
use crate::strided::View;

fn one<T: Pod>(x: View<'_, T>, out: &mut [T], f: impl Fn(T) -> T + Sync) -> Result<()> {
    plain::one(x, out, &|x, out| {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = f(x);
        }
    })
}

fn two<T: Pod, O: Pod>(
    a: View<'_, T>,
    b: View<'_, T>,
    out: &mut [O],
    f: impl Fn(T, T) -> O + Sync,
) -> Result<()> {
    plain::two(a, b, out, &|a, b, out| {
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *out = f(a, b);
        }
    })
}

/// `out = op(x)` for integers: neg, abs, sign, square, relu, and the roundings, which change nothing; wraps on overflow.
///
/// # Errors
/// [`Contract`](Error::Contract) for other ops or lengths that differ.
pub fn unary_integer<T: Integer>(op: UnaryOp, x: View<'_, T>, out: &mut [T]) -> Result<()> {
    match op {
        UnaryOp::Neg => one(x, out, |x| T::ZERO.minus(x)),
        UnaryOp::Abs => one(x, out, T::absolute),
        UnaryOp::Sign => one(x, out, T::sign),
        UnaryOp::Square => one(x, out, |x| x.times(x)),
        UnaryOp::Relu => one(x, out, |x| x.max(T::ZERO)),
        UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round => copy::copy(x, out),
        _ => Err(Error::Contract("map: this operation is not defined for integers")),
    }
}

/// `out = op(a, b)` for integers: add, sub, mul, maximum, minimum; wraps on overflow.
///
/// # Errors
/// [`Contract`](Error::Contract) for other ops or shapes that differ.
pub fn binary_integer<T: Integer>(
    op: BinaryOp,
    a: View<'_, T>,
    b: View<'_, T>,
    out: &mut [T],
) -> Result<()> {
    match op {
        BinaryOp::Add => two(a, b, out, T::plus),
        BinaryOp::Sub => two(a, b, out, T::minus),
        BinaryOp::Mul => two(a, b, out, T::times),
        BinaryOp::Maximum => two(a, b, out, T::max),
        BinaryOp::Minimum => two(a, b, out, T::min),
        _ => Err(Error::Contract("map: this operation is not defined for integers")),
    }
}

/// `out = op(a, b)` as 0 or 1.
///
/// # Errors
/// [`Contract`](Error::Contract) if the shapes differ.
pub fn compare<T: Number>(
    op: CompareOp,
    a: View<'_, T>,
    b: View<'_, T>,
    out: &mut [u8],
) -> Result<()> {
    match op {
        CompareOp::Eq => two(a, b, out, |a, b| (a == b) as u8),
        CompareOp::Ne => two(a, b, out, |a, b| (a != b) as u8),
        CompareOp::Lt => two(a, b, out, |a, b| (a < b) as u8),
        CompareOp::Le => two(a, b, out, |a, b| (a <= b) as u8),
        CompareOp::Gt => two(b, a, out, |b, a| (b < a) as u8),
        CompareOp::Ge => two(b, a, out, |b, a| (b <= a) as u8),
    }
}

/// `out = op(a, b)` on booleans (any nonzero byte is true), as 0 or 1.
///
/// # Errors
/// [`Contract`](Error::Contract) if the shapes differ.
pub fn logical(op: LogicalOp, a: View<'_, u8>, b: View<'_, u8>, out: &mut [u8]) -> Result<()> {
    match op {
        LogicalOp::And => two(a, b, out, |a, b| ((a != 0) & (b != 0)) as u8),
        LogicalOp::Or => two(a, b, out, |a, b| (a | b != 0) as u8),
        LogicalOp::Xor => two(a, b, out, |a, b| ((a != 0) ^ (b != 0)) as u8),
    }
}

/// `out = condition ? a : b`.
///
/// # Errors
/// [`Contract`](Error::Contract) if the shapes differ.
pub fn select<T: Pod>(
    condition: View<'_, u8>,
    a: View<'_, T>,
    b: View<'_, T>,
    out: &mut [T],
) -> Result<()> {
    plain::select(condition, a, b, out)
}
