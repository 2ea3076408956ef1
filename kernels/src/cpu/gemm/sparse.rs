//! A product whose A has many zeros, as the gradient behind a relu: a row of C is the sum of those rows of B whose factor is not 0.
//!
//! The sums are those of the whole product, bit by bit: `s + 0 * b` is `s` where `b` is finite and `s` can't be -0 ([`zeros`]). Each row of
//! C has other factors, so that B's rows can't be shared by a tile of them: they come from L1 with each multiplication, which takes about as long.

#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;
use std::ops::Range;

use super::Dispatch;
use super::blocking::{KC, PANEL_PAGES, vector_bytes};
use super::driver::{Product, bytes, work_ns};
use super::panels::{Packs, Strided};
use super::sliver::LINE;
use crate::buffer::Buffer;
use crate::cpu::isa::Kernel;
use crate::cpu::parallel;
use crate::cpu::simd::{MOST_LANES, Simd};
use crate::cpu::zeros;
use crate::element::Float;

/// Rows from which on looking at all of B costs little, and steps of k from which on sums are worth storing.
const FEWEST: usize = 32;

/// Bytes of a row of C from which on.
const WIDTH: usize = 1024;

/// Elements of A that are looked at first, and how many of them are to be 0.
const PROBES: usize = 61;
const ZEROS: usize = PROBES / 4;

/// The most multiplications, as a fraction of all, that take less time than all in tiles.
const WORTH: [usize; 2] = [5, 8];

/// The most vectors of a strip. There are as many chains of sums, which hide each other's latency.
const VECTORS: usize = 7;

/// Bytes of a panel of B, which stays in L1.
const PANEL: usize = 28 << 10;

/// Factors that are added without a branch; where a list ends 0 is one.
const AT_ONCE: usize = 2;

/// The operands, if this may be such a product.
pub(super) fn suits<T: Float>(d: Dispatch, p: &Product<'_, T>) -> Option<[Strided<T>; 2]> {
    let whole = p.k == (0..p.k_total) && (FEWEST..=KC).contains(&p.k_total);
    let large = p.m >= FEWEST && p.n.saturating_mul(size_of::<T>()) >= WIDTH;
    if !whole || !large || !p.finish.is_nothing() || vector_bytes::<T>(d) < 32 {
        return None;
    }
    let [a, b] = [p.a.strided()?, p.b.strided()?];
    let lies_well = b.column_stride == 1 && p.output.column(0).1 >= p.n;
    (lies_well && probe(&a, [p.k_total, p.m])).then_some([a, b])
}

/// True if elements from all over A are often 0.
fn probe<T: Float>(a: &Strided<T>, [k, m]: [usize; 2]) -> bool {
    let zeros = (0..PROBES).filter(|i| {
        // SAFETY: an element of A.
        unsafe { *a.at(i * k / PROBES, i * 17 % PROBES * m / PROBES) == T::ZERO }
    });
    zeros.count() >= ZEROS
}

/// Computes it, if that is the faster way and leads to the same bits, and there is room for what is not 0. False: nothing was done.
pub(super) fn multiply<T: Float>(d: Dispatch, p: &Product<'_, T>, [a, b]: [Strided<T>; 2]) -> bool {
    let (m, k) = (p.m, p.k_total);
    let shape = Shape::new(d, p, &b);
    let (Ok(mut room), Ok(mut numbers)) = (
        bytes::<T>(&[m, k + 2 * shape.parts * shape.room]).and_then(Buffer::new),
        bytes::<u32>(&[m, 2 * shape.parts]).and_then(Buffer::new),
    ) else {
        return false;
    };
    let (rows, room) = room.as_mut_slice::<T>().split_at_mut(m * k);
    let turned = Strided { start: a.start, k_stride: a.column_stride, column_stride: a.k_stride };
    // SAFETY: A as it lies, and room for all of it.
    unsafe { turned.pack_on(d, 0..m, 0..k, rows.as_mut_ptr(), k) };
    let factors = Factors::new(d, &shape, rows, room, numbers.as_mut_slice());
    let worth =
        factors.all().saturating_mul(WORTH[1]) <= m.saturating_mul(k).saturating_mul(WORTH[0]);
    if !worth || !skips_zeros(d, rows, b, [k, p.n]) {
        return false;
    }
    let strips = p.n.div_ceil(shape.width);
    parallel::run(strips * shape.shares, work_ns(p.m, p.n, k) / 2, &|piece| {
        let (strip, share) = (piece / shape.shares, piece % shape.shares);
        Strip { d, p, b, factors: &factors, from: strip * shape.width }.compute(share);
    });
    true
}

/// [`zeros::skips_zeros`] for rows of B.
fn skips_zeros<T: Float>(d: Dispatch, a: &[T], b: Strided<T>, [k, n]: [usize; 2]) -> bool {
    let least = |rows: usize, len: usize| {
        (0..rows).try_fold(T::ONE, |least, l| {
            // SAFETY: a row of B, or all of them where one follows the other.
            let row = unsafe { std::slice::from_raw_parts(b.at(l, 0), len) };
            zeros::least(d, row).map(|x| if x < least { x } else { least })
        })
    };
    let b = if b.k_stride == n as isize { least(1, k * n) } else { least(k, n) };
    matches!([zeros::least(d, a), b], [Some(a), Some(b)] if zeros::may_be_skipped(a, b))
}

/// How the product is cut.
#[derive(Debug, Clone, Copy)]
struct Shape {
    m: usize,
    k: usize,
    /// Vectors and columns of a strip, and elements from row to row of B.
    vectors: usize,
    width: usize,
    stride: usize,
    /// B is read where it lies.
    in_place: bool,
    /// Parts of k, their steps, and room for a row's factors of one.
    parts: usize,
    depth: usize,
    room: usize,
    /// Shares of the rows of a strip. Each packs its panel for itself.
    shares: usize,
}

impl Shape {
    fn new<T: Float>(d: Dispatch, p: &Product<'_, T>, b: &Strided<T>) -> Self {
        let (m, k) = (p.m, p.k_total);
        let lanes = vector_bytes::<T>(d) / size_of::<T>();
        // Six or seven, since there are sixteen or more.
        let vectors = p.n.div_ceil(lanes);
        let vectors = vectors.div_ceil(vectors.div_ceil(VECTORS)).max(VECTORS - 1);
        let width = vectors * lanes;
        let parts = k.div_ceil(PANEL / (width * size_of::<T>()));
        let depth = k.div_ceil(parts);
        let in_place = p.n.is_multiple_of(width) && lies_in_l1(b, depth);
        let stride = if in_place { b.k_stride.unsigned_abs() } else { width };
        let room = depth + lanes.max(AT_ONCE);
        let shares = if d.team { 2 } else { 1 };
        Shape { m, k, vectors, width, stride, in_place, parts, depth, room, shares }
    }

    /// The rows of a share.
    fn share(&self, index: usize) -> Range<usize> {
        index * self.m / self.shares..(index + 1) * self.m / self.shares
    }
}

/// True if so many rows of B can be read again and again where they lie: they start on cache lines, which belong to as many sets of L1 as
/// there are, and their pages stay within the first level of address translation.
fn lies_in_l1<T: Float>(b: &Strided<T>, rows: usize) -> bool {
    let stride = b.k_stride.saturating_mul(size_of::<T>() as isize);
    b.start.addr().is_multiple_of(LINE)
        && stride.rem_euclid(2 * LINE as isize) == LINE as isize
        && (0..=(PANEL_PAGES / rows) as isize).contains(&stride)
}

/// What of A is not 0: for each part of k and row the factors and which rows of B they belong to.
struct Factors<'a, T> {
    shape: Shape,
    values: &'a [T],
    /// Where B's row starts, in elements: the bits of an integer.
    places: &'a [T],
    /// How many a row has, and each share's rows by that, so that the loops of neighbours are equally long: a branch that is foreseen.
    counts: &'a [u32],
    order: &'a [u32],
}

impl<'a, T: Float> Factors<'a, T> {
    /// Those of `m` rows of A in `k` steps.
    fn new(
        d: Dispatch,
        shape: &Shape,
        rows: &[T],
        room: &'a mut [T],
        numbers: &'a mut [u32],
    ) -> Self {
        let Shape { m, parts, .. } = *shape;
        let (values, places) = room.split_at_mut(m * parts * shape.room);
        let (counts, order) = numbers.split_at_mut(m * parts);
        d.call::<T, _>(NotZero { shape, rows, values, places, counts });
        for part in 0..parts {
            for share in (0..shape.shares).map(|share| shape.share(share)) {
                let mut starts = [0; KC + 2];
                let counts = &counts[part * m..][..m];
                counts[share.clone()].iter().for_each(|&count| starts[count as usize + 1] += 1);
                for count in 0..KC {
                    starts[count + 1] += starts[count];
                }
                let order = &mut order[part * m..][share.clone()];
                for row in share {
                    let start: &mut usize = &mut starts[counts[row] as usize];
                    order[*start] = row as u32;
                    *start += 1;
                }
            }
        }
        Factors { shape: *shape, values, places, counts, order }
    }

    /// How many there are.
    fn all(&self) -> usize {
        self.counts.iter().map(|&count| count as usize).sum()
    }
}

/// Makes the lists of [`Factors`].
struct NotZero<'a, 'b, T> {
    shape: &'b Shape,
    rows: &'b [T],
    values: &'a mut [T],
    places: &'a mut [T],
    counts: &'a mut [u32],
}

impl<T: Float> Kernel<T> for NotZero<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Shape { m, k, parts, depth, room, stride, .. } = *self.shape;
        let zero = s.splat(T::ZERO);
        let mut steps = [T::ZERO; KC + MOST_LANES];
        for (l, step) in steps.iter_mut().enumerate().take(depth) {
            *step = integer(l * stride);
        }
        for part in 0..parts {
            let (first, end) = (part * depth, k.min((part + 1) * depth));
            for row in 0..m {
                let at = (part * m + row) * room;
                let places = self.places[at..][..room].as_mut_ptr();
                let values = self.values[at..][..room].as_mut_ptr();
                let from = self.rows[row * k + first..][..end - first].as_ptr();
                let mut count = 0;
                for l in (0..end - first).step_by(S::LANES) {
                    let len = (end - first - l).min(S::LANES);
                    // SAFETY: steps of the row, and of the table, which has a vector more; behind the factors so far is room for one.
                    unsafe {
                        // The lanes beyond the last step are 0.
                        let x = s.load_first(from.add(l), len);
                        let is = s.mask_not(s.eq(x, zero));
                        s.store_where(places.add(count), s.load(steps.as_ptr().add(l)), is);
                        count += s.store_where(values.add(count), x, is);
                    }
                }
                self.counts[part * m + row] = count as u32;
                // SAFETY: there is room for a vector more.
                for end in count..count.next_multiple_of(AT_ONCE) {
                    unsafe {
                        *places.add(end) = integer(0);
                        *values.add(end) = T::ZERO;
                    }
                }
            }
        }
    }
}

/// An integer in the bits of a number: what moves numbers moves both.
#[inline(always)]
fn integer<T: Float>(x: usize) -> T {
    let mut bits = T::ZERO;
    let to: *mut T = &raw mut bits;
    // SAFETY: an integer of the same size, of which every pattern is a number.
    unsafe {
        match size_of::<T>() {
            4 => *to.cast() = x as u32,
            _ => *to.cast() = x as u64,
        }
    }
    bits
}

/// The [`integer`] at an address.
///
/// # Safety
/// - There must be one.
#[inline(always)]
unsafe fn integer_at<T: Float>(from: *const T) -> usize {
    // SAFETY: by the caller's contract.
    unsafe {
        match size_of::<T>() {
            4 => *from.cast::<u32>() as usize,
            _ => *from.cast::<u64>() as usize,
        }
    }
}

/// A panel of B.
#[repr(align(64))]
struct Panel([MaybeUninit<u8>; PANEL]);

/// A strip of columns, from `from` on.
struct Strip<'a, T: Float> {
    d: Dispatch,
    p: &'a Product<'a, T>,
    b: Strided<T>,
    factors: &'a Factors<'a, T>,
    from: usize,
}

impl<T: Float> Strip<'_, T> {
    /// A share of its rows, which are nobody else's in any part of k.
    fn compute(&self, share: usize) {
        let Shape { m, k, width, in_place, parts, depth, .. } = self.factors.shape;
        let mut panel = Panel([MaybeUninit::uninit(); PANEL]);
        let panel: *mut T = panel.0.as_mut_ptr().cast();
        let columns = width.min(self.p.n - self.from);
        let (to, stride) = (self.p.output.at(0, self.from), self.p.output.row_stride);
        for part in 0..parts {
            let steps = part * depth..k.min((part + 1) * depth);
            let b = match in_place {
                true => self.b.at(steps.start, self.from),
                false => panel.cast_const(),
            };
            // SAFETY: steps and columns of B; the panel has room for so many steps of a strip.
            unsafe {
                if columns < width {
                    panel.write_bytes(0, steps.len() * width);
                }
                if !in_place {
                    let columns = self.from..self.from + columns;
                    self.b.pack_on(self.d, steps, columns, panel, width);
                }
            }
            let rows = &self.factors.order[part * m..][self.factors.shape.share(share)];
            let job = RowsOfC { factors: self.factors, part, rows, b, columns, to, stride };
            self.d.call::<T, _>(job);
        }
    }
}

/// Some rows of C in one strip and part of k.
struct RowsOfC<'a, T> {
    factors: &'a Factors<'a, T>,
    part: usize,
    rows: &'a [u32],
    b: *const T,
    columns: usize,
    to: *mut T,
    stride: usize,
}

impl<T: Float> Kernel<T> for RowsOfC<'_, T> {
    type Output = ();
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        // SAFETY: the strip's columns and rows are C's; B has the strip's vectors for each step of the part.
        unsafe {
            match self.factors.shape.vectors {
                VECTORS => self.compute::<S, VECTORS>(s),
                _ => self.compute::<S, { VECTORS - 1 }>(s),
            }
        }
    }
}

impl<T: Float> RowsOfC<'_, T> {
    /// # Safety
    /// - `N` must be the vectors of the strip, `to` its first row, which must lie in C like the others, and `b` must hold all steps.
    #[inline(always)]
    unsafe fn compute<S: Simd<T>, const N: usize>(&self, s: S) {
        let Shape { m, room, .. } = self.factors.shape;
        let whole = self.columns == N * S::LANES;
        for &row in self.rows {
            let at = self.part * m + row as usize;
            let count = self.factors.counts[at] as usize;
            let values = self.factors.values[at * room..][..room].as_ptr();
            let places = self.factors.places[at * room..][..room].as_ptr();
            let to = self.to.wrapping_add(row as usize * self.stride);
            let mut sums = [s.splat(T::ZERO); N];
            // SAFETY: by the caller's contract; there is room for a multiple of `AT_ONCE` factors.
            unsafe {
                if self.part > 0 {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = self.load(s, to, v, whole);
                    }
                }
                for first in (0..count).step_by(AT_ONCE) {
                    let (values, places) = (values.add(first), places.add(first));
                    for i in 0..AT_ONCE {
                        let x = s.splat(*values.add(i));
                        let from = self.b.add(integer_at(places.add(i)));
                        for (v, sum) in sums.iter_mut().enumerate() {
                            *sum = s.fma(x, s.load(from.add(v * S::LANES)), *sum);
                        }
                    }
                }
                for (v, sum) in sums.into_iter().enumerate() {
                    self.store(s, to, v, sum, whole);
                }
            }
        }
    }

    /// Vector `v` of a row.
    ///
    /// # Safety
    /// - It must be one of C.
    #[inline(always)]
    unsafe fn load<S: Simd<T>>(&self, s: S, to: *const T, v: usize, whole: bool) -> S::V {
        let at = v * S::LANES;
        // SAFETY: the columns that there are.
        unsafe {
            match whole {
                true => s.load(to.add(at)),
                false if at < self.columns => {
                    s.load_first(to.add(at), (self.columns - at).min(S::LANES))
                }
                false => s.splat(T::ZERO),
            }
        }
    }

    /// Stores vector `v` of a row.
    ///
    /// # Safety
    /// - As [`load`](Self::load).
    #[inline(always)]
    unsafe fn store<S: Simd<T>>(&self, s: S, to: *mut T, v: usize, x: S::V, whole: bool) {
        let at = v * S::LANES;
        // SAFETY: the columns that there are.
        unsafe {
            if whole {
                s.store(to.add(at), x);
            } else if at < self.columns {
                s.store_first(to.add(at), x, (self.columns - at).min(S::LANES));
            }
        }
    }
}
