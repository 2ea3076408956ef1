//! Between NCHW of f32 and NHWC of codes: quantization and its inverse on the way.

use super::scheme::{Affine, dequantize_under, quantize_under};
use super::{Code, finish};
use crate::cpu::isa::{Isa, Kernel, dispatch_on, isa};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::error::{Result, require};
use crate::strided::checked_len;

/// Places of an image that are moved at a time, and the channels: both sides then lie in L1.
const PLACES: usize = 256;
const CHANNELS: usize = 16;

/// `out[n, place, c] = quantize(x[n, c, place])` for `[batch, channels, places]`; scales and zero points may be per channel. The
/// entrance of a quantized network.
///
/// # Errors
/// As [`quantize`](super::scheme::quantize).
pub fn nhwc_from_nchw<C: Code>(
    shape: [usize; 3],
    x: &[f32],
    affine: &Affine<'_>,
    out: &mut [C],
) -> Result<()> {
    nhwc_from_nchw_under(isa(), shape, x, affine, out)
}

pub(super) fn nhwc_from_nchw_under<C: Code>(
    isa: Isa,
    shape: [usize; 3],
    x: &[f32],
    affine: &Affine<'_>,
    out: &mut [C],
) -> Result<()> {
    if shape[1] == 1 {
        return quantize_under(isa, shape, x, affine, out);
    }
    let bounds = affine.check(shape[1], C::RANGE, true)?;
    let out = &Shared::new(C::bytes_mut(out));
    in_blocks(isa, shape, x.len(), out, |range| Block {
        shape,
        range,
        affine,
        by_image: false,
        bounds,
        work: Work::Quantize(x, out),
    })
}

/// [`nhwc_from_nchw`] with scales and zero points per image.
pub(super) fn nhwc_from_images<C: Code>(
    isa: Isa,
    shape: [usize; 3],
    x: &[f32],
    affine: &Affine<'_>,
    out: &mut [C],
) -> Result<()> {
    let bounds = affine.check(shape[0], C::RANGE, true)?;
    let out = &Shared::new(C::bytes_mut(out));
    let work = Work::Quantize(x, out);
    let block = |range| Block { shape, range, affine, by_image: true, bounds, work };
    in_blocks(isa, shape, x.len(), out, block)
}

/// `out[n, c, place] = dequantize(codes[n, place, c])` for `[batch, channels, places]`: the exit of a quantized network.
///
/// # Errors
/// As [`dequantize`](super::scheme::dequantize).
pub fn nchw_from_nhwc<C: Code>(
    shape: [usize; 3],
    codes: &[C],
    affine: &Affine<'_>,
    out: &mut [f32],
) -> Result<()> {
    nchw_from_nhwc_under(isa(), shape, codes, affine, out)
}

pub(super) fn nchw_from_nhwc_under<C: Code>(
    isa: Isa,
    shape: [usize; 3],
    codes: &[C],
    affine: &Affine<'_>,
    out: &mut [f32],
) -> Result<()> {
    if shape[1] == 1 {
        return dequantize_under(isa, shape, codes, affine, out);
    }
    let affine = &Affine { bounds: None, rule: super::scheme::Rule::Divide, ..*affine };
    let bounds = affine.check(shape[1], C::RANGE, true)?;
    let (codes, out) = (C::codes(codes), &Shared::new(out));
    let (bytes, flip) = (codes.bytes(), finish::flip(codes));
    in_blocks(isa, shape, bytes.len(), out, |range| Block {
        shape,
        range,
        affine,
        by_image: false,
        bounds,
        work: Work::Dequantize(bytes, flip, out),
    })
}

/// Runs the blocks of `PLACES` places of an image.
fn in_blocks<'a, T: Send>(
    isa: Isa,
    shape: [usize; 3],
    len: usize,
    out: &Shared<'_, T>,
    block: impl Fn([usize; 3]) -> Block<'a> + Sync,
) -> Result<()> {
    let right = checked_len(&shape) == Some(len) && out.len() == len;
    require(right, "quantize: lengths differ from the shape's")?;
    if len == 0 {
        return Ok(());
    }
    let blocks = shape[2].div_ceil(PLACES);
    parallel::run(shape[0] * blocks, len as u64 / 2, &|i| {
        let start = i % blocks * PLACES;
        dispatch_on(isa, block([i / blocks, start, shape[2].min(start + PLACES)]));
    });
    Ok(())
}

#[derive(Clone, Copy)]
enum Work<'a> {
    Quantize(&'a [f32], &'a Shared<'a, u8>),
    Dequantize(&'a [u8], u8, &'a Shared<'a, f32>),
}

/// `range`: image, first place, end.
struct Block<'a> {
    shape: [usize; 3],
    range: [usize; 3],
    affine: &'a Affine<'a>,
    /// What `affine` has one each of: images, not channels.
    by_image: bool,
    bounds: [i32; 2],
    work: Work<'a>,
}

impl Kernel<f32> for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<f32>>(self, _: S) {
        let ([_, channels, places], [image, start, end]) = (self.shape, self.range);
        let len = end - start;
        let mut codes = [[0u8; PLACES]; CHANNELS];
        for first in (0..channels).step_by(CHANNELS) {
            let some = CHANNELS.min(channels - first);
            let channel = |c: usize| {
                let which = if self.by_image { image } else { first + c };
                self.affine.channel(which, self.bounds)
            };
            let plane = |c: usize| (image * channels + first + c) * places + start;
            let inner = (image * places + start) * channels;
            match self.work {
                Work::Quantize(x, out) => {
                    for (c, codes) in codes[..some].iter_mut().enumerate() {
                        channel(c).quantize(&x[plane(c)..][..len], &mut codes[..len]);
                    }
                    // SAFETY: each block has places of its own.
                    let out = unsafe { out.part(inner, len * channels) };
                    match (some, channels) {
                        (2, 2) => places_of::<2>(&codes, out),
                        (3, 3) => places_of::<3>(&codes, out),
                        (4, 4) => places_of::<4>(&codes, out),
                        (CHANNELS, _) => places_of_16(&codes, len, &mut out[first..], channels),
                        _ => {
                            for (place, out) in out.chunks_exact_mut(channels).enumerate() {
                                for (out, codes) in out[first..][..some].iter_mut().zip(&codes) {
                                    *out = codes[place];
                                }
                            }
                        }
                    }
                }
                Work::Dequantize(from, flip, out) => {
                    let from = &from[inner..][..len * channels];
                    match (some, channels) {
                        (2, 2) => planes_of::<2>(from, flip, &mut codes),
                        (3, 3) => planes_of::<3>(from, flip, &mut codes),
                        (4, 4) => planes_of::<4>(from, flip, &mut codes),
                        (CHANNELS, _) => {
                            planes_of_16(&from[first..], channels, len, flip, &mut codes)
                        }
                        _ => {
                            for (place, from) in from.chunks_exact(channels).enumerate() {
                                for (from, codes) in from[first..][..some].iter().zip(&mut codes) {
                                    codes[place] = *from ^ flip;
                                }
                            }
                        }
                    }
                    for (c, codes) in codes[..some].iter().enumerate() {
                        // SAFETY: each block has places of its own of each plane.
                        let out = unsafe { out.part(plane(c), len) };
                        channel(c).dequantize_u8(&codes[..len], flip, out);
                    }
                }
            }
        }
    }
}

/// Planes of all `C` channels to places.
#[inline(always)]
fn places_of<const C: usize>(planes: &[[u8; PLACES]; CHANNELS], out: &mut [u8]) {
    for (place, out) in out.as_chunks_mut::<C>().0.iter_mut().enumerate().take(PLACES) {
        for c in 0..C {
            out[c] = planes[c][place];
        }
    }
}

/// Places of all `C` channels to planes.
#[inline(always)]
fn planes_of<const C: usize>(from: &[u8], flip: u8, planes: &mut [[u8; PLACES]; CHANNELS]) {
    for (place, from) in from.as_chunks::<C>().0.iter().enumerate().take(PLACES) {
        for c in 0..C {
            planes[c][place] = from[c] ^ flip;
        }
    }
}

/// Places that are transposed at a time.
const BLOCK: usize = 32;

/// 16 planes to `len` places, `stride` apart: bytes are paired to integers of twice the size, four times.
#[inline(always)]
fn places_of_16(planes: &[[u8; PLACES]; CHANNELS], len: usize, out: &mut [u8], stride: usize) {
    for start in (0..len).step_by(BLOCK) {
        let mut pairs = [[0u16; BLOCK]; 8];
        for (pairs, planes) in pairs.iter_mut().zip(planes.as_chunks::<2>().0) {
            let [a, b] = planes.each_ref().map(|plane| &plane[start..start + BLOCK]);
            for i in 0..BLOCK {
                pairs[i] = u16::from(a[i]) | u16::from(b[i]) << 8;
            }
        }
        let mut fours = [[0u32; BLOCK]; 4];
        for (fours, [a, b]) in fours.iter_mut().zip(pairs.as_chunks::<2>().0) {
            for i in 0..BLOCK {
                fours[i] = u32::from(a[i]) | u32::from(b[i]) << 16;
            }
        }
        let [a, b, c, d] = fours;
        let places = out[start * stride..].chunks_mut(stride);
        for (i, out) in places.enumerate().take(BLOCK.min(len - start)) {
            let eight = |a: u32, b: u32| u64::from(a) | u64::from(b) << 32;
            let all = u128::from(eight(a[i], b[i])) | u128::from(eight(c[i], d[i])) << 64;
            if let Some(out) = out.first_chunk_mut::<CHANNELS>() {
                *out = all.to_le_bytes();
            }
        }
    }
}

/// `len` places, `stride` apart, to 16 planes.
#[inline(always)]
fn planes_of_16(
    from: &[u8],
    stride: usize,
    len: usize,
    flip: u8,
    planes: &mut [[u8; PLACES]; CHANNELS],
) {
    for start in (0..len).step_by(BLOCK) {
        let mut fours = [[0u32; BLOCK]; 4];
        let places = from[start * stride..].chunks(stride);
        for (i, from) in places.enumerate().take(BLOCK.min(len - start)) {
            if let Some(from) = from.first_chunk::<CHANNELS>() {
                for (fours, from) in fours.iter_mut().zip(from.as_chunks::<4>().0) {
                    fours[i] = u32::from_le_bytes(*from);
                }
            }
        }
        for (planes, fours) in planes.as_chunks_mut::<4>().0.iter_mut().zip(&fours) {
            for (c, plane) in planes.iter_mut().enumerate() {
                for (to, four) in plane[start..start + BLOCK].iter_mut().zip(fours) {
                    *to = (four >> (8 * c)) as u8 ^ flip;
                }
            }
        }
    }
}
