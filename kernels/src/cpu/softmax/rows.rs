//! Softmax over contiguous rows, and cross entropy.

use super::exponential::{exp, log};
use crate::cpu::isa::Kernel;
use crate::cpu::reduce::lanes::{self, CHUNK, LANES, Max, PairTree, Sum};
use crate::cpu::simd::Simd;
use crate::element::Float;

/// What a row becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `e / s`.
    Softmax,
    /// `(x - m) - log(s)`.
    Log,
}

/// Rows of `size` elements.
pub(super) struct Rows<'a, T> {
    pub(super) form: Form,
    pub(super) size: usize,
    pub(super) x: &'a [T],
    pub(super) out: &'a mut [T],
}

impl<T: Float> Kernel<T> for Rows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let rows = self.x.chunks_exact(self.size).zip(self.out.chunks_exact_mut(self.size));
        for (x, out) in rows {
            // SAFETY: both rows hold `size` elements.
            unsafe {
                let m = simd.splat(lanes::row::<T, S, Max>(simd, x.as_ptr(), x.len()));
                if self.form == Form::Softmax {
                    let s = exp_sum::<T, S, true>(simd, x, out.as_mut_ptr(), m);
                    divide(simd, out, simd.splat(s));
                } else {
                    let s = exp_sum::<T, S, false>(simd, x, out.as_mut_ptr(), m);
                    subtract(simd, x, out, m, simd.splat(log(s)));
                }
            }
        }
    }
}

/// `sum(exp(x - m))` in the order R3; the exponentials go to `out` if `STORE`.
///
/// # Safety
/// - If `STORE`, `out .. out + x.len()` must be writable.
#[inline(always)]
unsafe fn exp_sum<T: Float, S: Simd<T>, const STORE: bool>(
    simd: S,
    x: &[T],
    out: *mut T,
    m: S::V,
) -> T {
    let n = x.len();
    if n <= CHUNK {
        // SAFETY: the caller's guarantee.
        return unsafe { exp_chunk::<T, S, STORE>(simd, x.as_ptr(), out, n, m) };
    }
    let mut tree = PairTree::new(m);
    let mut k = 0;
    while k < n {
        let len = CHUNK.min(n - k);
        // SAFETY: `k + len <= n`.
        let sum = unsafe {
            exp_chunk::<T, S, STORE>(simd, x.as_ptr().add(k), out.wrapping_add(k), len, m)
        };
        tree.push::<T, S, Sum>(simd, simd.splat(sum));
        k += len;
    }
    let root = tree.finish::<T, S, Sum>(simd);
    let mut value = [T::ZERO; LANES];
    // SAFETY: a vector has at most LANES lanes.
    unsafe { simd.store(value.as_mut_ptr(), root) };
    value[0]
}

/// One chunk of [`exp_sum`].
///
/// # Safety
/// - `x .. x + n` must be readable and, if `STORE`, `out .. out + n` writable.
#[inline(always)]
unsafe fn exp_chunk<T: Float, S: Simd<T>, const STORE: bool>(
    simd: S,
    x: *const T,
    out: *mut T,
    n: usize,
    m: S::V,
) -> T {
    let mut sums = lanes::start::<T, S, Sum>(simd);
    let mut k = 0;
    while k + LANES <= n {
        for (i, sum) in sums.iter_mut().enumerate().take(LANES / S::LANES) {
            let at = k + i * S::LANES;
            // SAFETY: `k + 64 <= n`.
            let e = exp(simd, simd.sub(unsafe { simd.load(x.add(at)) }, m));
            if STORE {
                // SAFETY: as above.
                unsafe { simd.store(out.add(at), e) };
            }
            *sum = simd.add(*sum, e);
        }
        k += LANES;
    }
    for sum in sums.iter_mut().take(LANES / S::LANES) {
        if k >= n {
            break;
        }
        let width = S::LANES.min(n - k);
        // SAFETY: `k + width <= n`.
        let e = exp(simd, simd.sub(unsafe { simd.load_first(x.add(k), width) }, m));
        if STORE {
            // SAFETY: as above.
            unsafe { simd.store_first(out.add(k), e, width) };
        }
        *sum = simd.add(*sum, simd.select(simd.first(width), e, simd.splat(T::ZERO)));
        k += S::LANES;
    }
    lanes::fold::<T, S, Sum>(simd, &mut sums)
}

/// `out /= s`.
#[inline(always)]
fn divide<T: Float, S: Simd<T>>(simd: S, out: &mut [T], s: S::V) {
    let (n, to) = (out.len(), out.as_mut_ptr());
    let mut k = 0;
    while k < n {
        let width = S::LANES.min(n - k);
        // SAFETY: `k + width <= n`.
        unsafe {
            let e = simd.load_first(to.add(k), width);
            simd.store_first(to.add(k), simd.div(e, s), width);
        }
        k += width;
    }
}

/// `out = (x - m) - log_s`.
#[inline(always)]
fn subtract<T: Float, S: Simd<T>>(simd: S, x: &[T], out: &mut [T], m: S::V, log_s: S::V) {
    let n = out.len().min(x.len());
    let mut k = 0;
    while k < n {
        let width = S::LANES.min(n - k);
        // SAFETY: `k + width <= n`, the length of both.
        unsafe {
            let x = simd.load_first(x.as_ptr().add(k), width);
            let y = simd.sub(simd.sub(x, m), log_s);
            simd.store_first(out.as_mut_ptr().add(k), y, width);
        }
        k += width;
    }
}

/// The loss of each row; every target lies in `0..classes`.
pub(super) struct CrossEntropy<'a, T> {
    pub(super) classes: usize,
    pub(super) logits: &'a [T],
    pub(super) targets: &'a [i64],
    pub(super) loss: &'a mut [T],
}

impl<T: Float> Kernel<T> for CrossEntropy<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let rows = self.logits.chunks_exact(self.classes).zip(self.targets);
        for ((x, &target), loss) in rows.zip(self.loss.iter_mut()) {
            // SAFETY: the row; nothing is stored.
            let (m, s) = unsafe {
                let m = lanes::row::<T, S, Max>(simd, x.as_ptr(), x.len());
                let nowhere = std::ptr::null_mut();
                (m, exp_sum::<T, S, false>(simd, x, nowhere, simd.splat(m)))
            };
            *loss = log(s) - (x[target as usize] - m);
        }
    }
}

/// The gradient of each row; every target lies in `0..classes`, `weight` has one element or one a row.
pub(super) struct CrossEntropyGrad<'a, T> {
    pub(super) classes: usize,
    pub(super) logits: &'a [T],
    pub(super) targets: &'a [i64],
    pub(super) weight: &'a [T],
    pub(super) out: &'a mut [T],
}

impl<T: Float> Kernel<T> for CrossEntropyGrad<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let rows = self.logits.chunks_exact(self.classes);
        let rows = rows.zip(self.out.chunks_exact_mut(self.classes)).zip(self.targets);
        for (i, ((x, out), &target)) in rows.enumerate() {
            let weight = if self.weight.len() == 1 { self.weight[0] } else { self.weight[i] };
            // SAFETY: both rows hold `classes` elements.
            let s = unsafe {
                let m = simd.splat(lanes::row::<T, S, Max>(simd, x.as_ptr(), x.len()));
                exp_sum::<T, S, true>(simd, x, out.as_mut_ptr(), m)
            };
            let hit = (out[target as usize] / s - T::ONE) * weight;
            divide_and_scale(simd, out, simd.splat(s), simd.splat(weight));
            out[target as usize] = hit;
        }
    }
}

/// `out = out / s * weight`.
#[inline(always)]
fn divide_and_scale<T: Float, S: Simd<T>>(simd: S, out: &mut [T], s: S::V, weight: S::V) {
    let (n, to) = (out.len(), out.as_mut_ptr());
    let mut k = 0;
    while k < n {
        let width = S::LANES.min(n - k);
        // SAFETY: `k + width <= n`.
        unsafe {
            let e = simd.load_first(to.add(k), width);
            simd.store_first(to.add(k), simd.mul(simd.div(e, s), weight), width);
        }
        k += width;
    }
}
