//! A product whose A has many zeros, as the gradient behind a relu: a row of C is the sum of those rows of B whose factor is not 0.
//!
//! The sums are those of the whole product, bit by bit: `s + 0 * b` is `s` where `b` is finite and `s` can't be -0 ([`zeros`]). Each row of
//! C has other factors, so that B's rows can't be shared by a tile of them: they come from L1 with each multiplication, which takes about as long.

mod factors;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;
use std::ops::Range;

use super::Dispatch;
use super::blocking::{KC, PANEL_PAGES, vector_bytes};
use super::driver::{Product, work_ns};
use super::panels::{Packs, Strided};
use super::sliver::LINE;
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::cpu::zeros;
use crate::element::Float;
use factors::{Factors, integer_in, two_at};

/// Rows from which on looking at all of B costs little, and steps of k from which on sums are worth storing.
const FEWEST: usize = 32;

/// Bytes of a row of C from which on.
const WIDTH: usize = 1024;

/// Elements of A that are looked at first, and how many of them are to be 0. If none of a few is, the others are not looked at.
const PROBES: usize = 61;
const ZEROS: usize = 22;
const FEW: usize = 12;

/// The most parts of k: sums are stored and loaded in between.
const PARTS: usize = 2;

/// Bytes of the lists, and of a strip's sums if there are parts: both are to stay in L2.
const LISTS: usize = 768 << 10;
const SUMS: usize = 512 << 10;

/// Multiply-adds that lists are worth making for; a team computes all of them sooner.
const LEAST: usize = 1 << 21;
const LEAST_FOR_A_TEAM: usize = 1 << 22;

/// The most multiplications, as a fraction of all, that take less time than all in tiles.
const WORTH: [usize; 2] = [5, 8];

/// The most vectors of a strip. There are as many chains of sums, which hide each other's latency.
const VECTORS: usize = 7;

/// Bytes of a panel of B, which stays in L1.
const PANEL: usize = 28 << 10;

/// Factors that are added without a branch; where a list ends 0 is one.
const AT_ONCE: usize = 2;

/// A product that may be such a one.
pub(super) struct Candidate<T> {
    a: Strided<T>,
    b: Strided<T>,
    shape: Shape,
}

/// The product as a candidate, by how it lies and by its sizes alone: so they say what memory is taken, not its numbers.
pub(super) fn suits<T: Float>(d: Dispatch, p: &Product<'_, T>) -> Option<Candidate<T>> {
    let whole = p.k == (0..p.k_total) && (FEWEST..=KC).contains(&p.k_total);
    let large = p.m >= FEWEST && p.n.saturating_mul(size_of::<T>()) >= WIDTH;
    let least = if d.team { LEAST_FOR_A_TEAM } else { LEAST };
    let few = p.m.saturating_mul(p.n).saturating_mul(p.k_total) < least;
    if !whole || !large || few || !p.finish.is_nothing() || vector_bytes::<T>(d) < 32 {
        return None;
    }
    let [a, b] = [p.a.strided()?, p.b.strided()?];
    let shape = Shape::new(d, p, &b);
    let sums = p.m.saturating_mul(shape.width * size_of::<T>());
    let lists = p.m.saturating_mul(2 * shape.parts * shape.room * size_of::<T>());
    let fits = shape.parts <= PARTS && lists <= LISTS && (shape.parts == 1 || sums <= SUMS);
    let lies_well = b.column_stride == 1 && p.output.column(0).1 >= p.n;
    (fits && lies_well).then_some(Candidate { a, b, shape })
}

impl<T: Float> Candidate<T> {
    /// Elements of the room that it takes: for a copy of A, the lists, and their lengths and order.
    pub(super) fn room(&self) -> usize {
        self.shape.m * (self.shape.k + 2 * self.shape.parts * (self.shape.room + 1))
    }

    /// True if elements from all over A are often 0.
    fn probe(&self) -> bool {
        let Shape { m, k, .. } = self.shape;
        let is_zero = |i: &usize| {
            // SAFETY: an element of A.
            unsafe { *self.a.at(i * k / PROBES, i * 17 % PROBES * m / PROBES) == T::ZERO }
        };
        (0..FEW).any(|i| is_zero(&i)) && (0..PROBES).filter(is_zero).count() >= ZEROS
    }

    /// Computes it, if that is the faster way and leads to the same bits. False: nothing was done.
    pub(super) fn multiply(self, d: Dispatch, p: &Product<'_, T>, room: &mut [T]) -> bool {
        let Candidate { a, b, shape } = &self;
        let Shape { m, k, .. } = *shape;
        if room.len() < self.room() || !self.probe() {
            return false;
        }
        let (rows, room) = room.split_at_mut(m * k);
        let factors = Factors::new(d, shape, *a, &mut *rows, room);
        let worth = factors.all().saturating_mul(WORTH[1]) <= (m * k).saturating_mul(WORTH[0]);
        if !worth || !skips_zeros(d, rows, *b, [k, p.n]) {
            return false;
        }
        let strips = p.n.div_ceil(shape.width);
        parallel::run(strips * shape.shares, work_ns(m, p.n, k) / 2, &|piece| {
            let (strip, share) = (piece / shape.shares, piece % shape.shares);
            Strip { d, p, b: *b, factors: &factors, from: strip * shape.width }.compute(share);
        });
        true
    }
}

/// [`zeros::skips_zeros`] for rows of B.
fn skips_zeros<T: Float>(d: Dispatch, a: &[T], b: Strided<T>, [k, n]: [usize; 2]) -> bool {
    let mut least = [T::ZERO; CHECKS];
    let each = k.div_ceil(CHECKS);
    let pieces = k.div_ceil(each);
    let to = Shared::new(&mut least);
    parallel::run(pieces, (k * n) as u64 / 16, &|piece| {
        let rows = piece * each..k.min((piece + 1) * each);
        // In one go if nothing lies between them.
        let at_once = if b.k_stride == n as isize { rows.len() } else { 1 };
        let least = rows.clone().step_by(at_once).try_fold(T::ONE, |least, l| {
            // SAFETY: rows of B.
            let row = unsafe { std::slice::from_raw_parts(b.at(l, 0), at_once * n) };
            zeros::least(d, row).map(|x| if x < least { x } else { least })
        });
        // SAFETY: each piece has a place of its own; 0 is no number's magnitude but 0's.
        unsafe { *to.as_ptr().add(piece) = least.unwrap_or(T::ZERO) };
    });
    let b = least[..pieces].iter().fold(T::ONE, |least, &x| if x < least { x } else { least });
    zeros::least(d, a).is_some_and(|a| b > T::ZERO && zeros::may_be_skipped(a, b))
}

/// Pieces that B's rows are checked in.
const CHECKS: usize = 16;

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
        let room = depth + lanes;
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
        let Shape { k, width, in_place, parts, depth, .. } = self.factors.shape;
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
            let rows = self.factors.order(part, share);
            let job = RowsOfC { factors: self.factors, part, rows, b, columns, to, stride };
            self.d.call::<T, _>(job);
        }
    }
}

/// Some rows of C in one strip and part of k.
struct RowsOfC<'a, T> {
    factors: &'a Factors<'a, T>,
    part: usize,
    rows: &'a [T],
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
    /// Computes them.
    ///
    /// # Safety
    /// - `N` must be the vectors of the strip, `to` its first row, which must lie in C like the others, and `b` must hold all steps.
    #[inline(always)]
    unsafe fn compute<S: Simd<T>, const N: usize>(&self, s: S) {
        let uncut = self.columns == N * S::LANES;
        for (i, row) in self.rows.iter().map(integer_in).enumerate() {
            if let Some(next) = self.rows.get(i + 1) {
                self.factors.fetch_row(self.part, integer_in(next));
            }
            let (values, places, count) = self.factors.of_row(self.part, row);
            let to = self.to.wrapping_add(row * self.stride);
            let mut sums = [s.splat(T::ZERO); N];
            // SAFETY: by the caller's contract; a list has a multiple of `AT_ONCE` factors, zeros behind it included.
            unsafe {
                if self.part > 0 {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = self.load(s, to, v, uncut);
                    }
                }
                for first in (0..count).step_by(AT_ONCE) {
                    let factors: [T; AT_ONCE] = two_at(values.add(first));
                    let places = two_at(places.add(first));
                    for (factor, place) in factors.iter().zip(&places) {
                        let x = s.splat(*factor);
                        let from = self.b.add(integer_in(place));
                        for (v, sum) in sums.iter_mut().enumerate() {
                            *sum = s.fma(x, s.load(from.add(v * S::LANES)), *sum);
                        }
                    }
                }
                for (v, sum) in sums.into_iter().enumerate() {
                    self.store(s, to, v, sum, uncut);
                }
            }
        }
    }

    /// Vector `v` of a row.
    ///
    /// # Safety
    /// - It must be one of C.
    #[inline(always)]
    unsafe fn load<S: Simd<T>>(&self, s: S, to: *const T, v: usize, uncut: bool) -> S::V {
        let at = v * S::LANES;
        // SAFETY: the columns that there are.
        unsafe {
            match uncut {
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
    unsafe fn store<S: Simd<T>>(&self, s: S, to: *mut T, v: usize, x: S::V, uncut: bool) {
        let at = v * S::LANES;
        // SAFETY: the columns that there are.
        unsafe {
            if uncut {
                s.store(to.add(at), x);
            } else if at < self.columns {
                s.store_first(to.add(at), x, (self.columns - at).min(S::LANES));
            }
        }
    }
}
