//! The index of an extreme along one dim.

use std::marker::PhantomData;

use super::dims::{Dim, Dims, offset};
use super::lanes::{self, Fold};
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::Result;
use crate::strided::View;

/// Elements that make a piece worth handing out.
const PIECE: usize = 32_768;
/// Results found together where rows do not lie one after the other.
const BLOCK: usize = 64;

/// `x` is not empty and `out` has the right length.
pub(super) fn arg_reduce<T: Float, F: Fold<T>>(
    x: View<'_, T>,
    dim: usize,
    out: &mut [i64],
) -> Result<()> {
    let mut kept = Dims::new();
    for (d, (&size, &stride)) in x.shape().iter().zip(x.strides()).enumerate() {
        if d != dim {
            kept.push(Dim { size, stride, reduced: false })?;
        }
    }
    let (n, stride) = (x.shape()[dim], x.strides()[dim]);
    let per_piece = (PIECE / n.min(PIECE)).next_multiple_of(BLOCK);
    let work = (out.len() as u64).saturating_mul(n as u64 * size_of::<T>() as u64) / 8;
    let len = out.len();
    let shared = Shared::new(out);
    parallel::run(len.div_ceil(per_piece), work, &|piece| {
        let first = piece * per_piece;
        // SAFETY: pieces are disjoint.
        let out = unsafe { shared.part(first, per_piece) };
        let kept = kept.as_slice();
        if stride == 1 {
            T::dispatch(Piece::<T, F> { x, kept, n, first, out, fold: PhantomData });
        } else {
            strided::<T, F>(x, kept, [n, first], stride, out);
        }
    });
    Ok(())
}

/// The results `first .. first + out.len()`, of contiguous rows.
struct Piece<'a, T, F> {
    x: View<'a, T>,
    kept: &'a [Dim],
    n: usize,
    first: usize,
    out: &'a mut [i64],
    fold: PhantomData<F>,
}

impl<T: Float, F: Fold<T>> Kernel<T> for Piece<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        // SAFETY: the view's first element lies in its data.
        let from = unsafe { self.x.data().as_ptr().add(self.x.offset()) };
        for (i, place) in self.out.iter_mut().enumerate() {
            let at = offset(self.kept, self.first + i);
            // SAFETY: a row of the view: `n` elements, one after the other.
            *place = unsafe { row::<T, S, F>(simd, from.offset(at), self.n) };
        }
    }
}

/// The results `first .. first + out.len()`, of rows anywhere.
fn strided<T: Float, F: Fold<T>>(
    x: View<'_, T>,
    kept: &[Dim],
    [n, first]: [usize; 2],
    stride: isize,
    out: &mut [i64],
) {
    // SAFETY: the view's first element lies in its data.
    let from = unsafe { x.data().as_ptr().add(x.offset()) };
    let mut places = [0isize; BLOCK];
    let mut best = [F::START; BLOCK];
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        for (i, place) in places.iter_mut().enumerate().take(out.len()) {
            *place = offset(kept, first + block * BLOCK + i);
            // SAFETY: an element of the view.
            best[i] = unsafe { *from.offset(*place) };
        }
        out.fill(0);
        for k in 1..n {
            for ((index, best), &place) in out.iter_mut().zip(&mut best).zip(&places) {
                // SAFETY: element `k` of a row of the view.
                let x = unsafe { *from.offset(place + k as isize * stride) };
                if !best.is_nan() && (x.is_nan() || differs::<T, F>(*best, x)) {
                    (*index, *best) = (k as i64, x);
                }
            }
        }
    }
}

/// True if `x` beats `best` (neither is NaN).
#[inline(always)]
fn differs<T: Float, F: Fold<T>>(best: T, x: T) -> bool {
    F::values(best, x) != best
}

/// The extreme by vectors, then the first element that equals it.
///
/// # Safety
/// - `from .. from + n` must be readable and `n > 0`.
#[inline(always)]
unsafe fn row<T: Float, S: Simd<T>, F: Fold<T>>(simd: S, from: *const T, n: usize) -> i64 {
    // SAFETY: the caller's guarantee.
    let extreme = unsafe { lanes::row::<T, S, F>(simd, from, n) };
    let wanted = simd.splat(extreme);
    let mut k = 0;
    while k < n {
        let width = S::LANES.min(n - k);
        // SAFETY: `k + width <= n`.
        let x = unsafe { simd.load_first(from.add(k), width) };
        let mask = if extreme.is_nan() { simd.is_nan(x) } else { simd.eq(x, wanted) };
        let found = simd.mask_bits(simd.mask_and(mask, simd.first(width)));
        if found != 0 {
            return (k + found.trailing_zeros() as usize) as i64;
        }
        k += S::LANES;
    }
    0
}
