//! Sums of computed terms in the order R3: as reductions, without the terms in memory.

use crate::cpu::reduce::lanes::{self, CHUNK, LANES, PairTree, Sum, Values};
use crate::cpu::simd::Simd;
use crate::element::Float;

/// `N` terms of each place of a row.
pub(super) trait Terms<T, S: Simd<T>, const N: usize>: Copy {
    /// The terms of the places `k .. k + width`; what the other lanes hold does not matter.
    ///
    /// # Safety
    /// - The row has these places, and `width <= S::LANES`.
    unsafe fn at(self, simd: S, k: usize, width: usize) -> [S::V; N];
}

/// The sums over a row of `n` places.
///
/// # Safety
/// - The row of `terms` has `n` places.
#[inline(always)]
pub(super) unsafe fn sums<T: Float, S: Simd<T>, E: Terms<T, S, N>, const N: usize>(
    simd: S,
    n: usize,
    terms: E,
) -> [T; N] {
    let mut trees = [const { PairTree::new() }; N];
    let mut k = 0;
    loop {
        let len = CHUNK.min(n - k);
        // SAFETY: `k + len <= n`.
        let leaves = unsafe { chunk(simd, k, len, terms) };
        if len == n {
            return leaves;
        }
        for (tree, leaf) in trees.iter_mut().zip(leaves) {
            tree.push(leaf, Values::<Sum>::JOIN);
        }
        k += len;
        if k == n {
            return trees.map(|tree| tree.finish(Values::<Sum>::JOIN).unwrap_or(T::ZERO));
        }
    }
}

/// The sums over the places `start .. start + len`, at most one chunk of R3.
///
/// # Safety
/// - The row of `terms` has these places.
#[inline(always)]
unsafe fn chunk<T: Float, S: Simd<T>, E: Terms<T, S, N>, const N: usize>(
    simd: S,
    start: usize,
    len: usize,
    terms: E,
) -> [T; N] {
    let mut sums = [lanes::start::<T, S, Sum>(simd); N];
    let mut k = 0;
    while k + LANES <= len {
        for i in 0..lanes::vectors::<T, S>() {
            // SAFETY: `k + 64 <= len`.
            let found = unsafe { terms.at(simd, start + k + i * S::LANES, S::LANES) };
            for (sum, term) in sums.iter_mut().zip(found) {
                sum[i] = simd.add(sum[i], term);
            }
        }
        k += LANES;
    }
    for i in 0..lanes::vectors::<T, S>() {
        if k >= len {
            break;
        }
        let width = S::LANES.min(len - k);
        // SAFETY: `k + width <= len`.
        let found = unsafe { terms.at(simd, start + k, width) };
        for (sum, term) in sums.iter_mut().zip(found) {
            let term = simd.select(simd.first(width), term, simd.splat(T::ZERO));
            sum[i] = simd.add(sum[i], term);
        }
        k += S::LANES;
    }
    let mut out = [T::ZERO; N];
    for (out, sums) in out.iter_mut().zip(&mut sums) {
        *out = lanes::fold::<T, S, Sum>(simd, sums);
    }
    out
}
