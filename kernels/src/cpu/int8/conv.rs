//! Convolution of codes as implicit GEMM, NHWC.
//!
//! A piece of work is some lines of an image, or some images. It copies the lines that it needs, with their padding, to a slab;
//! from there the tiles read each output's window where it lies, line by line of the kernel (channel by channel where groups or
//! dilation tear a line apart): no patch is ever written. A run is rounded up to whole groups of four; what it reads too much
//! meets weights of 0.

use std::ops::Range;
use std::sync::Mutex;

use super::block::Block;
use super::depthwise::Depthwise;
use super::dot::{Dot, GROUP};
use super::finish::{Finish, flip};
use super::{Activations, Code, Codes, Output, Packed, Zero, prepare};
use crate::buffer::Buffer;
use crate::cpu::isa::{Int8Isa, Int8Kernel, dispatch_int8, int8_isa};
use crate::cpu::parallel;
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// What a convolution is, but for its weights. `[a, b]` is height, width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2dShape {
    /// Input channels, a multiple of `groups`.
    pub in_channels: usize,
    /// Output channels, a multiple of `groups`.
    pub out_channels: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Stride, at least 1.
    pub stride: [usize; 2],
    /// Padding on each side, with the zero point.
    pub padding: [usize; 2],
    /// Distance between taps, at least 1.
    pub dilation: [usize; 2],
    /// Groups of channels that don't see each other.
    pub groups: usize,
}

impl Conv2dShape {
    /// Output height and width for an input: `floor((in + 2 pad - dilation (kernel - 1) - 1) / stride) + 1`; `None` if the
    /// kernel does not fit.
    pub fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let mut out = [0; 2];
        for (d, out) in out.iter_mut().enumerate() {
            let padded = self.padding[d].checked_mul(2)?.checked_add(input[d])?;
            let rest = padded.checked_sub(self.reach(d)?)?;
            *out = rest.checked_div(self.stride[d])?.checked_add(1)?;
        }
        Some(out)
    }

    /// Places from the first tap to the last.
    fn reach(&self, d: usize) -> Option<usize> {
        self.dilation[d].checked_mul(self.kernel[d].checked_sub(1)?)?.checked_add(1)
    }

    /// Input channels of a group.
    pub(crate) fn inputs(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Output channels of a group.
    pub(crate) fn outputs(&self) -> usize {
        self.out_channels / self.groups
    }

    /// True if the taps of a kernel's line follow each other in memory.
    fn whole_lines(&self) -> bool {
        self.groups == 1 && (self.dilation[1] == 1 || self.kernel[1] == 1)
    }

    /// Runs of a window, and the codes of each.
    fn runs(&self) -> [usize; 2] {
        let [kh, kw] = self.kernel;
        if self.whole_lines() { [kh, kw * self.inputs()] } else { [kh * kw, self.inputs()] }
    }

    /// Where in the weight the code stands that is packed at `l` for output `o`; `None` where there is none.
    fn place(&self, l: usize, o: usize) -> Option<usize> {
        let ([kh, kw], inputs) = (self.kernel, self.inputs());
        let [_, run] = self.runs();
        let padded = run.next_multiple_of(GROUP);
        let (tap, at) = (l / padded, l % padded);
        let (i, j, c) = match self.whole_lines() {
            true => (tap, at / inputs, at % inputs),
            false => (tap / kw, tap % kw, at),
        };
        (at < run).then_some(((o * inputs + c) * kh + i) * kw + j)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let positive = |sizes: [usize; 2]| sizes[0] > 0 && sizes[1] > 0;
        require(positive(self.kernel), "conv2d: the kernel is empty")?;
        require(positive(self.stride), "conv2d: the stride is zero")?;
        require(positive(self.dilation), "conv2d: the dilation is zero")?;
        let split = |channels: usize| self.groups > 0 && channels.is_multiple_of(self.groups);
        require(split(self.in_channels), "conv2d: groups do not divide the input channels")?;
        require(split(self.out_channels), "conv2d: groups do not divide the output channels")?;
        require(self.in_channels > 0, "conv2d: no input channels")?;
        // Places of a window are computed with plain arithmetic from here on.
        let room = checked_len(&[self.inputs(), self.kernel[0], self.kernel[1], 8]);
        require(room.is_some(), "conv2d: sizes overflow")
    }
}

/// A convolution with its packed weights.
#[derive(Debug)]
pub struct Conv2d {
    shape: Conv2dShape,
    groups: Vec<Packed>,
    depthwise: Option<Depthwise>,
}

impl Conv2d {
    /// Packs `weight`, `[out, in / groups, kh, kw]` as in PyTorch.
    ///
    /// # Errors
    /// [`Contract`](Error::Contract) if the shape is none or `weight` has another length; [`OutOfMemory`](Error::OutOfMemory).
    pub fn new<C: Code>(shape: &Conv2dShape, weight: &[C]) -> Result<Conv2d> {
        shape.check()?;
        let ([kh, kw], inputs, outputs) = (shape.kernel, shape.inputs(), shape.outputs());
        let len = checked_len(&[shape.out_channels, inputs, kh, kw]);
        require(len == Some(weight.len()), "conv2d: wrong length of the weight")?;
        let [runs, run] = shape.runs();
        let padded = run.checked_next_multiple_of(GROUP);
        let places = padded.and_then(|padded| padded.checked_mul(runs));
        let places = places.ok_or(Error::Contract("conv2d: sizes overflow"))?;
        let mut groups = Vec::new();
        let room = groups.try_reserve_exact(shape.groups);
        require(room.is_ok(), "conv2d: too many groups")?;
        for g in 0..shape.groups {
            groups.push(Packed::from_fn(places, outputs, inputs * kh * kw, |l, o| {
                shape.place(l, g * outputs + o).map(|place| weight[place])
            })?);
        }
        let depthwise = match inputs == 1 && outputs == 1 && shape.groups > 1 {
            true => Some(Depthwise::new(shape.in_channels, kh * kw, weight)?),
            false => None,
        };
        Ok(Conv2d { shape: *shape, groups, depthwise })
    }

    /// The codes as [`new`](Self::new) takes them, as i8.
    pub fn codes(&self) -> Vec<i8> {
        let (shape, [kh, kw]) = (&self.shape, self.shape.kernel);
        let outputs = shape.outputs();
        let mut codes = vec![0; shape.out_channels * shape.inputs() * kh * kw];
        let [runs, run] = shape.runs();
        let places = run.next_multiple_of(GROUP) * runs;
        for (g, packed) in self.groups.iter().enumerate() {
            for (l, o) in (0..places).flat_map(|l| (0..outputs).map(move |o| (l, o))) {
                if let Some(place) = shape.place(l, g * outputs + o) {
                    codes[place] = packed.code(l, o);
                }
            }
        }
        codes
    }

    /// What it is.
    pub fn shape(&self) -> &Conv2dShape {
        &self.shape
    }

    /// Bytes of memory of the weights.
    pub fn bytes(&self) -> usize {
        let depthwise = self.depthwise.as_ref().map_or(0, Depthwise::bytes);
        self.groups.iter().map(Packed::bytes).sum::<usize>() + depthwise
    }
}

/// `output[n, oh, ow, o]` from `x[n, h, w, c]`: the sum over the window and the group's channels of
/// `(x[n, oh*s + kh*d - p, ow*s + kw*d - p, c] - x_zero) * (weight[o, c, kh, kw] - weight_zero) + bias[o]`, then what
/// [`Output`] says. Padding is the zero point and so contributes nothing. Sums are exact as those of [`gemm`](super::gemm()).
/// [`Zero::Each`] of `x_zero` is one an image, as are row scales of the output: quantization of an image at a time, which does not
/// depend on the batch.
///
/// # Errors
/// As [`gemm`](super::gemm()); also if the kernel does not fit.
#[allow(clippy::too_many_arguments)]
pub fn conv2d(
    conv: &Conv2d,
    batch: usize,
    input: [usize; 2],
    x: Codes<'_>,
    x_zero: Zero<'_>,
    weight_zero: Option<Zero<'_>>,
    bias: Option<&[i32]>,
    output: Output<'_>,
) -> Result<()> {
    conv2d_under(int8_isa(), conv, batch, input, x, x_zero, weight_zero, bias, output)
}

/// [`conv2d`] under a given instruction set, or the strongest available one below it: tests and benches compare them.
///
/// # Errors
/// As [`conv2d`].
#[allow(clippy::too_many_arguments)]
pub fn conv2d_under(
    isa: Int8Isa,
    conv: &Conv2d,
    batch: usize,
    input: [usize; 2],
    x: Codes<'_>,
    x_zero: Zero<'_>,
    weight_zero: Option<Zero<'_>>,
    bias: Option<&[i32]>,
    output: Output<'_>,
) -> Result<()> {
    let shape = &conv.shape;
    let [oh, ow] = shape.output(input).ok_or(Error::Contract("conv2d: the kernel does not fit"))?;
    let len = checked_len(&[batch, input[0], input[1], shape.in_channels]);
    require(len == Some(x.len()), "conv2d: wrong length of the input")?;
    let rows = checked_len(&[batch, oh, ow]).ok_or(Error::Contract("conv2d: sizes overflow"))?;
    let a = Activations { codes: x, stride: 0, zero: x_zero };
    let n = shape.out_channels;
    let Some(first) = conv.groups.first() else { return Ok(()) };
    let finish = Finish::new([rows, n], oh * ow, &a, first, weight_zero, bias, output, n)?;
    if rows == 0 || n == 0 {
        return Ok(());
    }
    let plan = Plan::new(conv, batch, input, [oh, ow])?;
    let call = Call { conv, plan: &plan, x, x_zero, finish: &finish, failed: Mutex::new(Ok(())) };
    let pieces = plan.image_blocks * plan.line_blocks;
    let work = super::gemm::work(isa, rows, first.k, n).saturating_add(x.len() as u64 / 16);
    parallel::run(pieces, work, &|piece| dispatch_int8(isa, Piece { isa, call: &call, piece }));
    call.failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Products that a piece should hold (about 20 us).
const PIECE: usize = 1 << 22;

/// Codes of a slab that are not too many for L2.
const SLAB: usize = 1 << 17;

/// Rows of the product that are multiplied at a time: weights beyond L1 serve many tiles.
const ROWS: usize = 96;

/// Sizes, and how the work is cut; a function of the shape alone.
struct Plan {
    batch: usize,
    input: [usize; 2],
    out: [usize; 2],
    /// Columns of a slab.
    width: usize,
    images: usize,
    lines: usize,
    image_blocks: usize,
    line_blocks: usize,
}

impl Plan {
    fn new(conv: &Conv2d, batch: usize, input: [usize; 2], [oh, ow]: [usize; 2]) -> Result<Plan> {
        let shape = &conv.shape;
        let overflow = Error::Contract("conv2d: sizes overflow");
        let [down, across] = [0, 1].map(|d| shape.reach(d).unwrap_or(usize::MAX));
        let width = (ow - 1).checked_mul(shape.stride[1]).and_then(|w| w.checked_add(across));
        let width = width.ok_or(overflow.clone())?;
        let per_line = (ow * shape.out_channels).saturating_mul(conv.groups[0].k).max(1);
        let line = width.checked_mul(shape.in_channels).ok_or(overflow.clone())?.max(1);
        // A slab must hold a window in any case.
        let more = (SLAB / line).saturating_sub(down) / shape.stride[0] + 1;
        let lines = (PIECE / per_line).max(24 / ow).clamp(1, more.min(oh));
        let lines_in = (lines - 1).checked_mul(shape.stride[0]).and_then(|n| n.checked_add(down));
        let slab = lines_in.and_then(|lines| lines.checked_mul(line)).ok_or(overflow.clone())?;
        slab.checked_mul(4).ok_or(overflow)?;
        let images = match lines == oh {
            true => (PIECE / per_line.saturating_mul(oh)).min(SLAB / slab).clamp(1, batch),
            false => 1,
        };
        let (image_blocks, line_blocks) = (batch.div_ceil(images), oh.div_ceil(lines));
        Ok(Plan { batch, input, out: [oh, ow], width, images, lines, image_blocks, line_blocks })
    }
}

struct Call<'a> {
    conv: &'a Conv2d,
    plan: &'a Plan,
    x: Codes<'a>,
    x_zero: Zero<'a>,
    finish: &'a Finish<'a>,
    failed: Mutex<Result<()>>,
}

/// Some lines of some images.
struct Piece<'a> {
    isa: Int8Isa,
    call: &'a Call<'a>,
    piece: usize,
}

impl Int8Kernel for Piece<'_> {
    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        if let Err(error) = self.compute(d) {
            let failed = &self.call.failed;
            *failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Err(error);
        }
    }
}

/// Where a piece's windows lie.
struct Windows {
    /// The code that the first window starts at.
    base: *const u8,
    /// Codes from image to image, from line to line.
    image: usize,
    line: usize,
}

impl Piece<'_> {
    #[inline(always)]
    fn compute<D: Dot>(&self, d: D) -> Result<()> {
        let (conv, plan) = (self.call.conv, self.call.plan);
        let (shape, [oh, ow]) = (&conv.shape, plan.out);
        let (image, line) = (self.piece / plan.line_blocks, self.piece % plan.line_blocks);
        let images = image * plan.images..plan.batch.min((image + 1) * plan.images);
        let lines = line * plan.lines..oh.min((line + 1) * plan.lines);
        let [runs, run] = shape.runs();
        let in_place = D::BYTES == 1
            && flip(self.call.x) == 0
            && shape.padding == [0, 0]
            && run.is_multiple_of(GROUP);
        let mut slab;
        let windows = if in_place {
            let line = plan.input[1] * shape.in_channels;
            let image = plan.input[0] * line;
            let start = images.start * image + lines.start * shape.stride[0] * line;
            Windows { base: self.call.x.bytes()[start..].as_ptr(), image, line }
        } else {
            let line = plan.width * shape.in_channels;
            let down = (lines.len() - 1) * shape.stride[0] + shape.reach(0).unwrap_or(1);
            let image = down * line;
            // The last run may read up to a group too much.
            slab = Buffer::new((images.len() * image + GROUP) * D::BYTES)?;
            let to = slab.as_mut_slice::<u8>();
            self.fill::<D>(images.clone(), lines.start, down, to);
            Windows { base: to.as_ptr(), image, line }
        };
        // Whole groups for depthwise convolution; those too much meet weights of 0.
        let mut taps = Buffer::new(runs.next_multiple_of(GROUP) * size_of::<u64>())?;
        let all_taps = taps.as_mut_slice::<u64>();
        for (tap, at) in all_taps.iter_mut().enumerate() {
            let tap = tap.min(runs - 1);
            let (i, j) = match shape.whole_lines() {
                true => (tap, 0),
                false => (tap / shape.kernel[1], tap % shape.kernel[1]),
            };
            let [down, across] = shape.dilation;
            *at = ((i * down * windows.line + j * across * shape.in_channels) * D::BYTES) as u64;
        }
        let taps = &all_taps[..runs];
        let count = images.len() * lines.len() * ow;
        let first_row = (images.start * oh + lines.start) * ow;
        let mut row_sums = [0; ROWS];
        let mut starts = [0; ROWS];
        // Of an absurd stride only the first place is there: the distance to the next wraps and goes unused.
        let [down, across] = [
            shape.stride[0].wrapping_mul(windows.line * D::BYTES),
            shape.stride[1].wrapping_mul(shape.in_channels * D::BYTES),
        ];
        // Divisions a row would cost as much as the products of a small window.
        let (mut image, mut line, mut column, mut at) = (0, 0, 0, 0usize);
        for first in (0..count).step_by(ROWS) {
            let rows = ROWS.min(count - first);
            for start in &mut starts[..rows] {
                *start = at;
                column += 1;
                at = at.wrapping_add(across);
                if column == ow {
                    (column, line) = (0, line + 1);
                    if line == lines.len() {
                        (line, image) = (0, image + 1);
                    }
                    at = image * windows.image * D::BYTES + line * down;
                }
            }
            let first_row = first_row + first;
            if let (Some(depthwise), false) = (&conv.depthwise, self.call.finish.needs_groups()) {
                // SAFETY: the windows and rows are those of the piece, as below.
                unsafe {
                    let base = windows.base;
                    let finish = self.call.finish;
                    depthwise.rows(d, base, &starts[..rows], all_taps, first_row, finish);
                }
                continue;
            }
            for (g, packed) in conv.groups.iter().enumerate() {
                let finish = self.call.finish.columns(g * packed.n, packed.n);
                let base = windows.base.wrapping_add(g * shape.inputs() * D::BYTES);
                let sums = finish.needs_row_sums().then(|| {
                    for (sum, start) in row_sums[..rows].iter_mut().zip(&starts) {
                        // SAFETY: as below.
                        *sum = unsafe { window_sum::<D>(base.wrapping_add(*start), taps, run) };
                    }
                    &row_sums[..]
                });
                let block = Block {
                    packed,
                    base,
                    rows: &starts[..rows],
                    taps,
                    run: run.div_ceil(GROUP),
                    columns: 0..packed.n,
                    first_row,
                    row_sums: sums,
                    finish: &finish,
                };
                // SAFETY: the windows lie in the slab (which has room for what the last run reads too much) or, if runs are
                // whole groups, in the input; pieces write rows of their own.
                unsafe { block.run(self.isa) };
            }
        }
        Ok(())
    }

    /// Fills the slab: `down` lines of each image, from the first that output line `line` sees.
    #[inline(always)]
    fn fill<D: Dot>(&self, images: Range<usize>, line: usize, down: usize, to: &mut [u8]) {
        let (shape, plan) = (&self.call.conv.shape, self.call.plan);
        let (c, [h, w], [ph, pw]) = (shape.in_channels, plan.input, shape.padding);
        let (codes, flip) = (self.call.x.bytes(), flip(self.call.x));
        let left = pw.min(plan.width);
        let inside = (plan.width - left).min(w);
        let right = plan.width - left - inside;
        let line_bytes = plan.width * c * D::BYTES;
        for (place, to) in to.chunks_exact_mut(line_bytes).take(images.len() * down).enumerate() {
            let image = images.start + place / down;
            let zero = (self.call.x_zero.at(image) as u8) ^ flip;
            let y = (line * shape.stride[0] + place % down).checked_sub(ph).filter(|y| *y < h);
            let to = to.as_mut_ptr();
            // SAFETY: the three parts are the line's codes.
            unsafe {
                let Some(y) = y else {
                    prepare::fill::<D>(to, plan.width * c, zero);
                    continue;
                };
                prepare::fill::<D>(to, left * c, zero);
                let from = &codes[(image * h + y) * w * c..][..inside * c];
                prepare::copy::<D>(from, to.add(left * c * D::BYTES), flip);
                prepare::fill::<D>(to.add((left + inside) * c * D::BYTES), right * c, zero);
            }
        }
    }
}

/// The sum of the codes of a window.
///
/// # Safety
/// - Its runs must be readable.
#[inline(always)]
unsafe fn window_sum<D: Dot>(start: *const u8, taps: &[u64], run: usize) -> i32 {
    let mut sum = 0;
    for &tap in taps {
        for i in 0..run {
            let at = start.wrapping_add(tap as usize + i * D::BYTES);
            // SAFETY: a code of a run; the low byte of an i16 is the code.
            sum += i32::from(unsafe { *at });
        }
    }
    sum
}
