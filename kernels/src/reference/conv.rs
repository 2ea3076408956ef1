//! Naive conv: one element at a time, in the order R2.

use super::gemm::{activate, sum_of_products};
use crate::cpu::conv::Conv2dShape;
use crate::cpu::gemm::Activation;
use crate::element::Float;

/// The place in the input that tap `tap` of output place `at` reads, along dim `d`; `None` in the
/// padding.
fn input_place(shape: &Conv2dShape, d: usize, at: usize, tap: usize) -> Option<usize> {
    let place = (at * shape.stride[d] + tap * shape.dilation[d]).checked_sub(shape.padding[d])?;
    (place < shape.input[d]).then_some(place)
}

/// The place in the output whose tap `tap` reads input place `at`, along dim `d`; `None` if no
/// output does.
fn output_place(shape: &Conv2dShape, out: usize, d: usize, at: usize, tap: usize) -> Option<usize> {
    let place = (at + shape.padding[d]).checked_sub(tap * shape.dilation[d])?;
    (place % shape.stride[d] == 0 && place / shape.stride[d] < out)
        .then_some(place / shape.stride[d])
}

/// See [`conv2d`](crate::cpu::conv::conv2d). Panics if a length is wrong.
pub fn conv2d<T: Float>(
    shape: &Conv2dShape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    activation: Activation,
    out: &mut [T],
) {
    let Some([oh, ow]) = shape.output() else { return };
    let ([h, w], [kh, kw]) = (shape.input, shape.kernel);
    let (cg, og) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    for (index, out) in out.iter_mut().enumerate() {
        let (n, o) =
            (index / (shape.out_channels * oh * ow), index / (oh * ow) % shape.out_channels);
        let (y, x0) = (index / ow % oh, index % ow);
        let mut sum = sum_of_products(cg * kh * kw, |l| {
            let (c, i, j) = (l / (kh * kw), l / kw % kh, l % kw);
            let (iy, ix) = (input_place(shape, 0, y, i)?, input_place(shape, 1, x0, j)?);
            let channel = n * shape.in_channels + o / og * cg + c;
            Some((weight[o * cg * kh * kw + l], x[(channel * h + iy) * w + ix]))
        });
        if let Some(bias) = bias {
            sum = sum + bias[o];
        }
        *out = activate(activation, sum);
    }
}

/// See [`conv2d_input_grad`](crate::cpu::conv::conv2d_input_grad). Panics if a length is wrong.
pub fn conv2d_input_grad<T: Float>(shape: &Conv2dShape, grad: &[T], weight: &[T], out: &mut [T]) {
    let Some([oh, ow]) = shape.output() else { return };
    let ([h, w], [kh, kw]) = (shape.input, shape.kernel);
    let (cg, og) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    for (index, out) in out.iter_mut().enumerate() {
        let (n, c) = (index / (shape.in_channels * h * w), index / (h * w) % shape.in_channels);
        let (y, x) = (index / w % h, index % w);
        *out = sum_of_products(og * kh * kw, |l| {
            let (i, j) = (l / kw % kh, l % kw);
            let o = c / cg * og + l / (kh * kw);
            let (gy, gx) = (output_place(shape, oh, 0, y, i)?, output_place(shape, ow, 1, x, j)?);
            let weight = weight[((o * cg + c % cg) * kh + i) * kw + j];
            Some((weight, grad[((n * shape.out_channels + o) * oh + gy) * ow + gx]))
        });
    }
}

/// See [`conv2d_weight_grad`](crate::cpu::conv::conv2d_weight_grad). Panics if a length is wrong.
pub fn conv2d_weight_grad<T: Float>(shape: &Conv2dShape, x: &[T], grad: &[T], out: &mut [T]) {
    let Some([oh, ow]) = shape.output() else { return };
    let ([h, w], [kh, kw]) = (shape.input, shape.kernel);
    let (cg, og) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    for (index, out) in out.iter_mut().enumerate() {
        let (o, c) = (index / (cg * kh * kw), index / (kh * kw) % cg);
        let (i, j) = (index / kw % kh, index % kw);
        *out = sum_of_products(shape.batch * oh * ow, |l| {
            let (n, y, x0) = (l / (oh * ow), l / ow % oh, l % ow);
            let (iy, ix) = (input_place(shape, 0, y, i)?, input_place(shape, 1, x0, j)?);
            let channel = n * shape.in_channels + o / og * cg + c;
            let grad = grad[(n * shape.out_channels + o) * oh * ow + y * ow + x0];
            Some((grad, x[(channel * h + iy) * w + ix]))
        });
    }
}
