//! `out^T[(c, kh, kw), o] = patches[(c, kh, kw), (n, oh, ow)] * grad[(n, oh, ow), o]`, per group.
//!
//! The patches are the side whose rows are read along k: they are copied row by row, and only the
//! gradient, which is smaller by the number of taps, is transposed.

use std::ops::Range;

use super::finite::AllFinite;
use super::pad::{Frame, pad};
use super::patches::Patches;
use super::{Conv2dShape, WINDOW_ELEMENTS};
use crate::buffer::Buffer;
use crate::cpu::gemm::{Dispatch, Epilogue, KC, Output, Panels, Product, Strided, multiply};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::Result;
use crate::reference;

/// The gradient as `[(n, oh, ow), o]`: contiguous along places, images apart.
struct ByPlaces<'a, T> {
    /// From the first channel of the group on.
    grad: &'a [T],
    places: usize,
    image: usize,
}

impl<T: Float> Panels<T> for ByPlaces<'_, T> {
    #[inline(always)]
    unsafe fn pack<S: Simd<T>>(
        &self,
        s: S,
        k: Range<usize>,
        columns: Range<usize>,
        to: *mut T,
        width: usize,
    ) {
        let mut place = k.start;
        while place < k.end {
            let (image, within) = (place / self.places, place % self.places);
            let len = (self.places - within).min(k.end - place);
            let part = Strided {
                start: self.grad.as_ptr().wrapping_add(image * self.image + within),
                k_stride: 1,
                column_stride: self.places as isize,
            };
            // SAFETY: places of one image; the caller's contract is handed on.
            unsafe {
                let to = to.add((place - k.start) * width);
                part.pack(s, 0..len, columns.clone(), to, width);
            }
            place += len;
        }
    }
}

/// [`conv2d_weight_grad`](super::conv2d_weight_grad) under a given ISA.
pub(super) fn conv2d_weight_grad_on<T: Float>(
    d: impl Dispatch<T>,
    shape: &Conv2dShape,
    x: &[T],
    grad: &[T],
    out: &mut [T],
) -> Result<()> {
    let [oh, ow] = shape.check(x.len(), out.len(), grad.len())?;
    if out.is_empty() {
        return Ok(());
    }
    if shape.is_padded() && !d.call(AllFinite(grad)) {
        reference::conv::conv2d_weight_grad(shape, x, grad, out);
        return Ok(());
    }
    if grad.is_empty() {
        out.fill(T::ZERO);
        return Ok(());
    }
    let mut sums = Buffer::new(size_of_val(out))?;
    let frame = shape.input_frame([oh, ow]);
    let blocks = (shape.batch * oh * ow).div_ceil(KC);
    let mut start = 0;
    while start < blocks {
        let part = Part::new(shape, &frame, [oh, ow], start, blocks);
        part.add_to(d, shape, &frame, x, grad, sums.as_mut_slice())?;
        start = part.blocks.end;
    }
    transpose(shape, sums.as_slice(), out);
    Ok(())
}

/// `out[o, tap] = sums[tap, o]`, per group.
fn transpose<T: Float>(shape: &Conv2dShape, sums: &[T], out: &mut [T]) {
    let outputs = shape.group_outputs();
    let taps = out.len() / shape.out_channels;
    let groups = out.chunks_exact_mut(outputs * taps).zip(sums.chunks_exact(outputs * taps));
    for (out, sums) in groups {
        for (o, row) in out.chunks_exact_mut(taps).enumerate() {
            for (tap, out) in row.iter_mut().enumerate() {
                *out = sums[tap * outputs + o];
            }
        }
    }
}

/// Some blocks of k, and the images they reach into.
struct Part {
    blocks: Range<usize>,
    images: Range<usize>,
    places: [usize; 2],
}

impl Part {
    /// The part that starts at a block: as many images as may be padded at a time, but at least one
    /// block.
    fn new(
        shape: &Conv2dShape,
        frame: &Frame,
        places: [usize; 2],
        start: usize,
        blocks: usize,
    ) -> Self {
        let per_image = places[0] * places[1];
        let elements = shape.in_channels * frame.padded[0] * frame.padded[1];
        let most =
            if frame.is_identity() { shape.batch } else { WINDOW_ELEMENTS / elements.max(1) };
        let first = start * KC / per_image;
        let reached = first.saturating_add(most.max(1)).min(shape.batch);
        let end = match reached == shape.batch {
            true => blocks,
            false => (reached * per_image / KC).max(start + 1),
        };
        let last = (end * KC).min(shape.batch * per_image).div_ceil(per_image);
        Part { blocks: start..end, images: first..last, places }
    }

    /// Adds this part's products to the sums, `[groups, (c, kh, kw), o]`.
    fn add_to<T: Float>(
        &self,
        d: impl Dispatch<T>,
        shape: &Conv2dShape,
        frame: &Frame,
        x: &[T],
        grad: &[T],
        sums: &mut [T],
    ) -> Result<()> {
        let image = x.len() / shape.batch;
        let x = &x[self.images.start * image..self.images.end * image];
        let buffer;
        let padded = if frame.is_identity() {
            x
        } else {
            buffer = pad(frame, x, self.images.len() * shape.in_channels)?;
            buffer.as_slice()
        };
        let per_image = self.places[0] * self.places[1];
        let (inputs, outputs) = (shape.group_inputs(), shape.group_outputs());
        let plane = frame.padded[0] * frame.padded[1];
        let taps = shape.input_taps(frame.padded);
        // A stride whose product overflows is longer than the image: no second row uses it.
        let row = shape.stride[0].saturating_mul(frame.padded[1]);
        let strides = [shape.in_channels * plane, row, shape.stride[1]];
        let k_total = shape.batch * per_image;
        for (group, sums) in sums.chunks_exact_mut(taps.len() * outputs).enumerate() {
            let patches = Patches::<T, true> {
                images: &padded[group * inputs * plane..],
                taps: &taps,
                last_tap: taps.iter().copied().max().unwrap_or(0),
                places: self.places,
                strides,
                first: self.images.start * per_image,
            };
            let grad = ByPlaces {
                grad: &grad[group * outputs * per_image..],
                places: per_image,
                image: shape.out_channels * per_image,
            };
            // SAFETY: the operands' lengths were checked; the sums are this group's.
            unsafe {
                let output = Output::new(sums.as_mut_ptr(), outputs, outputs, 0);
                let finish = Epilogue::default().finish(false);
                let k = self.blocks.start * KC..(self.blocks.end * KC).min(k_total);
                let (m, n) = (taps.len(), outputs);
                multiply(d, &Product { m, n, k, k_total, a: &patches, b: &grad, output, finish })?;
            }
        }
        Ok(())
    }
}
