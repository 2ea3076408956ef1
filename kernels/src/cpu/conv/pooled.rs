//! A convolution and the max pool behind it: the map between them is never whole in memory.
//!
//! Forward, some images at a time are convolved and pooled. Backward, a map's gradient is zero but at the winners. A sum that starts at
//! +0 does not change by `x * 0` as long as x is finite and the sum is not -0, so only winners are multiplied, in the order of places:
//! the sums are those of the whole map's gradient. Where a sum might become -0 ([`crate::cpu::zeros::skips_zeros`]), and for sizes that gain
//! nothing, that gradient is made and used.

mod forward;
mod input;
mod sparse;
#[cfg(test)]
mod tests;
mod weight;

use super::Conv2dShape;
use super::input_grad::conv2d_input_grad_on;
use super::weight_grad::conv2d_weight_grad_on;
use crate::buffer::Buffer;
use crate::cpu::gemm::Dispatch;
use crate::cpu::pool::{Pool2dShape, check_max_pool, max_pool2d_grad};
use crate::cpu::reduce::{ReduceOp, reduce};
use crate::element::Float;
use crate::error::{Error, Result, require};
use crate::strided::{View, checked_len};

/// The sizes of a convolution and of the max pool that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PooledShape {
    /// The convolution.
    pub conv: Conv2dShape,
    /// The pool: its planes are the images times the output channels, its input is the convolution's output.
    pub pool: Pool2dShape,
}

impl PooledShape {
    /// Elements of the map between the two, if the shapes belong to each other.
    fn map_len(&self) -> Result<usize> {
        let PooledShape { conv, pool } = self;
        let planes = conv.batch.checked_mul(conv.out_channels);
        let fits = conv.output() == Some(pool.input) && planes == Some(pool.planes);
        require(fits, "conv2d_max_pool2d: the pool is not over the convolution's output")?;
        let len = checked_len(&[pool.planes, pool.input[0], pool.input[1], size_of::<f64>()]);
        let len = len.ok_or(Error::Contract("conv2d_max_pool2d: sizes overflow"))?;
        Ok(len / size_of::<f64>())
    }

    /// The pool over the channels of some images.
    fn pool_of(&self, images: usize) -> Pool2dShape {
        Pool2dShape { planes: images * self.conv.out_channels, ..self.pool }
    }

    /// Elements of an image's map.
    fn image_map(&self) -> usize {
        self.conv.out_channels * self.pool.input[0] * self.pool.input[1]
    }

    /// How many images are computed at a time, if each keeps so many elements: what stays in the second level of the cache.
    fn window<T>(&self, elements: usize) -> usize {
        let fits = WINDOW_BYTES / size_of::<T>() / elements.max(1);
        fits.clamp(1, self.conv.batch.max(1))
    }

    /// The whole map's gradient.
    fn map_grad<T: Float>(&self, grad: &[T], index: &[u8]) -> Result<Buffer> {
        let mut map = Buffer::new(self.map_len()? * size_of::<T>())?;
        max_pool2d_grad(&self.pool, grad, index, map.as_mut_slice())?;
        Ok(map)
    }
}

/// Bytes of maps and prepared images that are kept at a time.
const WINDOW_BYTES: usize = 1 << 19;

/// `out`, `index` = the max pool of the convolution of x and weight plus bias.
///
/// # Errors
/// As [`conv2d`](super::conv2d) and [`max_pool2d`](crate::cpu::pool::max_pool2d).
pub fn conv2d_max_pool2d<T: Float>(
    shape: &PooledShape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
    index: &mut [u8],
) -> Result<()> {
    forward::compute(Dispatch::in_force(), shape, x, weight, bias, (out, index))
}

/// The gradients with respect to the weight and the bias, from `grad` and `index` of the pool's output's shape.
///
/// # Errors
/// As [`conv2d_weight_grad`](super::conv2d_weight_grad) and [`max_pool2d_grad`].
pub fn conv2d_max_pool2d_weight_grad<T: Float>(
    shape: &PooledShape,
    x: &[T],
    grad: &[T],
    index: &[u8],
    out: &mut [T],
    bias: &mut [T],
) -> Result<()> {
    weight_grad_on(Dispatch::in_force(), shape, x, (grad, index), (out, bias))
}

/// The gradient with respect to the input.
///
/// # Errors
/// As [`conv2d_input_grad`](super::conv2d_input_grad) and [`max_pool2d_grad`].
pub fn conv2d_max_pool2d_input_grad<T: Float>(
    shape: &PooledShape,
    grad: &[T],
    index: &[u8],
    weight: &[T],
    out: &mut [T],
) -> Result<()> {
    input_grad_on(Dispatch::in_force(), shape, (grad, index), weight, out)
}

fn weight_grad_on<T: Float>(
    d: Dispatch,
    shape: &PooledShape,
    x: &[T],
    (grad, index): (&[T], &[u8]),
    (out, bias): (&mut [T], &mut [T]),
) -> Result<()> {
    let channels = shape.conv.out_channels;
    let places = shape.conv.check(x.len(), out.len(), shape.map_len()?)?;
    require(bias.len() == channels, "conv2d_max_pool2d: wrong length of the bias")?;
    if grad.is_empty() && index.is_empty() {
        out.fill(T::ZERO);
        bias.fill(T::ZERO);
        return check_max_pool(&shape.pool, shape.map_len()?, 0);
    }
    if weight::compute(d, shape, x, (grad, index), (out, bias))? {
        return Ok(());
    }
    let map = shape.map_grad(grad, index)?;
    conv2d_weight_grad_on(d, &shape.conv, x, map.as_slice(), out)?;
    let sizes = [shape.conv.batch, channels, places[0], places[1]];
    let plane = (places[0] * places[1]) as isize;
    let strides = [plane * channels as isize, plane, places[1] as isize, 1];
    let map = View::new(map.as_slice::<T>(), 0, &sizes, &strides)?;
    reduce(ReduceOp::Sum, map, &[true, false, true, true], bias)
}

fn input_grad_on<T: Float>(
    d: Dispatch,
    shape: &PooledShape,
    (grad, index): (&[T], &[u8]),
    weight: &[T],
    out: &mut [T],
) -> Result<()> {
    shape.conv.check(out.len(), weight.len(), shape.map_len()?)?;
    if grad.is_empty() && index.is_empty() {
        out.fill(T::ZERO);
        return check_max_pool(&shape.pool, shape.map_len()?, 0);
    }
    if input::compute(d, shape, (grad, index), weight, out)? {
        return Ok(());
    }
    let map = shape.map_grad(grad, index)?;
    conv2d_input_grad_on(d, &shape.conv, map.as_slice(), weight, out)
}
