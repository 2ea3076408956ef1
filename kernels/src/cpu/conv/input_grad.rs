//! `out[c, (n, h, w)] = weight[c, (o, kh, kw)] * patches[(o, kh, kw), (n, h, w)]`, per group, where
//! the patches are those of the gradient, spread by the stride and framed by zeros.

use super::Conv2dShape;
use super::finite::AllFinite;
use super::pad::{Frame, apart, pad, pad_bytes};
use super::phases;
use super::product::{GroupsPacked, PatchProduct, block_ends};
use super::windows::{Window, Windows, window};
use crate::buffer::{Buffer, List};
use crate::cpu::gemm::{Activation, Dispatch, work_ns};
use crate::element::Float;
use crate::error::Result;

impl Conv2dShape {
    /// Where the gradient lies in its frame: tap `i` of input place `y` reads frame place
    /// `y + (kernel - 1 - i) * dilation`.
    fn grad_frame(&self, out: [usize; 2]) -> Frame {
        let reach = [0, 1].map(|d| (self.kernel[d] - 1) * self.dilation[d]);
        Frame {
            plane: out,
            padded: if reach == [0, 0] {
                self.input
            } else {
                apart([0, 1].map(|d| self.input[d] + reach[d]))
            },
            origin: [0, 1].map(|d| reach[d] as isize - self.padding[d] as isize),
            step: self.stride,
        }
    }

    /// The offset of each tap (o, kh, kw) of a group in framed planes.
    fn grad_taps(&self, padded: [usize; 2]) -> Result<List<usize>> {
        let [kh, kw] = self.kernel;
        let taps = self.group_outputs() * kh * kw;
        let offset = |tap: usize| {
            let (o, i, j) = (tap / (kh * kw), tap / kw % kh, tap % kw);
            let (y, x) = ((kh - 1 - i) * self.dilation[0], (kw - 1 - j) * self.dilation[1]);
            (o * padded[0] + y) * padded[1] + x
        };
        List::of(taps, (0..taps).map(offset))
    }

    /// The weight as `[groups, c, (o, kh, kw)]`.
    fn weight_by_inputs<T: Float>(&self, weight: &[T]) -> Result<Buffer> {
        let taps = self.kernel[0] * self.kernel[1];
        let (inputs, outputs) = (self.group_inputs(), self.group_outputs());
        let mut buffer = Buffer::new(size_of_val(weight))?;
        let to = buffer.as_mut_slice::<T>();
        for (row, from) in weight.chunks_exact(taps).enumerate() {
            let (group, o, c) = (row / inputs / outputs, row / inputs % outputs, row % inputs);
            let place = ((group * inputs + c) * outputs + o) * taps;
            // Too few for a call.
            to[place..place + taps].iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
        Ok(buffer)
    }
}

/// [`conv2d_input_grad`](super::conv2d_input_grad) under a given ISA.
pub(super) fn conv2d_input_grad_on<T: Float>(
    d: Dispatch,
    shape: &Conv2dShape,
    grad: &[T],
    weight: &[T],
    out: &mut [T],
) -> Result<()> {
    let [oh, ow] = shape.check(out.len(), weight.len(), grad.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let frame = shape.grad_frame([oh, ow]);
    let finite = frame.is_identity() || d.call::<T, _>(AllFinite(weight));
    if finite && shape.stride != [1, 1] && !grad.is_empty() {
        let by_inputs = shape.weight_by_inputs(weight)?;
        return phases::input_grad(d, shape, grad, by_inputs.as_slice(), [oh, ow], out);
    }
    let missing = (!finite).then(|| [shape.input_classes(oh, 0), shape.input_classes(ow, 1)]);
    let taps = shape.grad_taps(frame.padded)?;
    let ends = block_ends(taps.len())?;
    let plane = frame.padded[0] * frame.padded[1];
    let [h, w] = shape.input;
    let out_image = out.len() / shape.batch;
    let by_inputs = shape.weight_by_inputs(weight)?;
    let (inputs, outputs) = (shape.group_inputs(), shape.group_outputs());
    let product = |group: usize| {
        let weight = &by_inputs.as_slice::<T>()[group * inputs * taps.len()..];
        PatchProduct {
            images: &[],
            count: 0,
            weight: &weight[..inputs * taps.len()],
            rows: inputs,
            taps: &taps,
            ends: &ends,
            places: [h, w],
            strides: [shape.out_channels * plane, frame.padded[1], 1],
            bias: None,
            activation: Activation::None,
            out_image,
            next: &[],
        }
    };
    let packed = GroupsPacked::new(shape.groups, |group| product(group).packed(d))?;
    let images = window(shape.batch, h * w, shape.out_channels * plane);
    let padded = match frame.is_identity() {
        true => 0,
        false => pad_bytes::<T>(&frame, images * shape.out_channels)?,
    };
    let windows = Windows {
        batch: shape.batch,
        images,
        workspace: [padded, 0],
        image: grad.len() / shape.batch,
        out_image,
        work: work_ns(shape.in_channels, (h * w).saturating_mul(shape.batch), taps.len()),
    };
    windows.each(grad, out, &|Window { x: grad, next, out, .. }| {
        let count = out.len() / out_image;
        let buffer;
        let padded = if frame.is_identity() {
            grad
        } else {
            buffer = pad(d, &frame, grad, count * shape.out_channels)?;
            buffer.as_slice()
        };
        for group in 0..shape.groups {
            let product = PatchProduct {
                images: &padded[group * outputs * plane..],
                count,
                next: if group + 1 == shape.groups { next } else { &[] },
                ..product(group)
            };
            let out = &mut out[group * inputs * h * w..];
            product.compute(d, packed.group(group), out)?;
            if let Some(classes) = &missing {
                product.correct(d, classes, out)?;
            }
        }
        Ok(())
    })
}
