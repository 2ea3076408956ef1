//! Reductions over any set of dims, in the order R3 of ADR 001.

mod arg;
pub(crate) mod columns;
pub(crate) mod dims;
mod integers;
pub(crate) mod lanes;
mod product;
mod rows;
#[cfg(test)]
pub(crate) mod tests;

use crate::buffer::Buffer;
use crate::cpu::isa::Kernel;
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Error, Result, require};
use crate::strided::View;

pub use integers::{arg_reduce_integers, reduce_integers};

use dims::{Dim, Dims, count, offset};
use lanes::{Fold, Max, Min, Sum};

/// What a reduction computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReduceOp {
    /// The sum; of nothing: 0.
    Sum,
    /// The largest, NaN wins; of nothing: an error.
    Max,
    /// The smallest, NaN wins; of nothing: an error.
    Min,
    /// The product; of nothing: 1.
    Prod,
}

/// Which extreme [`arg_reduce`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArgOp {
    /// Index of the largest (NaN is the largest), the lowest index among equals.
    Max,
    /// Index of the smallest (NaN wins), the lowest index among equals.
    Min,
}

/// Reduces `x` over the dims where `reduced` is true; `out` has the kept dims in row-major order.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ, or on a maximum or minimum of nothing.
pub fn reduce<T: Float>(
    op: ReduceOp,
    x: View<'_, T>,
    reduced: &[bool],
    out: &mut [T],
) -> Result<()> {
    require(reduced.len() == x.shape().len(), "reduce: one flag per dim")?;
    require(kept_len(x.shape(), reduced) == Some(out.len()), "reduce: length of the result")?;
    if out.is_empty() {
        return Ok(());
    }
    if x.is_empty() {
        require(
            matches!(op, ReduceOp::Sum | ReduceOp::Prod),
            "reduce: maximum or minimum of nothing",
        )?;
        out.fill(if op == ReduceOp::Sum { T::ZERO } else { T::ONE });
        return Ok(());
    }
    match op {
        ReduceOp::Sum if short(&x, reduced, out) || few_rows(&x, reduced, out) => Ok(()),
        ReduceOp::Sum => by_groups(one_group::<T, Sum>, x, reduced, out),
        ReduceOp::Max => by_groups(one_group::<T, Max>, x, reduced, out),
        ReduceOp::Min => by_groups(one_group::<T, Min>, x, reduced, out),
        ReduceOp::Prod => by_groups(product::one_group, x, reduced, out),
    }
}

/// The sum of all of one chunk's contiguous elements: the way through dims, groups and tasks would take longer than the sum. False
/// if `x` is something else; nothing is written then.
fn short<T: Float>(x: &View<'_, T>, reduced: &[bool], out: &mut [T]) -> bool {
    struct Short<'a, T>(&'a [T]);
    impl<T: Float> Kernel<T> for Short<'_, T> {
        type Output = T;
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> T {
            // SAFETY: a slice.
            unsafe { lanes::chunk::<T, S, Sum>(s, self.0.as_ptr(), self.0.len()) }
        }
    }
    match (x.as_contiguous(), out) {
        (Some(all), [sum])
            if (2..=lanes::CHUNK).contains(&all.len()) && !reduced.contains(&false) =>
        {
            *sum = T::dispatch(Short(all));
            true
        }
        _ => false,
    }
}

/// The sums of a small matrix's columns, in the order of `columns`: a bias's gradient in a small network would spend its time on
/// the way to the loop. False if `x` is something else; nothing is written then.
fn few_rows<T: Float>(x: &View<'_, T>, reduced: &[bool], out: &mut [T]) -> bool {
    const FEW: usize = 64;
    let (&[rows, columns], &[row, column]) = (x.shape(), x.strides()) else { return false };
    if *reduced != [true, false] || rows < 2 || columns < 2 || rows.saturating_mul(columns) > FEW {
        return false;
    }
    let (data, base) = (x.data(), x.offset() as isize);
    for (c, sum) in out.iter_mut().enumerate() {
        *sum = T::ZERO;
        for r in 0..rows {
            *sum = *sum + data[(base + r as isize * row + c as isize * column) as usize];
        }
    }
    true
}

/// Number of results; `None` on overflow.
fn kept_len(shape: &[usize], reduced: &[bool]) -> Option<usize> {
    let kept = shape.iter().zip(reduced).filter(|(_, reduced)| !**reduced).map(|(&size, _)| size);
    if kept.clone().any(|size| size == 0) {
        return Some(0);
    }
    kept.into_iter().try_fold(1usize, |product, size| product.checked_mul(size))
}

/// Reduces one group of dims: [`one_group`].
type Group<T> = unsafe fn(&[T], isize, [&[Dim]; 3], &mut [T]) -> Result<()>;

/// Groups of adjacent reduced dims, the innermost first; `x` is not empty and `out` has the right length.
fn by_groups<T: Float>(
    one_group: Group<T>,
    x: View<'_, T>,
    reduced: &[bool],
    out: &mut [T],
) -> Result<()> {
    if let (Some(all), false) = (x.as_contiguous(), reduced.contains(&false))
        && all.len() > 1
    {
        let whole = [Dim { size: all.len(), stride: 1, reduced: true }];
        // SAFETY: the whole of a slice.
        return unsafe { one_group(all, 0, [&[], &whole, &[]], out) };
    }
    let mut dims = Dims::of(&x, reduced)?;
    let mut base = x.offset() as isize;
    let mut held: Option<Buffer> = None;
    loop {
        let data = held.as_ref().map_or(x.data(), |buffer| buffer.as_slice::<T>());
        let Some((outer, group, inner)) = dims.innermost_group() else {
            // Nothing but size-1 dims was reduced: a copy.
            for (i, place) in out.iter_mut().enumerate() {
                *place = data[(base + offset(dims.as_slice(), i)) as usize];
            }
            return Ok(());
        };
        if !outer.iter().any(|d| d.reduced) {
            // SAFETY: `dims` describes elements of the view, or of the contiguous `held`.
            return unsafe { one_group(data, base, [outer, group, inner], out) };
        }
        let sizes = [count(outer), count(inner)];
        let bytes = sizes[0].checked_mul(sizes[1]).and_then(|n| n.checked_mul(size_of::<T>()));
        let bytes = bytes.ok_or(Error::Contract("reduce: size of an intermediate result"))?;
        let mut next = Buffer::new(bytes)?;
        // SAFETY: as above.
        unsafe { one_group(data, base, [outer, group, inner], next.as_mut_slice())? };
        dims = contiguous(outer, sizes[1])?;
        base = 0;
        held = Some(next);
    }
}

/// The dims of a contiguous `[outer.., inner]`.
fn contiguous(outer: &[Dim], inner: usize) -> Result<Dims> {
    let mut dims = Dims::new();
    let mut stride = (count(outer) * inner) as isize;
    for dim in outer {
        stride /= dim.size as isize;
        dims.push(Dim { stride, ..*dim })?;
    }
    dims.push(Dim { size: inner, stride: 1, reduced: false })?;
    Ok(dims)
}

/// Reduces one group into a contiguous `[outer, inner]`.
///
/// # Safety
/// - Every offset of `outer` plus one of `group` plus one of `inner` must be an index into `data` from `base` on.
unsafe fn one_group<T: Float, F: Fold<T>>(
    data: &[T],
    base: isize,
    [outer, group, inner]: [&[Dim]; 3],
    out: &mut [T],
) -> Result<()> {
    // SAFETY: the caller's guarantee.
    unsafe {
        if inner.is_empty() {
            rows::reduce::<T, F>(data, base, outer, group, out)
        } else {
            columns::reduce::<T, F>(data, base, [outer, group, inner], out)
        }
    }
}

/// Index along `dim` of the extreme; `out` has the other dims in row-major order.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ, or if `dim` has size 0 and `out` is not empty.
pub fn arg_reduce<T: Float>(op: ArgOp, x: View<'_, T>, dim: usize, out: &mut [i64]) -> Result<()> {
    require(dim < x.shape().len(), "arg_reduce: no such dim")?;
    let reduced = |d: usize| d == dim;
    let kept = x.shape().iter().enumerate().filter(|(d, _)| !reduced(*d)).map(|(_, &size)| size);
    let len = if kept.clone().any(|size| size == 0) {
        Some(0)
    } else {
        kept.into_iter().try_fold(1usize, |product, size| product.checked_mul(size))
    };
    require(len == Some(out.len()), "arg_reduce: length of the result")?;
    if out.is_empty() {
        return Ok(());
    }
    require(!x.is_empty(), "arg_reduce: extreme of nothing")?;
    match op {
        ArgOp::Max => arg::arg_reduce::<T, Max>(x, dim, out),
        ArgOp::Min => arg::arg_reduce::<T, Min>(x, dim, out),
    }
}
