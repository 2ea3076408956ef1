//! 2-D convolution (cross-correlation, as PyTorch's `conv2d`) as implicit GEMM: forward and both
//! gradients. NCHW, OIHW.
//!
//! Images are padded in memory, some at a time; patches of them are packed straight into GEMM
//! panels. A padded tap then multiplies by a zero, which is the same as leaving it out unless the
//! other factor is NaN or infinite. Where there are such weights (in the weight gradient, such
//! gradients), the places (there, the taps) that miss them are computed with zeros instead.

mod classes;
mod finite;
mod forward;
mod input_grad;
mod lines;
mod pad;
mod phases;
mod pooled;
mod product;
mod tap_sums;
#[cfg(test)]
mod tests;
mod tiles;
mod turn;
mod weight_grad;
mod windows;

use super::gemm::{Activation, Dispatch};
use crate::element::Float;
use crate::error::{Error, Result, require};
use crate::strided::checked_len;
pub use pooled::{
    PooledShape, conv2d_max_pool2d, conv2d_max_pool2d_input_grad, conv2d_max_pool2d_weight_grad,
};

/// The sizes of a convolution. `[a, b]` is height, width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2dShape {
    /// Images.
    pub batch: usize,
    /// Input channels, a multiple of `groups`.
    pub in_channels: usize,
    /// Output channels, a multiple of `groups`.
    pub out_channels: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Stride, at least 1.
    pub stride: [usize; 2],
    /// Zero padding on each side.
    pub padding: [usize; 2],
    /// Distance between taps, at least 1.
    pub dilation: [usize; 2],
    /// Groups of channels that don't see each other.
    pub groups: usize,
}

impl Conv2dShape {
    /// Output height and width: `floor((in + 2 pad - dilation (kernel - 1) - 1) / stride) + 1`;
    /// `None` if the kernel does not fit.
    pub fn output(&self) -> Option<[usize; 2]> {
        let mut out = [0; 2];
        for (d, out) in out.iter_mut().enumerate() {
            let reach =
                self.dilation[d].checked_mul(self.kernel[d].checked_sub(1)?)?.checked_add(1)?;
            let padded = self.padding[d].checked_mul(2)?.checked_add(self.input[d])?;
            *out = padded.checked_sub(reach)?.checked_div(self.stride[d])?.checked_add(1)?;
        }
        // Places are computed with plain arithmetic later on.
        let places = [0, 1].map(|d| self.input[d].checked_add(self.padding[d] * 2)?.checked_mul(2));
        places[0]?.checked_mul(places[1]?)?;
        Some(out)
    }

    /// The output's height and width, if the shape and the operands' lengths are right.
    fn check(&self, x: usize, weight: usize, out: usize) -> Result<[usize; 2]> {
        let positive = |sizes: [usize; 2]| sizes[0] > 0 && sizes[1] > 0;
        require(positive(self.stride), "conv2d: the stride is zero")?;
        require(positive(self.dilation), "conv2d: the dilation is zero")?;
        let split = |channels: usize| self.groups > 0 && channels.is_multiple_of(self.groups);
        require(split(self.in_channels), "conv2d: groups do not divide the input channels")?;
        require(split(self.out_channels), "conv2d: groups do not divide the output channels")?;
        let [oh, ow] = self.output().ok_or(Error::Contract("conv2d: the kernel does not fit"))?;
        let ([h, w], [kh, kw]) = (self.input, self.kernel);
        let x_len = checked_len(&[self.batch, self.in_channels, h, w]);
        require(x_len == Some(x), "conv2d: wrong length of the input")?;
        let weight_len = checked_len(&[self.out_channels, self.group_inputs(), kh, kw]);
        require(weight_len == Some(weight), "conv2d: wrong length of the weight")?;
        let out_len = checked_len(&[self.batch, self.out_channels, oh, ow]);
        require(out_len == Some(out), "conv2d: wrong length of the output")?;
        // Tables of taps and places are computed with plain arithmetic from here on.
        let room = checked_len(&[self.in_channels.max(self.out_channels).max(1), kh, kw, 8]);
        require(room.is_some(), "conv2d: sizes overflow")?;
        Ok([oh, ow])
    }

    /// Taps of an output: input channels of a group times the kernel's places.
    fn taps(&self) -> usize {
        self.group_inputs() * self.kernel[0] * self.kernel[1]
    }

    /// Input channels of a group.
    fn group_inputs(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Output channels of a group.
    fn group_outputs(&self) -> usize {
        self.out_channels / self.groups
    }

    /// True if a tap of an output may lie in the padding.
    fn is_padded(&self) -> bool {
        self.padding != [0, 0]
    }
}

/// `out[n, o, oh, ow] = activation(sum + bias[o])`, where `sum` runs over c, kh, kw of
/// `x[n, c, oh*s + kh*d - p, ow*s + kw*d - p] * weight[o, c, kh, kw]`.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ from the shape's;
/// [`OutOfMemory`](Error::OutOfMemory) for the workspace.
pub fn conv2d<T: Float>(
    shape: &Conv2dShape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    activation: Activation,
    out: &mut [T],
) -> Result<()> {
    forward::conv2d_on(Dispatch::in_force(), shape, x, weight, bias, activation, out)
}

/// The gradient with respect to the input: `out = dL/dx` of shape `[n, c, h, w]` from `grad =
/// dL/dy` (gather form; also transposed convolution).
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_input_grad<T: Float>(
    shape: &Conv2dShape,
    grad: &[T],
    weight: &[T],
    out: &mut [T],
) -> Result<()> {
    input_grad::conv2d_input_grad_on(Dispatch::in_force(), shape, grad, weight, out)
}

/// The gradient with respect to the weight: `out = dL/dw` of shape `[o, c / groups, kh, kw]`.
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_weight_grad<T: Float>(
    shape: &Conv2dShape,
    x: &[T],
    grad: &[T],
    out: &mut [T],
) -> Result<()> {
    weight_grad::conv2d_weight_grad_on(Dispatch::in_force(), shape, x, grad, out)
}
