//! `out^T[(c, kh, kw), o] = patches[(c, kh, kw), (n, oh, ow)] * grad[(n, oh, ow), o]`, per group.
//!
//! The patches are read where they lie; the gradient, which is smaller by the number of taps, is transposed block by block.

use std::ops::Range;

use super::finite::AllFinite;
use super::pad::{Frame, pad};
use super::tap_sums::TapSums;
use super::tiles::{Cut, Turn, ask_for};
use super::{Conv2dShape, WINDOW_ELEMENTS};
use crate::buffer::Buffer;
use crate::cpu::gemm::{Dispatch, KC, Panels, Strided};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// The gradient as `[(n, oh, ow), o]`: contiguous along places, images apart.
struct ByPlaces<'a, T> {
    /// From the first channel of the group on.
    grad: &'a [T],
    places: usize,
    image: usize,
    /// Columns of the places.
    width: usize,
    /// The rows and columns of places whose gradients count; the others' are taken as zero.
    inside: &'a [Range<usize>; 2],
}

impl<T: Float> ByPlaces<'_, T> {
    /// Zeroes the packed rows of those of `len` places from `place` on that don't count.
    ///
    /// # Safety
    /// - `to` must hold `len` rows of `width` elements.
    #[inline(always)]
    unsafe fn zero_outside(&self, place: usize, len: usize, to: *mut T, width: usize) {
        let [rows, columns] = self.inside;
        let mut done = 0;
        while done < len {
            let (y, x) = ((place + done) / self.width, (place + done) % self.width);
            let end = self.width.min(x + len - done);
            let counts = if rows.contains(&y) { columns.clone() } else { end..end };
            for outside in [x..counts.start.clamp(x, end), counts.end.clamp(x, end)..end] {
                // SAFETY: places of this line, `x` of which is row `done`.
                unsafe {
                    let to = to.add((done + outside.start - x) * width);
                    std::slice::from_raw_parts_mut(to, outside.len() * width).fill(T::ZERO);
                }
            }
            done += end - x;
        }
    }
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
        let [rows, row_columns] = self.inside;
        let all = rows.len() * row_columns.len() == self.places;
        let mut place = k.start;
        while place < k.end {
            let (image, within) = (place / self.places, place % self.places);
            let len = (self.places - within).min(k.end - place);
            let part = Strided {
                start: self.grad.as_ptr().wrapping_add(image * self.image + within),
                k_stride: 1,
                column_stride: self.places as isize,
            };
            // So many streams are too many for the processor to foresee.
            for column in columns.clone() {
                ask_for(part.at(0, column), len);
            }
            // SAFETY: places of one image; the caller's contract is handed on.
            unsafe {
                let to = to.add((place - k.start) * width);
                part.pack(s, 0..len, columns.clone(), to, width);
                if !all {
                    self.zero_outside(within, len, to, width);
                }
            }
            place += len;
        }
    }
}

/// [`conv2d_weight_grad`](super::conv2d_weight_grad) under a given ISA.
pub(super) fn conv2d_weight_grad_on<T: Float>(
    d: Dispatch,
    shape: &Conv2dShape,
    x: &[T],
    grad: &[T],
    out: &mut [T],
) -> Result<()> {
    let [oh, ow] = shape.check(x.len(), out.len(), grad.len())?;
    if out.is_empty() {
        return Ok(());
    }
    if grad.is_empty() {
        out.fill(T::ZERO);
        return Ok(());
    }
    let cut = Cut::new::<T>(d, shape.group_outputs());
    let size = checked_len(&[cut.width(), shape.groups * shape.taps(), size_of::<T>()])
        .ok_or(Error::Contract("conv2d: the size of a workspace overflows"))?;
    let mut sums = Buffer::new(size)?;
    let exact = shape.is_padded() && !d.call::<T, _>(AllFinite(grad));
    let classes = tap_classes(shape, [oh, ow], exact.then_some(grad));
    let frame = shape.input_frame([oh, ow]);
    let blocks = (shape.batch * oh * ow).div_ceil(KC);
    let mut start = 0;
    while start < blocks {
        let part = Part::new(shape, &frame, [oh, ow], start, blocks);
        part.add_to(d, shape, &frame, &classes, x, grad, (cut, sums.as_mut_slice()))?;
        start = part.blocks.end;
    }
    turn(d, shape, &classes, cut.width(), sums.as_slice(), out);
    Ok(())
}

/// Taps that are computed together.
struct TapClass {
    /// Which, of a group's (c, kh, kw).
    taps: Vec<usize>,
    /// The rows and columns of places that count.
    inside: [Range<usize>; 2],
}

/// All taps, if the gradient is finite. Else those that miss a gradient that is not finite at some
/// place apart, by the places that they miss: there a gradient of zero, times a padding zero, is
/// nothing.
fn tap_classes<T: Float>(
    shape: &Conv2dShape,
    places: [usize; 2],
    not_finite: Option<&[T]>,
) -> Vec<TapClass> {
    let [kh, kw] = shape.kernel;
    let all = places.map(|size| 0..size);
    let mut classes = vec![TapClass { taps: Vec::new(), inside: all.clone() }];
    let mut bad = Vec::new();
    if let Some(grad) = not_finite {
        bad.resize(places[0] * places[1], false);
        for plane in grad.chunks_exact(places[0] * places[1]) {
            bad.iter_mut().zip(plane).for_each(|(bad, grad)| *bad |= !grad.is_finite());
        }
    }
    let bad: Vec<usize> = (0..bad.len()).filter(|place| bad[*place]).collect();
    for tap in 0..kh * kw {
        let reading = |d: usize, tap: usize| {
            let first = (0..places[d]).find(|at| shape.reads(d, *at, tap)).unwrap_or(0);
            let count = (first..places[d]).take_while(|at| shape.reads(d, *at, tap)).count();
            first..first + count
        };
        let reads = [reading(0, tap / kw), reading(1, tap % kw)];
        let counts = |place: usize| {
            reads[0].contains(&(place / places[1])) && reads[1].contains(&(place % places[1]))
        };
        let exact = bad.iter().any(|place| !counts(*place));
        let inside = if exact { reads } else { all.clone() };
        let channels = (0..shape.group_inputs()).map(|c| c * kh * kw + tap);
        match classes.iter_mut().find(|class| class.inside == inside) {
            Some(class) => class.taps.extend(channels),
            None => classes.push(TapClass { taps: channels.collect(), inside }),
        }
    }
    for class in &mut classes {
        class.taps.sort_unstable();
    }
    classes
}

/// `out[o, tap] = sums[rank of tap, o]`, per group; rows of sums are `width` elements.
fn turn<T: Float>(
    d: Dispatch,
    shape: &Conv2dShape,
    classes: &[TapClass],
    width: usize,
    sums: &[T],
    out: &mut [T],
) {
    let (outputs, taps) = (shape.group_outputs(), shape.taps());
    let groups = out.chunks_exact_mut(outputs * taps).zip(sums.chunks_exact(width * taps));
    for (out, sums) in groups {
        if let [_] = classes {
            let (from, to) = (sums.as_ptr(), out.as_mut_ptr());
            let (places, channels, to_stride) = (taps, outputs, taps);
            // SAFETY: the sums of a group, and its part of the output.
            unsafe { Turn { from, width, places, channels, to, to_stride }.compute(d) };
            continue;
        }
        for (o, row) in out.chunks_exact_mut(taps).enumerate() {
            let ranked = classes.iter().flat_map(|class| &class.taps);
            for (rank, &tap) in ranked.enumerate() {
                row[tap] = sums[rank * width + o];
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
    #[allow(clippy::too_many_arguments)]
    fn add_to<T: Float>(
        &self,
        d: Dispatch,
        shape: &Conv2dShape,
        frame: &Frame,
        classes: &[TapClass],
        x: &[T],
        grad: &[T],
        (cut, sums): (Cut, &mut [T]),
    ) -> Result<()> {
        let image = x.len() / shape.batch;
        let x = &x[self.images.start * image..self.images.end * image];
        let buffer;
        let padded = if frame.is_identity() {
            x
        } else {
            buffer = pad(d, frame, x, self.images.len() * shape.in_channels)?;
            buffer.as_slice()
        };
        let per_image = self.places[0] * self.places[1];
        let (inputs, outputs) = (shape.group_inputs(), shape.group_outputs());
        let plane = frame.padded[0] * frame.padded[1];
        let taps = shape.input_taps(frame.padded);
        // A stride whose product overflows is longer than the image: no second row uses it.
        let row = shape.stride[0].saturating_mul(frame.padded[1]);
        let k = self.blocks.start * KC..(self.blocks.end * KC).min(shape.batch * per_image);
        let steps = self.steps(k.clone(), [shape.in_channels * plane, row, shape.stride[1]]);
        for (group, mut sums) in sums.chunks_exact_mut(taps.len() * cut.width()).enumerate() {
            for class in classes {
                let own;
                (own, sums) = sums.split_at_mut(class.taps.len() * cut.width());
                let taps: Vec<usize> = class.taps.iter().map(|tap| taps[*tap]).collect();
                let images = &padded[group * inputs * plane..];
                let last = steps.iter().max().zip(taps.iter().max()).map(|(step, tap)| step + tap);
                let fits = last.is_none_or(|last| last < images.len());
                require(fits, "conv2d: a product outside of its operands")?;
                let grad = ByPlaces {
                    grad: &grad[group * outputs * per_image..],
                    places: per_image,
                    image: shape.out_channels * per_image,
                    width: self.places[1],
                    inside: &class.inside,
                };
                let (taps, steps, k) = (&taps, &steps, k.clone());
                let sums = TapSums { d, images, taps, steps, k, grad: &grad, cut };
                // SAFETY: that every element of the images exists was just checked, and the gradient's length was.
                unsafe { sums.add_to(own)? };
            }
        }
        Ok(())
    }

    /// The offsets of places, seen from the first image of this part.
    fn steps(&self, places: Range<usize>, strides: [usize; 3]) -> Vec<usize> {
        let [rows, columns] = self.places;
        let first = places.start - self.images.start * rows * columns;
        let (line, mut x) = (first / columns, first % columns);
        let (mut image, mut y) = (line / rows, line % rows);
        let step = |_| {
            let offset = image * strides[0] + y * strides[1] + x * strides[2];
            x += 1;
            if x == columns {
                (x, y) = (0, y + 1);
                if y == rows {
                    (y, image) = (0, image + 1);
                }
            }
            offset
        };
        places.map(step).collect()
    }
}
