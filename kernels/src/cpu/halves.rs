//! Conversions between f32 and the 2-byte floats f16 and bf16: to the nearest, ties to even, subnormals included.
//!
//! NaN keeps its sign and its leading digits and becomes quiet, as F16C does it, so that both paths give one result.

#[cfg(test)]
mod tests;

use crate::cpu::parallel::{self, Shared};
use crate::element::{Half, bf16, f16};
use crate::error::{Result, require};

/// Elements of one piece of parallel work.
const PIECE: usize = 32 * 1024;

/// Bits of an f16 as bits of an f32.
#[inline(always)]
pub(crate) fn f16_to_f32(x: u16) -> u32 {
    let (sign, rest) = ((u32::from(x) & 0x8000) << 16, (u32::from(x) & 0x7fff) << 13);
    // Subnormals: 0.m * 2^-14 is (1.m - 1) * 2^-14, and that difference is exact.
    let small = f32::from_bits(rest + (113 << 23)) - f32::from_bits(113 << 23);
    let quiet = if rest > 0x0f80_0000 { 1 << 22 } else { 0 };
    let special = (rest + (224 << 23)) | quiet;
    let normal = rest + (112 << 23);
    sign | if rest >= 0x0f80_0000 {
        special
    } else if rest < 0x0080_0000 {
        small.to_bits()
    } else {
        normal
    }
}

/// Bits of an f32 as bits of the nearest f16.
#[inline(always)]
pub(crate) fn f32_to_f16(x: u32) -> u16 {
    let (sign, rest) = ((x >> 16) & 0x8000, x & 0x7fff_ffff);
    // Beside 1/2 the digits of an f16 subnormal are the last of an f32: the addition rounds as it should.
    let small = (f32::from_bits(rest) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let odd = (rest >> 13) & 1;
    let normal = rest.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
    let nan = 0x7e00 | (rest >> 13) & 0x3ff;
    let found = if rest > 0x7f80_0000 {
        nan
    } else if rest >= 143 << 23 {
        0x7c00
    } else if rest < 113 << 23 {
        small
    } else {
        normal
    };
    (sign | found) as u16
}

/// Bits of a bf16 as bits of an f32.
#[inline(always)]
pub(crate) fn bf16_to_f32(x: u16) -> u32 {
    let x = u32::from(x) << 16;
    if x & 0x7fff_ffff > 0x7f80_0000 { x | 0x0040_0000 } else { x }
}

/// Bits of an f32 as bits of the nearest bf16.
#[inline(always)]
pub(crate) fn f32_to_bf16(x: u32) -> u16 {
    let rounded = x.wrapping_add(0x7fff + ((x >> 16) & 1)) >> 16;
    let nan = x >> 16 | 0x40;
    (if x & 0x7fff_ffff > 0x7f80_0000 { nan } else { rounded }) as u16
}

/// A 2-byte float whose slices convert.
pub trait Convert: Half {
    /// `to = from`, exactly; equal lengths.
    #[doc(hidden)]
    fn widen_slice(from: &[Self], to: &mut [f32]);
    /// `to = from`, rounded; equal lengths.
    #[doc(hidden)]
    fn narrow_slice(from: &[f32], to: &mut [Self]);
}

#[inline(always)]
fn each<A: Copy, B>(from: &[A], to: &mut [B], f: impl Fn(A) -> B) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = f(from);
    }
}

/// Plain loops, compiled once for any CPU and once for AVX2: the formulas have no branches.
macro_rules! loops {
    ($($name:ident / $wide:ident: $from:ty => $to:ty, $f:expr;)*) => {$(
        fn $name(from: &[$from], to: &mut [$to]) {
            #[cfg(target_arch = "x86_64")]
            if super::isa::isa() >= super::isa::Isa::Avx2 {
                // SAFETY: AVX2 was detected.
                return unsafe { $wide(from, to) };
            }
            each(from, to, $f);
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn $wide(from: &[$from], to: &mut [$to]) {
            each(from, to, $f);
        }
    )*};
}
loops! {
    widen_f16 / widen_f16_avx2: f16 => f32, |x| x.to_single();
    narrow_f16 / narrow_f16_avx2: f32 => f16, f16::from_single;
    widen_bf16 / widen_bf16_avx2: bf16 => f32, |x| x.to_single();
    narrow_bf16 / narrow_bf16_avx2: f32 => bf16, bf16::from_single;
}

impl Convert for f16 {
    fn widen_slice(from: &[f16], to: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if super::isa::has_f16c() {
            // SAFETY: F16C and AVX were detected.
            return unsafe { f16c::widen(from, to) };
        }
        widen_f16(from, to);
    }
    fn narrow_slice(from: &[f32], to: &mut [f16]) {
        #[cfg(target_arch = "x86_64")]
        if super::isa::has_f16c() {
            // SAFETY: F16C and AVX were detected.
            return unsafe { f16c::narrow(from, to) };
        }
        narrow_f16(from, to);
    }
}

impl Convert for bf16 {
    fn widen_slice(from: &[bf16], to: &mut [f32]) {
        widen_bf16(from, to);
    }
    fn narrow_slice(from: &[f32], to: &mut [bf16]) {
        narrow_bf16(from, to);
    }
}

#[cfg(target_arch = "x86_64")]
mod f16c {
    use std::arch::x86_64::*;

    use super::{each, f16};
    use crate::element::Half;

    #[target_feature(enable = "avx,f16c")]
    pub(super) fn widen(from: &[f16], to: &mut [f32]) {
        let (blocks, rest) = from.as_chunks::<8>();
        let (outs, out_rest) = to.as_chunks_mut::<8>();
        for (from, to) in blocks.iter().zip(outs) {
            // SAFETY: eight elements on either side.
            unsafe {
                let bits = _mm_loadu_si128(from.as_ptr().cast());
                _mm256_storeu_ps(to.as_mut_ptr(), _mm256_cvtph_ps(bits));
            }
        }
        each(rest, out_rest, |x| x.to_single());
    }

    #[target_feature(enable = "avx,f16c")]
    pub(super) fn narrow(from: &[f32], to: &mut [f16]) {
        let (blocks, rest) = from.as_chunks::<8>();
        let (outs, out_rest) = to.as_chunks_mut::<8>();
        for (from, to) in blocks.iter().zip(outs) {
            // SAFETY: eight elements on either side.
            unsafe {
                let x = _mm256_loadu_ps(from.as_ptr());
                let bits = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
                _mm_storeu_si128(to.as_mut_ptr().cast(), bits);
            }
        }
        each(rest, out_rest, f16::from_single);
    }
}

/// Runs `body(start, end)` over `0..len`, on several threads if it is long.
fn pieces(len: usize, body: &(impl Fn(usize, usize) + Sync)) {
    parallel::run(len.div_ceil(PIECE), len as u64 / 8, &|piece| {
        body(piece * PIECE, ((piece + 1) * PIECE).min(len));
    });
}

/// `out = x`, exactly.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if the lengths differ.
pub fn widen<T: Convert>(x: &[T], out: &mut [f32]) -> Result<()> {
    require(x.len() == out.len(), "widen: the lengths differ")?;
    let (len, shared) = (out.len(), Shared::new(out));
    pieces(len, &|start, end| {
        // SAFETY: pieces are disjoint.
        T::widen_slice(&x[start..end], unsafe { shared.part(start, end - start) });
    });
    Ok(())
}

/// `out = x`, to the nearest, ties to even.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if the lengths differ.
pub fn narrow<T: Convert>(x: &[f32], out: &mut [T]) -> Result<()> {
    require(x.len() == out.len(), "narrow: the lengths differ")?;
    let (len, shared) = (out.len(), Shared::new(out));
    pieces(len, &|start, end| {
        // SAFETY: pieces are disjoint.
        T::narrow_slice(&x[start..end], unsafe { shared.part(start, end - start) });
    });
    Ok(())
}
