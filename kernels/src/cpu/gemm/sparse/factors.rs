//! Lists of what of A is not 0.

use std::ops::Range;
use std::ptr::without_provenance;

use super::{AT_ONCE, Shape};
use crate::cpu::gemm::Dispatch;
use crate::cpu::gemm::blocking::KC;
use crate::cpu::gemm::microkernel::{fetch, opaque};
use crate::cpu::gemm::panels::{Packs, Strided};
use crate::cpu::gemm::sliver::LINE;
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::{MOST_LANES, Simd};
use crate::element::Float;

/// What of A is not 0: for each part of k and row the factors and which rows of B they belong to.
pub(super) struct Factors<'a, T> {
    pub(super) shape: Shape,
    values: &'a [T],
    /// Where B's row starts, in elements: the bits of an integer.
    places: &'a [T],
    /// How many a row has, and rows in their order: integers, too.
    counts: &'a [T],
    order: &'a [T],
}

impl<'a, T: Float> Factors<'a, T> {
    /// Those of A, whose rows are copied to `rows`, one after the other.
    pub(super) fn new(
        d: Dispatch,
        shape: &Shape,
        a: Strided<T>,
        rows: &mut [T],
        room: &'a mut [T],
    ) -> Self {
        let Shape { m, k, parts, .. } = *shape;
        let (values, room) = room.split_at_mut(m * parts * shape.room);
        let (places, room) = room.split_at_mut(m * parts * shape.room);
        let (counts, order) = room[..2 * m * parts].split_at_mut(m * parts);
        let a = Strided { start: a.start, k_stride: a.column_stride, column_stride: a.k_stride };
        {
            let copies = Shared::new(rows);
            let (values, places) = (Shared::new(&mut *values), Shared::new(&mut *places));
            let counts = Shared::new(&mut *counts);
            parallel::run(m.div_ceil(LISTED), (m * k) as u64 / 2, &|piece| {
                let rows = piece * LISTED..m.min((piece + 1) * LISTED);
                // SAFETY: rows of A and their places, which are this piece's; the lists' ends say where the others' are.
                unsafe {
                    let copy = copies.part(rows.start * k, rows.len() * k);
                    a.pack_on(d, rows.clone(), 0..k, copy.as_mut_ptr(), k);
                    let (values, places) = (values.as_ptr(), places.as_ptr());
                    let counts = counts.as_ptr();
                    d.call::<T, _>(NotZero { shape, rows, copy, values, places, counts });
                }
            });
        }
        for part in 0..parts {
            for share in (0..shape.shares).map(|share| shape.share(share)) {
                let mut starts = [0; KC + 2];
                let counts = &counts[part * m..][..m];
                counts[share.clone()].iter().for_each(|count| starts[integer_in(count) + 1] += 1);
                for count in 0..KC {
                    starts[count + 1] += starts[count];
                }
                let order = &mut order[part * m..][share.clone()];
                for row in share {
                    let start: &mut usize = &mut starts[integer_in(&counts[row])];
                    order[*start] = integer(row);
                    *start += 1;
                }
            }
        }
        Factors { shape: *shape, values, places, counts, order }
    }

    /// A share's rows by the number of their factors, so that the loops of neighbours are equally long: a branch that is foreseen.
    pub(super) fn order(&self, part: usize, share: usize) -> &[T] {
        &self.order[part * self.shape.m..][self.shape.share(share)]
    }

    /// Where a row's factors and their places are, and how many; behind them are zeros up to a multiple of [`AT_ONCE`].
    #[inline(always)]
    pub(super) fn of_row(&self, part: usize, row: usize) -> (*const T, *const T, usize) {
        let (list, room) = (part * self.shape.m + row, self.shape.room);
        let values = self.values[list * room..][..room].as_ptr();
        let places = self.places[list * room..][..room].as_ptr();
        (values, places, integer_in(&self.counts[list]))
    }

    /// Asks for the start of a row's factors and places: rows are not taken in the order they lie in.
    #[inline(always)]
    pub(super) fn fetch_row(&self, part: usize, row: usize) {
        let at = (part * self.shape.m + row) * self.shape.room;
        for list in [self.values, self.places].map(|lists| lists.as_ptr().wrapping_add(at)) {
            fetch(list);
            fetch(list.wrapping_add(LINE / size_of::<T>()));
        }
    }

    /// How many there are.
    pub(super) fn all(&self) -> usize {
        self.counts.iter().map(integer_in).sum()
    }
}

/// Rows whose lists one piece makes.
const LISTED: usize = 64;

/// Makes the lists of some rows, of which there are a copy and places in all of them. Made where these are nobody else's.
struct NotZero<'a, T> {
    shape: &'a Shape,
    rows: Range<usize>,
    copy: &'a [T],
    values: *mut T,
    places: *mut T,
    counts: *mut T,
}

impl<T: Float> Kernel<T> for NotZero<'_, T> {
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
            for (copy, row) in self.copy.chunks_exact(k).zip(self.rows.clone()) {
                let list = part * m + row;
                let values = self.values.wrapping_add(list * room);
                let places = self.places.wrapping_add(list * room);
                let from = copy[first..end].as_ptr();
                let mut count = 0;
                // SAFETY: steps of the row, and of the table, which has a vector more; behind the factors so far is room for one.
                unsafe {
                    for l in (0..end - first).step_by(S::LANES) {
                        // The lanes beyond the last step are 0.
                        let x = s.load_first(from.add(l), (end - first - l).min(S::LANES));
                        let is = s.mask_not(s.eq(x, zero));
                        s.store_where(places.add(count), s.load(steps.as_ptr().add(l)), is);
                        count += s.store_where(values.add(count), x, is);
                    }
                    for end in count..count.next_multiple_of(AT_ONCE) {
                        *places.add(end) = integer(0);
                        *values.add(end) = T::ZERO;
                    }
                    *self.counts.add(list) = integer(count);
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

/// Two neighbours, by one load if they fit a register. A loop that waits for loads of whole vectors has fewer of them then; where LLVM knows
/// what is loaded it would load each by itself.
///
/// # Safety
/// - They must be two numbers that were written.
#[inline(always)]
pub(super) unsafe fn two_at<T: Float>(from: *const T) -> [T; 2] {
    // SAFETY: by the caller's contract; of a register's halves every pattern is a number.
    unsafe {
        if const { 2 * size_of::<T>() != size_of::<usize>() } {
            return [*from, *from.add(1)];
        }
        let both = without_provenance::<u8>(from.cast::<usize>().read_unaligned());
        let both = opaque(both).addr();
        (&raw const both).cast::<[T; 2]>().read()
    }
}

/// The [`integer`] that a number holds.
#[inline(always)]
pub(super) fn integer_in<T: Float>(x: &T) -> usize {
    let from: *const T = x;
    // SAFETY: a number, of whose bits every pattern is an integer of the same size.
    unsafe {
        match size_of::<T>() {
            4 => *from.cast::<u32>() as usize,
            _ => *from.cast::<u64>() as usize,
        }
    }
}
