//! Optimizer steps in one pass over parameter, gradient and state.

mod adagrad;
mod adam;
mod rms_prop;
mod sgd;

use crate::cpu::simd::Simd;
use crate::element::Float;

pub use adagrad::{AdagradStep, adagrad};
pub(crate) use adam::AdamScalars;
pub use adam::{AdamStep, adam};
pub use rms_prop::{RmsPropStep, rms_prop};
pub use sgd::{SgdStep, sgd};

/// Elements of a piece.
const PIECE: usize = 16_384;

/// Elements `k .. k + m`.
///
/// # Safety
/// - `k + m <= from.len()` and `m <= S::LANES`.
#[inline(always)]
unsafe fn load<T: Float, S: Simd<T>>(simd: S, from: &[T], k: usize, m: usize) -> S::V {
    // SAFETY: the caller's guarantee.
    unsafe {
        let from = from.as_ptr().add(k);
        if m == S::LANES { simd.load(from) } else { simd.load_first(from, m) }
    }
}

/// Writes elements `k .. k + m`.
///
/// # Safety
/// - `k + m <= to.len()` and `m <= S::LANES`.
#[inline(always)]
unsafe fn store<T: Float, S: Simd<T>>(simd: S, to: &mut [T], k: usize, m: usize, x: S::V) {
    // SAFETY: the caller's guarantee.
    unsafe {
        let to = to.as_mut_ptr().add(k);
        if m == S::LANES { simd.store(to, x) } else { simd.store_first(to, x, m) }
    }
}

#[cfg(test)]
mod tests;
