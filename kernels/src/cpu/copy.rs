//! Copies between layouts: gathering a view into a contiguous buffer, and scattering one into a
//! strided place.
//!
//! Rows that are contiguous on both sides go by `memcpy`; where one side is contiguous along the
//! innermost dim and the other along an outer one, blocks are transposed so that both sides use
//! whole cache lines; the rest goes element by element. Large results go past the caches.

pub(in crate::cpu) mod past;
#[cfg(test)]
mod tests;
mod transpose;

use crate::cpu::parallel;
use crate::element::{Pod, bits_mut};
use crate::error::{Result, require};
use crate::strided::{Dims, LoopNest, View, ViewMut, row_major};

/// Elements of one piece of parallel work.
const PIECE: usize = 32 * 1024;

/// The two ends of a copy: element `i` of the nest goes from `from + offset 0` to `to + offset 1`.
#[derive(Clone, Copy)]
struct Ends<T> {
    from: *const T,
    to: *mut T,
}

// SAFETY: `from` is only read; pieces write disjoint elements of `to` (checked before a copy is
// split).
unsafe impl<T: Pod> Sync for Ends<T> {}

impl<T: Pod> Ends<T> {
    /// Both ends moved.
    #[inline(always)]
    fn offset(self, offsets: [isize; 2]) -> Self {
        Ends {
            from: self.from.wrapping_offset(offsets[0]),
            to: self.to.wrapping_offset(offsets[1]),
        }
    }

    /// Copies `n` elements a step of `strides` apart.
    ///
    /// # Safety
    /// - Those elements must be readable at `from` and writable at `to`, and the ends must not
    ///   overlap.
    #[inline(always)]
    unsafe fn row(self, n: usize, strides: [isize; 2]) {
        if strides == [1, 1] && n >= 16 {
            // SAFETY: contiguous on both sides; the rest is the contract.
            unsafe { std::ptr::copy_nonoverlapping(self.from, self.to, n) };
            return;
        }
        for i in 0..n as isize {
            // SAFETY: element `i` of the row.
            unsafe {
                *self.to.wrapping_offset(i * strides[1]) =
                    *self.from.wrapping_offset(i * strides[0]);
            }
        }
    }
}

/// `out = x` in logical (row-major) order.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if the lengths differ.
pub fn copy<T: Pod>(x: View<'_, T>, out: &mut [T]) -> Result<()> {
    copy_words(x.bits(), bits_mut(out))
}

fn copy_words<T: Pod>(x: View<'_, T>, out: &mut [T]) -> Result<()> {
    require(x.len() == out.len(), "copy: the lengths differ")?;
    if out.is_empty() {
        return Ok(());
    }
    if let Some(slice) = x.as_contiguous().filter(|slice| slice.len() <= PIECE) {
        out.copy_from_slice(slice);
        return Ok(());
    }
    let strides = row_major(x.shape());
    let nest = LoopNest::new(x.shape(), [x.strides(), &strides]);
    let from = x.data().as_ptr().wrapping_add(x.offset());
    // SAFETY: the view is checked; `out` has as many elements, is borrowed exclusively, and is
    // contiguous.
    unsafe { run(&nest, Ends { from, to: out.as_mut_ptr() }, true) };
    Ok(())
}

/// `out[i] = x[i]` for a strided destination of the same shape (concatenation, slice assignment).
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if the shapes differ.
pub fn copy_into<T: Pod>(x: View<'_, T>, out: ViewMut<'_, T>) -> Result<()> {
    let ViewMut { data, offset, shape, strides } = out;
    words_into(x.bits(), ViewMut { data: bits_mut(data), offset, shape, strides })
}

fn words_into<T: Pod>(x: View<'_, T>, out: ViewMut<'_, T>) -> Result<()> {
    require(x.shape() == out.shape, "copy_into: the shapes differ")?;
    if x.is_empty() {
        return Ok(());
    }
    let nest = LoopNest::new(x.shape(), [x.strides(), out.strides]);
    let disjoint = injective(out.shape, out.strides);
    let ends = Ends {
        from: x.data().as_ptr().wrapping_add(x.offset()),
        to: out.data.as_mut_ptr().wrapping_add(out.offset),
    };
    // SAFETY: both views are checked, and `out` is borrowed exclusively.
    unsafe { run(&nest, ends, disjoint) };
    Ok(())
}

/// True if surely no two elements share a place: from the smallest stride up, each steps over all
/// that lies below it.
fn injective(shape: &[usize], strides: &[isize]) -> bool {
    let mut sorted: Dims<(usize, usize)> = Dims::new((0, 0));
    for (&size, stride) in shape.iter().zip(strides) {
        if size > 1 {
            sorted.push((stride.unsigned_abs(), size));
        }
    }
    sorted.sort_unstable();
    let mut span = 0usize;
    for &(stride, size) in sorted.iter() {
        if stride <= span {
            return false;
        }
        span = span.saturating_add(stride.saturating_mul(size - 1));
    }
    true
}

/// Copies every element of `nest`: in row-major order if it is not `disjoint`, else in any order on
/// any thread.
///
/// # Safety
/// - Every element must be readable from `ends.from` and writable from `ends.to`, and the two must
///   not overlap.
/// - `disjoint` only if no two elements share a place at `ends.to`.
unsafe fn run<T: Pod>(nest: &LoopNest<2>, ends: Ends<T>, disjoint: bool) {
    let len = nest.rows() * nest.inner();
    if disjoint && let Some(plan) = transpose::Plan::new(nest) {
        // SAFETY: handed on.
        unsafe { plan.run(nest, ends) };
        return;
    }
    let strides = nest.inner_strides();
    let part = |start: usize, end: usize| {
        nest.rectangles(start..end, &mut |r| {
            for row in 0..r.rows as isize {
                let [from, to] = r.offsets;
                let at = [from + row * r.row_strides[0], to + row * r.row_strides[1]];
                // SAFETY: a row of the nest; other parts write other elements, or there is one
                // part.
                unsafe { ends.offset(at).row(r.len, strides) };
            }
        });
    };
    if !disjoint || len <= PIECE {
        return part(0, len);
    }
    let work_ns = (len * size_of::<T>()) as u64 / 16;
    parallel::run(len.div_ceil(PIECE), work_ns, &|piece| {
        part(piece * PIECE, ((piece + 1) * PIECE).min(len));
    });
}
