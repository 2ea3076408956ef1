//! The micro-kernel: one register tile of C, one block of k.

use crate::cpu::simd::Simd;
use crate::element::Float;

/// What the last block of k does to a tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish<T> {
    /// Add the old contents of C.
    pub(super) accumulate: bool,
    /// One value a row of the tile, or null.
    pub(super) row_bias: *const T,
    /// One value a column of the tile, or null.
    pub(super) column_bias: *const T,
    /// Then `max(x, 0)`.
    pub(super) relu: bool,
}

/// A tile's operands. Element `(i, l)` of A is `a[i * a_stride + l]` or `a[i + l * a_stride]` (see [`tile`]), element `(l, j)` of
/// B is `b[l * b_stride + j]`, readable to the end of the last vector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile<T> {
    /// Length of this block of k.
    pub(super) k: usize,
    pub(super) a: *const T,
    pub(super) a_stride: isize,
    pub(super) b: *const T,
    pub(super) b_stride: isize,
    /// Columns of C to write.
    pub(super) columns: usize,
    /// Where partial sums are kept between blocks of k (C itself unless C's old contents are still needed).
    pub(super) sum: *mut T,
    pub(super) sum_stride: usize,
    pub(super) c: *mut T,
    pub(super) c_stride: usize,
    /// This is the first block of k: nothing to add to.
    pub(super) first: bool,
    /// This is the last block of k: finish.
    pub(super) last: bool,
    pub(super) finish: Finish<T>,
}

type Accumulators<V, const NV: usize, const ROWS: usize> = [[V; NV]; ROWS];

/// Computes a tile of `ROWS` rows and `NV` vectors. `K_UNIT`: A's rows are contiguous in k, else its columns are.
///
/// # Safety
/// - A, B, the biases must be readable and C and the partial sums writable for `ROWS` x `columns` x `k` as [`Tile`] says, with
///   `NV = ceil(columns / LANES)`.
#[inline(always)]
pub(super) unsafe fn tile<T, S, const ROWS: usize, const NV: usize, const K_UNIT: bool>(
    s: S,
    t: &Tile<T>,
) where
    T: Float,
    S: Simd<T>,
{
    // SAFETY: the caller's contract is handed on.
    unsafe {
        let mut acc = products::<T, S, ROWS, NV, K_UNIT>(s, t);
        let rest = t.columns - (NV - 1) * S::LANES;
        if !t.first {
            add_to(s, &mut acc, t.sum, t.sum_stride, rest);
        }
        if !t.last {
            store(s, &acc, t.sum, t.sum_stride, rest);
            return;
        }
        finish(s, &mut acc, t, rest);
        store(s, &acc, t.c, t.c_stride, rest);
    }
}

/// The sums of one block of k: one ascending chain of FMAs an element, from +0.
///
/// # Safety
/// - As [`tile`].
#[inline(always)]
unsafe fn products<T, S, const ROWS: usize, const NV: usize, const K_UNIT: bool>(
    s: S,
    t: &Tile<T>,
) -> Accumulators<S::V, NV, ROWS>
where
    T: Float,
    S: Simd<T>,
{
    let zero = s.splat(T::ZERO);
    let mut acc = [[zero; NV]; ROWS];
    let (mut a, mut b) = (t.a, t.b);
    for _ in 0..t.k {
        let mut row = [zero; NV];
        for (v, vector) in row.iter_mut().enumerate() {
            // SAFETY: B is readable to the end of the last vector.
            *vector = unsafe { s.load(b.add(v * S::LANES)) };
        }
        for (i, sums) in acc.iter_mut().enumerate() {
            let step = if K_UNIT { i as isize * t.a_stride } else { i as isize };
            // SAFETY: row i of A, inside it.
            let x = s.splat(unsafe { *a.offset(step) });
            for v in 0..NV {
                sums[v] = s.fma(x, row[v], sums[v]);
            }
        }
        a = a.wrapping_offset(if K_UNIT { 1 } else { t.a_stride });
        b = b.wrapping_offset(t.b_stride);
    }
    acc
}

/// The epilogue, in the order of R2: accumulate, bias, activation.
///
/// # Safety
/// - As [`tile`].
#[inline(always)]
unsafe fn finish<T, S, const ROWS: usize, const NV: usize>(
    s: S,
    acc: &mut Accumulators<S::V, NV, ROWS>,
    t: &Tile<T>,
    rest: usize,
) where
    T: Float,
    S: Simd<T>,
{
    // SAFETY: the caller's contract is handed on; a bias that is not null has `ROWS` or `columns` elements.
    unsafe {
        if t.finish.accumulate {
            add_to(s, acc, t.c, t.c_stride, rest);
        }
        if !t.finish.row_bias.is_null() {
            for (i, sums) in acc.iter_mut().enumerate() {
                let bias = s.splat(*t.finish.row_bias.add(i));
                for sum in sums.iter_mut() {
                    *sum = s.add(*sum, bias);
                }
            }
        }
        if !t.finish.column_bias.is_null() {
            let bias: [S::V; NV] = load_row(s, t.finish.column_bias, rest);
            for sums in acc.iter_mut() {
                for v in 0..NV {
                    sums[v] = s.add(sums[v], bias[v]);
                }
            }
        }
        if t.finish.relu {
            for sums in acc.iter_mut() {
                for sum in sums.iter_mut() {
                    // The second operand is kept if it is NaN.
                    *sum = s.max_second(s.splat(T::ZERO), *sum);
                }
            }
        }
    }
}

/// `acc = from + acc`.
///
/// # Safety
/// - `ROWS` rows of `(NV - 1) * LANES + rest` elements must be readable.
#[inline(always)]
unsafe fn add_to<T: Float, S: Simd<T>, const ROWS: usize, const NV: usize>(
    s: S,
    acc: &mut Accumulators<S::V, NV, ROWS>,
    from: *const T,
    stride: usize,
    rest: usize,
) {
    for (i, sums) in acc.iter_mut().enumerate() {
        // SAFETY: row i, by the caller's contract.
        let old: [S::V; NV] = unsafe { load_row(s, from.add(i * stride), rest) };
        for v in 0..NV {
            sums[v] = s.add(old[v], sums[v]);
        }
    }
}

/// `NV` vectors, the last of `rest` elements.
///
/// # Safety
/// - `(NV - 1) * LANES + rest` elements must be readable, `rest <= LANES`.
#[inline(always)]
unsafe fn load_row<T: Float, S: Simd<T>, const NV: usize>(
    s: S,
    from: *const T,
    rest: usize,
) -> [S::V; NV] {
    let mut row = [s.splat(T::ZERO); NV];
    for (v, vector) in row.iter_mut().enumerate() {
        // SAFETY: whole vectors but the last, whose length is `rest`.
        *vector = unsafe {
            let from = from.add(v * S::LANES);
            if v + 1 < NV || rest == S::LANES { s.load(from) } else { s.load_first(from, rest) }
        };
    }
    row
}

/// Stores the tile, the last vector's first `rest` elements only.
///
/// # Safety
/// - `ROWS` rows of `(NV - 1) * LANES + rest` elements must be writable.
#[inline(always)]
unsafe fn store<T: Float, S: Simd<T>, const ROWS: usize, const NV: usize>(
    s: S,
    acc: &Accumulators<S::V, NV, ROWS>,
    to: *mut T,
    stride: usize,
    rest: usize,
) {
    for (i, sums) in acc.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            // SAFETY: row i, whole vectors but the last, whose length is `rest`.
            unsafe {
                let to = to.add(i * stride + v * S::LANES);
                if v + 1 < NV || rest == S::LANES {
                    s.store(to, sum);
                } else {
                    s.store_first(to, sum, rest);
                }
            }
        }
    }
}
