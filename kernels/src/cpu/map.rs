//! Elementwise kernels: contiguous, strided and broadcast operands, a contiguous result.
//!
//! Floats run through `float`: rows of whole vectors and a masked tail, one instance for each op
//! and ISA. The rest (integers, comparisons, casts) are plain loops over tiles that `plain` makes
//! contiguous.

mod cast;
mod float;
mod integer;
mod plain;
#[cfg(test)]
mod tests;
mod wide;

pub use cast::{cast, cast_direct, cast_to_bool};
pub use integer::{binary_integer, compare, logical, select, unary_integer};

use crate::cpu::parallel;
use crate::element::{Float, Pod};
use crate::elementwise::{BinaryOp, UnaryOp};
use crate::error::{Result, require};
use crate::strided::View;

/// Where an operand lies: in a buffer of its own, or already in the output (which has the result's
/// shape, contiguous).
#[derive(Debug, Clone, Copy)]
pub enum Source<'a, T> {
    /// A view, already broadcast to the result's shape.
    View(View<'a, T>),
    /// The result's elements in their order: a view that needs no looking at.
    Slice(&'a [T]),
    /// One value for all elements.
    One(&'a T),
    /// The output's old contents.
    Output,
}

/// Elements of one piece of parallel work: a function of nothing; whole cache lines.
const PIECE: usize = 32 * 1024;
const _: () = assert!(PIECE.is_multiple_of(64));

/// Runs `body(start, end)` over `0..len` in pieces; `cost` is in picoseconds an element.
fn pieces(len: usize, cost: u64, body: &(impl Fn(usize, usize) + Sync)) {
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
/// [`Contract`](crate::Error::Contract) if the lengths differ.
#[inline]
pub fn unary<T: Float>(op: UnaryOp, x: Source<'_, T>, out: &mut [T]) -> Result<()> {
    float::unary(op, x, out)
}

/// `out = op(a, b)`; at most one operand may be [`Source::Output`], or both (`op(out, out)`).
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if the shapes differ.
#[inline]
pub fn binary<T: Float>(
    op: BinaryOp,
    a: Source<'_, T>,
    b: Source<'_, T>,
    out: &mut [T],
) -> Result<()> {
    match (a, b) {
        (Source::Slice(a), Source::Slice(b)) => binary_slices(op, a, b, out),
        _ => float::binary(op, a, b, out),
    }
}

/// [`binary`] of slices, which may be so short that what surrounds the kernel is felt.
///
/// # Errors
/// As [`binary`].
#[inline(always)]
pub fn binary_slices<T: Float>(op: BinaryOp, a: &[T], b: &[T], out: &mut [T]) -> Result<()> {
    match float::short_slices(op, a, b, out) {
        true => Ok(()),
        false => float::any_slices(op, a, b, out),
    }
}

/// The result's length against an operand's.
fn same_length<T: Pod>(x: &View<'_, T>, len: usize) -> Result<()> {
    require(x.len() == len, "map: an operand's length is not the result's")
}
