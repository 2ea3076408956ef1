//! Copies that turn a matrix: one side is contiguous along the innermost dim, the other along an
//! outer one.

use std::mem::MaybeUninit;

use super::Ends;
use super::past::settle_lines;
use crate::cpu::gemm::microkernel::fetch;
use crate::cpu::isa::Kernel;
use crate::cpu::parallel;
use crate::cpu::simd::Simd;
use crate::element::{Float, Pod};
use crate::strided::LoopNest;

/// Side of a block, in elements: a block's lines on both sides stay in L1 until they are used up.
const BLOCK: usize = 16;
/// Side of a square that is turned in a buffer first: where lines lie in pages of their own, a visit of one is worth four cache lines.
const SQUARE: usize = 64;
/// Bytes from line to line from which on that pays.
const APART: usize = 2048;
/// Bytes of a result that is written past the caches: few would keep it.
const PAST: usize = 8 << 20;
/// Rows of the outer dim that one piece of parallel work takes.
const PANEL: usize = 64;

/// A copy as matrices `[outer, inner]`, one for every index of the other dims.
pub(super) struct Plan {
    /// The dim that is contiguous where the innermost is not.
    outer: usize,
    /// Elements of one matrix.
    sizes: [usize; 2],
    /// Number of matrices.
    matrices: usize,
}

impl Plan {
    /// `None` if the copy is not of this kind, or too thin for blocks to pay.
    pub(super) fn new(nest: &LoopNest<2>) -> Option<Plan> {
        let depth = nest.shape.len();
        let [from, to] = nest.inner_strides();
        let other = match (from, to) {
            (1, 1) => return None,
            (_, 1) => 0,
            (1, _) => 1,
            _ => return None,
        };
        let outer = (0..depth - 1).rev().find(|&d| nest.strides[d][other] == 1)?;
        let sizes = [nest.shape[outer], nest.inner()];
        if sizes[0] < 4 || sizes[1] < 4 {
            return None;
        }
        let matrices = (0..depth - 1).filter(|&d| d != outer).map(|d| nest.shape[d]).product();
        Some(Plan { outer, sizes, matrices })
    }

    /// Copies all matrices.
    ///
    /// # Safety
    /// - As [`super::run`], and no two elements share a place at `ends.to`.
    pub(super) unsafe fn run<T: Pod>(&self, nest: &LoopNest<2>, ends: Ends<T>) {
        let panels = self.sizes[0].div_ceil(PANEL);
        let outer_strides = nest.strides[self.outer];
        let inner_strides = nest.inner_strides();
        let len = self.matrices * self.sizes[0] * self.sizes[1];
        let work_ns = (len * size_of::<T>()) as u64 / 8;
        let past = len.saturating_mul(size_of::<T>()) >= PAST;
        // Small matrices share a piece.
        let group = (2 * PANEL * PANEL / (self.sizes[1] * self.sizes[0].min(PANEL))).max(1);
        let all = self.matrices * panels;
        parallel::run(all.div_ceil(group), work_ns, &|piece| {
            for index in piece * group..((piece + 1) * group).min(all) {
                let (matrix, panel) = (index / panels, index % panels * PANEL);
                let rows = PANEL.min(self.sizes[0] - panel);
                let mut at = self.offsets(nest, matrix);
                at[0] += panel as isize * outer_strides[0];
                at[1] += panel as isize * outer_strides[1];
                // SAFETY: a panel of one matrix of the nest; panels are disjoint.
                unsafe {
                    let sizes = [rows, self.sizes[1]];
                    blocks(ends.offset(at), sizes, outer_strides, inner_strides, past);
                }
            }
        });
    }

    /// Offsets of a matrix's first element.
    fn offsets(&self, nest: &LoopNest<2>, mut matrix: usize) -> [isize; 2] {
        let mut offsets = [0; 2];
        for d in (0..nest.shape.len() - 1).rev().filter(|&d| d != self.outer) {
            let index = (matrix % nest.shape[d]) as isize;
            matrix /= nest.shape[d];
            offsets[0] += index * nest.strides[d][0];
            offsets[1] += index * nest.strides[d][1];
        }
        offsets
    }
}

/// Copies a matrix of `sizes` block by block.
///
/// # Safety
/// - Every element must be readable from `ends.from` and writable from `ends.to`; the two must not
///   overlap.
unsafe fn blocks<T: Pod>(
    ends: Ends<T>,
    sizes: [usize; 2],
    outer: [isize; 2],
    inner: [isize; 2],
    past: bool,
) {
    if let Some(turn) = Turn::new(ends, sizes, outer, inner, past) {
        // Only bits are moved: any type of 4 or 8 bytes is a float to the vectors.
        match size_of::<T>() {
            4 => return f32::dispatch(turn.cast()),
            8 => return f64::dispatch(turn.cast()),
            _ => {}
        }
    }
    for j in (0..sizes[1]).step_by(BLOCK) {
        let columns = BLOCK.min(sizes[1] - j);
        for i in (0..sizes[0]).step_by(BLOCK) {
            for r in i..sizes[0].min(i + BLOCK) {
                let at = [0, 1].map(|e| r as isize * outer[e] + j as isize * inner[e]);
                // SAFETY: `columns` elements of row `r`.
                unsafe { ends.offset(at).row(columns, inner) };
            }
        }
    }
}

/// A copy of lines that are contiguous at the source into columns that are contiguous at the
/// target: `to[c * to_stride + r] = from[r * from_stride + c]` for `lines` times `len` elements.
struct Turn<T> {
    ends: Ends<T>,
    lines: usize,
    len: usize,
    from_stride: isize,
    to_stride: usize,
    /// Write past the caches where whole lines of them are written.
    past: bool,
}

impl<T: Pod> Turn<T> {
    /// `None` if the target runs backwards.
    fn new(
        ends: Ends<T>,
        sizes: [usize; 2],
        outer: [isize; 2],
        inner: [isize; 2],
        past: bool,
    ) -> Option<Turn<T>> {
        let [lines, len, from_stride, to_stride] = match (outer, inner) {
            ([1, to], [from, 1]) => [sizes[1] as isize, sizes[0] as isize, from, to],
            ([from, 1], [1, to]) => [sizes[0] as isize, sizes[1] as isize, from, to],
            _ => return None,
        };
        let to_stride = usize::try_from(to_stride).ok()?;
        Some(Turn { ends, lines: lines as usize, len: len as usize, from_stride, to_stride, past })
    }

    /// The same copy of other elements of this size.
    fn cast<U: Pod>(self) -> Turn<U> {
        let ends = Ends { from: self.ends.from.cast::<U>(), to: self.ends.to.cast::<U>() };
        let Turn { lines, len, from_stride, to_stride, past, .. } = self;
        Turn { ends, lines, len, from_stride, to_stride, past }
    }
}

impl<T: Float> Kernel<T> for Turn<T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let far = |stride: usize| stride.saturating_mul(size_of::<T>()) >= APART;
        let squares = far(self.to_stride) && far(self.from_stride.unsigned_abs());
        let [lines, len] = [self.lines, self.len].map(|n| if squares { n - n % SQUARE } else { 0 });
        for c in (0..len).step_by(SQUARE) {
            for r in (0..lines).step_by(SQUARE) {
                // SAFETY: a square of the two matrices.
                unsafe { self.square(s, [r, c]) };
            }
        }
        if self.past {
            settle_lines();
        }
        // Beside the squares, and below them.
        for (at, size) in
            [([0, len], [lines, self.len - len]), ([lines, 0], [self.lines - lines, self.len])]
        {
            self.part(at, size).tiles(s);
        }
    }
}

impl<T: Float> Turn<T> {
    /// What lies from a line and a place on.
    fn part(&self, [r, c]: [usize; 2], [lines, len]: [usize; 2]) -> Turn<T> {
        let at = [r as isize * self.from_stride + c as isize, (c * self.to_stride + r) as isize];
        Turn { ends: self.ends.offset(at), lines, len, ..*self }
    }

    /// Tiles of a few blocks, and what is no whole block.
    #[inline(always)]
    fn tiles<S: Simd<T>>(&self, s: S) {
        let [lines, len] = [self.lines, self.len].map(|n| n - n % S::BLOCK);
        // A tile is a cache line on both sides; along the shorter side first, so that its cache lines stay near.
        let along = |n: usize| (0..n).step_by(BLOCK);
        // SAFETY: blocks inside the two matrices; the rest goes below.
        unsafe {
            if lines < len {
                along(len)
                    .for_each(|c| along(lines).for_each(|r| self.tile(s, [r, c], [lines, len])));
            } else {
                along(lines)
                    .for_each(|r| along(len).for_each(|c| self.tile(s, [r, c], [lines, len])));
            }
            for r in 0..self.lines {
                let done = if r < lines { len } else { 0 };
                let at = [
                    r as isize * self.from_stride + done as isize,
                    (done * self.to_stride + r) as isize,
                ];
                self.ends.offset(at).row(self.len - done, [1, self.to_stride as isize]);
            }
        }
    }
}

/// A turned square.
#[repr(align(64))]
struct Square<T>([MaybeUninit<T>; SQUARE * SQUARE]);

impl<T: Float> Turn<T> {
    /// The square at line `r` and place `c`.
    ///
    /// # Safety
    /// - Its lines and places must exist.
    #[inline(always)]
    unsafe fn square<S: Simd<T>>(&self, s: S, [r, c]: [usize; 2]) {
        let mut square: Square<T> = Square([const { MaybeUninit::uninit() }; SQUARE * SQUARE]);
        let square: *mut T = square.0.as_mut_ptr().cast();
        let line = |r: usize| self.ends.from.wrapping_offset(r as isize * self.from_stride);
        for i in (0..SQUARE).step_by(S::BLOCK) {
            let mut lines = [self.ends.from; 8];
            for (k, from) in lines.iter_mut().enumerate().take(S::BLOCK) {
                *from = line(r + i + k).wrapping_add(c);
                // The square below, which no prefetcher foresees.
                for ahead in (0..SQUARE).step_by(64 / size_of::<T>()) {
                    fetch(line(r + SQUARE + i + k).wrapping_add(c + ahead));
                }
            }
            for j in (0..SQUARE).step_by(S::BLOCK) {
                let from = lines.map(|line| line.wrapping_add(j));
                // SAFETY: a block of the square, by the caller's contract.
                unsafe { s.transpose(&from, square.add(j * SQUARE + i), SQUARE) };
            }
        }
        let apart = self.to_stride * size_of::<T>();
        let past = self.past && (self.ends.to.addr() | apart).is_multiple_of(64);
        for j in 0..SQUARE {
            let to = self.ends.to.wrapping_add((c + j) * self.to_stride + r);
            for i in (0..SQUARE).step_by(S::LANES) {
                // SAFETY: a row of the square, to its place; past the caches only whole lines of them.
                unsafe {
                    let x = s.load(square.add(j * SQUARE + i));
                    match past {
                        true => s.store_past(to.add(i), x),
                        false => s.store(to.add(i), x),
                    }
                }
            }
        }
    }

    /// The blocks of the tile at line `r` and place `c`, as far as they lie before `ends`.
    ///
    /// # Safety
    /// - Lines and places up to `ends`, multiples of the block, must exist.
    #[inline(always)]
    unsafe fn tile<S: Simd<T>>(&self, s: S, [r, c]: [usize; 2], ends: [usize; 2]) {
        for r in (r..ends[0].min(r + BLOCK)).step_by(S::BLOCK) {
            let mut lines = [self.ends.from; 8];
            for (i, line) in lines.iter_mut().enumerate().take(S::BLOCK) {
                *line = line.wrapping_offset((r + i) as isize * self.from_stride);
            }
            for c in (c..ends[1].min(c + BLOCK)).step_by(S::BLOCK) {
                let from = lines.map(|line| line.wrapping_add(c));
                let to = self.ends.to.wrapping_add(c * self.to_stride + r);
                // SAFETY: by the caller's contract.
                unsafe { s.transpose(&from, to, self.to_stride) };
            }
        }
    }
}
