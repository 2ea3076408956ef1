//! Products with weights that are packed once for all steps, in the order R2.
//!
//! A panel holds some columns of the weights for all of k, row by row, so that a register tile reads it in one stream. In the forward
//! pass these are the columns of all gates of some units: what follows then finds a unit's gates side by side, while they are in L1.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::{SequenceShape, bytes, load, store};
use crate::buffer::Buffer;
use crate::cpu::gemm::KC;
use crate::cpu::gemm::microkernel::opaque;
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Error, Result};

/// Rows of a register tile.
const TILE: usize = 6;

/// Steps of k of an iteration.
const STEPS: usize = 4;

/// Rows whose sums are made before what follows takes them.
pub(super) const ROWS: usize = 4 * TILE;

/// Bytes of weights that leave room in L2 of every thread for all else.
const SMALL: usize = 512 << 10;

/// The rows of a step, cut evenly into chunks of at most [`ROWS`], and these into pieces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunks {
    rows: usize,
    chunks: usize,
    pub(super) pieces: usize,
}

impl Chunks {
    /// Pieces of about `worth` rows.
    pub(super) fn new(rows: usize, worth: usize) -> Self {
        let chunks = rows.div_ceil(ROWS);
        Chunks { rows, chunks, pieces: rows.div_ceil(worth.max(1)).clamp(1, chunks.max(1)) }
    }

    /// As many chunks for each thread, which takes its own through all steps: nobody waits for others, and what a chunk reads is in L1. None
    /// where there are too few rows for it, or the weights, which every thread reads then, are large.
    pub(super) fn of_team(shape: &SequenceShape, weights: usize) -> Option<Self> {
        let (rows, threads) = (shape.batch, parallel::threads());
        let suits = !shape.projected && weights <= SMALL && rows / threads >= TILE;
        let chunks = rows.div_ceil(ROWS).next_multiple_of(threads);
        suits.then_some(Chunks { rows, chunks, pieces: chunks })
    }

    /// The rows of a piece's chunks.
    pub(super) fn of(self, piece: usize) -> impl Iterator<Item = Range<usize>> {
        let Chunks { rows, chunks, pieces } = self;
        (chunks * piece / pieces..chunks * (piece + 1) / pieces)
            .map(move |chunk| rows * chunk / chunks..rows * (chunk + 1) / chunks)
    }
}

/// Columns of the widest panel.
pub(super) const COLUMNS: usize = 64;

/// Room for the sums of some rows and one panel.
#[repr(align(64))]
pub(super) struct Room<T>([MaybeUninit<T>; ROWS * COLUMNS]);

impl<T: Float> Room<T> {
    pub(super) const fn new() -> Self {
        Room([const { MaybeUninit::uninit() }; ROWS * COLUMNS])
    }

    /// Sums of nothing.
    pub(super) fn zeros(&mut self, count: usize) -> &[T] {
        let here = &mut self.0[..count];
        here.fill(MaybeUninit::new(T::ZERO));
        // SAFETY: all were just written.
        unsafe { std::slice::from_raw_parts(here.as_ptr().cast(), count) }
    }

    /// Copies `rows` rows, `stride` apart, of some gates, `gate_stride` apart; each gate has `step` places.
    ///
    /// # Safety
    /// - `units` elements of each gate of each row must be readable.
    pub(super) unsafe fn copy(
        &mut self,
        [rows, gates, units]: [usize; 3],
        from: *const T,
        [stride, gate_stride, step]: [usize; 3],
    ) -> &[T] {
        let (width, rows) = (gates * step, rows.min(ROWS));
        for (row, to) in self.0.chunks_exact_mut(width).take(rows).enumerate() {
            for (i, to) in to.iter_mut().enumerate() {
                let (gate, unit) = (i / step, (i % step).min(units - 1));
                // SAFETY: by the caller's contract.
                to.write(unsafe { *from.add(row * stride + gate * gate_stride + unit) });
            }
        }
        // SAFETY: as many were just written: the room has that many rows.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), rows * width) }
    }
}

/// Features up to which a row's products with the input are made where they are needed.
pub(super) const FEW: usize = 2;

/// The input's products of some rows and one panel.
pub(super) enum Inputs<'a, T> {
    /// Its sums.
    Sums(&'a [T]),
    /// The rows of the input, of [`FEW`] features at most, and the panel.
    Rows { x: &'a [T], k: usize, panel: &'a [T] },
}

/// The sums of some rows and one panel: of the input and of the state, and their biases.
pub(super) struct Sums<'a, T> {
    pub(super) input: Inputs<'a, T>,
    pub(super) recurrent: &'a [T],
    /// A panel's: of the input, then of the state.
    pub(super) bias: &'a [T],
    /// Elements of a row.
    pub(super) width: usize,
}

impl<T: Float> Sums<'_, T> {
    /// A vector of each, with its bias.
    ///
    /// # Safety
    /// - `row` must be one of the rows, and a vector from `at` on in it.
    #[inline(always)]
    pub(super) unsafe fn each<S: Simd<T>>(&self, s: S, row: usize, at: usize) -> [S::V; 2] {
        let place = row * self.width + at;
        // SAFETY: by the caller's contract.
        unsafe {
            let bias = self.bias.as_ptr().add(at);
            let input = match self.input {
                Inputs::Sums(sums) => s.load(sums.as_ptr().add(place)),
                Inputs::Rows { x, k, panel } => {
                    let mut sum = s.splat(T::ZERO);
                    for l in 0..k {
                        let weights = s.load(panel.as_ptr().add(l * self.width + at));
                        sum = s.fma(s.splat(*x.as_ptr().add(row * k + l)), weights, sum);
                    }
                    sum
                }
            };
            let recurrent = s.load(self.recurrent.as_ptr().add(place));
            [s.add(input, s.load(bias)), s.add(recurrent, s.load(bias.add(self.width)))]
        }
    }

    /// A vector of both, added.
    ///
    /// # Safety
    /// - As [`each`](Self::each).
    #[inline(always)]
    pub(super) unsafe fn both<S: Simd<T>>(&self, s: S, row: usize, at: usize) -> S::V {
        // SAFETY: handed on.
        let [input, recurrent] = unsafe { self.each(s, row, at) };
        s.add(input, recurrent)
    }
}

/// Units of a panel under the ISA in force: a whole number of tiles.
struct Units {
    gates: usize,
    columns: usize,
}

impl<T: Float> Kernel<T> for Units {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) -> usize {
        let widest = S::LANES * size_of::<T>() == 64;
        // Vectors of each gate; a matrix whose columns are no gates counts as one.
        let vectors = match self.gates {
            1 if S::LANES == 1 || (widest && self.columns > 2 * S::LANES) => 4,
            1 => 2,
            3 if S::LANES == 1 => 4,
            3 if !widest => 2,
            _ => 1,
        };
        vectors * S::LANES
    }
}

/// Packed weights.
pub(super) struct Packed<T> {
    data: Buffer,
    /// Rows of the weights as a `[k, columns]` matrix.
    pub(super) k: usize,
    /// Panels.
    pub(super) panels: usize,
    /// Units of a panel, each with all its gates.
    pub(super) units: usize,
    /// Columns of a panel.
    pub(super) width: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: Float> Packed<T> {
    /// The transposed of `w`, `[gates * hidden, k]`: by units.
    pub(super) fn by_units(w: &[T], gates: usize, hidden: usize, k: usize) -> Result<Self> {
        let mut packed = Self::new(gates, hidden, k)?;
        let Packed { units, width, panels, .. } = packed;
        let to = Shared::new(packed.data.as_mut_slice::<T>());
        parallel::run(panels, (gates * hidden * k) as u64 / 4, &|panel| {
            // SAFETY: panels are disjoint.
            let to = unsafe { to.part(panel * k * width, k * width) };
            T::dispatch(Transpose { w, gates, hidden, k, first: panel * units, units, to });
        });
        Ok(packed)
    }

    /// `w` itself, `[k, columns]`.
    pub(super) fn by_columns(w: &[T], k: usize, columns: usize) -> Result<Self> {
        let mut packed = Self::new(1, columns, k)?;
        let Packed { width, panels, .. } = packed;
        let to = Shared::new(packed.data.as_mut_slice::<T>());
        parallel::run(panels, (k * columns) as u64 / 4, &|panel| {
            let first = panel * width;
            let own = width.min(columns - first);
            // SAFETY: panels are disjoint.
            let to = unsafe { to.part(panel * k * width, k * width) };
            for (to, from) in to.chunks_exact_mut(width).zip(w.chunks_exact(columns)) {
                to[..own].copy_from_slice(&from[first..first + own]);
                to[own..].fill(T::ZERO);
            }
        });
        Ok(packed)
    }

    fn new(gates: usize, columns: usize, k: usize) -> Result<Self> {
        let units = T::dispatch(Units { gates, columns });
        let (panels, width) = (columns.div_ceil(units), gates * units);
        let size = panels.checked_mul(width).and_then(|size| size.checked_mul(k));
        let size = size.ok_or(Error::Contract("sequence: too large"))?;
        let data = Buffer::new(bytes::<T>(size))?;
        Ok(Packed { data, k, panels, units, width, element: std::marker::PhantomData })
    }

    pub(super) fn panel(&self, panel: usize) -> &[T] {
        let size = self.k * self.width;
        &self.data.as_slice::<T>()[panel * size..][..size]
    }

    /// `rows` rows of `a`, `stride` apart, times a panel: to `sums`, a row of which is a panel's.
    pub(super) fn sums<'s>(
        &self,
        panel: usize,
        rows: usize,
        a: &[T],
        stride: usize,
        sums: &'s mut Room<T>,
    ) -> &'s [T] {
        let (k, width, panel) = (self.k, self.width, self.panel(panel));
        let rows = rows.min(ROWS);
        assert!(width <= COLUMNS && rows > 0 && (rows - 1) * stride + k <= a.len());
        let to = sums.0.as_mut_ptr().cast();
        T::dispatch(Product { k, width, rows, a, stride, panel, to });
        // SAFETY: as many sums were just written: all tiles of the rows.
        unsafe { std::slice::from_raw_parts(to, rows * width) }
    }
}

/// Adds sums to `rows` rows of `columns` columns.
pub(super) struct Add<'a, T> {
    pub(super) sums: &'a [T],
    /// Elements of a row of the sums.
    pub(super) width: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// The first row, `stride` elements before the next, and nobody else's.
    pub(super) to: *mut T,
    pub(super) stride: usize,
}

impl<T: Float> Kernel<T> for Add<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        for row in 0..self.rows {
            let from = self.sums[row * self.width..][..self.columns].as_ptr();
            let to = self.to.wrapping_add(row * self.stride);
            for column in (0..self.columns).step_by(S::LANES) {
                let m = S::LANES.min(self.columns - column);
                // SAFETY: `column + m <= columns`, of a row of the sums and of one that is ours.
                unsafe {
                    let to = to.add(column);
                    store(s, to, s.add(load(s, to, m), load(s, from.add(column), m)), m);
                }
            }
        }
    }
}

/// Packs one panel by units.
struct Transpose<'a, T> {
    w: &'a [T],
    gates: usize,
    hidden: usize,
    k: usize,
    first: usize,
    units: usize,
    to: &'a mut [T],
}

impl<T: Float> Kernel<T> for Transpose<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Transpose { w, gates, hidden, k, first, units, to } = self;
        let width = gates * units;
        let whole = k - k % S::BLOCK;
        // Units beyond the last are copies of it: numbers that nobody reads.
        let row = |gate: usize, unit: usize| gate * hidden + (first + unit).min(hidden - 1);
        for gate in 0..gates {
            for unit in (0..units).step_by(S::BLOCK) {
                let column = gate * units + unit;
                for l in (0..whole).step_by(S::BLOCK) {
                    let mut sources = [w.as_ptr(); 8];
                    for (i, source) in sources.iter_mut().enumerate() {
                        *source = w[row(gate, unit + i.min(S::BLOCK - 1)) * k + l..].as_ptr();
                    }
                    let to = to[l * width + column..].as_mut_ptr();
                    // SAFETY: `l + BLOCK <= k` elements of each row; `BLOCK` rows of the panel, whose units are whole blocks.
                    unsafe { s.transpose(&sources, to, width) };
                }
                for i in 0..S::BLOCK {
                    let from = &w[row(gate, unit + i) * k..][..k];
                    for l in whole..k {
                        to[l * width + column + i] = from[l];
                    }
                }
            }
        }
    }
}

/// [`Packed::sums`].
struct Product<'a, T> {
    k: usize,
    width: usize,
    rows: usize,
    a: &'a [T],
    stride: usize,
    panel: &'a [T],
    to: *mut T,
}

impl<T: Float> Kernel<T> for Product<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let vectors = self.width / S::LANES;
        if const { S::LANES == 1 } {
            self.tiles::<S, 4>(s);
        } else if const { S::LANES * size_of::<T>() != 64 } {
            self.tiles::<S, 2>(s);
        } else {
            match vectors {
                4 => self.tiles::<S, 4>(s),
                3 => self.tiles::<S, 3>(s),
                _ => self.tiles::<S, 2>(s),
            }
        }
    }
}

impl<T: Float> Product<'_, T> {
    #[inline(always)]
    fn tiles<S: Simd<T>, const NV: usize>(self, s: S) {
        let Product { k, width, rows, stride, .. } = self;
        let count = rows.div_ceil(if S::LANES == 1 { 1 } else { TILE });
        for tile in 0..count {
            let (first, end) = (rows * tile / count, rows * (tile + 1) / count);
            for column in (0..width).step_by(NV * S::LANES) {
                for block in (0..k.max(1)).step_by(KC) {
                    let t = Tile {
                        k: KC.min(k - block),
                        a: self.a.as_ptr().wrapping_add(first * stride + block),
                        a_stride: stride,
                        b: self.panel.as_ptr().wrapping_add(block * width + column),
                        width,
                        to: self.to.wrapping_add(first * width + column),
                        add: block > 0,
                    };
                    // SAFETY: `Packed::sums` has as many rows, k and columns.
                    unsafe { t.choose::<S, NV>(s, end - first) };
                }
            }
        }
    }
}

/// One tile and block of k.
struct Tile<T> {
    k: usize,
    a: *const T,
    a_stride: usize,
    b: *const T,
    /// Elements from row to row of B and of the sums.
    width: usize,
    to: *mut T,
    /// Add to the sums of earlier blocks.
    add: bool,
}

impl<T: Float> Tile<T> {
    /// # Safety
    /// - As [`run`](Self::run), for `rows` of 1 to 6 rows.
    #[inline(always)]
    unsafe fn choose<S: Simd<T>, const NV: usize>(&self, s: S, rows: usize) {
        // SAFETY: handed on.
        unsafe {
            if const { S::LANES == 1 } {
                return self.run::<S, 1, NV>(s);
            }
            match rows {
                1 => self.run::<S, 1, NV>(s),
                2 => self.run::<S, 2, NV>(s),
                3 => self.run::<S, 3, NV>(s),
                4 => self.run::<S, 4, NV>(s),
                5 => self.run::<S, 5, NV>(s),
                _ => self.run::<S, 6, NV>(s),
            }
        }
    }

    /// # Safety
    /// - `ROWS` rows of A, `a_stride` apart, must be readable for `k` elements, `k` rows of B for `NV` vectors, and `ROWS` rows of the
    ///   sums writable for as many.
    #[inline(always)]
    unsafe fn run<S: Simd<T>, const ROWS: usize, const NV: usize>(&self, s: S) {
        let mut sums = [[s.splat(T::ZERO); NV]; ROWS];
        let mut b = self.b;
        // Two pointers, three rows apart, which LLVM must not reduce to one, or it spills.
        let mut a = [self.a, opaque(self.a.wrapping_add(3 * self.a_stride))];
        // SAFETY: by the caller's contract.
        unsafe {
            // Several steps an iteration: what counts them would be issued in a multiplication's place.
            for _ in 0..self.k / STEPS {
                for step in 0..STEPS {
                    let a = a.map(|a| a.wrapping_add(step));
                    self.step::<S, ROWS, NV>(s, a, b.wrapping_add(step * self.width), &mut sums);
                }
                a = a.map(|a| a.wrapping_add(STEPS));
                b = b.wrapping_add(STEPS * self.width);
            }
            for _ in 0..self.k % STEPS {
                self.step::<S, ROWS, NV>(s, a, b, &mut sums);
                a = a.map(|a| a.wrapping_add(1));
                b = b.wrapping_add(self.width);
            }
            for (i, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    let to = self.to.add(i * self.width + v * S::LANES);
                    s.store(to, if self.add { s.add(s.load(to), sum) } else { sum });
                }
            }
        }
    }

    /// One step of k. `a`: where this step's elements of rows 0 and 3 are.
    ///
    /// # Safety
    /// - An element of each of the rows must be readable there, and a row of B at `b`.
    #[inline(always)]
    unsafe fn step<S: Simd<T>, const ROWS: usize, const NV: usize>(
        &self,
        s: S,
        a: [*const T; 2],
        b: *const T,
        sums: &mut [[S::V; NV]; ROWS],
    ) {
        // SAFETY: by the caller's contract.
        unsafe {
            let mut row = [s.splat(T::ZERO); NV];
            for (v, vector) in row.iter_mut().enumerate() {
                *vector = s.load(b.add(v * S::LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = s.splat(*a[i / 3].wrapping_add(i % 3 * self.a_stride));
                for (sum, &y) in sums.iter_mut().zip(&row) {
                    *sum = s.fma(x, y, *sum);
                }
            }
        }
    }
}
