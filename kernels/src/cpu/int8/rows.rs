//! Dynamic quantization: rows, or images, with ranges of their own. So a row's codes don't depend on its batch.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::scheme::{Affine, Channel, PIECE, Rule};
use super::{Code, Zero, layout};
use crate::cpu::isa::{Isa, Kernel, dispatch_on, isa};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// Codes of each row of `x[rows, k]`, with the row's `scale[rows]` and `zero[rows]`. With `min` and `max` of a row and 0, and
/// `low..=high` the codes of the type, all in f32:
///
/// ```text
/// scale = max((max - min) / 255, 2^-23)    zero = clamp(low - round_half_even(min / scale), low, high)
/// code  = clamp(round_half_even(x / scale) + zero, low, high)
/// ```
///
/// as PyTorch's affine observers compute them; [`Rule`] says what `x / scale` is. With [`Rule::Divide`] one row is ONNX's
/// `DynamicQuantizeLinear`, but for a row of nothing but 0 (scale 0 there).
///
/// # Errors
/// [`NoRange`](Error::NoRange) names the first row that holds NaN or an infinity, or whose `max - min` is beyond f32: nothing is
/// right to make of it, and a code for NaN would hide it. [`Contract`](Error::Contract) if lengths differ.
///
/// ```
/// use ferrotape_kernels::cpu::int8::scheme::{Rule, quantize_rows};
/// let (mut codes, mut scale, mut zero) = ([0u8; 4], [0.0; 2], [0; 2]);
/// quantize_rows([2, 2], &[-51.0, 204.0, 0.5, 25.5], Rule::Reciprocal, &mut codes, &mut scale, &mut zero)?;
/// assert_eq!((codes, scale, zero), ([0, 255, 5, 255], [1.0, 0.1], [51, 0]));
/// # Ok::<(), ferrotape_kernels::Error>(())
/// ```
pub fn quantize_rows<C: Code>(
    [rows, k]: [usize; 2],
    x: &[f32],
    rule: Rule,
    out: &mut [C],
    scale: &mut [f32],
    zero: &mut [i32],
) -> Result<()> {
    quantize_rows_under(isa(), [rows, k], x, rule, out, scale, zero)
}

pub(super) fn quantize_rows_under<C: Code>(
    isa: Isa,
    shape: [usize; 2],
    x: &[f32],
    rule: Rule,
    out: &mut [C],
    scale: &mut [f32],
    zero: &mut [i32],
) -> Result<()> {
    require(x.len() == out.len(), "quantize: lengths differ from the shape's")?;
    in_rows(isa, shape, x, rule, C::RANGE, Some(C::bytes_mut(out)), scale, zero)
}

/// `out[n, place, c]` = codes of `x[n, c, place]`, each image quantized as a row of [`quantize_rows`]: the entrance of a
/// dynamically quantized convolution.
///
/// # Errors
/// As [`quantize_rows`].
pub fn quantize_images<C: Code>(
    shape: [usize; 3],
    x: &[f32],
    rule: Rule,
    out: &mut [C],
    scale: &mut [f32],
    zero: &mut [i32],
) -> Result<()> {
    quantize_images_under(isa(), shape, x, rule, out, scale, zero)
}

pub(super) fn quantize_images_under<C: Code>(
    isa: Isa,
    shape: [usize; 3],
    x: &[f32],
    rule: Rule,
    out: &mut [C],
    scale: &mut [f32],
    zero: &mut [i32],
) -> Result<()> {
    let image = checked_len(&shape[1..]).unwrap_or(usize::MAX);
    if shape[1] == 1 || shape[2] == 1 {
        return quantize_rows_under(isa, [shape[0], image], x, rule, out, scale, zero);
    }
    in_rows(isa, [shape[0], image], x, rule, C::RANGE, None, scale, zero)?;
    if shape[0] == 0 {
        return require(out.is_empty(), "quantize: lengths differ from the shape's");
    }
    let affine = Affine { scale, zero: Zero::Each(zero), bounds: None, rule };
    layout::nhwc_from_images(isa, shape, x, &affine, out)
}

/// Finds the rows' scales and zero points and, where `out` is given, writes their codes.
#[allow(clippy::too_many_arguments)]
fn in_rows(
    isa: Isa,
    [rows, k]: [usize; 2],
    x: &[f32],
    rule: Rule,
    range: [i32; 2],
    out: Option<&mut [u8]>,
    scale: &mut [f32],
    zero: &mut [i32],
) -> Result<()> {
    let right = checked_len(&[rows, k]) == Some(x.len());
    require(right, "quantize: lengths differ from the shape's")?;
    let each = scale.len() == rows && zero.len() == rows;
    require(each, "quantize: one scale and zero point a row")?;
    let bad = AtomicUsize::new(usize::MAX);
    let per_piece = (PIECE / k.max(1)).max(1);
    let (scale, zero, out) = (Shared::new(scale), Shared::new(zero), out.map(Shared::new));
    parallel::run(rows.div_ceil(per_piece), (rows as u64 + x.len() as u64) / 6, &|piece| {
        let first = piece * per_piece;
        let count = per_piece.min(rows - first);
        // SAFETY: pieces are disjoint rows.
        let (scale, zero, out) = unsafe {
            (
                scale.part(first, count),
                zero.part(first, count),
                out.as_ref().map(|out| out.part(first * k, count * k)),
            )
        };
        let x = &x[first * k..][..count * k];
        dispatch_on(isa, Rows { k, x, rule, range, scale, zero, out, first, bad: &bad });
    });
    match bad.into_inner() {
        usize::MAX => Ok(()),
        row => Err(Error::NoRange { row }),
    }
}

struct Rows<'a> {
    k: usize,
    x: &'a [f32],
    rule: Rule,
    range: [i32; 2],
    scale: &'a mut [f32],
    zero: &'a mut [i32],
    out: Option<&'a mut [u8]>,
    first: usize,
    bad: &'a AtomicUsize,
}

impl Kernel<f32> for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<f32>>(mut self, _: S) {
        let k = self.k;
        for (i, (scale, zero)) in self.scale.iter_mut().zip(self.zero).enumerate() {
            let x = &self.x[i * k..][..k];
            let Some(found) = params(x, self.range) else {
                self.bad.fetch_min(self.first + i, Ordering::Relaxed);
                return;
            };
            (*scale, *zero) = found;
            if let Some(out) = &mut self.out {
                let channel = Channel::new(self.rule, *scale, *zero, self.range);
                channel.quantize(x, &mut out[i * k..][..k]);
            }
        }
    }
}

/// PyTorch's smallest scale.
const SMALLEST: f32 = f32::EPSILON;

/// Scale and zero point of a row.
#[inline(always)]
fn params(x: &[f32], [lowest, highest]: [i32; 2]) -> Option<(f32, i32)> {
    let (low, high) = min_max(x)?;
    let width = high - low;
    let scale = width / (highest - lowest) as f32;
    let scale = if scale > SMALLEST { scale } else { SMALLEST };
    let zero = lowest as f32 - (low / scale).round_ties_even();
    let zero = zero.clamp(lowest as f32, highest as f32) as i32;
    width.is_finite().then_some((scale, zero))
}

/// Lanes that are folded beside each other: minimum and maximum are the same in any order.
const LANES: usize = 32;

/// Minimum and maximum of a row and 0; `None` if it holds NaN or an infinity.
#[inline(always)]
fn min_max(x: &[f32]) -> Option<(f32, f32)> {
    let mut found = Found { low: [0.0; LANES], high: [0.0; LANES], top: [0; LANES] };
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        found = found.with(chunk);
    }
    if !rest.is_empty() {
        let mut last = [0f32; LANES];
        last[..rest.len()].copy_from_slice(rest);
        found = found.with(&last);
    }
    let Found { low, high, top } =
        found.folded::<16>().folded::<8>().folded::<4>().folded::<2>().folded::<1>();
    (top[0] < f32::INFINITY.to_bits() as i32).then_some((low[0], high[0]))
}

/// What was seen in each of `N` lanes. `top` are the largest bits of magnitudes: those of NaN lie above an infinity's.
#[derive(Clone, Copy)]
struct Found<const N: usize> {
    low: [f32; N],
    high: [f32; N],
    top: [i32; N],
}

impl<const N: usize> Found<N> {
    #[inline(always)]
    fn with(mut self, x: &[f32; N]) -> Self {
        for (i, &x) in x.iter().enumerate() {
            self.low[i] = if x < self.low[i] { x } else { self.low[i] };
            self.high[i] = if x > self.high[i] { x } else { self.high[i] };
            self.top[i] = self.top[i].max((x.to_bits() & 0x7fff_ffff) as i32);
        }
        self
    }

    /// Half the lanes.
    #[inline(always)]
    fn folded<const HALF: usize>(self) -> Found<HALF> {
        let mut half = Found { low: [0.0; HALF], high: [0.0; HALF], top: [0; HALF] };
        for i in 0..HALF {
            let (a, b) = (self.low[i], self.low[i + HALF]);
            half.low[i] = if a < b { a } else { b };
            let (a, b) = (self.high[i], self.high[i + HALF]);
            half.high[i] = if a > b { a } else { b };
            half.top[i] = self.top[i].max(self.top[i + HALF]);
        }
        half
    }
}
