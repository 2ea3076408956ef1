//! Softmax over a middle dim: `[size, inner]` planes, a vector of columns at a time.

use std::marker::PhantomData;

use super::exponential::{exp, log};
use super::quotient::Divisor;
use crate::cpu::isa::Kernel;
use crate::cpu::reduce::columns::ROWS;
use crate::cpu::reduce::lanes::{Fold, Max, PairTree, Sums, load_part};
use crate::cpu::simd::Simd;
use crate::element::Float;

/// Planes of `[size, inner]`.
pub(super) struct Planes<'a, T> {
    pub(super) log: bool,
    pub(super) size: usize,
    pub(super) inner: usize,
    pub(super) x: &'a [T],
    pub(super) out: &'a mut [T],
}

impl<T: Float> Kernel<T> for Planes<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Planes { log, size, inner, .. } = self;
        let plane = size * inner;
        for (x, out) in self.x.chunks_exact(plane).zip(self.out.chunks_exact_mut(plane)) {
            let mut column = 0;
            while column < inner {
                let width = S::LANES.min(inner - column);
                // SAFETY: columns `column .. column + width` of a plane of `size` rows.
                unsafe {
                    let (x, out) = (x.as_ptr().add(column), out.as_mut_ptr().add(column));
                    columns(simd, log, [size, inner, width], x, out);
                }
                column += width;
            }
        }
    }
}

/// `width` columns side by side.
///
/// # Safety
/// - `size` rows of `width` elements, `stride` apart, must be readable at `x` and writable at `out`.
/// - `width <= S::LANES`.
#[inline(always)]
unsafe fn columns<T: Float, S: Simd<T>>(
    simd: S,
    is_log: bool,
    [size, stride, width]: [usize; 3],
    x: *const T,
    out: *mut T,
) {
    // SAFETY: the caller's guarantee, for every row `k < size`.
    unsafe {
        let mut m = simd.splat(T::NEG_INFINITY);
        for k in 0..size {
            m = Max::vectors(simd, m, load_part::<T, S, Max>(simd, x.add(k * stride), width));
        }
        let mut tree = PairTree::new();
        let mut sum = simd.splat(T::ZERO);
        for k in 0..size {
            if k > 0 && k % ROWS == 0 {
                tree.push(sum, Sums::<T, S>(simd, PhantomData));
                sum = simd.splat(T::ZERO);
            }
            let e = exp(simd, simd.sub(simd.load_first(x.add(k * stride), width), m));
            if !is_log {
                simd.store_first(out.add(k * stride), e, width);
            }
            sum = simd.add(sum, e);
        }
        tree.push(sum, Sums::<T, S>(simd, PhantomData));
        let s = tree.finish(Sums::<T, S>(simd, PhantomData)).unwrap_or(sum);
        if !is_log {
            // What lies beyond the width is no sum.
            let s = simd.select(simd.first(width), s, simd.splat(T::ONE));
            let divisor = Divisor::new(simd, s);
            for k in 0..size {
                let to = out.add(k * stride);
                let [q] = divisor.divide(simd, [simd.load_first(to, width)]);
                simd.store_first(to, q, width);
            }
            return;
        }
        let mut logs = [T::ZERO; 64];
        simd.store(logs.as_mut_ptr(), s);
        for value in &mut logs[..width] {
            *value = log(*value);
        }
        let log_s = simd.load_first(logs.as_ptr(), width);
        for k in 0..size {
            let x = simd.load_first(x.add(k * stride), width);
            simd.store_first(out.add(k * stride), simd.sub(simd.sub(x, m), log_s), width);
        }
    }
}
