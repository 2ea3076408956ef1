//! Softmax over contiguous rows, and cross entropy.

use super::exponential::{exp, log};
use super::quotient::{Divisor, divide_all};
use crate::cpu::gemm::microkernel::fetch;
use crate::cpu::isa::Kernel;
use crate::cpu::reduce::lanes::{self, CHUNK, LANES, Max, PairTree, Sum, Values, next_row};
use crate::cpu::simd::Simd;
use crate::element::Float;

/// What becomes of a row `x` with the maximum `m`, the exponentials `e = exp(x - m)` and their sum `s`. Every target lies
/// inside the row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'a, T> {
    /// `e / s`.
    Softmax,
    /// `(x - m) - log(s)`.
    Log,
    /// `log(s) - (x[t] - m)`, one element a row.
    Loss { targets: &'a [i64] },
    /// `(e / s - [it is t]) * weight`; one weight, or one a row.
    Gradient { targets: &'a [i64], weight: &'a [T] },
}

/// Rows of `size` elements. All forms are one kernel, so that there is one instance of the exponentials.
pub(super) struct Rows<'a, T> {
    pub(super) form: Form<'a, T>,
    pub(super) size: usize,
    pub(super) x: &'a [T],
    pub(super) out: &'a mut [T],
}

impl<T: Float> Kernel<T> for Rows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let size = self.size;
        if const { S::LANES > 1 } && size <= S::LANES {
            return self.short(simd);
        }
        let mut nowhere = [T::ZERO; LANES];
        for (i, x) in self.x.chunks_exact(size).enumerate() {
            let (out, to, mask) = match self.form {
                Form::Softmax | Form::Gradient { .. } => {
                    let out = &mut self.out[i * size..][..size];
                    let to = out.as_mut_ptr();
                    (out, to, usize::MAX)
                }
                Form::Log => (&mut self.out[i * size..][..size], nowhere.as_mut_ptr(), 0),
                Form::Loss { .. } => (&mut self.out[i..=i], nowhere.as_mut_ptr(), 0),
            };
            // SAFETY: the row; what is written has room for it, or for a vector if the mask is 0.
            let (m, s) = unsafe {
                let m = lanes::row::<T, S, Max>(simd, x.as_ptr(), x.len());
                (m, exp_sum(simd, x, to, mask, simd.splat(m)))
            };
            match self.form {
                Form::Softmax => divide_all(simd, out, simd.splat(s), |q| q),
                Form::Log => subtract(simd, x, out, simd.splat(m), simd.splat(log(s))),
                Form::Loss { targets } => out[0] = log(s) - (x[targets[i] as usize] - m),
                Form::Gradient { targets, weight } => {
                    let weight = if weight.len() == 1 { weight[0] } else { weight[i] };
                    let target = targets[i] as usize;
                    let hit = (out[target] / s - T::ONE) * weight;
                    let weight = simd.splat(weight);
                    divide_all(simd, out, simd.splat(s), |q| simd.mul(q, weight));
                    out[target] = hit;
                }
            }
        }
    }
}

impl<T: Float> Rows<'_, T> {
    /// Rows that fit a vector: each stays in one, and the next ones begin before it is done. Of 64 lanes the other 48 or more are 0, so the
    /// fold is that of one vector.
    #[inline(always)]
    fn short<S: Simd<T>>(self, simd: S) {
        let Rows { form, size, x, out } = self;
        let there = simd.first(size);
        let zero = simd.splat(T::ZERO);
        for (i, row) in x.chunks_exact(size).enumerate() {
            // SAFETY: the row.
            let (x, m) = unsafe {
                let x = simd.load_first(row.as_ptr(), size);
                (x, lanes::short::<T, S, Max>(simd, row))
            };
            let below = simd.sub(x, simd.splat(m));
            let e = simd.select(there, exp(simd, below), zero);
            let s = simd.fold_sum(e);
            let y = match form {
                Form::Softmax => Divisor::new(simd, simd.splat(s)).divide(simd, [e])[0],
                Form::Log => simd.sub(below, simd.splat(log(s))),
                Form::Loss { targets } => {
                    out[i] = log(s) - (row[targets[i] as usize] - m);
                    continue;
                }
                Form::Gradient { targets, weight } => {
                    let weight = if weight.len() == 1 { weight[0] } else { weight[i] };
                    let [q] = Divisor::new(simd, simd.splat(s)).divide(simd, [e]);
                    let target = targets[i] as usize;
                    let before = simd.mask_not(simd.first(target));
                    let hit = simd.mask_and(before, simd.first(target + 1));
                    let less = simd.sub(q, simd.splat(T::ONE));
                    simd.mul(simd.select(hit, less, q), simd.splat(weight))
                }
            };
            // SAFETY: row `i`.
            unsafe { simd.store_first(out[i * size..][..size].as_mut_ptr(), y, size) };
        }
    }
}

/// `sum(exp(x - m))` in the order R3; exponential `i` goes to `out[i & mask]`.
///
/// # Safety
/// - `out` must be writable for `x.len()` elements, or for [`LANES`] if `mask` is 0; no other mask but that of all bits.
#[inline(always)]
unsafe fn exp_sum<T: Float, S: Simd<T>>(simd: S, x: &[T], out: *mut T, mask: usize, m: S::V) -> T {
    let n = x.len();
    let mut tree = PairTree::new();
    let mut k = 0;
    loop {
        let len = CHUNK.min(n - k);
        // SAFETY: `k + len <= n`.
        let sum = unsafe { exp_chunk(simd, x.as_ptr().add(k), out.add(k & mask), mask, len, m) };
        if len == n {
            return sum;
        }
        tree.push(sum, Values::<Sum>::JOIN);
        k += len;
        if k == n {
            return tree.finish(Values::<Sum>::JOIN).unwrap_or(T::ZERO);
        }
    }
}

/// One chunk of [`exp_sum`].
///
/// # Safety
/// - `x .. x + n` must be readable; `out` as in [`exp_sum`].
#[inline(always)]
unsafe fn exp_chunk<T: Float, S: Simd<T>>(
    simd: S,
    x: *const T,
    out: *mut T,
    mask: usize,
    n: usize,
    m: S::V,
) -> T {
    let mut sums = lanes::start::<T, S, Sum>(simd);
    // The next row: its maximum is sought first, which would wait for memory.
    let ahead = next_row::<T>(n);
    let mut k = 0;
    while k + LANES <= n {
        for (i, sum) in sums.iter_mut().enumerate().take(lanes::vectors::<T, S>()) {
            let at = k + i * S::LANES;
            fetch(x.wrapping_add(at + ahead));
            // SAFETY: `k + 64 <= n`.
            unsafe {
                let e = exp(simd, simd.sub(simd.load(x.add(at)), m));
                simd.store(out.add(at & mask), e);
                *sum = simd.add(*sum, e);
            }
        }
        k += LANES;
    }
    for sum in sums.iter_mut().take(lanes::vectors::<T, S>()) {
        if k >= n {
            break;
        }
        let width = S::LANES.min(n - k);
        // SAFETY: `k + width <= n`.
        let e = unsafe {
            let e = exp(simd, simd.sub(simd.load_first(x.add(k), width), m));
            simd.store_first(out.add(k & mask), e, width);
            e
        };
        *sum = simd.add(*sum, simd.select(simd.first(width), e, simd.splat(T::ZERO)));
        k += S::LANES;
    }
    lanes::fold::<T, S, Sum>(simd, &mut sums)
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
