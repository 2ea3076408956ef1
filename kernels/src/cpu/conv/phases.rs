//! The input gradient of a convolution with a stride, phase by phase: input places whose distance is a multiple of the stride receive
//! through the same taps, and are a convolution of the gradient with those alone.

use super::Conv2dShape;
use super::classes::Class;
use super::pad::{Frame, pad, pad_bytes};
use super::product::{Packed, PatchProduct};
use super::windows::{Window, Windows, window};
use crate::buffer::Buffer;
use crate::cpu::gemm::{Activation, Dispatch, KC, work_ns};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::strided::checked_len;

/// Input places along a dim that lie a multiple of the stride apart.
struct Phase {
    places: Class,
    /// The taps that reach them, and which element of the gradient, seen from the first place's own, each brings.
    taps: Vec<(usize, isize)>,
}

/// The phases of dim `d` that have places.
fn phases(shape: &Conv2dShape, d: usize) -> Vec<Phase> {
    let (step, padding, size) = (shape.stride[d], shape.padding[d], shape.input[d]);
    let phase = |start: usize| {
        let reaches = |tap: &usize| (tap * shape.dilation[d]) % step == (start + padding) % step;
        let element = |tap: usize| {
            let place = (start + padding) as isize - (tap * shape.dilation[d]) as isize;
            (tap, place / step as isize)
        };
        let taps = (0..shape.kernel[d]).filter(reaches).map(element).collect();
        let places = Class { start, step, count: (size - start).div_ceil(step), taps: Vec::new() };
        Phase { places, taps }
    };
    (0..step.min(size)).map(phase).collect()
}

/// How much the gradient is framed along a dim so that all that phases ask for is there: before it, and in all.
fn reach(phases: &[Phase]) -> [isize; 2] {
    let taps = || phases.iter().flat_map(|phase| phase.taps.iter().map(move |tap| (phase, tap.1)));
    let low = taps().map(|(_, element)| element).min().unwrap_or(0);
    let high = taps().map(|(phase, element)| element + phase.places.count as isize).max();
    [-low, high.unwrap_or(1) - low]
}

/// The taps, where their blocks end, and the weights of two phases and a group.
struct Part {
    taps: Vec<usize>,
    ends: Vec<usize>,
    weight: Buffer,
    packed: Option<Packed>,
}

impl Part {
    /// Of `weight[c, (o, kh, kw)]`: `count` rows.
    fn new<T: Float>(
        shape: &Conv2dShape,
        [rows, columns]: [&Phase; 2],
        frame: &Frame,
        weight: &[T],
        count: usize,
    ) -> Result<Self> {
        let [kh, kw] = shape.kernel;
        let all = shape.group_outputs() * kh * kw;
        let (mut taps, mut which, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for o in 0..shape.group_outputs() {
            for &(i, y) in &rows.taps {
                for &(j, x) in &columns.taps {
                    let [y, x] = [y + frame.origin[0], x + frame.origin[1]].map(|at| at as usize);
                    taps.push((o * frame.padded[0] + y) * frame.padded[1] + x);
                    which.push((o * kh + i) * kw + j);
                }
            }
        }
        // Blocks are those of all taps: one whose taps are all skipped adds its +0.
        for end in (0..all.max(1)).step_by(KC).map(|start| start + KC) {
            ends.push(which.partition_point(|tap| *tap < end));
        }
        let mut kept = Buffer::new(count * which.len() * size_of::<T>())?;
        let rows = weight.chunks_exact(all.max(1)).take(count);
        for (to, from) in kept.as_mut_slice::<T>().chunks_exact_mut(which.len().max(1)).zip(rows) {
            to.iter_mut().zip(&which).for_each(|(to, tap)| *to = from[*tap]);
        }
        Ok(Part { taps, ends, weight: kept, packed: None })
    }

    /// Its product, of no images yet.
    fn product<T: Float>(
        &self,
        shape: &Conv2dShape,
        [rows, columns]: [&Phase; 2],
        padded: [usize; 2],
    ) -> PatchProduct<'_, T> {
        let (inputs, places) = (shape.group_inputs(), [rows.places.count, columns.places.count]);
        PatchProduct {
            images: &[],
            count: 0,
            weight: self.weight.as_slice(),
            rows: inputs,
            taps: &self.taps,
            ends: &self.ends,
            places,
            strides: [shape.out_channels * padded[0] * padded[1], padded[1], 1],
            bias: None,
            activation: Activation::None,
            out_image: inputs * places[0] * places[1],
            next: &[],
        }
    }
}

/// The input gradient; `weight` is `[groups, c, (o, kh, kw)]`, and finite.
pub(super) fn input_grad<T: Float>(
    d: Dispatch,
    shape: &Conv2dShape,
    grad: &[T],
    weight: &[T],
    places: [usize; 2],
    out: &mut [T],
) -> Result<()> {
    let phases = [phases(shape, 0), phases(shape, 1)];
    let reach = [reach(&phases[0]), reach(&phases[1])];
    let frame = Frame {
        plane: places,
        padded: reach.map(|[_, size]| size as usize),
        origin: reach.map(|[before, _]| before),
        step: [1, 1],
    };
    let [h, w] = shape.input;
    let (inputs, outputs) = (shape.group_inputs(), shape.group_outputs());
    let pairs =
        || phases[0].iter().flat_map(|rows| phases[1].iter().map(move |columns| [rows, columns]));
    let mut parts = Vec::new();
    for weight in weight.chunks_exact(weight.len() / shape.groups) {
        for pair in pairs() {
            let mut part = Part::new(shape, pair, &frame, weight, inputs)?;
            part.packed = part.product::<T>(shape, pair, frame.padded).packed(d)?;
            parts.push(part);
        }
    }
    let plane = frame.padded[0] * frame.padded[1];
    let out_image = out.len() / shape.batch;
    let largest =
        [0, 1].map(|d| phases[d].iter().map(|phase| phase.places.count).max().unwrap_or(0));
    let size = |images: usize| {
        checked_len(&[images, inputs, largest[0], largest[1], size_of::<T>()])
            .ok_or(Error::Contract("conv2d: the size of a workspace overflows"))
    };
    let images = window(shape.batch, h * w, shape.out_channels * plane);
    let windows = Windows {
        batch: shape.batch,
        images,
        workspace: [pad_bytes::<T>(&frame, images * shape.out_channels)?, size(images)?],
        image: grad.len() / shape.batch,
        out_image,
        work: work_ns(grad.len(), inputs, shape.kernel[0] * shape.kernel[1]),
    };
    windows.each(grad, out, &|Window { x: grad, out, .. }| {
        let count = out.len() / out_image;
        let mut sums = Buffer::new(size(count)?)?;
        let padded = pad(d, &frame, grad, count * shape.out_channels)?;
        let mut parts = parts.iter();
        for group in 0..shape.groups {
            let out = &mut out[group * inputs * h * w..];
            for (pair, part) in pairs().zip(&mut parts) {
                let images = &padded.as_slice()[group * outputs * plane..];
                let product =
                    PatchProduct { images, count, ..part.product(shape, pair, frame.padded) };
                let sums = &mut sums.as_mut_slice::<T>()[..count * product.out_image];
                product.compute(d, part.packed.as_ref(), sums)?;
                let whole = PatchProduct { places: [h, w], out_image, ..product };
                whole.scatter(sums, &pair[0].places, &pair[1].places, out);
            }
        }
        Ok(())
    })
}
