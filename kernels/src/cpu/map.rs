//! Elementwise kernels: contiguous, strided and broadcast operands, a contiguous result.
//!
//! Floats run through `float`: rows of whole vectors and a masked tail, one instance for each op
//! and ISA. The rest (integers, comparisons, casts) are plain loops over tiles that `plain` makes
//! contiguous.

mod float;
mod plain;
#[cfg(test)]
mod tests;
mod wide;

use crate::cpu::parallel;
use crate::element::{Float, Number, Pod};
use crate::elementwise::{BinaryOp, CompareOp, LogicalOp, UnaryOp};
use crate::error::{Error, Result, require};
use crate::strided::View;

/// Where an operand lies: in a buffer of its own, or already in the output (which has the result's
/// shape, contiguous).
#[derive(Debug, Clone, Copy)]
pub enum Source<'a, T> {
    /// A view, already broadcast to the result's shape.
    View(View<'a, T>),
    /// The output's old contents.
    Output,
}

/// Elements of one piece of parallel work: a function of nothing.
const PIECE: usize = 32 * 1024;

/// Runs `body(start, end)` over `0..len` in pieces; `cost` is in picoseconds an element.
fn pieces(len: usize, cost: u64, body: &(dyn Fn(usize, usize) + Sync)) {
    if len <= PIECE {
        return body(0, len);
    }
    let work_ns = (len as u64).saturating_mul(cost) / 1000;
    parallel::run(len.div_ceil(PIECE), work_ns, &|piece| {
        body(piece * PIECE, ((piece + 1) * PIECE).min(len));
    });
}

/// A pointer that pieces on other threads may use; each dereferences only what its kernel's
/// contract allows.
struct Pointer<T>(*mut T);

impl<T> Clone for Pointer<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Pointer<T> {}

impl<T> Pointer<T> {
    /// Through a method, so that closures capture the wrapper and not the bare pointer.
    #[inline(always)]
    fn get(self) -> *mut T {
        self.0
    }
}

// SAFETY: it stands for a shared slice, or for a mutable one that pieces write disjoint parts of
// (checked at each use).
unsafe impl<T: Send + Sync> Sync for Pointer<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Pointer<T> {}

/// `out = op(x)`.
///
/// # Errors
/// [`Contract`](Error::Contract) if the lengths differ.
pub fn unary<T: Float>(op: UnaryOp, x: Source<'_, T>, out: &mut [T]) -> Result<()> {
    float::unary(op, x, out)
}

/// `out = op(a, b)`; at most one operand may be [`Source::Output`], or both (`op(out, out)`).
///
/// # Errors
/// [`Contract`](Error::Contract) if the shapes differ.
pub fn binary<T: Float>(
    op: BinaryOp,
    a: Source<'_, T>,
    b: Source<'_, T>,
    out: &mut [T],
) -> Result<()> {
    float::binary(op, a, b, out)
}

/// `out = op(x)` for integers: neg, abs, sign, square, relu; wraps on overflow.
///
/// # Errors
/// [`Contract`](Error::Contract) for other ops or lengths that differ.
pub fn unary_integer(op: UnaryOp, x: View<'_, i64>, out: &mut [i64]) -> Result<()> {
    match op {
        UnaryOp::Neg => plain::one(x, out, i64::wrapping_neg),
        UnaryOp::Abs => plain::one(x, out, i64::wrapping_abs),
        UnaryOp::Sign => plain::one(x, out, i64::signum),
        UnaryOp::Square => plain::one(x, out, |x| x.wrapping_mul(x)),
        UnaryOp::Relu => plain::one(x, out, |x| x.max(0)),
        _ => Err(Error::Contract("map: this operation is not defined for integers")),
    }
}

/// `out = op(a, b)` for integers: add, sub, mul, maximum, minimum; wraps on overflow.
///
/// # Errors
/// [`Contract`](Error::Contract) for other ops or shapes that differ.
pub fn binary_integer(
    op: BinaryOp,
    a: View<'_, i64>,
    b: View<'_, i64>,
    out: &mut [i64],
) -> Result<()> {
    match op {
        BinaryOp::Add => plain::two(a, b, out, i64::wrapping_add),
        BinaryOp::Sub => plain::two(a, b, out, i64::wrapping_sub),
        BinaryOp::Mul => plain::two(a, b, out, i64::wrapping_mul),
        BinaryOp::Maximum => plain::two(a, b, out, i64::max),
        BinaryOp::Minimum => plain::two(a, b, out, i64::min),
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
        CompareOp::Eq => plain::two(a, b, out, |a, b| (a == b) as u8),
        CompareOp::Ne => plain::two(a, b, out, |a, b| (a != b) as u8),
        CompareOp::Lt => plain::two(a, b, out, |a, b| (a < b) as u8),
        CompareOp::Le => plain::two(a, b, out, |a, b| (a <= b) as u8),
        CompareOp::Gt => plain::two(b, a, out, |b, a| (b < a) as u8),
        CompareOp::Ge => plain::two(b, a, out, |b, a| (b <= a) as u8),
    }
}

/// `out = op(a, b)` on booleans (any nonzero byte is true), as 0 or 1.
///
/// # Errors
/// [`Contract`](Error::Contract) if the shapes differ.
pub fn logical(op: LogicalOp, a: View<'_, u8>, b: View<'_, u8>, out: &mut [u8]) -> Result<()> {
    match op {
        LogicalOp::And => plain::two(a, b, out, |a, b| ((a != 0) & (b != 0)) as u8),
        LogicalOp::Or => plain::two(a, b, out, |a, b| (a | b != 0) as u8),
        LogicalOp::Xor => plain::two(a, b, out, |a, b| ((a != 0) ^ (b != 0)) as u8),
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
    plain::three(condition, a, b, out, |condition, a, b| if condition != 0 { a } else { b })
}

/// `out = x as B`; floats to integers truncate and saturate, NaN gives 0.
///
/// # Errors
/// [`Contract`](Error::Contract) if the lengths differ.
pub fn cast<A: Number, B: Number>(x: View<'_, A>, out: &mut [B]) -> Result<()> {
    // Integers go through i64, which holds all of them, to f32 too: by way of f64 they would round
    // twice.
    if A::INTEGER {
        plain::one(x, out, |x| B::from_i64(x.to_i64()))
    } else {
        plain::one(x, out, |x| B::from_f64(x.to_f64()))
    }
}

/// `out = x != 0` as 0 or 1 (NaN is true).
///
/// # Errors
/// [`Contract`](Error::Contract) if the lengths differ.
pub fn cast_to_bool<A: Number>(x: View<'_, A>, out: &mut [u8]) -> Result<()> {
    plain::one(x, out, |x| (x != A::default()) as u8)
}

/// The result's length against an operand's.
fn same_length<T: Pod>(x: &View<'_, T>, len: usize) -> Result<()> {
    require(x.len() == len, "map: an operand's length is not the result's")
}
