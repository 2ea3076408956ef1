//! Results that are written past the caches: few would keep what is so large until it is read, and a line that is only written is not
//! read first.

use std::mem::MaybeUninit;

use crate::cpu::isa::{Isa, Kernel, isa};
use crate::cpu::parallel;
use crate::cpu::simd::Simd;
use crate::element::{Float, Pod};

/// Bytes of an elementwise operation's operands and result from which on the result is written so. Who reads it next gains if a cache kept
/// it: with an L3 of 480 MB, shared with others, writing and reading was slower so up to 24 MB in all, level at 48, now faster and now
/// slower at 80, and 1.2 to 1.3 times as fast at 120; and few have so much. Into memory that the system has just given it is 5 to 9%
/// slower. Two threads together took half as long again (relu of 40 MB): a team writes as usual. (A transposed matrix, whose lines
/// are written in parts otherwise, gains earlier.)
const LARGE: usize = 96 << 20;

/// Bytes that are computed before they are written: lines are then written in one go, and what is read meanwhile still flows.
const TILE: usize = 1024;

#[repr(align(64))]
struct Tile([MaybeUninit<u8>; TILE]);

/// True if a result of so many elements is to be written with [`by_tiles`] to `out`, `operands` as long being read.
pub(in crate::cpu) fn suits<T: Pod>(out: *const T, len: usize, operands: usize) -> bool {
    let all = len.saturating_mul(size_of::<T>()).saturating_mul(operands + 1);
    all >= LARGE && out.addr().is_multiple_of(64) && isa() > Isa::Scalar && parallel::alone()
}

/// `compute(start, to, n)` writes the elements `start .. start + n` of a result to `to`; they go to `out` past the caches.
///
/// # Safety
/// - `out` must be writable for `len` elements and aligned to 64 bytes, and `compute` must do what it is asked.
pub(in crate::cpu) unsafe fn by_tiles<T: Float>(
    out: *mut T,
    len: usize,
    compute: impl Fn(usize, *mut T, usize),
) {
    let mut tile = Tile([MaybeUninit::uninit(); TILE]);
    let tile = tile.0.as_mut_ptr().cast::<T>();
    let at_once = TILE / size_of::<T>();
    for start in (0..len).step_by(at_once) {
        let n = at_once.min(len - start);
        compute(start, tile, n);
        T::dispatch(Write { from: tile, to: out.wrapping_add(start), len: n });
    }
    settle_lines();
}

/// A tile's way to its place, its last vector as usual if it is not whole. Made where both are aligned, and there for `len` elements.
struct Write<T> {
    from: *const T,
    to: *mut T,
    len: usize,
}

impl<T: Float> Kernel<T> for Write<T> {
    type Output = ();
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Write { from, to, len } = self;
        let whole = len - len % S::LANES;
        // SAFETY: elements of the tile and of the result; vectors start at multiples of their size.
        unsafe {
            for i in (0..whole).step_by(S::LANES) {
                s.store_past(to.add(i), s.load(from.add(i)));
            }
            if whole < len {
                let rest = s.load_first(from.add(whole), len - whole);
                s.store_first(to.add(whole), rest, len - whole);
            }
        }
    }
}

/// Orders what was written past the caches before what follows.
#[inline(always)]
pub(super) fn settle_lines() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: part of every x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;
    use crate::cpu::gemm::tests::{available, numbers};
    use crate::cpu::isa::{HasTokens, Tokens, dispatch_on};

    fn check<T: Float>()
    where
        Tokens: HasTokens<T>,
    {
        let mut buffers = [Buffer::new(TILE).unwrap(), Buffer::new(TILE).unwrap()];
        let [from, to] = &mut buffers;
        let (from, to) = (from.as_mut_slice::<T>(), to.as_mut_slice::<T>());
        let from = &mut from[..TILE / size_of::<T>()];
        from.copy_from_slice(&numbers(from.len(), 1));
        for isa in available() {
            for len in [0, 1, 7, 16, 21, 64, from.len() - 1, from.len()] {
                to.fill(T::ZERO);
                dispatch_on(isa, Write { from: from.as_ptr(), to: to.as_mut_ptr(), len });
                settle_lines();
                assert_eq!(to[..len], from[..len], "{isa:?}");
                assert!(to[len..].iter().all(|&x| x == T::ZERO), "{isa:?} {len}");
            }
        }
    }

    #[test]
    fn a_tile_goes_where_it_belongs() {
        check::<f32>();
        check::<f64>();
    }
}
