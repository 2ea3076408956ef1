//! Integers, comparisons, booleans and selections: nothing rounds, so these are plain loops that the compiler vectorises.

use std::sync::atomic::{AtomicBool, Ordering};

use super::plain;
use crate::cpu::copy;
use crate::element::{Integer, Number, Pod};
use crate::elementwise::{BinaryOp, CompareOp, LogicalOp, UnaryOp};
use crate::error::{Error, Result};
use crate::strided::View;

/// `out = f(x)`, as a loop of its own: a function pointer, since every `dyn Fn` would be compiled twice.
macro_rules! one {
    ($t:ty: $x:expr, $out:expr, |$a:ident| $f:expr) => {
        plain::one($x, $out, |x: &[$t], out: &mut [$t]| {
            for (out, &$a) in out.iter_mut().zip(x) {
                *out = $f;
            }
        })
    };
}

/// `out = f(a, b)`, likewise.
macro_rules! two {
    ($t:ty => $o:ty: $x:expr, $y:expr, $out:expr, |$a:ident, $b:ident| $f:expr) => {
        plain::two($x, $y, $out, |a: &[$t], b: &[$t], out: &mut [$o]| {
            for ((out, &$a), &$b) in out.iter_mut().zip(a).zip(b) {
                *out = $f;
            }
        })
    };
}

/// `out = op(x)` for integers: neg, abs, sign, square, relu, and the roundings, which change nothing; wraps on overflow.
///
/// # Errors
/// [`Contract`](Error::Contract) for other ops or lengths that differ.
pub fn unary_integer<T: Integer>(op: UnaryOp, x: View<'_, T>, out: &mut [T]) -> Result<()> {
    match op {
        UnaryOp::Neg => one!(T: x, out, |x| T::ZERO.minus(x)),
        UnaryOp::Abs => one!(T: x, out, |x| x.absolute()),
        UnaryOp::Sign => one!(T: x, out, |x| x.sign()),
        UnaryOp::Square => one!(T: x, out, |x| x.times(x)),
        UnaryOp::Relu => one!(T: x, out, |x| x.max(T::ZERO)),
        UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => copy::copy(x, out),
        _ => Err(Error::Contract("map: this operation is not defined for integers")),
    }
}

/// `out = op(a, b)` for integers: add, sub, mul, maximum, minimum, pow, the divisions that give integers; wraps on overflow.
///
/// # Errors
/// [`DivisionByZero`](Error::DivisionByZero); [`Contract`](Error::Contract) for other ops or shapes that differ.
pub fn binary_integer<T: Integer>(
    op: BinaryOp,
    a: View<'_, T>,
    b: View<'_, T>,
    out: &mut [T],
) -> Result<()> {
    use BinaryOp::{FloorDivide, Fmod, Remainder, TruncDivide};
    if matches!(op, FloorDivide | TruncDivide | Fmod | Remainder) {
        let zero = AtomicBool::new(false);
        plain::widened(b, &|_, b| {
            if b.contains(&T::Wide::default()) {
                zero.store(true, Ordering::Relaxed);
            }
        });
        if zero.into_inner() {
            return Err(Error::DivisionByZero);
        }
    }
    match op {
        FloorDivide => two!(T => T: a, b, out, |a, b| a.floor_divide(b)),
        TruncDivide => two!(T => T: a, b, out, |a, b| a.trunc_divide(b)),
        Fmod => two!(T => T: a, b, out, |a, b| a.fmod(b)),
        Remainder => two!(T => T: a, b, out, |a, b| a.remainder(b)),
        BinaryOp::Pow => two!(T => T: a, b, out, |a, b| a.power(b)),
        BinaryOp::Add => two!(T => T: a, b, out, |a, b| a.plus(b)),
        BinaryOp::Sub => two!(T => T: a, b, out, |a, b| a.minus(b)),
        BinaryOp::Mul => two!(T => T: a, b, out, |a, b| a.times(b)),
        BinaryOp::Maximum => two!(T => T: a, b, out, |a, b| a.max(b)),
        BinaryOp::Minimum => two!(T => T: a, b, out, |a, b| a.min(b)),
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
        CompareOp::Eq => two!(T => u8: a, b, out, |a, b| (a == b) as u8),
        CompareOp::Ne => two!(T => u8: a, b, out, |a, b| (a != b) as u8),
        CompareOp::Lt => two!(T => u8: a, b, out, |a, b| (a < b) as u8),
        CompareOp::Le => two!(T => u8: a, b, out, |a, b| (a <= b) as u8),
        CompareOp::Gt => compare(CompareOp::Lt, b, a, out),
        CompareOp::Ge => compare(CompareOp::Le, b, a, out),
    }
}

/// `out = op(a, b)` on booleans (any nonzero byte is true), as 0 or 1.
///
/// # Errors
/// [`Contract`](Error::Contract) if the shapes differ.
pub fn logical(op: LogicalOp, a: View<'_, u8>, b: View<'_, u8>, out: &mut [u8]) -> Result<()> {
    match op {
        LogicalOp::And => two!(u8 => u8: a, b, out, |a, b| ((a != 0) & (b != 0)) as u8),
        LogicalOp::Or => two!(u8 => u8: a, b, out, |a, b| (a | b != 0) as u8),
        LogicalOp::Xor => two!(u8 => u8: a, b, out, |a, b| ((a != 0) ^ (b != 0)) as u8),
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
