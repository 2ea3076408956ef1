//! The order R3 of one contiguous run: 64 interleaved lanes, the fixed fold, and the pair tree over chunks.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::cpu::simd::Simd;
use crate::element::Float;

/// Elements in a chunk of the innermost group.
pub(crate) const CHUNK: usize = 16_384;
/// Interleaved lanes of a chunk, on every ISA.
pub(crate) const LANES: usize = 64;

/// How far behind an element of a run of `n` the next run's is that should be asked for meanwhile; 0 if that would drive this run, which
/// is read again, out of the first level of the cache.
#[inline(always)]
pub(crate) fn next_row<T>(n: usize) -> usize {
    if n * size_of::<T>() <= 16 << 10 { n } else { 0 }
}

/// How two partial results become one; `left` precedes `right` in logical order.
pub(crate) trait Fold<T: Float>: Copy + Send + Sync + 'static {
    /// The result of nothing.
    const START: T;
    /// True if the result is an element, of which equal zeros the first is to be kept.
    const PICKS: bool;
    /// Lane by lane.
    fn vectors<S: Simd<T>>(simd: S, left: S::V, right: S::V) -> S::V;
    /// One pair.
    fn values(left: T, right: T) -> T;
    /// All lanes of one vector, by the fixed fold.
    fn horizontal<S: Simd<T>>(simd: S, a: S::V) -> T;
}

/// Adds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum;

impl<T: Float> Fold<T> for Sum {
    const START: T = T::ZERO;
    const PICKS: bool = false;
    #[inline(always)]
    fn vectors<S: Simd<T>>(simd: S, left: S::V, right: S::V) -> S::V {
        simd.add(left, right)
    }
    #[inline(always)]
    fn values(left: T, right: T) -> T {
        left + right
    }
    #[inline(always)]
    fn horizontal<S: Simd<T>>(simd: S, a: S::V) -> T {
        simd.fold_sum(a)
    }
}

/// Keeps the larger, NaN before all, the left of equals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Max;

/// Keeps the smaller, NaN before all, the left of equals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Min;

macro_rules! picks {
    ($name:ident, $start:ident, $better:tt, $instruction:ident, $negated:literal) => {
        impl<T: Float> Fold<T> for $name {
            const START: T = T::$start;
            const PICKS: bool = true;
            #[inline(always)]
            fn vectors<S: Simd<T>>(simd: S, left: S::V, right: S::V) -> S::V {
                // The instruction keeps its second operand on NaN and on equals: a NaN on the left stays by itself.
                let picked = simd.$instruction(right, left);
                simd.select(simd.is_nan(right), right, picked)
            }
            #[inline(always)]
            fn values(left: T, right: T) -> T {
                if right.is_nan() || right $better left { right } else { left }
            }
            #[inline(always)]
            fn horizontal<S: Simd<T>>(simd: S, a: S::V) -> T {
                if simd.mask_bits(simd.is_nan(a)) != 0 {
                    return T::NAN;
                }
                if $negated { -simd.fold_max(simd.neg(a)) } else { simd.fold_max(a) }
            }
        }
    };
}
picks!(Max, NEG_INFINITY, >, max_second, false);
picks!(Min, INFINITY, <, min_second, true);

/// The first `n` elements, the other lanes [`Fold::START`].
///
/// # Safety
/// - `from .. from + n` must be readable and `n <= S::LANES`.
#[inline(always)]
pub(crate) unsafe fn load_part<T: Float, S: Simd<T>, F: Fold<T>>(
    simd: S,
    from: *const T,
    n: usize,
) -> S::V {
    // SAFETY: the caller's guarantee.
    let loaded = unsafe { simd.load_first(from, n) };
    if F::PICKS { simd.select(simd.first(n), loaded, simd.splat(F::START)) } else { loaded }
}

/// The 64 lanes; only the first `64 / S::LANES` vectors are used (an array's length can't say so).
pub(crate) type Lanes<V> = [V; LANES];

/// The vectors that hold the lanes. How many one-lane vectors is kept from the compiler, which would unroll them all.
#[inline(always)]
pub(crate) fn vectors<T, S: Simd<T>>() -> usize {
    if S::LANES == 1 { std::hint::black_box(LANES) } else { LANES / S::LANES }
}

/// Lanes of nothing.
#[inline(always)]
pub(crate) fn start<T: Float, S: Simd<T>, F: Fold<T>>(simd: S) -> Lanes<S::V> {
    [simd.splat(F::START); LANES]
}

/// Takes `n` more elements into the lanes; `n` must be a multiple of 64 unless the chunk ends here.
///
/// # Safety
/// - `from .. from + n` must be readable.
#[inline(always)]
pub(crate) unsafe fn accumulate<T: Float, S: Simd<T>, F: Fold<T>>(
    simd: S,
    lanes: &mut Lanes<S::V>,
    from: *const T,
    n: usize,
) {
    let mut k = 0;
    while k + LANES <= n {
        for (i, lane) in lanes.iter_mut().enumerate().take(vectors::<T, S>()) {
            // SAFETY: `k + 64 <= n`.
            *lane = F::vectors(simd, *lane, unsafe { simd.load(from.add(k + i * S::LANES)) });
        }
        k += LANES;
    }
    for lane in lanes.iter_mut().take(vectors::<T, S>()) {
        if k >= n {
            break;
        }
        // SAFETY: at most `n - k` elements are read from `k` on.
        let x = unsafe { load_part::<T, S, F>(simd, from.add(k), (n - k).min(S::LANES)) };
        *lane = F::vectors(simd, *lane, x);
        k += S::LANES;
    }
}

/// The fixed fold: `lane[i] += lane[i + w]`, `w = 32, 16, 8, 4, 2, 1`.
#[inline(always)]
pub(crate) fn fold<T: Float, S: Simd<T>, F: Fold<T>>(simd: S, lanes: &mut Lanes<S::V>) -> T {
    let mut width = vectors::<T, S>() / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = F::vectors(simd, lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    F::horizontal(simd, lanes[0])
}

/// One chunk of a contiguous row.
///
/// # Safety
/// - `from .. from + n` must be readable.
#[inline(always)]
pub(crate) unsafe fn chunk<T: Float, S: Simd<T>, F: Fold<T>>(
    simd: S,
    from: *const T,
    n: usize,
) -> T {
    let mut lanes = start::<T, S, F>(simd);
    // SAFETY: the caller's guarantee.
    unsafe {
        accumulate::<T, S, F>(simd, &mut lanes, from, n);
        settled::<T, F>(fold::<T, S, F>(simd, &mut lanes), std::slice::from_raw_parts(from, n))
    }
}

/// A row of at most a vector: the others of the 64 lanes are those of nothing, and fold away.
///
/// # Safety
/// - `row.len() <= S::LANES`.
#[inline(always)]
pub(crate) unsafe fn short<T: Float, S: Simd<T>, F: Fold<T>>(simd: S, row: &[T]) -> T {
    // SAFETY: the row, by the caller's contract.
    let x = unsafe { load_part::<T, S, F>(simd, row.as_ptr(), row.len()) };
    settled::<T, F>(F::horizontal(simd, x), row)
}

/// What was picked from a row. Lanes meet out of order: of zeros with different signs the first must be looked up.
#[inline(always)]
fn settled<T: Float, F: Fold<T>>(picked: T, row: &[T]) -> T {
    match F::PICKS && picked == T::ZERO {
        true => first_zero(row).unwrap_or(picked),
        false => picked,
    }
}

/// The first zero, sign and all.
#[inline(never)]
pub(crate) fn first_zero<T: Float>(row: &[T]) -> Option<T> {
    row.iter().copied().find(|x| *x == T::ZERO)
}

/// A whole contiguous row: chunks of 16,384, their results through the pair tree.
///
/// # Safety
/// - `from .. from + n` must be readable.
#[inline(always)]
pub(crate) unsafe fn row<T: Float, S: Simd<T>, F: Fold<T>>(simd: S, from: *const T, n: usize) -> T {
    let mut tree = PairTree::new();
    let mut k = 0;
    loop {
        let len = CHUNK.min(n - k);
        // SAFETY: `k + len <= n`.
        let value = unsafe { chunk::<T, S, F>(simd, from.add(k), len) };
        if len == n {
            return value;
        }
        tree.push(value, Values::<F>::JOIN);
        k += len;
        if k == n {
            return tree.finish(Values::<F>::JOIN).unwrap_or(F::START);
        }
    }
}

/// How a [`PairTree`] makes one of two.
pub(crate) trait Join<V>: Copy {
    /// `left` precedes `right`.
    fn join(self, left: V, right: V) -> V;
}

/// [`Fold::values`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<F>(PhantomData<F>);

impl<F> Values<F> {
    /// The only value.
    pub(crate) const JOIN: Self = Values(PhantomData);
}

impl<T: Float, F: Fold<T>> Join<T> for Values<F> {
    #[inline(always)]
    fn join(self, left: T, right: T) -> T {
        F::values(left, right)
    }
}

/// The sum of vectors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sums<T, S>(pub(crate) S, pub(crate) PhantomData<T>);

impl<T: Float, S: Simd<T>> Join<S::V> for Sums<T, S> {
    #[inline(always)]
    fn join(self, left: S::V, right: S::V) -> S::V {
        self.0.add(left, right)
    }
}

/// The pair tree, fed in ascending order: the same pairs as level by level with the odd last one carried over.
pub(crate) struct PairTree<V> {
    /// Complete subtrees, the largest first; 2^48 leaves are more than memory holds. The first `depth` are there.
    stack: [MaybeUninit<V>; 48],
    depth: usize,
    count: u64,
}

impl<V: Copy> PairTree<V> {
    /// A tree without leaves.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        PairTree { stack: [const { MaybeUninit::uninit() }; 48], depth: 0, count: 0 }
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<V> {
        self.depth = self.depth.checked_sub(1)?;
        // SAFETY: it was below `depth`, to which `push` wrote.
        Some(unsafe { self.stack[self.depth].assume_init() })
    }

    /// The next leaf.
    #[inline(always)]
    pub(crate) fn push(&mut self, leaf: V, join: impl Join<V>) {
        self.count += 1;
        let mut value = leaf;
        for _ in 0..self.count.trailing_zeros() {
            if let Some(left) = self.pop() {
                value = join.join(left, value);
            }
        }
        self.stack[self.depth].write(value);
        self.depth += 1;
    }

    /// The root: what is left is folded from the last on. `None` without leaves.
    #[inline(always)]
    pub(crate) fn finish(mut self, join: impl Join<V>) -> Option<V> {
        let mut value = self.pop()?;
        while let Some(left) = self.pop() {
            value = join.join(left, value);
        }
        Some(value)
    }
}
