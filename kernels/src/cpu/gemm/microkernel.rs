//! The micro-kernel: one register tile, one block of k.
//!
//! It knows whole vectors only. Tiles that are cut by an edge, and what the last block does beyond
//! the sum, are settled on the stored tile, in L1 (see [`settle`](super::settle)): that keeps the
//! many instances of this one small.

use crate::cpu::simd::Simd;
use crate::element::Float;

/// A tile's operands. Element `(i, l)` of A is `a[i * a_stride + l]` or `a[i + l * a_stride]` (see
/// [`tile`]), element `(l, j)` of B is `b[l * b_stride + j]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile<T> {
    /// Length of this block of k.
    pub(super) k: usize,
    pub(super) a: *const T,
    pub(super) a_stride: isize,
    pub(super) b: *const T,
    pub(super) b_stride: isize,
    /// Where the sums go.
    pub(super) to: *mut T,
    pub(super) to_stride: usize,
    /// Add the sums to what is there (a later block of k), or store them (the first).
    pub(super) add: bool,
}

/// Computes a tile of `ROWS` rows and `NV` vectors. `K_UNIT`: A's rows are contiguous in k, else
/// its columns are.
///
/// # Safety
/// - A and B must be readable, and `to` writable, for `ROWS` rows, `k` and `NV * LANES` columns, as
///   [`Tile`] says.
#[inline(always)]
pub(super) unsafe fn tile<T, S, const ROWS: usize, const NV: usize, const K_UNIT: bool>(
    s: S,
    t: &Tile<T>,
) where
    T: Float,
    S: Simd<T>,
{
    let zero = s.splat(T::ZERO);
    let mut acc = [[zero; NV]; ROWS];
    let mut b = t.b;
    // Rows that are contiguous in k: two pointers, three rows apart, which LLVM must not reduce to
    // one, or it spills.
    let mut a = [t.a, opaque(t.a.wrapping_offset(t.a_stride.wrapping_mul(3)))];
    for _ in 0..t.k {
        let mut row = [zero; NV];
        for (v, vector) in row.iter_mut().enumerate() {
            // SAFETY: vector v of a row of B.
            *vector = unsafe { s.load(b.add(v * S::LANES)) };
        }
        for (i, sums) in acc.iter_mut().enumerate() {
            let from = match K_UNIT {
                true => a[i / 3].wrapping_offset((i % 3) as isize * t.a_stride),
                false => a[0].wrapping_add(i),
            };
            // SAFETY: row i of A.
            let x = s.splat(unsafe { *from });
            for v in 0..NV {
                sums[v] = s.fma(x, row[v], sums[v]);
            }
        }
        let step = if K_UNIT { 1 } else { t.a_stride };
        a = [a[0].wrapping_offset(step), a[1].wrapping_offset(step)];
        b = b.wrapping_offset(t.b_stride);
    }
    // SAFETY: `ROWS` rows of `NV` vectors, by the caller's contract.
    unsafe {
        if t.add {
            for (i, sums) in acc.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = s.add(s.load(t.to.add(i * t.to_stride + v * S::LANES)), *sum);
                }
            }
        }
        for (i, sums) in acc.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                s.store(t.to.add(i * t.to_stride + v * S::LANES), sum);
            }
        }
    }
}

/// The same pointer, unknown to the optimiser.
#[inline(always)]
fn opaque<T>(pointer: *const T) -> *const T {
    #[cfg(target_arch = "x86_64")]
    {
        let mut pointer = pointer;
        // SAFETY: no instruction at all.
        unsafe {
            std::arch::asm!(
                "/* {0} */",
                inout(reg) pointer,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        pointer
    }
    #[cfg(not(target_arch = "x86_64"))]
    pointer
}
