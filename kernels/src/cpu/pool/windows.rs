//! The loops over windows: any shape by the definition, 2x2 with stride 2 without a branch.

use super::Sizes;
use crate::cpu::isa::Kernel;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// Windows of a branch-free block, which the compiler turns into vectors; lines shorter than that take the short ones.
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
    fn run<S: Simd<T>>(self, _: S) {
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
                    if out.len() >= BLOCK {
                        two_by_two::<T, BLOCK>(top, bottom, out, index);
                    } else {
                        two_by_two::<T, SHORT>(top, bottom, out, index);
                    }
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

/// A line of 2x2 windows; the last block is laid over the one before, which computes the same values again.
#[inline(always)]
fn two_by_two<T: Float, const B: usize>(top: &[T], bottom: &[T], out: &mut [T], index: &mut [u8]) {
    let n = out.len();
    let mut k = 0;
    while k < n {
        let at = k.min(n - B);
        let (top, bottom) = (&top[2 * at..][..2 * B], &bottom[2 * at..][..2 * B]);
        block::<T, B>(top, bottom, &mut out[at..][..B], &mut index[at..][..B]);
        k += B;
    }
}

#[inline(always)]
fn block<T: Float, const B: usize>(top: &[T], bottom: &[T], out: &mut [T], index: &mut [u8]) {
    let mut best = [T::ZERO; B];
    let mut winner = [0u32; B];
    for i in 0..B {
        let (a, b, c, d) = (top[2 * i], top[2 * i + 1], bottom[2 * i], bottom[2 * i + 1]);
        let right = beats(b, a);
        let (x, at) = (if right { b } else { a }, if right { 1 } else { 0 });
        let low = beats(c, x);
        let (x, at) = (if low { c } else { x }, if low { 2 } else { at });
        let last = beats(d, x);
        (best[i], winner[i]) = (if last { d } else { x }, if last { 3 } else { at });
    }
    // Seen through, the choices become masks of bytes, which take far more than a vector of numbers to put together.
    let winner = std::hint::black_box(winner);
    out.copy_from_slice(&best);
    index.copy_from_slice(&winner.map(|w| w as u8));
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
