//! Sums and concatenation of codes of different scales: dequantize, compute in f32, quantize.

use super::scheme::{Affine, PIECE};
use super::{Code, Codes, finish};
use crate::cpu::isa::{Isa, Kernel, dispatch_on, isa};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::error::{Result, require};

/// Codes with one scale and zero point.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// The codes.
    pub codes: Codes<'a>,
    /// Positive and finite.
    pub scale: f32,
    /// A code.
    pub zero: i32,
}

impl Operand<'_> {
    fn check(&self) -> Result<()> {
        check_operand(self.scale, self.zero, self.codes.range())
    }
}

/// The scale and the zero point of codes in `range`.
pub(crate) fn check_operand(scale: f32, zero: i32, [low, high]: [i32; 2]) -> Result<()> {
    let right = scale > 0.0 && scale.is_finite();
    require(right, "int8: a scale is not positive and finite")?;
    require((low..=high).contains(&zero), "int8: a zero point is no code")
}

/// Numbers that are computed at a time: on the stack.
const CHUNK: usize = 1024;

/// `out = quantize(dequantize(a) + dequantize(b))`, with `relu` of the sum; the formulas of [`scheme`](super::scheme).
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ, a scale is not positive and finite or a zero point is no code.
pub fn add<C: Code>(
    a: &Operand<'_>,
    b: &Operand<'_>,
    affine: &Affine<'_>,
    relu: bool,
    out: &mut [C],
) -> Result<()> {
    add_under(isa(), a, b, affine, relu, out)
}

pub(super) fn add_under<C: Code>(
    isa: Isa,
    a: &Operand<'_>,
    b: &Operand<'_>,
    affine: &Affine<'_>,
    relu: bool,
    out: &mut [C],
) -> Result<()> {
    a.check()?;
    b.check()?;
    let len = out.len();
    require(a.codes.len() == len && b.codes.len() == len, "int8 add: lengths differ")?;
    let bounds = affine.check(1, C::RANGE, true)?;
    let out = Shared::new(C::bytes_mut(out));
    parallel::run(len.div_ceil(PIECE), len as u64 / 6, &|i| {
        let (start, end) = (i * PIECE, len.min((i + 1) * PIECE));
        // SAFETY: pieces are disjoint.
        let out = unsafe { out.part(start, end - start) };
        let sums = Sums { operands: [a, b], affine, bounds, relu, start, out };
        dispatch_on(isa, sums);
    });
    Ok(())
}

/// A piece of a sum.
struct Sums<'a> {
    operands: [&'a Operand<'a>; 2],
    affine: &'a Affine<'a>,
    bounds: [i32; 2],
    relu: bool,
    start: usize,
    out: &'a mut [u8],
}

impl Kernel<f32> for Sums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<f32>>(self, _: S) {
        let channel = self.affine.channel(0, self.bounds);
        let (mut sums, mut more) = ([0f32; CHUNK], [0f32; CHUNK]);
        for (i, out) in self.out.chunks_mut(CHUNK).enumerate() {
            let (start, len) = (self.start + i * CHUNK, out.len());
            let (sums, more) = (&mut sums[..len], &mut more[..len]);
            numbers(self.operands[0], start, sums);
            numbers(self.operands[1], start, more);
            for (sum, more) in sums.iter_mut().zip(&*more) {
                *sum += more;
            }
            if self.relu {
                for sum in sums.iter_mut() {
                    *sum = if 0.0 > *sum { 0.0 } else { *sum };
                }
            }
            channel.quantize(sums, out);
        }
    }
}

/// The numbers of codes from `start` on.
#[inline(always)]
fn numbers(x: &Operand<'_>, start: usize, out: &mut [f32]) {
    let (codes, flip) = (&x.codes.bytes()[start..][..out.len()], finish::flip(x.codes));
    let zero = x.zero + i32::from(flip);
    for (out, code) in out.iter_mut().zip(codes) {
        *out = (i32::from(code ^ flip) - zero) as f32 * x.scale;
    }
}

/// `out[place, ..]` = the channels of each input in turn, requantized where their scale or zero point is another: `out =
/// quantize(dequantize(x))`. Each input is its codes `[places, channels]` and its channels.
///
/// # Errors
/// As [`add`].
pub fn concat<C: Code>(
    places: usize,
    inputs: &[(Operand<'_>, usize)],
    affine: &Affine<'_>,
    out: &mut [C],
) -> Result<()> {
    concat_under(isa(), places, inputs, affine, out)
}

pub(super) fn concat_under<C: Code>(
    isa: Isa,
    places: usize,
    inputs: &[(Operand<'_>, usize)],
    affine: &Affine<'_>,
    out: &mut [C],
) -> Result<()> {
    let mut width = 0usize;
    for (x, channels) in inputs {
        x.check()?;
        let fits = places.checked_mul(*channels) == Some(x.codes.len());
        require(fits, "int8 concat: an input has another length")?;
        width = width.saturating_add(*channels);
    }
    require(places.checked_mul(width) == Some(out.len()), "int8 concat: length of the output")?;
    let bounds = affine.check(1, C::RANGE, true)?;
    if out.is_empty() {
        return Ok(());
    }
    let rows = (PIECE / width).max(1);
    let work = out.len() as u64 / 6;
    let out = Shared::new(C::bytes_mut(out));
    parallel::run(places.div_ceil(rows), work, &|i| {
        let (first, last) = (i * rows, places.min((i + 1) * rows));
        // SAFETY: pieces are disjoint.
        let out = unsafe { out.part(first * width, (last - first) * width) };
        let mut at = 0;
        for (x, channels) in inputs {
            let same = x.zero == affine.zero.at(0)
                && x.scale == affine.scale[0]
                && x.codes.range() == C::RANGE
                && bounds == C::RANGE;
            let (width, channels) = (width, *channels);
            dispatch_on(isa, Part { x, affine, bounds, same, first, width, at, channels, out });
            at += channels;
        }
    });
    Ok(())
}

/// The channels of one input in some places.
struct Part<'a> {
    x: &'a Operand<'a>,
    affine: &'a Affine<'a>,
    bounds: [i32; 2],
    same: bool,
    first: usize,
    width: usize,
    at: usize,
    channels: usize,
    out: &'a mut [u8],
}

impl Kernel<f32> for Part<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<f32>>(self, _: S) {
        let channel = self.affine.channel(0, self.bounds);
        let mut floats = [0f32; CHUNK];
        for (place, out) in self.out.chunks_exact_mut(self.width).enumerate() {
            let start = (self.first + place) * self.channels;
            let out = &mut out[self.at..][..self.channels];
            if self.same {
                out.copy_from_slice(&self.x.codes.bytes()[start..][..self.channels]);
                continue;
            }
            for (i, out) in out.chunks_mut(CHUNK).enumerate() {
                let floats = &mut floats[..out.len()];
                numbers(self.x, start + i * CHUNK, floats);
                channel.quantize(floats, out);
            }
        }
    }
}
