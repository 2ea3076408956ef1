//! `out[o, (n, oh, ow)] = weight[o, (c, kh, kw)] * patches[(c, kh, kw), (n, oh, ow)]`, per group.

use super::finite::AllFinite;
use super::pad::{Frame, apart, pad};
use super::product::{Packed, PatchProduct, block_ends};
use super::{Conv2dShape, window};
use crate::cpu::gemm::{Activation, Dispatch};
use crate::element::Float;
use crate::error::{Result, require};

impl Conv2dShape {
    /// Where the input lies in its padding (as much of it as is read).
    pub(super) fn input_frame(&self, out: [usize; 2]) -> Frame {
        let needed =
            |d: usize| (out[d] - 1) * self.stride[d] + (self.kernel[d] - 1) * self.dilation[d] + 1;
        // Without padding the images are read as they lie, rest included.
        let padded = if self.is_padded() { apart([needed(0), needed(1)]) } else { self.input };
        let origin = self.padding.map(|p| p as isize);
        Frame { plane: self.input, padded, origin, step: [1, 1] }
    }

    /// The offset of each tap (c, kh, kw) of a group in padded planes.
    pub(super) fn input_taps(&self, padded: [usize; 2]) -> Vec<usize> {
        let [kh, kw] = self.kernel;
        (0..self.group_inputs() * kh * kw)
            .map(|tap| {
                let (c, i, j) = (tap / (kh * kw), tap / kw % kh, tap % kw);
                (c * padded[0] + i * self.dilation[0]) * padded[1] + j * self.dilation[1]
            })
            .collect()
    }
}

/// [`conv2d`](super::conv2d) under a given ISA.
pub(super) fn conv2d_on<T: Float>(
    d: Dispatch,
    shape: &Conv2dShape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    activation: Activation,
    out: &mut [T],
) -> Result<()> {
    let [oh, ow] = shape.check(x.len(), weight.len(), out.len())?;
    let bias_fits = bias.is_none_or(|bias| bias.len() == shape.out_channels);
    require(bias_fits, "conv2d: wrong length of the bias")?;
    if out.is_empty() {
        return Ok(());
    }
    let missing = (shape.is_padded() && !d.call::<T, _>(AllFinite(weight)))
        .then(|| [shape.output_classes(oh, 0), shape.output_classes(ow, 1)]);
    let frame = shape.input_frame([oh, ow]);
    let taps = shape.input_taps(frame.padded);
    let ends = block_ends(taps.len());
    let plane = frame.padded[0] * frame.padded[1];
    let (image, out_image) = (x.len() / shape.batch, out.len() / shape.batch);
    let images = window(shape.batch, oh * ow, shape.in_channels * plane);
    let mut packed: Vec<Option<Packed>> = (0..shape.groups).map(|_| None).collect();
    for (x, next, out) in windows(x, image * images, out, out_image * images) {
        let images = out.len() / out_image;
        let buffer;
        let padded = if frame.is_identity() {
            x
        } else {
            buffer = pad(d, &frame, x, images * shape.in_channels)?;
            buffer.as_slice()
        };
        let (inputs, outputs) = (shape.group_inputs(), shape.group_outputs());
        // A stride whose product overflows is longer than the image: no second row uses it.
        let row = shape.stride[0].saturating_mul(frame.padded[1]);
        let strides = [shape.in_channels * plane, row, shape.stride[1]];
        for group in 0..shape.groups {
            let product = PatchProduct {
                images: &padded[group * inputs * plane..],
                count: images,
                weight: &weight[group * outputs * taps.len()..][..outputs * taps.len()],
                rows: outputs,
                taps: &taps,
                ends: &ends,
                places: [oh, ow],
                strides,
                bias: bias.map(|bias| &bias[group * outputs..]),
                activation,
                out_image,
                next: if group + 1 == shape.groups { next } else { &[] },
            };
            let out = &mut out[group * outputs * oh * ow..];
            product.compute(d, &mut packed[group], out)?;
            if let Some(classes) = &missing {
                product.correct(d, classes, out)?;
            }
        }
    }
    Ok(())
}

/// Both slices in parts, and the next part of `x`; as many parts as `out` has (`x` may be empty).
pub(super) fn windows<'a, T>(
    x: &'a [T],
    x_len: usize,
    out: &'a mut [T],
    out_len: usize,
) -> impl Iterator<Item = (&'a [T], &'a [T], &'a mut [T])> {
    out.chunks_mut(out_len.max(1)).enumerate().map(move |(i, out)| {
        let [start, end, next] = [i, i + 1, i + 2].map(|i| (i * x_len).min(x.len()));
        (&x[start..end], &x[end..next], out)
    })
}
