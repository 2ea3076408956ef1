//! `out^T[(c, kh, kw), o] = patches[(c, kh, kw), (n, oh, ow)] * grad[(n, oh, ow), o]`, per group.
//!
//! The patches are read where they lie; the gradient, which is smaller by the number of taps, is transposed block by block.

use std::ops::Range;

use super::Conv2dShape;
use super::finite::AllFinite;
use super::pad::{Frame, pad};
use super::tap_sums::TapSums;
use super::tiles::{Ask, Cut, ask_for};
use super::turn::Turn;
use super::windows::window;
use crate::buffer::{Buffer, List};
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
    let product = Product { d, shape, places: [oh, ow], x, grad, cut };
    let all = [TapClass { taps: None, inside: [0..oh, 0..ow] }];
    if product.compute(&all, shape.is_padded(), sums.as_mut_slice())? {
        turn(d, shape, &all, cut.width(), sums.as_slice(), out);
        return Ok(());
    }
    let classes = tap_classes(shape, [oh, ow], grad);
    product.compute(&classes, false, sums.as_mut_slice())?;
    turn(d, shape, &classes, cut.width(), sums.as_slice(), out);
    Ok(())
}

/// A weight gradient whose operands were checked.
struct Product<'a, T> {
    d: Dispatch,
    shape: &'a Conv2dShape,
    places: [usize; 2],
    x: &'a [T],
    grad: &'a [T],
    cut: Cut,
}

impl<T: Float> Product<'_, T> {
    /// The sums of all classes of taps, part by part. If only gradients that are `finite` will do, it ends at one that is not, and
    /// returns false: they are looked at right before they are used, so that they come from memory once.
    fn compute(&self, classes: &[TapClass], finite: bool, sums: &mut [T]) -> Result<bool> {
        let Product { d, shape, places, x, grad, cut } = *self;
        let frame = shape.input_frame(places);
        let blocks = (shape.batch * places[0] * places[1]).div_ceil(KC);
        let few = TapSums::<T>::are_few(cut.width() * shape.taps());
        let part = |start| Part::new(shape, &frame, places, start, blocks, few);
        let taps = shape.input_taps(frame.padded)?;
        let image = grad.len() / shape.batch;
        let mut now = part(0);
        loop {
            let images = now.images.start * image..now.images.end * image;
            if finite && !d.call::<T, _>(AllFinite(&grad[images])) {
                return Ok(false);
            }
            let then = (now.blocks.end < blocks).then(|| part(now.blocks.end));
            let next = then.as_ref().map_or(0..0, |then| now.images.end..then.images.end);
            now.add_to(d, shape, &frame, (classes, &taps), [x, grad], next, (cut, sums))?;
            match then {
                Some(then) => now = then,
                None => return Ok(true),
            }
        }
    }
}

/// Taps that are computed together.
struct TapClass {
    /// Which, of a group's (c, kh, kw); `None`: all of them.
    taps: Option<Vec<usize>>,
    /// The rows and columns of places that count.
    inside: [Range<usize>; 2],
}

/// Those taps that miss a gradient that is not finite at some place apart, by the places that they miss: there a gradient of zero,
/// times a padding zero, is nothing.
fn tap_classes<T: Float>(shape: &Conv2dShape, places: [usize; 2], grad: &[T]) -> Vec<TapClass> {
    let [kh, kw] = shape.kernel;
    let all = places.map(|size| 0..size);
    let mut classes = vec![(Vec::new(), all.clone())];
    let mut bad = vec![false; places[0] * places[1]];
    for plane in grad.chunks_exact(places[0] * places[1]) {
        bad.iter_mut().zip(plane).for_each(|(bad, grad)| *bad |= !grad.is_finite());
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
        match classes.iter_mut().find(|(_, known)| *known == inside) {
            Some((taps, _)) => taps.extend(channels),
            None => classes.push((channels.collect(), inside)),
        }
    }
    let class = |(mut taps, inside): (Vec<usize>, _)| {
        taps.sort_unstable();
        TapClass { taps: Some(taps), inside }
    };
    classes.into_iter().map(class).collect()
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
            let ranked = classes.iter().flat_map(|class| class.taps.iter().flatten());
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
    /// The part that starts at a block: as many images as are computed at a time, but at least one block.
    fn new(
        shape: &Conv2dShape,
        frame: &Frame,
        places: [usize; 2],
        start: usize,
        blocks: usize,
        few: bool,
    ) -> Self {
        let per_image = places[0] * places[1];
        let elements = shape.in_channels * frame.padded[0] * frame.padded[1];
        // Blocks that are pieces must be many. Two parts pad an image that a block reaches into.
        let images = window(shape.batch, per_image, elements);
        let most = images * if few { 4 } else { 2 };
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
        (classes, taps): (&[TapClass], &[usize]),
        [x, grad]: [&[T]; 2],
        next: Range<usize>,
        (cut, sums): (Cut, &mut [T]),
    ) -> Result<()> {
        let of = |all: &[T], images: &Range<usize>| {
            let image = all.len() / shape.batch;
            images.start * image..images.end * image
        };
        let next = [x, grad].map(|all| &all[of(all, &next)]);
        let x = &x[of(x, &self.images)];
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
        // A stride whose product overflows is longer than the image: no second row uses it.
        let row = shape.stride[0].saturating_mul(frame.padded[1]);
        let k = self.blocks.start * KC..(self.blocks.end * KC).min(shape.batch * per_image);
        let steps = self.steps(k.clone(), [shape.in_channels * plane, row, shape.stride[1]])?;
        for (group, mut sums) in sums.chunks_exact_mut(taps.len() * cut.width()).enumerate() {
            for (index, class) in classes.iter().enumerate() {
                let own;
                let chosen;
                let taps = match &class.taps {
                    None => taps,
                    Some(some) => {
                        chosen = List::of(some.len(), some.iter().map(|tap| taps[*tap]))?;
                        &chosen
                    }
                };
                (own, sums) = sums.split_at_mut(taps.len() * cut.width());
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
                let (steps, k) = (&*steps, k.clone());
                let is_last = group + 1 == shape.groups && index + 1 == classes.len();
                let next = if is_last { next } else { Ask::NOTHING.next };
                let sums = TapSums { d, images, taps, steps, k, grad: &grad, cut, next };
                // SAFETY: that every element of the images exists was just checked, and the gradient's length was.
                unsafe { sums.add_to(own)? };
            }
        }
        Ok(())
    }

    /// The offsets of places, seen from the first image of this part.
    fn steps(&self, places: Range<usize>, strides: [usize; 3]) -> Result<List<usize>> {
        let [rows, columns] = self.places;
        let first = places.start - self.images.start * rows * columns;
        let (mut line, mut x) = (first / columns, first % columns);
        let mut steps = List::with_room(places.len())?;
        while steps.len() < places.len() {
            let offset = line / rows * strides[0] + line % rows * strides[1];
            let end = columns.min(x + places.len() - steps.len());
            steps.extend((x..end).map(|x| offset + x * strides[2]));
            (line, x) = (line + 1, 0);
        }
        Ok(steps)
    }
}
