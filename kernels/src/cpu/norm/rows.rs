//! Rows of a layer normalisation: the forward pass, and the gradient in its input.

use super::sums::{Terms, sums};
use crate::cpu::gemm::microkernel::fetch;
use crate::cpu::isa::Kernel;
use crate::cpu::reduce::lanes::{LANES, next_row};
use crate::cpu::simd::Simd;
use crate::element::Float;

/// Loads `width` elements: all lanes without a mask.
///
/// # Safety
/// - `from .. from + width` must be readable and `width <= S::LANES`.
#[inline(always)]
unsafe fn load<T: Float, S: Simd<T>>(simd: S, from: *const T, width: usize) -> S::V {
    // SAFETY: the caller's guarantee.
    unsafe { if width == S::LANES { simd.load(from) } else { simd.load_first(from, width) } }
}

/// Stores `width` elements: all lanes without a mask.
///
/// # Safety
/// - `to .. to + width` must be writable and `width <= S::LANES`.
#[inline(always)]
unsafe fn store<T: Float, S: Simd<T>>(simd: S, to: *mut T, x: S::V, width: usize) {
    // SAFETY: the caller's guarantee.
    unsafe { if width == S::LANES { simd.store(to, x) } else { simd.store_first(to, x, width) } }
}

/// A parameter, or one value in its stead: an identity of what is done with it (`* 1`, `+ -0`). So that there is one instance.
#[derive(Clone, Copy)]
struct Parameter<T> {
    start: *const T,
    mask: usize,
}

impl<T: Float> Parameter<T> {
    /// `spread`: the value as often as a vector may hold it, kept while the parameter is used.
    #[inline(always)]
    fn new(given: Option<&[T]>, spread: &[T; LANES]) -> Self {
        match given {
            Some(given) => Parameter { start: given.as_ptr(), mask: usize::MAX },
            None => Parameter { start: spread.as_ptr(), mask: 0 },
        }
    }

    /// # Safety
    /// - A given parameter must have the places `k .. k + width`, and `width <= S::LANES`.
    #[inline(always)]
    unsafe fn load<S: Simd<T>>(self, simd: S, k: usize, width: usize) -> S::V {
        // SAFETY: the caller's guarantee.
        unsafe { load(simd, self.start.add(k & self.mask), width) }
    }
}

/// `x`
#[derive(Clone, Copy)]
struct Plain<T>(*const T);

impl<T: Float, S: Simd<T>> Terms<T, S, 1> for Plain<T> {
    #[inline(always)]
    unsafe fn at(self, simd: S, k: usize, width: usize) -> [S::V; 1] {
        // SAFETY: the caller's guarantee.
        [unsafe { load(simd, self.0.add(k), width) }]
    }
}

/// `(x - mean)^2`
#[derive(Clone, Copy)]
struct Square<T, V> {
    x: *const T,
    mean: V,
    /// Where the next row is asked for, whose sum would wait for memory.
    ahead: usize,
}

impl<T: Float, S: Simd<T>> Terms<T, S, 1> for Square<T, S::V> {
    #[inline(always)]
    unsafe fn at(self, simd: S, k: usize, width: usize) -> [S::V; 1] {
        fetch(self.x.wrapping_add(k + self.ahead));
        // SAFETY: the caller's guarantee.
        let centered = simd.sub(unsafe { load(simd, self.x.add(k), width) }, self.mean);
        [simd.mul(centered, centered)]
    }
}

/// Rows normalised; see [`layer_norm`](super::layer_norm).
pub(super) struct LayerNorm<'a, T> {
    pub(super) size: usize,
    pub(super) eps: f64,
    pub(super) x: &'a [T],
    pub(super) weight: Option<&'a [T]>,
    pub(super) bias: Option<&'a [T]>,
    pub(super) out: &'a mut [T],
    pub(super) stats: &'a mut [T],
}

impl<T: Float> Kernel<T> for LayerNorm<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let size = self.size;
        let (count, eps) = (T::from_f64(size as f64), T::from_f64(self.eps));
        let (ones, zeros) = ([T::ONE; LANES], [-T::ZERO; LANES]);
        let (weight, bias) =
            (Parameter::new(self.weight, &ones), Parameter::new(self.bias, &zeros));
        for (row, stats) in self.stats.chunks_exact_mut(2).enumerate() {
            // SAFETY: x, out: `[rows, size]`; weight and bias, if they are there: `[size]`.
            unsafe {
                let x = self.x.as_ptr().add(row * size);
                let out = self.out.as_mut_ptr().add(row * size);
                let [sum] = sums(simd, size, Plain(x));
                stats[0] = sum / count;
                let mean = simd.splat(stats[0]);
                let [sum] = sums(simd, size, Square { x, mean, ahead: next_row::<T>(size) });
                let root = simd.sqrt(simd.splat(sum / count + eps));
                let rstd = simd.div(simd.splat(T::ONE), root);
                simd.store_first(&mut stats[1], rstd, 1);
                write(simd, [mean, rstd], [weight, bias], x, out, size);
            }
        }
    }
}

/// `out = (x - mean) * rstd * weight + bias`
///
/// # Safety
/// - All must hold `size` elements.
#[inline(always)]
unsafe fn write<T: Float, S: Simd<T>>(
    simd: S,
    [mean, rstd]: [S::V; 2],
    [weight, bias]: [Parameter<T>; 2],
    x: *const T,
    out: *mut T,
    size: usize,
) {
    let mut k = 0;
    while k < size {
        let width = S::LANES.min(size - k);
        // SAFETY: `k + width <= size`, and the caller's guarantee.
        unsafe {
            let x = load(simd, x.add(k), width);
            let y = simd.mul(simd.sub(x, mean), rstd);
            let y = simd.mul(y, weight.load(simd, k, width));
            let y = simd.add(y, bias.load(simd, k, width));
            store(simd, out.add(k), y, width);
        }
        k += width;
    }
}

/// A row's `v = grad * weight` and `x^ = (x - mean) * rstd`.
#[derive(Clone, Copy)]
struct Pair<T, V> {
    grad: *const T,
    weight: Parameter<T>,
    x: *const T,
    mean: V,
    rstd: V,
}

impl<T: Float, V: Copy> Pair<T, V> {
    /// # Safety
    /// - The row has the places `k .. k + width`.
    #[inline(always)]
    unsafe fn values<S: Simd<T, V = V>>(self, simd: S, k: usize, width: usize) -> [V; 2] {
        // SAFETY: the caller's guarantee.
        unsafe {
            let grad = load(simd, self.grad.add(k), width);
            let v = simd.mul(grad, self.weight.load(simd, k, width));
            let centered = simd.sub(load(simd, self.x.add(k), width), self.mean);
            [v, simd.mul(centered, self.rstd)]
        }
    }
}

impl<T: Float, S: Simd<T>> Terms<T, S, 2> for Pair<T, S::V> {
    #[inline(always)]
    unsafe fn at(self, simd: S, k: usize, width: usize) -> [S::V; 2] {
        // SAFETY: the caller's guarantee.
        let [v, normal] = unsafe { self.values(simd, k, width) };
        [v, simd.mul(v, normal)]
    }
}

/// Gradients in the input; see [`layer_norm_input`](super::layer_norm_input).
pub(super) struct Input<'a, T> {
    pub(super) size: usize,
    pub(super) grad: &'a [T],
    pub(super) x: &'a [T],
    pub(super) stats: &'a [T],
    pub(super) weight: Option<&'a [T]>,
    pub(super) out: &'a mut [T],
}

impl<T: Float> Kernel<T> for Input<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let ones = [T::ONE; LANES];
        let weight = Parameter::new(self.weight, &ones);
        let size = self.size;
        let count = T::from_f64(size as f64);
        let stats = self.stats.chunks_exact(2);
        for (row, (stats, out)) in stats.zip(self.out.chunks_exact_mut(size)).enumerate() {
            // SAFETY: grad, x: `[rows, size]`; the weight: `[size]`.
            unsafe {
                let (grad, x) =
                    (self.grad.as_ptr().add(row * size), self.x.as_ptr().add(row * size));
                let (mean, rstd) = (simd.splat(stats[0]), simd.splat(stats[1]));
                let pair = Pair { grad, weight, x, mean, rstd };
                let means = sums(simd, size, pair).map(|sum| simd.splat(sum / count));
                project(simd, pair, means, out);
            }
        }
    }
}

/// `out = ((v - means[0]) - x^ * means[1]) * rstd`
///
/// # Safety
/// - The row of `pair` has as many places as `out`.
#[inline(always)]
unsafe fn project<T: Float, S: Simd<T>>(
    simd: S,
    pair: Pair<T, S::V>,
    means: [S::V; 2],
    out: &mut [T],
) {
    let (size, to) = (out.len(), out.as_mut_ptr());
    let mut k = 0;
    while k < size {
        let width = S::LANES.min(size - k);
        // SAFETY: `k + width <= size`, and the caller's guarantee.
        unsafe {
            let [v, normal] = pair.values(simd, k, width);
            let y = simd.sub(simd.sub(v, means[0]), simd.mul(normal, means[1]));
            store(simd, to.add(k), simd.mul(y, pair.rstd), width);
        }
        k += width;
    }
}
