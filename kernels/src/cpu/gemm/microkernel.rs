//! The micro-kernel: one register tile, one block of k.
//!
//! A tile's last vector may be cut: with AVX-512 it mostly is one, for masked loads cost little; AVX2 has an instance for whole vectors
//! besides. The tiles that most of a large product is made of are in [assembly](super::assembly). What the last block does beyond the sum is settled on the stored tile, in L1 (see [`settle`](super::settle)): that
//! keeps the many instances of this one small.

use std::ops::Range;

use super::Dispatch;
#[cfg(target_arch = "x86_64")]
use super::assembly;
use super::blocking::has_instance;
use crate::cpu::isa::Kernel;
use crate::cpu::simd::Simd;
use crate::element::Float;

/// A tile's operands. Element `(i, l)` of A is `a[i * row_stride + l * k_stride]`, element `(l, j)` of B is `b[l * b_stride + j]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile<'a, T> {
    /// Length of this block of k.
    pub(super) k: usize,
    pub(super) a: *const T,
    pub(super) row_stride: isize,
    pub(super) k_stride: isize,
    pub(super) b: *const T,
    pub(super) b_stride: isize,
    /// Elements of the last vector of columns; all others are whole.
    pub(super) last: usize,
    /// Where the sums go.
    pub(super) to: *mut T,
    pub(super) to_stride: usize,
    /// Add the sums to what is there (a later block of k), or store them (the first).
    pub(super) add: bool,
    /// Fetch what the sums go to while they are computed.
    pub(super) fetch: bool,
    /// Where B's rows are left one after the other, whole vectors of them, for the tiles to come; null: nowhere.
    pub(super) pack: *mut T,
    /// What later tiles read, asked for beside the work. A reference, for most products ask for nothing, and take less time than to say so.
    pub(super) asks: &'a Asks<T>,
}

/// What a tile asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asks<T> {
    /// Rows as wide as the tile.
    pub(super) ahead: Ahead<T>,
    /// The same, more slowly: a cache line of each row.
    pub(super) lines: Ahead<T>,
}

impl<T> Asks<T> {
    /// Nothing.
    pub(super) const NONE: Self = Asks { ahead: Ahead::NONE, lines: Ahead::NONE };
}

/// Rows of something that is asked for; any address will do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead<T> {
    pub(super) from: *const T,
    pub(super) stride: isize,
    pub(super) rows: usize,
}

impl<T> Ahead<T> {
    /// No rows.
    pub(super) const NONE: Self = Ahead { from: std::ptr::null(), stride: 0, rows: 0 };

    /// Where a row starts.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> *const T {
        self.from.wrapping_offset(self.stride.wrapping_mul(row as isize))
    }

    /// Some of the rows.
    #[inline(always)]
    pub(super) fn part(&self, rows: Range<usize>) -> Self {
        Ahead { from: self.row(rows.start), stride: self.stride, rows: rows.len() }
    }
}

/// Computes a tile of `rows` rows and `vectors` vectors, and [packs](Tile::pack) if [it can](packs).
///
/// # Safety
/// - A and B must be readable, and `to` writable, for the rows, `k` and the columns, as [`Tile`] says, `pack` for k whole rows or null.
/// - The ISA must have the [instance](has_instance).
#[inline]
pub(super) unsafe fn tile<T: Float>(d: Dispatch, rows: usize, vectors: usize, t: &Tile<'_, T>) {
    macro_rules! instances {
        ($($vectors:literal: $($rows:literal)*;)*) => {
            match (vectors, rows) {
                $($(($vectors, $rows) => d.call::<T, _>(Job::<T, $rows, $vectors, false>(t)),)*)*
                _ => debug_assert!(false, "no tile of {rows} x {vectors}"),
            }
        };
    }
    if !t.pack.is_null() {
        return match vectors {
            4 => d.call::<T, _>(Job::<T, 6, 4, true>(t)),
            _ => d.call::<T, _>(Job::<T, 6, 2, true>(t)),
        };
    }
    instances!(1: 1 2 3 4 5 6 7 8; 2: 1 2 3 4 5 6 7 8; 3: 1 2 3 4 5 6 7 8; 4: 1 2 3 4 5 6;);
}

/// True if there is an instance that packs, for whole vectors: the tile that is first in most panels.
pub(super) const fn packs(vector_bytes: usize, rows: usize, vectors: usize) -> bool {
    rows == 6 && matches!((vector_bytes, vectors), (64, 4) | (32, 2))
}

/// True if a tile of AVX-512 has an instance for whole vectors besides: a masked load takes a multiplier's turn on Intel's processors.
const fn has_whole(vector_bytes: usize, rows: usize, vectors: usize) -> bool {
    vector_bytes == 64 && rows == 8 && vectors < 4
}

/// An instance. Made where the contract of [`tile`] holds.
struct Job<'a, T, const ROWS: usize, const NV: usize, const PACK: bool>(&'a Tile<'a, T>);

impl<T: Float, const ROWS: usize, const NV: usize, const PACK: bool> Kernel<T>
    for Job<'_, T, ROWS, NV, PACK>
{
    type Output = ();
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        if const {
            let bytes = S::LANES * size_of::<T>();
            !has_instance(bytes, ROWS, NV) || (PACK && !packs(bytes, ROWS, NV))
        } {
            return;
        }
        // SAFETY: by the contract of `tile`; the token stands for the ISA of its vectors.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if const { !PACK && assembly::has(S::LANES * size_of::<T>(), ROWS, NV) }
                && self.0.last == S::LANES
                && assembly::compute(S::LANES * size_of::<T>(), ROWS, self.0)
            {
                return;
            }
            let whole = const { has_whole(S::LANES * size_of::<T>(), ROWS, NV) };
            if PACK || const { S::LANES == 1 } || (whole && self.0.last == S::LANES) {
                compute::<T, S, ROWS, NV, false, PACK>(s, self.0);
            } else if const { S::LANES * size_of::<T>() == 64 } || self.0.last < S::LANES {
                compute::<T, S, ROWS, NV, true, false>(s, self.0);
            } else {
                compute::<T, S, ROWS, NV, false, false>(s, self.0);
            }
        }
    }
}

/// Computes a tile of `ROWS` rows and `NV` vectors, of which the last is `CUT` to [`Tile::last`] elements.
///
/// # Safety
/// - As [`tile`].
#[inline(always)]
unsafe fn compute<T, S, const ROWS: usize, const NV: usize, const CUT: bool, const PACK: bool>(
    s: S,
    t: &Tile<'_, T>,
) where
    T: Float,
    S: Simd<T>,
{
    let zero = s.splat(T::ZERO);
    let mut acc = [[zero; NV]; ROWS];
    if t.fetch {
        for i in 0..ROWS {
            for v in (0..NV * S::LANES * size_of::<T>()).step_by(64) {
                fetch(t.to.wrapping_add(i * t.to_stride + v / size_of::<T>()));
            }
        }
    }
    let Asks { ahead, lines } = t.asks;
    for row in 0..ahead.rows {
        for v in (0..NV * S::LANES * size_of::<T>()).step_by(64) {
            fetch(ahead.row(row).wrapping_add(v / size_of::<T>()));
        }
    }
    (0..lines.rows).for_each(|row| fetch(lines.row(row)));
    let (mut b, mut pack) = (t.b, t.pack);
    // Pointers to every third row: an address is a pointer and no, one or two strides. LLVM must not reduce them to one, or it spills.
    let mut a = [t.a; 3];
    for (g, a) in a.iter_mut().enumerate().skip(1) {
        *a = opaque(t.a.wrapping_offset(t.row_stride.wrapping_mul(3 * g as isize)));
    }
    for _ in 0..t.k {
        let mut row = [zero; NV];
        for (v, vector) in row.iter_mut().enumerate() {
            // SAFETY: vector v of a row of B.
            *vector = unsafe {
                let from = b.add(v * S::LANES);
                if CUT && v == NV - 1 { s.load_first(from, t.last) } else { s.load(from) }
            };
        }
        if PACK {
            for (v, vector) in row.iter().enumerate() {
                // SAFETY: a row of the panel.
                unsafe { s.store(pack.add(v * S::LANES), *vector) };
            }
            pack = pack.wrapping_add(NV * S::LANES);
        }
        for (i, sums) in acc.iter_mut().enumerate() {
            let from = a[i / 3].wrapping_offset((i % 3) as isize * t.row_stride);
            // SAFETY: row i of A.
            let x = s.splat(unsafe { *from });
            for v in 0..NV {
                sums[v] = s.fma(x, row[v], sums[v]);
            }
        }
        a = a.map(|a| a.wrapping_offset(t.k_stride));
        b = b.wrapping_offset(t.b_stride);
    }
    let cut = CUT && t.last < S::LANES;
    for (i, sums) in acc.iter_mut().enumerate() {
        for (v, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `ROWS` rows of `NV` vectors, by the caller's contract.
            unsafe {
                let to = t.to.add(i * t.to_stride + v * S::LANES);
                let cut = cut && v == NV - 1;
                if t.add {
                    let old = if cut { s.load_first(to, t.last) } else { s.load(to) };
                    *sum = s.add(old, *sum);
                }
                if cut { s.store_first(to, *sum, t.last) } else { s.store(to, *sum) }
            }
        }
    }
}

/// Asks for a cache line; any address will do.
#[inline(always)]
pub(in crate::cpu) fn fetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, part of every x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The same pointer, unknown to the optimiser.
#[inline(always)]
pub(in crate::cpu) fn opaque<T>(pointer: *const T) -> *const T {
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
