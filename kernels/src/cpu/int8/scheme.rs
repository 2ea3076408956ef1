//! The formulas between numbers and codes.
//!
//! ```text
//! quantize         code = clamp(round_half_even(x / scale) + zero_point, low, high)
//! dequantize       x' = (code - zero_point) * scale
//! fake_quantize    x' = dequantize(quantize(x))
//! ```
//!
//! All in f32. What `x / scale` is, [`Rule`] says. Infinities saturate; NaN has no code and gets the zero point, which stands
//! for 0. These are the codes of PyTorch's `quantize_per_tensor`, `quantize_per_channel` and `fake_quantize_per_tensor_affine`
//! for all numbers. Where those two disagree we differ from the first: beyond 2^31 scales it wraps around if the zero point is
//! above 127 or below 0, and it gives NaN the largest code or the smallest (the second: code 0). PyTorch's `dequantize` of a
//! *per-channel* tensor is `code * scale - zero_point * scale`, which rounds differently; ours is the formula above in any case.

use super::output::ROUNDER;
pub use super::rows::{quantize_images, quantize_rows};
use super::{Code, Zero};
use crate::cpu::isa::{Isa, Kernel, dispatch_on, isa};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::error::{Result, require};

/// What `x / scale` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rule {
    /// `x * (1 / scale)`, two roundings: PyTorch's.
    #[default]
    Reciprocal,
    /// `x / scale`, one rounding: ONNX's `QuantizeLinear`.
    Divide,
}

/// How numbers become codes. Seen as `[outer, channels, inner]`, an array has one scale for all, or one a channel: per tensor
/// that is `[1, 1, n]`, per channel on the first axis `[1, c, n / c]`, on the last `[n / c, c, 1]`.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// Positive and finite; one for all, or one a channel.
    pub scale: &'a [f32],
    /// One for all, or one a channel; within the bounds.
    pub zero: Zero<'a>,
    /// `[low, high]`: PyTorch's `quant_min`, `quant_max`. `None`: all codes of the type (i8 for [`fake_quantize`]).
    pub bounds: Option<[i32; 2]>,
    /// What `x / scale` is.
    pub rule: Rule,
}

impl<'a> Affine<'a> {
    /// One scale and zero point for all, all codes of the type, PyTorch's rule.
    pub fn per_tensor(scale: &'a f32, zero: i32) -> Self {
        let zero = Zero::All(zero);
        Affine { scale: std::slice::from_ref(scale), zero, bounds: None, rule: Rule::Reciprocal }
    }

    /// A scale and a zero point a channel, all codes of the type, PyTorch's rule.
    pub fn per_channel(scale: &'a [f32], zero: &'a [i32]) -> Self {
        Affine { scale, zero: Zero::Each(zero), bounds: None, rule: Rule::Reciprocal }
    }

    /// Checks everything and returns the bounds.
    pub(crate) fn check(&self, channels: usize, range: [i32; 2], exact: bool) -> Result<[i32; 2]> {
        let one_or_each = |len: usize| len == 1 || len == channels;
        require(one_or_each(self.scale.len()), "quantize: wrong number of scales")?;
        let right = |s: &f32| {
            let usable = self.rule == Rule::Divide || s.recip().is_finite();
            s.is_finite() && *s > 0.0 && usable
        };
        let message = "quantize: a scale is not positive and finite, or its reciprocal is not";
        require(self.scale.iter().all(right), message)?;
        let [low, high] = self.bounds.unwrap_or(range);
        let span = i64::from(high) - i64::from(low);
        require((0..=65_535).contains(&span), "quantize: bounds in the wrong order, or too wide")?;
        if exact {
            let inside = low >= range[0] && high <= range[1];
            require(inside, "quantize: the bounds leave the codes of the type")?;
        }
        let zeros = match &self.zero {
            Zero::All(zero) => std::slice::from_ref(zero),
            Zero::Each(zeros) => {
                require(zeros.len() == channels, "quantize: wrong number of zero points")?;
                zeros
            }
        };
        let inside = zeros.iter().all(|zero| (low..=high).contains(zero));
        require(inside, "quantize: a zero point lies outside the bounds")?;
        Ok([low, high])
    }

    /// The formulas of a channel.
    #[inline(always)]
    pub(super) fn channel(&self, c: usize, [low, high]: [i32; 2]) -> Channel {
        let scale = if self.scale.len() == 1 { self.scale[0] } else { self.scale[c] };
        let zero = self.zero.at(c);
        Channel::new(self.rule, scale, zero, [low, high])
    }
}

/// The formulas of one channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channel {
    divide: bool,
    by: f32,
    scale: f32,
    zero: i32,
    low: f32,
    high: f32,
}

impl Channel {
    #[inline(always)]
    pub(super) fn new(rule: Rule, scale: f32, zero: i32, [low, high]: [i32; 2]) -> Self {
        let divide = rule == Rule::Divide;
        let by = if divide { scale } else { 1.0 / scale };
        Channel { divide, by, scale, zero, low: (low - zero) as f32, high: (high - zero) as f32 }
    }

    /// The code less the zero point.
    #[inline(always)]
    fn step(self, divided: f32) -> i32 {
        let x = if divided > self.low { divided } else { self.low };
        let x = if x < self.high { x } else { self.high };
        let x = if divided.is_nan() { 0.0 } else { x };
        (x + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits()) as i32
    }

    /// Codes, as bytes.
    #[inline(always)]
    pub(super) fn quantize(self, x: &[f32], out: &mut [u8]) {
        if self.divide {
            for (out, x) in out.iter_mut().zip(x) {
                *out = (self.step(x / self.by) + self.zero) as u8;
            }
        } else {
            for (out, x) in out.iter_mut().zip(x) {
                *out = (self.step(x * self.by) + self.zero) as u8;
            }
        }
    }

    /// Numbers of codes that were made u8 by exclusive or with `flip`.
    #[inline(always)]
    pub(super) fn dequantize(self, codes: &[u8], flip: u8, out: &mut [f32]) {
        let zero = self.zero + i32::from(flip);
        for (out, code) in out.iter_mut().zip(codes) {
            *out = (i32::from(code ^ flip) - zero) as f32 * self.scale;
        }
    }

    /// As [`dequantize`](Self::dequantize), of what was combined with `flip` already.
    #[inline(always)]
    pub(super) fn dequantize_u8(self, codes: &[u8], flip: u8, out: &mut [f32]) {
        let zero = self.zero + i32::from(flip);
        for (out, code) in out.iter_mut().zip(codes) {
            *out = (i32::from(*code) - zero) as f32 * self.scale;
        }
    }

    #[inline(always)]
    fn fake(self, x: &[f32], out: &mut [f32]) {
        if self.divide {
            for (out, x) in out.iter_mut().zip(x) {
                *out = self.step(x / self.by) as f32 * self.scale;
            }
        } else {
            for (out, x) in out.iter_mut().zip(x) {
                *out = self.step(x * self.by) as f32 * self.scale;
            }
        }
    }
}

/// Elements of a piece of parallel work.
pub(super) const PIECE: usize = 32 * 1024;

/// What is done with the channels' runs.
#[derive(Clone, Copy)]
enum Work<'a> {
    Quantize(&'a [f32], &'a Shared<'a, u8>),
    Dequantize(&'a [u8], u8, &'a Shared<'a, f32>),
    Fake(&'a [f32], &'a Shared<'a, f32>),
}

/// A piece: the elements `start .. end`, as runs of one channel each.
struct Runs<'a> {
    shape: [usize; 3],
    affine: &'a Affine<'a>,
    bounds: [i32; 2],
    work: Work<'a>,
    start: usize,
    end: usize,
}

impl Kernel<f32> for Runs<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<f32>>(self, _: S) {
        let [_, channels, inner] = self.shape;
        let uniform = self.affine.scale.len() == 1 && matches!(self.affine.zero, Zero::All(_));
        let mut at = self.start;
        while at < self.end {
            let end = if uniform { self.end } else { self.end.min((at / inner + 1) * inner) };
            let channel = if uniform { 0 } else { at / inner % channels };
            let channel = self.affine.channel(channel, self.bounds);
            let len = end - at;
            // SAFETY: pieces, and the runs of a piece, are disjoint.
            unsafe {
                match self.work {
                    Work::Quantize(x, out) => channel.quantize(&x[at..end], out.part(at, len)),
                    Work::Dequantize(codes, flip, out) => {
                        channel.dequantize(&codes[at..end], flip, out.part(at, len));
                    }
                    Work::Fake(x, out) => channel.fake(&x[at..end], out.part(at, len)),
                }
            }
            at = end;
        }
    }
}

fn in_pieces(isa: Isa, shape: [usize; 3], affine: &Affine<'_>, bounds: [i32; 2], work: Work<'_>) {
    let len: usize = shape.iter().product();
    let run = |i: usize| {
        let (start, end) = (i * PIECE, len.min((i + 1) * PIECE));
        dispatch_on(isa, Runs { shape, affine, bounds, work, start, end });
    };
    parallel::run(len.div_ceil(PIECE), len as u64 / 8, &run);
}

fn check_len(shape: [usize; 3], from: usize, to: usize) -> Result<()> {
    let len = crate::strided::checked_len(&shape);
    require(len == Some(from) && from == to, "quantize: lengths differ from the shape's")
}

/// Codes of numbers.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ, a scale is not positive and finite or a zero point lies outside the
/// bounds.
///
/// ```
/// use ferrotape_kernels::cpu::int8::scheme::{Affine, dequantize, quantize};
/// let affine = Affine::per_tensor(&0.5, 10);
/// let mut codes = [0u8; 4];
/// quantize([1, 1, 4], &[0.0, 0.75, -1.25, 1e9], &affine, &mut codes)?; // 1.5 and -2.5 are rounded to 2 and -2
/// assert_eq!(codes, [10, 12, 8, 255]);
/// let mut back = [0.0; 4];
/// dequantize([1, 1, 4], &codes, &affine, &mut back)?;
/// assert_eq!(back, [0.0, 1.0, -1.0, 122.5]);
/// # Ok::<(), ferrotape_kernels::Error>(())
/// ```
pub fn quantize<C: Code>(
    shape: [usize; 3],
    x: &[f32],
    affine: &Affine<'_>,
    out: &mut [C],
) -> Result<()> {
    quantize_under(isa(), shape, x, affine, out)
}

pub(super) fn quantize_under<C: Code>(
    isa: Isa,
    shape: [usize; 3],
    x: &[f32],
    affine: &Affine<'_>,
    out: &mut [C],
) -> Result<()> {
    check_len(shape, x.len(), out.len())?;
    let bounds = affine.check(shape[1], C::RANGE, true)?;
    let out = Shared::new(C::bytes_mut(out));
    in_pieces(isa, shape, affine, bounds, Work::Quantize(x, &out));
    Ok(())
}

/// Numbers of codes. The bounds and the rule say nothing here.
///
/// # Errors
/// As [`quantize`].
pub fn dequantize<C: Code>(
    shape: [usize; 3],
    codes: &[C],
    affine: &Affine<'_>,
    out: &mut [f32],
) -> Result<()> {
    dequantize_under(isa(), shape, codes, affine, out)
}

pub(super) fn dequantize_under<C: Code>(
    isa: Isa,
    shape: [usize; 3],
    codes: &[C],
    affine: &Affine<'_>,
    out: &mut [f32],
) -> Result<()> {
    check_len(shape, codes.len(), out.len())?;
    let affine = Affine { bounds: None, rule: Rule::Divide, ..*affine };
    let bounds = affine.check(shape[1], C::RANGE, true)?;
    let codes = C::codes(codes);
    let work = Work::Dequantize(codes.bytes(), super::finish::flip(codes), &Shared::new(out));
    in_pieces(isa, shape, &affine, bounds, work);
    Ok(())
}

/// The numbers that codes within the bounds would stand for: what training with quantization computes with. Bounds need not be
/// those of a type: `[-8, 7]` shows what 4 bits do.
///
/// # Errors
/// As [`quantize`].
pub fn fake_quantize(
    shape: [usize; 3],
    x: &[f32],
    affine: &Affine<'_>,
    out: &mut [f32],
) -> Result<()> {
    fake_quantize_under(isa(), shape, x, affine, out)
}

pub(super) fn fake_quantize_under(
    isa: Isa,
    shape: [usize; 3],
    x: &[f32],
    affine: &Affine<'_>,
    out: &mut [f32],
) -> Result<()> {
    check_len(shape, x.len(), out.len())?;
    let bounds = affine.check(shape[1], i8::RANGE, false)?;
    let work = Work::Fake(x, &Shared::new(out));
    in_pieces(isa, shape, affine, bounds, work);
    Ok(())
}
