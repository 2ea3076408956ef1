//! Activations as a token takes them: u8, or widened to i16.

use super::dot::Dot;

/// Copies codes to `to`, each combined with `flip` by exclusive or.
///
/// # Safety
/// - `from.len() * D::BYTES` bytes must be writable at `to`, which is aligned for i16.
#[inline(always)]
pub(super) unsafe fn copy<D: Dot>(from: &[u8], to: *mut u8, flip: u8) {
    if const { D::BYTES == 1 } {
        // SAFETY: by the caller's contract; memory that was written before.
        let to = unsafe { std::slice::from_raw_parts_mut(to, from.len()) };
        for (to, from) in to.iter_mut().zip(from) {
            *to = from ^ flip;
        }
    } else {
        // SAFETY: as above.
        let to = unsafe { std::slice::from_raw_parts_mut(to.cast::<i16>(), from.len()) };
        for (to, from) in to.iter_mut().zip(from) {
            *to = i16::from(from ^ flip);
        }
    }
}

/// Writes `n` codes.
///
/// # Safety
/// - `n * D::BYTES` bytes must be writable at `to`, which is aligned for i16.
#[inline(always)]
pub(super) unsafe fn fill<D: Dot>(to: *mut u8, n: usize, code: u8) {
    // SAFETY: by the caller's contract; memory that was written before.
    unsafe {
        if const { D::BYTES == 1 } {
            std::slice::from_raw_parts_mut(to, n).fill(code);
        } else {
            std::slice::from_raw_parts_mut(to.cast::<i16>(), n).fill(i16::from(code));
        }
    }
}

/// The sum of codes as u8. At most [`MAX_K`](super::MAX_K) of them: it fits.
#[inline(always)]
pub(super) fn sum(codes: &[u8], flip: u8) -> i32 {
    let mut sum = 0i32;
    for code in codes {
        sum = sum.wrapping_add(i32::from(code ^ flip));
    }
    sum
}
