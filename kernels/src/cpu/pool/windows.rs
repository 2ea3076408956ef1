//! The loops over windows: any shape by the definition, 2x2 with stride 2 without a branch.

use super::Sizes;
use crate::cpu::isa::Kernel;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// Windows of a branch-free block of a gradient, which the compiler turns into vectors; lines shorter than that take the short ones.
const BLOCK: usize = 8;
const SHORT: usize = 4;

impl Sizes {
    /// True for 2x2 windows with stride 2 and no padding, wide enough for a block.
    #[inline(always)]
    fn is_two_by_two(&self) -> bool {
        let s = &self.shape;
        let inside = !s.ceil || (0..2).all(|d| 2 * self.output[d] <= s.input[d]);
        let plain = s.kernel == [2, 2] && s.stride == [2, 2] && s.padding == [0, 0];
        plain && inside && self.output[1] >= SHORT
    }

    /// Where each tap of the first window lies, seen from the image's corner: those of the others move with the stride.
    #[inline(always)]
    fn taps(&self) -> [isize; 256] {
        let s = &self.shape;
        let mut taps = [0isize; 256];
        for (tap, place) in taps.iter_mut().enumerate().take(s.kernel[0] * s.kernel[1]) {
            let y = (tap / s.kernel[1]) as isize - s.padding[0] as isize;
            *place = y * s.input[1] as isize + (tap % s.kernel[1]) as isize - s.padding[1] as isize;
        }
        taps
    }
}

/// True if `x`, a later tap, beats `best`: larger, or the first NaN.
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN is meant")]
#[inline(always)]
pub(super) fn beats<T: Float>(x: T, best: T) -> bool {
    // Two comparisons: what is not at most `best` is larger or NaN.
    !(x <= best) & !best.is_nan()
}

/// Whole planes forward.
pub(super) struct Forward<'a, T> {
    pub(super) sizes: Sizes,
    pub(super) x: &'a [T],
    pub(super) out: &'a mut [T],
    pub(super) index: &'a mut [u8],
}

impl<T: Float> Kernel<T> for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Forward { sizes, x, out, index } = self;
        if out.is_empty() {
            return;
        }
        let planes = x.chunks_exact(sizes.input_plane);
        let outs = out.chunks_exact_mut(sizes.output_plane);
        for ((x, out), index) in planes.zip(outs).zip(index.chunks_exact_mut(sizes.output_plane)) {
            let lines = out.chunks_exact_mut(sizes.output[1]);
            let lines = lines.zip(index.chunks_exact_mut(sizes.output[1]));
            for (row, (out, index)) in lines.enumerate() {
                if sizes.is_two_by_two() {
                    let width = sizes.shape.input[1];
                    let (top, bottom) = x[2 * row * width..][..2 * width].split_at(width);
                    two_by_two(s, top, bottom, out, index);
                } else {
                    any_windows(&sizes, row, x, out, index);
                }
            }
        }
    }
}

/// A line of windows by the definition.
#[inline(always)]
fn any_windows<T: Float>(sizes: &Sizes, row: usize, x: &[T], out: &mut [T], index: &mut [u8]) {
    let s = &sizes.shape;
    let y0 = row * s.stride[0];
    // Taps `low .. high` of a window that starts at `at` lie in an image of `size`.
    let taps = |at: usize, d: usize| {
        let low = s.padding[d].saturating_sub(at);
        let high = (s.input[d] + s.padding[d] - at).min(s.kernel[d]);
        low..high
    };
    let rows = taps(y0, 0);
    let top = (y0 + rows.start - s.padding[0]) * s.input[1];
    for (column, (out, index)) in out.iter_mut().zip(index).enumerate() {
        let x0 = column * s.stride[1];
        let columns = taps(x0, 1);
        let first = rows.start * s.kernel[1] + columns.start;
        let left = top + x0 + columns.start - s.padding[1];
        let (mut best, mut winner) = (x[left], first);
        for i in 0..rows.len() {
            let line = &x[left + i * s.input[1]..][..columns.len()];
            for (j, &value) in line.iter().enumerate() {
                let better = beats(value, best);
                best = if better { value } else { best };
                winner = if better { first + i * s.kernel[1] + j } else { winner };
            }
        }
        (*out, *index) = (best, winner as u8);
    }
}

/// A line of 2x2 windows, a vector of them at a time; the last vector of a long line is laid over the one before, and computes the same
/// values again.
#[inline(always)]
fn two_by_two<T: Float, S: Simd<T>>(
    s: S,
    top: &[T],
    bottom: &[T],
    out: &mut [T],
    index: &mut [u8],
) {
    let n = out.len();
    assert!(top.len() >= 2 * n && bottom.len() >= 2 * n && index.len() == n);
    let mut done = 0;
    while done < n {
        let at = if n < S::LANES { 0 } else { done.min(n - S::LANES) };
        let len = (n - at).min(S::LANES);
        // SAFETY: `len` windows from `at` on lie in the line, and twice as many elements in the two of the image.
        unsafe {
            let [first, second] = columns(s, top.as_ptr().add(2 * at), len);
            let [third, fourth] = columns(s, bottom.as_ptr().add(2 * at), len);
            let best = [first, s.splat(T::ZERO)];
            let best = better(s, best, second, T::ONE);
            let best = better(s, best, third, T::from_f64(2.0));
            let [best, winner] = better(s, best, fourth, T::from_f64(3.0));
            match len == S::LANES {
                true => s.store(out.as_mut_ptr().add(at), best),
                false => s.store_first(out.as_mut_ptr().add(at), best, len),
            }
            s.store_bytes(index.as_mut_ptr().add(at), winner, len);
        }
        done += S::LANES;
    }
}

/// The left and the right elements of `len` windows.
///
/// # Safety
/// - `from .. from + 2 * len` must be readable and `len <= LANES`.
#[inline(always)]
unsafe fn columns<T: Float, S: Simd<T>>(s: S, from: *const T, len: usize) -> [S::V; 2] {
    let next = from.wrapping_add(S::LANES);
    // SAFETY: by the caller's contract.
    unsafe {
        match (2 * len).checked_sub(S::LANES) {
            _ if len == S::LANES => s.unpair(s.load(from), s.load(next)),
            Some(rest) => s.unpair(s.load(from), s.load_first(next, rest)),
            None => s.unpair(s.load_first(from, 2 * len), s.splat(T::ZERO)),
        }
    }
}

/// The best elements and which taps they are of, after tap `number` with the elements `x`.
#[inline(always)]
fn better<T: Float, S: Simd<T>>(s: S, best: [S::V; 2], x: S::V, number: T) -> [S::V; 2] {
    let [best, winner] = best;
    // As `beats`: what is not at most the best is larger or NaN.
    let beats = s.mask_and(s.mask_not(s.le(x, best)), s.mask_not(s.is_nan(best)));
    [s.select(beats, x, best), s.select(beats, s.splat(number), winner)]
}

/// Whole planes backward; the indices are checked.
pub(super) struct Backward<'a, T> {
    pub(super) sizes: Sizes,
    pub(super) grad: &'a [T],
    pub(super) index: &'a [u8],
    pub(super) out: &'a mut [T],
}

impl<T: Float> Kernel<T> for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) {
        let Backward { sizes, grad, index, out } = self;
        if grad.is_empty() {
            return out.fill(T::ZERO);
        }
        let width = sizes.shape.input[1];
        let taps = sizes.taps();
        let grads = grad.chunks_exact(sizes.output_plane);
        let planes = grads.zip(index.chunks_exact(sizes.output_plane));
        for ((grad, index), out) in planes.zip(out.chunks_exact_mut(sizes.input_plane)) {
            let lines = grad.chunks_exact(sizes.output[1]).zip(index.chunks_exact(sizes.output[1]));
            if sizes.is_two_by_two() {
                let covered = 2 * width * sizes.output[0];
                for ((grad, index), out) in lines.zip(out.chunks_exact_mut(2 * width)) {
                    let (top, bottom) = out.split_at_mut(width);
                    if grad.len() >= BLOCK {
                        spread::<T, BLOCK>(grad, index, top, bottom);
                    } else {
                        spread::<T, SHORT>(grad, index, top, bottom);
                    }
                }
                out[covered..].fill(T::ZERO);
                continue;
            }
            out.fill(T::ZERO);
            for (row, (grad, index)) in lines.enumerate() {
                let start = row * sizes.shape.stride[0] * width;
                for (column, (&grad, &tap)) in grad.iter().zip(index).enumerate() {
                    let corner = (start + column * sizes.shape.stride[1]) as isize;
                    let place = &mut out[(corner + taps[tap as usize]) as usize];
                    *place = *place + grad;
                }
            }
        }
    }
}

/// A line of 2x2 windows: every input is written once, its gradient as `0 + g`.
#[inline(always)]
fn spread<T: Float, const B: usize>(grad: &[T], index: &[u8], top: &mut [T], bottom: &mut [T]) {
    let n = grad.len();
    let mut k = 0;
    while k < n {
        let at = k.min(n - B);
        let (grad, index) = (&grad[at..][..B], &index[at..][..B]);
        let (top, bottom) = (&mut top[2 * at..][..2 * B], &mut bottom[2 * at..][..2 * B]);
        for i in 0..B {
            let (g, tap) = (T::ZERO + grad[i], index[i] as u32);
            top[2 * i] = if tap == 0 { g } else { T::ZERO };
            top[2 * i + 1] = if tap == 1 { g } else { T::ZERO };
            bottom[2 * i] = if tap == 2 { g } else { T::ZERO };
            bottom[2 * i + 1] = if tap == 3 { g } else { T::ZERO };
        }
        k += B;
    }
    top[2 * n..].fill(T::ZERO);
    bottom[2 * n..].fill(T::ZERO);
}

/// Whole planes gathered; the indices are checked.
pub(super) struct Gather<'a, T> {
    pub(super) sizes: Sizes,
    pub(super) x: &'a [T],
    pub(super) index: &'a [u8],
    pub(super) out: &'a mut [T],
}

impl<T: Float> Kernel<T> for Gather<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) {
        let Gather { sizes, x, index, out } = self;
        if out.is_empty() {
            return;
        }
        let taps = sizes.taps();
        let width = sizes.shape.input[1] as isize;
        let planes = x.chunks_exact(sizes.input_plane).zip(index.chunks_exact(sizes.output_plane));
        for ((x, index), out) in planes.zip(out.chunks_exact_mut(sizes.output_plane)) {
            let lines = index.chunks_exact(sizes.output[1]);
            let lines = lines.zip(out.chunks_exact_mut(sizes.output[1]));
            for (row, (index, out)) in lines.enumerate() {
                let start = (row * sizes.shape.stride[0]) as isize * width;
                for (column, (&tap, out)) in index.iter().zip(out).enumerate() {
                    let at = start + (column * sizes.shape.stride[1]) as isize;
                    *out = x[(at + taps[tap as usize]) as usize];
                }
            }
        }
    }
}
