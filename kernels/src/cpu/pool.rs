//! 2-D max-pooling with the winning tap's index, its backward pass and its gather.

use crate::element::Float;
use crate::error::{Error, Result};

/// The sizes of a pooling over `[planes, h, w]` (planes = batch x channels).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool2dShape {
    /// Batch times channels.
    pub planes: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Stride, at least 1.
    pub stride: [usize; 2],
    /// Padding on each side (at most half the window); a padded tap never wins.
    pub padding: [usize; 2],
}

impl Pool2dShape {
    /// Output height and width: `floor((in + 2 pad - kernel) / stride) + 1`; `None` if the window does not fit.
    pub fn output(&self) -> Option<[usize; 2]> {
        let mut out = [0; 2];
        for d in 0..2 {
            let padded = self.padding[d].checked_mul(2)?.checked_add(self.input[d])?;
            out[d] =
                padded.checked_sub(self.kernel[d])?.checked_div(self.stride[d])?.checked_add(1)?;
        }
        Some(out)
    }
}

/// `out = max` of each window, `index = kh * kernel_width + kw` of the winner (NaN wins, then the lowest index).
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ or the window has more than 256 taps.
pub fn max_pool2d<T: Float>(
    shape: &Pool2dShape,
    x: &[T],
    out: &mut [T],
    index: &mut [u8],
) -> Result<()> {
    let _ = (shape, x, out, index);
    Err(Error::Contract("stub"))
}

/// The backward pass: adds each output's gradient to its winner; inputs that never won get 0.
///
/// # Errors
/// As [`max_pool2d`]; an index outside the window or the image.
pub fn max_pool2d_grad<T: Float>(
    shape: &Pool2dShape,
    grad: &[T],
    index: &[u8],
    out: &mut [T],
) -> Result<()> {
    let _ = (shape, grad, index, out);
    Err(Error::Contract("stub"))
}

/// `out[window] = x[winner]`: the adjoint of [`max_pool2d_grad`].
///
/// # Errors
/// As [`max_pool2d_grad`].
pub fn max_pool2d_gather<T: Float>(
    shape: &Pool2dShape,
    x: &[T],
    index: &[u8],
    out: &mut [T],
) -> Result<()> {
    let _ = (shape, x, index, out);
    Err(Error::Contract("stub"))
}
