//! int8 on a GPU: `int8.cu` and `int8_tensor.cu`, with the integers, the codes and the bits of [`cpu::int8`](crate::cpu::int8).
//!
//! Codes, weights and results lie on the device; scales, zero points and biases are few, checked on the host and sent along.
//! Operands are row-major, results from the start of their buffers on.

mod codes;
mod dynamic;
mod finish;
mod product;
mod rows;
mod scheme;
#[cfg(test)]
mod tests;
mod weights;

pub use codes::{Operand, add, concat, max_pool2d};
pub use dynamic::{Dynamic, conv2d_dynamic, gemm_dynamic};
pub use product::{conv2d, gemm};
pub use rows::{Rows, quantize_images, quantize_rows};
pub use scheme::{dequantize, fake_quantize, nchw_from_nhwc, nhwc_from_nchw, quantize};
pub use weights::{Conv2d, Packed};

use super::array::{Array, Type};
use super::driver::Gpu;
use super::launch::{Argument, Family, Grid, Name, THREADS};
use super::memory::DeviceBuffer;
use super::product::Divisor;
use crate::cpu::int8::Code;
use crate::error::{Error, Result, require};

/// The smallest and the largest code of a type that is one.
fn range(kind: Type) -> Result<[i32; 2]> {
    match kind {
        Type::U8 => Ok(u8::RANGE),
        Type::I8 => Ok(i8::RANGE),
        _ => Err(Error::Contract("cuda int8: codes are u8 or i8")),
    }
}

/// What makes codes of `kind` i8 in bytes, by exclusive or; subtracted, it moves their zero points.
fn flip(kind: Type) -> i32 {
    if kind == Type::U8 { 128 } else { 0 }
}

/// A word of four equal codes.
fn four(code: i32) -> u32 {
    u32::from(code as u8) * 0x0101_0101
}

/// As the kernels take it: `Windows` of `int8.cuh`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Windows {
    rows: i64,
    pitch: i64,
    input: [i32; 2],
    output: [i32; 2],
    kernel: [i32; 2],
    stride: [i32; 2],
    padding: [i32; 2],
    dilation: [i32; 2],
    channels: i32,
    k: i32,
    plain: i32,
    width: i32,
    fill: u32,
    flip: u32,
    by_channels: Divisor,
    by_kernel: Divisor,
    zeros: u64,
}

/// What windows slide over.
struct Image {
    batch: usize,
    size: [usize; 2],
    /// Of all groups, and that a window sees.
    channels: [usize; 2],
    zero: i32,
}

impl Windows {
    /// One place a row, `pitch` codes apart.
    fn plain(x: Array<'_>, address: u64, rows: usize, pitch: usize, k: usize) -> Result<Windows> {
        let near = if rows > 1 { pitch } else { k };
        Ok(Windows {
            rows: rows as i64,
            pitch: pitch as i64,
            input: [0; 2],
            output: [1; 2],
            kernel: [1; 2],
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
            channels: small(k)?,
            k: small(k)?,
            plain: 1,
            width: width(address, &[near, k]),
            fill: 0,
            flip: four(flip(x.kind())),
            by_channels: Divisor::new(k.max(1))?,
            by_kernel: Divisor::new(1)?,
            zeros: 0,
        })
    }

    /// Windows of an image; `sizes` are the kernel, stride, padding, dilation and output.
    fn sliding(x: Array<'_>, image: &Image, sizes: [[usize; 2]; 5]) -> Result<Windows> {
        let [kernel, stride, padding, dilation, output] = sizes;
        let &Image { batch, size, channels: [pitch, channels], zero } = image;
        let beyond = Error::Beyond("more than 2^31 - 1 places along a dim, padding included");
        for (size, padding) in size.iter().zip(padding) {
            let whole = padding.checked_mul(2).and_then(|both| both.checked_add(*size));
            require(whole.is_some_and(|whole| whole < 1 << 31), "").map_err(|_| beyond.clone())?;
        }
        // A stride or a dilation beyond the image is as good as any other: there is one window, or one tap.
        let near = |sizes: [usize; 2]| sizes.map(|size| size.min((1 << 31) - 1) as i32);
        let rows = batch.checked_mul(output[0]).and_then(|lines| lines.checked_mul(output[1]));
        let k = kernel[0].checked_mul(kernel[1]).and_then(|taps| taps.checked_mul(channels));
        let (rows, k) = rows.zip(k).ok_or(Error::Contract("cuda int8: sizes overflow"))?;
        let one = kernel == [1; 2] && stride == [1; 2] && padding == [0; 2];
        Ok(Windows {
            rows: rows as i64,
            pitch: pitch as i64,
            input: near(size),
            output: near(output),
            kernel: near(kernel),
            stride: near(stride),
            padding: near(padding),
            dilation: near(dilation),
            channels: small(channels)?,
            k: small(k)?,
            plain: i32::from(one),
            width: width(x.start()?, &[pitch, channels]),
            fill: four(zero),
            flip: four(flip(x.kind())),
            by_channels: Divisor::new(channels.max(1))?,
            by_kernel: Divisor::new(kernel[1])?,
            zeros: 0,
        })
    }
}

/// A size that kernels compute with in 32 bits.
fn small(size: usize) -> Result<i32> {
    i32::try_from(size).map_err(|_| Error::Beyond("a size of more than 2^31 - 1"))
}

/// How many codes may be read at a time from `address` on, in steps of `sizes`: 16, 4 or 1.
fn width(address: u64, sizes: &[usize]) -> i32 {
    let whole = |width: usize| {
        address.is_multiple_of(width as u64) && sizes.iter().all(|size| size.is_multiple_of(width))
    };
    [16, 4].into_iter().find(|&width| whole(width)).unwrap_or(1) as i32
}

/// Small arrays of a call, sent to the device together.
#[derive(Default)]
struct Values(Vec<u8>);

impl Values {
    /// Where these will be, from the start.
    fn integers(&mut self, values: impl Iterator<Item = i32>) -> u64 {
        let at = self.0.len() as u64;
        values.for_each(|value| self.0.extend(value.to_le_bytes()));
        at
    }

    /// As [`integers`](Self::integers).
    fn floats(&mut self, values: &[f32]) -> u64 {
        let at = self.0.len() as u64;
        values.iter().for_each(|value| self.0.extend(value.to_le_bytes()));
        at
    }

    fn send(&self, gpu: &'static Gpu) -> Result<DeviceBuffer> {
        let mut buffer = DeviceBuffer::new(gpu, self.0.len())?;
        buffer.upload(&self.0)?;
        Ok(buffer)
    }
}

/// Launches a kernel of `int8.cu` over `n` units, or nothing.
///
/// # Safety
/// - As [`Gpu::launch`](super::Gpu).
unsafe fn over(gpu: &Gpu, n: usize, name: &str, arguments: &[Argument<'_>]) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    let name = Name::of(&["int8", name]);
    // SAFETY: the caller's guarantee.
    unsafe { gpu.launch(Family::Int8, &name, Grid::over(n), arguments) }
}

/// Units of [`over`] for `n` warps.
fn warps(n: usize) -> usize {
    n.saturating_mul(32).min(THREADS as usize * 2048)
}
