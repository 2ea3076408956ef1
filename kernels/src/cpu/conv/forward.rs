//! `out[o, (n, oh, ow)] = weight[o, (c, kh, kw)] * patches[(c, kh, kw), (n, oh, ow)]`, per group.

use super::Conv2dShape;
use super::classes::Class;
use super::finite::AllFinite;
use super::pad::{Frame, apart, pad, pad_bytes};
use super::product::{GroupsPacked, PatchProduct, block_ends};
use super::windows::{Window, Windows, window};
use crate::buffer::List;
use crate::cpu::gemm::{Activation, Dispatch, work_ns};
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

    /// How many images are computed at a time, if there are places.
    pub(super) fn images(&self, places: [usize; 2]) -> usize {
        let padded = self.input_frame(places).padded;
        window(self.batch, places[0] * places[1], self.in_channels * padded[0] * padded[1])
    }

    /// The offset of each tap (c, kh, kw) of a group in padded planes.
    pub(super) fn input_taps(&self, padded: [usize; 2]) -> Result<List<usize>> {
        List::of(self.taps(), (0..self.taps()).map(|tap| self.input_tap(padded, tap)))
    }

    /// The offset of one of them.
    #[inline]
    pub(super) fn input_tap(&self, padded: [usize; 2], tap: usize) -> usize {
        let [kh, kw] = self.kernel;
        let (c, i, j) = (tap / (kh * kw), tap / kw % kh, tap % kw);
        (c * padded[0] + i * self.dilation[0]) * padded[1] + j * self.dilation[1]
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
    let weights = Weights::new(d, shape, x.len(), weight, bias, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    weights
        .windows(x.len())?
        .each(x, out, &|Window { x, next, out, .. }| weights.compute(d, x, next, activation, out))
}

/// A convolution whose operands were checked.
pub(super) struct Weights<'a, T> {
    shape: &'a Conv2dShape,
    weight: &'a [T],
    bias: Option<&'a [T]>,
    /// Height and width of the output; elements of an image of it.
    places: [usize; 2],
    out_image: usize,
    frame: Frame,
    /// Offsets of the taps in padded images, and where their blocks end.
    taps: List<usize>,
    ends: List<usize>,
    packed: GroupsPacked,
    /// The places apart that miss weights that are not finite, if there are such.
    missing: Option<[Vec<Class>; 2]>,
}

impl<'a, T: Float> Weights<'a, T> {
    /// Checks the operands; `x` and `out` are the whole operands' lengths.
    pub(super) fn new(
        d: Dispatch,
        shape: &'a Conv2dShape,
        x: usize,
        weight: &'a [T],
        bias: Option<&'a [T]>,
        out: usize,
    ) -> Result<Self> {
        let places = shape.check(x, weight.len(), out)?;
        let bias_fits = bias.is_none_or(|bias| bias.len() == shape.out_channels);
        require(bias_fits, "conv2d: wrong length of the bias")?;
        let missing = (out > 0 && shape.is_padded() && !d.call::<T, _>(AllFinite(weight)))
            .then(|| [shape.output_classes(places[0], 0), shape.output_classes(places[1], 1)]);
        // Nothing is read where nothing is asked for: sizes may be anything then.
        let frame = shape.input_frame(if out > 0 { places } else { [1, 1] });
        let taps = if out > 0 { shape.input_taps(frame.padded)? } else { List::empty() };
        let ends = block_ends(taps.len())?;
        let out_image = out.checked_div(shape.batch).unwrap_or(0);
        let packed = GroupsPacked::default();
        let mut weights =
            Weights { shape, weight, bias, places, out_image, frame, taps, ends, packed, missing };
        if out > 0 {
            let of_group = |group| weights.product(group, &[], 0).packed(d);
            weights.packed = GroupsPacked::new(shape.groups, of_group)?;
        }
        Ok(weights)
    }

    /// How a batch of them, of `x` elements, is gone through.
    pub(super) fn windows(&self, x: usize) -> Result<Windows> {
        let batch = self.shape.batch;
        let places = self.places[0] * self.places[1];
        Ok(Windows {
            batch,
            images: self.shape.images(self.places),
            image: x / batch,
            out_image: self.out_image,
            workspace: [self.padded_bytes()?, 0],
            work: work_ns(self.shape.out_channels, places.saturating_mul(batch), self.taps.len()),
        })
    }

    /// Bytes of the padded images of a window, if they are padded.
    fn padded_bytes(&self) -> Result<usize> {
        let planes = self.shape.images(self.places) * self.shape.in_channels;
        if self.frame.is_identity() { Ok(0) } else { pad_bytes::<T>(&self.frame, planes) }
    }

    /// A group's product for some padded images, with nothing to ask for.
    fn product<'p>(&'p self, group: usize, padded: &'p [T], count: usize) -> PatchProduct<'p, T> {
        let (shape, taps) = (self.shape, &self.taps);
        let (inputs, outputs) = (shape.group_inputs(), shape.group_outputs());
        let plane = self.frame.padded[0] * self.frame.padded[1];
        // A stride whose product overflows is longer than the image: no second row uses it.
        let row = shape.stride[0].saturating_mul(self.frame.padded[1]);
        PatchProduct {
            images: padded.get(group * inputs * plane..).unwrap_or_default(),
            count,
            weight: &self.weight[group * outputs * taps.len()..][..outputs * taps.len()],
            rows: outputs,
            taps,
            ends: &self.ends,
            places: self.places,
            strides: [shape.in_channels * plane, row, shape.stride[1]],
            bias: self.bias.map(|bias| &bias[group * outputs..]),
            activation: Activation::None,
            out_image: self.out_image,
            next: &[],
        }
    }

    /// The output of as many images as `out` holds; after them those of `next` come.
    pub(super) fn compute(
        &self,
        d: Dispatch,
        x: &[T],
        next: &[T],
        activation: Activation,
        out: &mut [T],
    ) -> Result<()> {
        let shape = self.shape;
        let images = out.len() / self.out_image;
        let buffer;
        let padded = if self.frame.is_identity() {
            x
        } else {
            buffer = pad(d, &self.frame, x, images * shape.in_channels)?;
            buffer.as_slice()
        };
        for group in 0..shape.groups {
            let next = if group + 1 == shape.groups { next } else { &[] };
            let product = PatchProduct { activation, next, ..self.product(group, padded, images) };
            let out = &mut out[group * product.rows * self.places[0] * self.places[1]..];
            product.compute(d, self.packed.group(group), out)?;
            if let Some(classes) = &self.missing {
                product.correct(d, classes, out)?;
            }
        }
        Ok(())
    }
}
