//! The products of a convolution by tiles of 6 rows, of 7 pairs or 4 threes: the rows' elements are read where they lie in padded
//! images, one at a time, by a table of offsets along k; columns are packed vectors.
//!
//! Nothing of the images is packed or transposed: forward and in the input gradient the rows are places, in the weight gradient
//! taps, and the columns are the channels of the output, of the input, of the output.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::cpu::gemm::microkernel::{fetch, opaque};
use crate::cpu::gemm::{Dispatch, Packs, Strided, vector_bytes};
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Error, Result};
use crate::strided::checked_len;

/// Rows of a tile.
pub(super) const ROWS: usize = 6;

/// Pairs of neighbours in a tile of 32 registers: it reads the panel, which is larger than the first level of the cache, less often.
pub(super) const PAIRS: usize = 7;

/// Threes of neighbours in such a tile: the taps of rows of a kernel of 3 columns.
const THREES: usize = 4;

/// Steps of k after which a tile asks for more of what is needed later.
const ASKING: usize = 16;

/// Lines of results that it asks for at a time.
const SOME: usize = 4;

/// Vectors of columns that a panel has at most: what 16 registers have room for, and enough chains to hide the latency of an FMA.
pub(super) const VECTORS: usize = 2;

/// Bytes of a panel's row, at most.
pub(super) const PANEL_BYTES: usize = VECTORS * 64;

/// Asks for the cache lines of `len` elements, so that they arrive while sums are made.
#[inline(always)]
pub(super) fn ask_for<T>(start: *const T, len: usize) {
    for i in (0..len).step_by(64 / size_of::<T>()) {
        fetch(start.wrapping_add(i));
    }
}

/// Asks for a cache line of what is needed in a while: the second level of the cache keeps it. Any address will do.
#[inline(always)]
pub(super) fn ask_early<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, part of every x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// How columns are cut into panels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// The columns.
    columns: usize,
    /// Columns of a vector, and of the widest panel.
    lanes: usize,
    widest: usize,
}

impl Cut {
    /// For the ISA that `d` runs.
    pub(super) fn new<T: Float>(d: Dispatch, columns: usize) -> Self {
        let lanes = vector_bytes::<T>(d) / size_of::<T>();
        Cut { columns, lanes, widest: lanes * VECTORS }
    }

    /// How many panels.
    pub(super) fn count(self) -> usize {
        self.columns.div_ceil(self.widest)
    }

    /// The first column, the columns and the width of one: the widest, or at the end as narrow as instances allow.
    pub(super) fn panel(self, index: usize) -> [usize; 3] {
        let start = index * self.widest;
        let columns = self.widest.min(self.columns - start);
        [start, columns, self.width_of(columns)]
    }

    fn width_of(self, columns: usize) -> usize {
        columns.div_ceil(self.lanes).next_power_of_two() * self.lanes
    }

    /// The widths of all panels together.
    pub(super) fn width(self) -> usize {
        let rest = self.columns % self.widest;
        self.columns - rest + if rest > 0 { self.width_of(rest) } else { 0 }
    }
}

/// Rows of columns that are asked for ahead.
const AHEAD: usize = 32;

/// All panels of `k` rows, of an operand whose columns are contiguous, panel after panel.
///
/// # Errors
/// [`OutOfMemory`](Error::OutOfMemory) if there is no room for them.
pub(super) fn pack<T: Float>(d: Dispatch, cut: Cut, k: usize, from: &Strided<T>) -> Result<Buffer> {
    let size = checked_len(&[cut.width(), k, size_of::<T>()])
        .ok_or(Error::Contract("conv2d: the size of a workspace overflows"))?;
    let mut buffer = Buffer::new(size)?;
    let to = Shared::new(buffer.as_mut_slice::<T>());
    parallel::run(cut.count(), (size / size_of::<T>()) as u64 / 4, &|index| {
        let [start, columns, width] = cut.panel(index);
        let to = to.as_ptr().wrapping_add(start * k);
        // So many streams are too many for the processor to foresee.
        let ask = |step: usize| {
            let len = AHEAD.min(k - step.min(k));
            (start..start + columns).for_each(|column| ask_for(from.at(step, column), len));
        };
        ask(0);
        for step in (0..k).step_by(AHEAD) {
            ask(step + AHEAD);
            let (steps, to) = (step..k.min(step + AHEAD), to.wrapping_add(step * width));
            // SAFETY: a part of a panel inside of the operand, to its place in the buffer.
            unsafe { from.pack_on(d, steps, start..start + columns, to, width) };
        }
    });
    Ok(buffer)
}

/// One panel times some rows, over one block of k.
#[derive(Clone, Copy)]
pub(super) struct Strip<'a, T> {
    /// Element `(i, l)` of the rows is at `a + rows[i] + steps[l]`.
    pub(super) a: *const T,
    pub(super) rows: &'a [usize],
    pub(super) steps: &'a [usize],
    /// The panel: a row of `width` columns for each step.
    pub(super) b: *const T,
    pub(super) width: usize,
    /// Where the sums of the rows go, and how far apart.
    pub(super) to: *mut T,
    pub(super) to_stride: usize,
    /// Add them to what is there (a later block of k).
    pub(super) add: bool,
    /// What is asked for while sums are made.
    pub(super) ask: Ask<'a, T>,
    /// On the last block: a bias for each column of the width, or null, and whether `max(x, 0)` follows.
    pub(super) bias: *const T,
    pub(super) relu: bool,
}

/// The share that some of `count` parts of the work have of the elements.
#[inline]
pub(super) fn share<T>(all: &[T], part: Range<usize>, count: usize) -> &[T] {
    // Too many to multiply are not asked for.
    let place = |part: usize| Some(all.len().checked_mul(part)? / count.max(1));
    match (place(part.start), place(part.end)) {
        (Some(start), Some(end)) => &all[start..end],
        _ => &[],
    }
}

/// What the rows of a strip ask for, each its part, so that it comes from memory while sums are made.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a, T> {
    /// Where the results go in the end: so many lines of as many elements as there are rows, so far apart.
    pub(super) to: *const T,
    pub(super) lines: usize,
    pub(super) stride: usize,
    /// What is read next.
    pub(super) next: [&'a [T]; 2],
}

impl<'a, T> Ask<'a, T> {
    /// Nothing.
    pub(super) const NOTHING: Self =
        Ask { to: std::ptr::null(), lines: 0, stride: 0, next: [&[]; 2] };

    /// The part of some of `count` rows.
    #[inline(always)]
    fn part(&self, rows: Range<usize>, count: usize) -> Self {
        let to = self.to.wrapping_add(rows.start);
        Ask { to, next: self.next.map(|next| share(next, rows.clone(), count)), ..*self }
    }

    /// Asks for the next cache lines of a tile of `rows` rows, so many of what is read next. Many at once would be too many to wait for.
    #[inline(always)]
    fn some(&mut self, rows: usize, lines: usize) {
        if self.lines > 0 {
            for _ in 0..SOME {
                ask_early(self.to);
                ask_early(self.to.wrapping_add(rows - 1));
                self.to = self.to.wrapping_add(self.stride);
            }
            self.lines = self.lines.saturating_sub(SOME);
        } else if let [next @ [_, ..], _] | [[], next @ [_, ..]] = &mut self.next {
            let (now, rest) = next.split_at(next.len().min(lines * (64 / size_of::<T>())));
            now.iter().step_by(64 / size_of::<T>()).for_each(|line| ask_early(line));
            *next = rest;
        }
    }

    /// Cache lines at a time so that it asks for all of them in `times`.
    #[inline(always)]
    fn at_a_time(&self, times: usize) -> usize {
        let next: usize =
            self.next.iter().map(|next| next.len().div_ceil(64 / size_of::<T>())).sum();
        next.div_ceil(times.saturating_sub(self.lines.div_ceil(SOME)).max(1))
    }

    fn is_done(&self) -> bool {
        self.lines == 0 && self.next.iter().all(|next| next.is_empty())
    }
}

impl<T: Float> Strip<'_, T> {
    /// Computes it.
    ///
    /// # Safety
    /// - Every element of the rows must be readable, and the panel; `to` must be writable for the rows, `width` columns each.
    #[inline]
    pub(super) unsafe fn compute(self, d: Dispatch) {
        d.call::<T, _>(self);
    }
}

impl<T: Float> Kernel<T> for Strip<'_, T> {
    type Output = ();
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        // SAFETY: the contract of `compute`, the only one that makes a kernel of it.
        unsafe {
            match self.width / S::LANES {
                1 => self.tiles::<S, 1>(s),
                _ => self.tiles::<S, VECTORS>(s),
            }
        }
    }
}

impl<T: Float> Strip<'_, T> {
    /// # Safety
    /// - As [`compute`](Self::compute).
    #[inline(always)]
    unsafe fn tiles<S: Simd<T>, const NV: usize>(&self, s: S) {
        let mut done = 0;
        while done < self.rows.len() {
            let left = &self.rows[done..];
            // What 32 registers hold.
            let wide = S::LANES * size_of::<T>() == 64;
            let pairs = neighbours::<PAIRS, 2>(left).filter(|_| wide);
            let threes = neighbours::<THREES, 3>(left).filter(|_| wide && pairs.is_none());
            let rows = match (pairs, threes) {
                (Some(_), _) => 2 * PAIRS,
                (None, Some(_)) => 3 * THREES,
                (None, None) => ROWS.min(left.len()),
            };
            let ask = self.ask.part(done..done + rows, self.rows.len());
            // SAFETY: rows of the strip, to their places.
            unsafe {
                let to = self.to.add(done * self.to_stride);
                if let Some(pairs) = pairs {
                    self.tile::<S, PAIRS, 2, NV>(s, &pairs, rows, to, ask);
                } else if let Some(threes) = threes {
                    self.tile::<S, THREES, 3, NV>(s, &threes, rows, to, ask);
                } else if rows > ROWS / 2 {
                    self.tile::<S, ROWS, 1, NV>(s, &first(left), rows, to, ask);
                } else {
                    self.tile::<S, { ROWS / 2 }, 1, NV>(s, &first(left), rows, to, ask);
                }
            }
            done += rows;
        }
    }

    /// One tile of `G` groups of `R` neighbours, of which the first `rows` rows count.
    ///
    /// # Safety
    /// - `to` must be writable for the rows.
    #[inline(always)]
    unsafe fn tile<S: Simd<T>, const G: usize, const R: usize, const NV: usize>(
        &self,
        s: S,
        offsets: &[usize; G],
        rows: usize,
        to: *mut T,
        ask: Ask<'_, T>,
    ) {
        if self.add {
            for i in 0..rows {
                ask_for(to.wrapping_add(i * self.to_stride).cast_const(), NV * S::LANES);
            }
        }
        // SAFETY: rows of the strip, to their places.
        unsafe {
            let sums = sums::<T, S, G, R, NV>(s, self.a, offsets, self.steps, self.b, ask);
            match (self.add, G * R > ROWS) {
                // Whole tiles are the many; for them there is code without a loop.
                (false, true) => self.store::<S, G, R, NV, false>(s, &sums, G * R, to),
                (true, true) => self.store::<S, G, R, NV, true>(s, &sums, G * R, to),
                (false, false) => self.store::<S, G, R, NV, false>(s, &sums, rows, to),
                (true, false) => self.store::<S, G, R, NV, true>(s, &sums, rows, to),
            }
            if !self.bias.is_null() || self.relu {
                (0..rows).for_each(|i| self.finish::<S, NV>(s, to.add(i * self.to_stride)));
            }
        }
    }

    /// Stores the sums of a tile's first rows, or adds them.
    ///
    /// # Safety
    /// - `to` must be writable for the rows.
    #[inline(always)]
    unsafe fn store<S, const G: usize, const R: usize, const NV: usize, const ADD: bool>(
        &self,
        s: S,
        sums: &[[[S::V; NV]; R]; G],
        rows: usize,
        to: *mut T,
    ) where
        S: Simd<T>,
    {
        for (g, sums) in sums.iter().enumerate() {
            for (r, sums) in sums.iter().enumerate() {
                let i = g * R + r;
                if i < rows {
                    for (v, &sum) in sums.iter().enumerate() {
                        // SAFETY: by the caller's contract.
                        unsafe {
                            let to = to.add(i * self.to_stride + v * S::LANES);
                            s.store(to, if ADD { s.add(s.load(to), sum) } else { sum });
                        }
                    }
                }
            }
        }
    }

    /// What follows the last block, on a stored row.
    ///
    /// # Safety
    /// - `to` must be writable for the panel's width, the bias readable.
    #[inline(always)]
    unsafe fn finish<S: Simd<T>, const NV: usize>(&self, s: S, to: *mut T) {
        for v in 0..NV {
            // SAFETY: by the caller's contract.
            unsafe {
                let to = to.add(v * S::LANES);
                let mut x = s.load(to);
                if !self.bias.is_null() {
                    x = s.add(x, s.load(self.bias.add(v * S::LANES)));
                }
                if self.relu {
                    // The second operand is kept if it is NaN.
                    x = s.max_second(s.splat(T::ZERO), x);
                }
                s.store(to, x);
            }
        }
    }
}

/// The first rows; the first one in the place of those that there are not.
#[inline(always)]
fn first<const R: usize>(rows: &[usize]) -> [usize; R] {
    let mut first = [rows[0]; R];
    let count = rows.len().min(R);
    first[..count].copy_from_slice(&rows[..count]);
    first
}

/// The first of each of `G` groups of `R` rows, if the first rows are such groups of neighbours.
#[inline(always)]
fn neighbours<const G: usize, const R: usize>(rows: &[usize]) -> Option<[usize; G]> {
    let rows = rows.get(..G * R)?;
    let mut firsts = [0; G];
    let mut all = true;
    for (first, group) in firsts.iter_mut().zip(rows.chunks_exact(R)) {
        *first = group[0];
        all &= group.iter().enumerate().all(|(i, row)| *row == group[0] + i);
    }
    all.then_some(firsts)
}

/// The sums of `G` groups of `R` rows that are neighbours: one chain of FMAs each, in ascending order.
///
/// # Safety
/// - `a + rows[g] + r + steps[l]` must be readable for `r < R`, and `b` for as many rows of `NV` vectors as there are steps.
#[inline(always)]
unsafe fn sums<T: Float, S: Simd<T>, const G: usize, const R: usize, const NV: usize>(
    s: S,
    a: *const T,
    rows: &[usize; G],
    steps: &[usize],
    b: *const T,
    mut ask: Ask<'_, T>,
) -> [[[S::V; NV]; R]; G] {
    let mut sums = [[[s.splat(T::ZERO); NV]; R]; G];
    // Each with the offset of a step is an address: nothing is added in between, which would take a multiplier's turn.
    let mut starts = [a; G];
    for (start, row) in starts.iter_mut().zip(rows) {
        *start = opaque(a.wrapping_add(*row));
    }
    let mut b = b;
    let lines = ask.at_a_time(steps.len().div_ceil(ASKING));
    for steps in steps.chunks(ASKING) {
        ask.some(G * R, lines);
        let (fours, rest) = steps.as_chunks::<4>();
        for four in fours {
            for &step in four {
                // SAFETY: a step of the rows and of the panel.
                b = unsafe { add_step::<T, S, G, R, NV>(s, &starts, step, b, &mut sums) };
            }
        }
        for &step in rest {
            // SAFETY: as above.
            b = unsafe { add_step::<T, S, G, R, NV>(s, &starts, step, b, &mut sums) };
        }
    }
    while !ask.is_done() {
        ask.some(G * R, lines);
    }
    sums
}

/// Adds one step; where the panel's next one is.
///
/// # Safety
/// - `starts[g] + r + step` must be readable for `r < R`, and `b` for `NV` vectors.
#[inline(always)]
unsafe fn add_step<T: Float, S: Simd<T>, const G: usize, const R: usize, const NV: usize>(
    s: S,
    starts: &[*const T; G],
    step: usize,
    b: *const T,
    sums: &mut [[[S::V; NV]; R]; G],
) -> *const T {
    let mut columns = [s.splat(T::ZERO); NV];
    for (v, column) in columns.iter_mut().enumerate() {
        // SAFETY: a vector of this step's row.
        *column = unsafe { s.load(b.add(v * S::LANES)) };
    }
    for (start, sums) in starts.iter().zip(sums) {
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: an element of a row.
            let x = s.splat(unsafe { *start.wrapping_add(step).wrapping_add(r) });
            for (column, sum) in columns.iter().zip(sums) {
                *sum = s.fma(x, *column, *sum);
            }
        }
    }
    b.wrapping_add(NV * S::LANES)
}
