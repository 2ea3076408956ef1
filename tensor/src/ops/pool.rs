//! Pools over sequences and images.

use super::image::{batched, flat, pool};
use crate::apply::Operand;
use crate::error::{Error, Result};
use crate::op::{AvgPool1dOp, AvgPool2dOp, Pool1dOp, Pool2dOp, WindowsOp};
use crate::ops::chain::{BinaryChain, SelectChain, ShapeChain};
use crate::ops::{look, methods};
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::pool::Divisor;

/// The kernel of taps counts them in a byte and knows no dilation; others are gathered from where the maxima lie.
fn max_pool(settings: Pool2dOp, x: Operand<'_>) -> Result<Tensor> {
    let taps = settings.kernel[0].checked_mul(settings.kernel[1]);
    if settings.dilation == [1, 1] && taps.is_some_and(|taps| taps <= 256) {
        return Ok(pool(settings, x)?.0);
    }
    let x = look("max_pool2d", &x)?;
    gathered(x, &x.max_pool2d_index(WindowsOp::Sliding(settings))?)
}

/// The elements of images at places in their planes.
fn gathered(x: &Tensor, index: &Tensor) -> Result<Tensor> {
    x.flatten(2, 3).gather(2, &index.flatten(2, 3)?).reshape(index.shape())
}

/// The maxima of windows and their places.
fn located(op: &'static str, windows: WindowsOp, x: Operand<'_>) -> Result<(Tensor, Tensor)> {
    let mut places = None;
    let y = batched(op, x, 2, |x| {
        let x = look(op, &x)?;
        let index = places.insert(x.max_pool2d_index(windows)?);
        gathered(x, index)
    })?;
    let index = places.ok_or_else(|| Error::argument(op, "internal: no places"))?;
    let index = index.reshape(y.shape())?;
    Ok((y, index))
}

fn average(settings: AvgPool2dOp, x: Operand<'_>) -> Result<Tensor> {
    let divisor = match settings.divisor_override {
        Some(number) => Divisor::By(number),
        None if settings.count_include_pad => Divisor::Padded,
        None => Divisor::Elements,
    };
    let sliding = Pool2dOp::new(settings.kernel).stride(settings.stride).padding(settings.padding);
    let sliding = sliding.ceil_mode(settings.ceil_mode);
    look("avg_pool2d", &x)?.window_mean(WindowsOp::Sliding(sliding), divisor)
}

fn adaptive_average(size: [usize; 2], x: Operand<'_>) -> Result<Tensor> {
    let x = look("adaptive_avg_pool2d", &x)?;
    x.window_mean(WindowsOp::Adaptive(size), Divisor::Elements)
}

methods! {
    /// Pools, on `Result<Tensor>`.
    trait PoolChain;

    /// Maximum of each window, NaN wins: PyTorch's `max_pool2d`. x: `[n, c, h, w]` or `[c, h, w]`, y: the same with
    /// `oh = floor((h + 2 padding - dilation (kernel - 1) - 1) / stride) + 1` (`ceil` by `ceil_mode`).
    ///
    /// ```
    /// # use ferrotape_tensor::{Tensor, Pool2dOp};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[[1f32, 2., 3.], [4., 5., 6.]]]);
    /// assert_eq!(x.max_pool2d(Pool2dOp::new([2, 2]))?.to_vec::<f32>()?, [5.]);
    /// assert_eq!(x.max_pool2d(Pool2dOp::new([2, 2]).ceil_mode(true))?.to_vec::<f32>()?, [5., 6.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A window that does not fit the image or may see nothing of it; padding of more than half the window.
    fn max_pool2d(x, settings: Pool2dOp) -> Tensor {
        batched("max_pool2d", x, 2, |x| max_pool(settings, x))
    }

    /// The maximum of each window, and where it lies in its plane, `row * w + column` (i64): PyTorch's `max_pool2d` with
    /// `return_indices=True`.
    ///
    /// # Errors
    /// As [`max_pool2d`](Tensor::max_pool2d).
    fn max_pool2d_with_indices(x, settings: Pool2dOp) -> (Tensor, Tensor) {
        located("max_pool2d", WindowsOp::Sliding(settings), x)
    }

    /// Maximum of each window of sequences `[n, c, l]` or `[c, l]`: PyTorch's `max_pool1d`.
    ///
    /// # Errors
    /// As [`max_pool2d`](Tensor::max_pool2d).
    fn max_pool1d(x, settings: Pool1dOp) -> Tensor {
        flat("max_pool1d", x, |x| max_pool(settings.flat(), x))
    }

    /// The maximum of each window, and where it lies in its sequence (i64).
    ///
    /// # Errors
    /// As [`max_pool2d`](Tensor::max_pool2d).
    fn max_pool1d_with_indices(x, settings: Pool1dOp) -> (Tensor, Tensor) {
        let mut places = None;
        let y = flat("max_pool1d", x, |x| {
            let (y, index) = located("max_pool1d", WindowsOp::Sliding(settings.flat()), x)?;
            places = Some(index);
            Ok(y)
        })?;
        let index = places.ok_or_else(|| Error::argument("max_pool1d", "internal: no places"))?;
        let index = index.reshape(y.shape())?;
        Ok((y, index))
    }

    /// Mean of each window: PyTorch's `avg_pool2d`. x: `[n, c, h, w]` or `[c, h, w]`; the size of y is that of `max_pool2d`.
    ///
    /// ```
    /// # use ferrotape_tensor::{Tensor, AvgPool2dOp};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[[1f32, 2., 3.], [5., 6., 7.]]]);
    /// let pairs = AvgPool2dOp::new([2, 2]).ceil_mode(true);
    /// assert_eq!(x.avg_pool2d(pairs)?.to_vec::<f32>()?, [3.5, 5.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A window that does not fit the image; padding of more than half the window; a divisor of 0.
    fn avg_pool2d(x, settings: AvgPool2dOp) -> Tensor {
        batched("avg_pool2d", x, 2, |x| average(settings, x))
    }

    /// Mean of each window of sequences `[n, c, l]` or `[c, l]`: PyTorch's `avg_pool1d`.
    ///
    /// # Errors
    /// As [`avg_pool2d`](Tensor::avg_pool2d).
    fn avg_pool1d(x, settings: AvgPool1dOp) -> Tensor {
        flat("avg_pool1d", x, |x| average(settings.flat(), x))
    }

    /// The means of `size` windows that cover the image: PyTorch's `adaptive_avg_pool2d`. x: `[n, c, h, w]` or `[c, h, w]`;
    /// window i of o reaches from `floor(i h / o)` to `ceil((i + 1) h / o)`.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[[1f32, 2., 3.], [5., 6., 7.]]]);
    /// assert_eq!(x.adaptive_avg_pool2d([1, 2])?.to_vec::<f32>()?, [3.5, 4.5]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// An image without elements.
    fn adaptive_avg_pool2d(x, size: [usize; 2]) -> Tensor {
        batched("adaptive_avg_pool2d", x, 2, |x| adaptive_average(size, x))
    }

    /// The means of `size` windows that cover the sequence: PyTorch's `adaptive_avg_pool1d`. x: `[n, c, l]` or `[c, l]`.
    ///
    /// # Errors
    /// A sequence without elements.
    fn adaptive_avg_pool1d(x, size: usize) -> Tensor {
        flat("adaptive_avg_pool1d", x, |x| adaptive_average([1, size], x))
    }

    /// The maxima of `size` windows that cover the image: PyTorch's `adaptive_max_pool2d`; windows as in
    /// [`adaptive_avg_pool2d`](Tensor::adaptive_avg_pool2d).
    ///
    /// # Errors
    /// An image without elements.
    fn adaptive_max_pool2d(x, size: [usize; 2]) -> Tensor {
        Ok(located("adaptive_max_pool2d", WindowsOp::Adaptive(size), x)?.0)
    }

    /// Those maxima, and where they lie in their planes, `row * w + column` (i64).
    ///
    /// # Errors
    /// An image without elements.
    fn adaptive_max_pool2d_with_indices(x, size: [usize; 2]) -> (Tensor, Tensor) {
        located("adaptive_max_pool2d", WindowsOp::Adaptive(size), x)
    }

    /// `y = x / (k + alpha m)^beta` with `m` the mean of `x^2` over `size` channels around (zeros beyond the ends): PyTorch's
    /// `local_response_norm`. x: `[n, c, ..]`, at least 3 dims.
    ///
    /// # Errors
    /// Fewer dims; a size of 0.
    fn local_response_norm(x, size: usize, alpha: f64, beta: f64, k: f64) -> Tensor {
        let op = "local_response_norm";
        let x = look(op, &x)?;
        if x.rank() < 3 || size == 0 {
            let message = format!("{:?}, {size} channels: 3 dims, 1 channel at least", x.shape());
            return Err(Error::shape(op, message));
        }
        let channels = x.shape()[1];
        let around = AvgPool2dOp::new([size, 1]).stride([1, 1]).padding([size / 2, 0]);
        // With an even size there is one window too many, at the end.
        let means = x.square().flatten(2, -1)?.avg_pool2d(around).narrow(-2, 0, channels)?;
        let means = means.reshape(x.shape())?;
        x.div(means.mul(alpha).add(k).pow(beta))
    }
}
