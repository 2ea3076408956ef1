//! Weights as the kernels read them: a column of the product after the other, each along k, and their sums.

use super::super::array::{Array, Type};
use super::super::launch::argument;
use super::super::memory::DeviceBuffer;
use super::{flip, four, over, range, small, warps};
use crate::cpu::int8::{Conv2dShape, MAX_K, Order};
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// As the kernel takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Packing {
    rows: i64,
    row: i64,
    channel: i64,
    tap: i64,
    k: i32,
    channels: i32,
    pitch: i64,
    flip: u32,
}

/// Lines of codes as i8, each a multiple of 16 long, and the sum of each.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) codes: DeviceBuffer,
    pub(super) sums: DeviceBuffer,
    pub(super) pitch: usize,
}

impl Lines {
    /// `strides`: codes of `weight` from line to line, from channel to channel and from tap to tap.
    fn new(
        weight: Array<'_>,
        lines: usize,
        sizes: [usize; 2],
        strides: [usize; 3],
    ) -> Result<Lines> {
        let ([channels, taps], [row, channel, tap]) = (sizes, strides);
        let overflow = || Error::Contract("int8: sizes overflow");
        let k = channels.checked_mul(taps).ok_or_else(overflow)?;
        let pitch = k.checked_next_multiple_of(16).ok_or_else(overflow)?;
        let bytes = lines.checked_mul(pitch).ok_or_else(overflow)?;
        let gpu = weight.buffer().gpu();
        let codes = DeviceBuffer::new(gpu, bytes)?;
        let sums = DeviceBuffer::new(gpu, lines.checked_mul(4).ok_or_else(overflow)?)?;
        let packing = Packing {
            rows: lines as i64,
            row: row as i64,
            channel: channel as i64,
            tap: tap as i64,
            k: small(k)?,
            channels: small(channels)?,
            pitch: pitch as i64,
            flip: four(flip(weight.kind())),
        };
        let (from, to, to_sums) = (weight.start()?, codes.address(), sums.address());
        let arguments = [argument(&from), argument(&to), argument(&to_sums), argument(&packing)];
        // SAFETY: the kernel's arguments; the strides walk over the weight, the buffers have room for all lines.
        unsafe { over(gpu, warps(lines), "pack", &arguments)? };
        Ok(Lines { codes, sums, pitch })
    }
}

/// What products with packed weights need to know of them.
#[derive(Debug)]
pub(super) struct Weights {
    /// None if a depthwise convolution has them another way.
    pub(super) lines: Lines,
    pub(super) groups: usize,
    /// Columns of a group, and the length of each.
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) kind: Type,
}

impl Weights {
    /// All columns.
    pub(super) fn columns(&self) -> usize {
        self.groups * self.n
    }
}

/// Packed weights of a product `[m, k] x [k, n]`, on the device.
#[derive(Debug)]
pub struct Packed(pub(super) Weights);

impl Packed {
    /// Packs `weight`, i8 or u8, whose `k * n` codes stand in `order`.
    ///
    /// # Errors
    /// [`Contract`](Error::Contract) if `weight` is not `k * n` long or k is beyond [`MAX_K`];
    /// [`OutOfMemory`](Error::OutOfMemory); [`Cuda`](Error::Cuda).
    pub fn new(order: Order, k: usize, n: usize, weight: Array<'_>) -> Result<Packed> {
        range(weight.kind())?;
        let len = k.checked_mul(n);
        require(len == Some(weight.len()), "int8: wrong length of the weight")?;
        require(k <= MAX_K, "int8: k is too large")?;
        let strides = match order {
            Order::OutIn => [k, 1, 0],
            Order::InOut => [1, n, 0],
        };
        let lines = Lines::new(weight, n, [k, 1], strides)?;
        Ok(Packed(Weights { lines, groups: 1, n, k, kind: weight.kind() }))
    }

    /// Places in k.
    pub fn k(&self) -> usize {
        self.0.k
    }

    /// Columns: outputs.
    pub fn n(&self) -> usize {
        self.0.n
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.0.lines.codes.len() + self.0.lines.sums.len()
    }
}

/// A convolution with its packed weights, on the device.
#[derive(Debug)]
pub struct Conv2d {
    pub(super) shape: Conv2dShape,
    pub(super) weights: Weights,
}

impl Conv2d {
    /// Packs `weight`, i8 or u8, `[out, in / groups, kh, kw]` as in PyTorch.
    ///
    /// # Errors
    /// [`Contract`](Error::Contract) if the shape is none or `weight` has another length; [`OutOfMemory`](Error::OutOfMemory);
    /// [`Cuda`](Error::Cuda).
    pub fn new(shape: &Conv2dShape, weight: Array<'_>) -> Result<Conv2d> {
        range(weight.kind())?;
        shape.check()?;
        let ([kh, kw], inputs, outputs) = (shape.kernel, shape.inputs(), shape.outputs());
        let len = checked_len(&[shape.out_channels, inputs, kh, kw]);
        require(len == Some(weight.len()), "conv2d: wrong length of the weight")?;
        let taps = kh * kw;
        let k = inputs * taps;
        require(k <= MAX_K, "int8: k is too large")?;
        let depthwise = inputs == 1 && outputs == 1 && shape.groups > 1;
        let lines = match depthwise {
            // A line is a tap of all channels.
            true => Lines::new(weight, taps, [shape.in_channels, 1], [1, taps, 0])?,
            false => Lines::new(weight, shape.out_channels, [inputs, taps], [k, taps, 1])?,
        };
        let weights = Weights { lines, groups: shape.groups, n: outputs, k, kind: weight.kind() };
        Ok(Conv2d { shape: *shape, weights })
    }

    /// What it is.
    pub fn shape(&self) -> &Conv2dShape {
        &self.shape
    }

    /// True if each channel has a kernel of its own.
    pub(super) fn depthwise(&self) -> bool {
        self.weights.k == self.shape.kernel[0] * self.shape.kernel[1]
            && self.weights.n == 1
            && self.weights.groups > 1
    }

    /// Bytes of memory of the weights.
    pub fn bytes(&self) -> usize {
        self.weights.lines.codes.len() + self.weights.lines.sums.len()
    }
}
