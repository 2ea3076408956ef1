//! 2-D convolution (cross-correlation, as PyTorch's `conv2d`) as implicit GEMM: forward and both gradients. NCHW, OIHW.

use super::gemm::Activation;
use crate::element::Float;
use crate::error::{Error, Result};

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
    /// Output height and width: `floor((in + 2 pad - dilation (kernel - 1) - 1) / stride) + 1`; `None` if the kernel does not fit.
    pub fn output(&self) -> Option<[usize; 2]> {
        let mut out = [0; 2];
        for d in 0..2 {
            let reach =
                self.dilation[d].checked_mul(self.kernel[d].checked_sub(1)?)?.checked_add(1)?;
            let padded = self.padding[d].checked_mul(2)?.checked_add(self.input[d])?;
            out[d] = padded.checked_sub(reach)?.checked_div(self.stride[d])?.checked_add(1)?;
        }
        Some(out)
    }
}

/// `out[n, o, oh, ow] = activation(sum_{c,kh,kw} x[n, c, oh*s + kh*d - p, ow*s + kw*d - p] * weight[o, c, kh, kw] + bias[o])`.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ from the shape's; [`OutOfMemory`](Error::OutOfMemory) for the workspace.
pub fn conv2d<T: Float>(
    shape: &Conv2dShape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    activation: Activation,
    out: &mut [T],
) -> Result<()> {
    let _ = (shape, x, weight, bias, activation, out);
    Err(Error::Contract("stub"))
}

/// The gradient with respect to the input: `out = dL/dx` of shape `[n, c, h, w]` from `grad = dL/dy` (gather form; also transposed
/// convolution).
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_input_grad<T: Float>(
    shape: &Conv2dShape,
    grad: &[T],
    weight: &[T],
    out: &mut [T],
) -> Result<()> {
    let _ = (shape, grad, weight, out);
    Err(Error::Contract("stub"))
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
    let _ = (shape, x, grad, out);
    Err(Error::Contract("stub"))
}
