//! The loop IR: one panel of B times a run of A's row tiles.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::Dispatch;
use super::blocking::{Blocking, TILE_MAX, Width};
use super::microkernel::{Ahead, Asks, Tile, tile};
use super::output::Output;
use super::settle::{Finish, Settle, settle_on};
use crate::element::Float;

/// How a block of A lies. The pointer is that of element (0, 0) of the block of k.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<T> {
    /// Panels of row tiles, one after the other; element `(i, l)` of a tile of `h` rows at `i + l * h`.
    Packed(*const T),
    /// Element `(i, l)` at `i * .1 + l * .2`.
    Strided(*const T, isize, isize),
}

// SAFETY: the rows are only read while they are shared.
unsafe impl<T: Sync> Sync for Rows<T> {}

/// Rows `0..m` split into tiles of balanced heights, the first one being as high as any: the first row of tile `index`.
#[inline(always)]
pub(super) fn tile_start(m: usize, tiles: usize, index: usize) -> usize {
    index * (m / tiles) + index.min(m % tiles)
}

/// One panel of B (`columns` of them from column `j` of C) times the row tiles `tiles` of A.
#[derive(Clone)]
pub(super) struct Sliver<'a, T> {
    /// Rows that are split into `tile_count` tiles, and where they start in C.
    pub(super) m: usize,
    pub(super) tile_count: usize,
    pub(super) first_row: usize,
    pub(super) tiles: Range<usize>,
    pub(super) k: usize,
    pub(super) a: Rows<T>,
    pub(super) b: *const T,
    pub(super) b_stride: isize,
    /// Where the first tile is to leave the panel for the others, or null.
    pub(super) pack: *mut T,
    pub(super) j: usize,
    pub(super) columns: usize,
    /// Whole rows of the panel of B that comes next, if it is worth fetching ahead, and how many tiles, the first ones, fetch them.
    pub(super) ahead: Ahead<T>,
    pub(super) askers: usize,
    /// What all tiles fetch besides, so many cache lines of each row, one at a time.
    pub(super) lines: (Ahead<T>, usize),
    pub(super) output: &'a Output<'a, T>,
    /// Where partial sums are kept: C itself, unless its old contents are still needed.
    pub(super) sums: &'a Output<'a, T>,
    pub(super) first: bool,
    pub(super) last: bool,
    pub(super) finish: Finish<T>,
}

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Steps of k from which on C is fetched while they are computed.
const FETCH: usize = 32;

/// What is asked for, tile by tile. Nothing here divides for a tile: its multipliers would wait.
struct Shares<T> {
    left: Ahead<T>,
    /// Rows of a share, and the line of them that comes next.
    rows: usize,
    line: usize,
    lines: usize,
}

impl<T: Float> Shares<T> {
    /// So many lines of rows, for some tiles.
    fn new((left, lines): (Ahead<T>, usize), tiles: usize) -> Self {
        let rows = if left.rows > 0 { left.rows.div_ceil((tiles / lines).max(1)) } else { 0 };
        Shares { left, rows, line: 0, lines }
    }

    /// The next tile's share.
    #[inline(always)]
    fn next(&mut self) -> Ahead<T> {
        if self.left.rows == 0 {
            return Ahead::NONE;
        }
        let Ahead { from, stride, rows } = self.left;
        let share = self.rows.min(rows);
        let from = from.wrapping_add(self.line * (LINE / size_of::<T>()));
        self.line += 1;
        if self.line >= self.lines {
            self.line = 0;
            self.left = Ahead { from: self.left.row(share), stride, rows: rows - share };
        }
        Ahead { from, stride, rows: share }
    }
}

impl<T: Float> Sliver<'_, T> {
    /// All tiles fetch a packed panel that comes next: it comes from L3, and slowly is fast enough.
    pub(super) fn fetch_packed(&mut self, panel: *const T) {
        self.ahead = Ahead { from: panel, stride: self.b_stride, rows: self.k };
        self.askers = self.tiles.len();
    }

    /// Computes it with tiles as wide as there are for its columns.
    ///
    /// # Safety
    /// - A, B and C must hold the rows and columns, as the fields say.
    pub(super) unsafe fn compute(mut self, d: Dispatch, blocking: &Blocking) {
        let (start, columns) = (self.j, self.columns);
        let mut done = 0;
        while done < columns {
            let width = blocking.width::<T>(d, self.k, columns - done);
            self.j = start + done;
            self.columns = width.columns;
            // SAFETY: handed on.
            unsafe { self.part(width) };
            self.b = self.b.wrapping_add(self.columns);
            done += self.columns;
        }
    }

    /// Columns that one tile covers.
    ///
    /// # Safety
    /// - As [`compute`](Self::compute).
    unsafe fn part(&mut self, Width { d, lanes, vectors, .. }: Width) {
        let mut spare = MaybeUninit::<[T; TILE_MAX]>::uninit();
        let spare: *mut T = spare.as_mut_ptr().cast();
        let width = vectors * lanes;
        let mut finish = (self.last && !self.finish.is_nothing()).then_some(self.finish);
        let mut add = !self.first;
        if let Some(finish) = &mut finish
            && self.first
        {
            // The only block's sum: added to C is added to what is accumulated into.
            add = finish.accumulate;
            finish.accumulate = false;
        }
        let finish = finish.filter(|finish| !finish.is_nothing());
        let accumulates = finish.is_some_and(|finish| finish.accumulate);
        let (place, room) = self.sums.column(self.j);
        let direct = room >= self.columns && !accumulates;
        let (height, higher) = (self.m / self.tile_count, self.m % self.tile_count);
        let tiles = self.tiles.len();
        let mut ahead = Shares::new((self.ahead, 1), tiles.min(self.askers));
        let mut lines = Shares::new(self.lines, tiles);
        let mut end = tile_start(self.m, self.tile_count, self.tiles.start);
        for index in self.tiles.clone() {
            let (start, rows) = (end, height + usize::from(index < higher));
            end = start + rows;
            let (a, row_stride, k_stride) = match self.a {
                Rows::Packed(a) => (a.wrapping_add(start * self.k), 1, rows as isize),
                Rows::Strided(a, row, k) => (a.wrapping_offset(start as isize * row), row, k),
            };
            let to = self.first_row + start;
            let (to, to_stride) = match direct {
                true => (place.wrapping_add(to * self.sums.row_stride), self.sums.row_stride),
                false => (spare, width),
            };
            let asks = Asks { ahead: ahead.next(), lines: lines.next() };
            let t = Tile {
                k: self.k,
                a,
                row_stride,
                k_stride,
                b: self.b,
                b_stride: self.b_stride,
                last: self.columns - (vectors - 1) * lanes,
                to,
                to_stride,
                add: direct && add,
                fetch: direct && self.k >= FETCH,
                pack: self.pack,
                asks: &asks,
            };
            // SAFETY: the driver cuts the product into tiles inside it, `Output` and `Rows` say where they lie, and the spare tile holds
            // every tile of the table.
            unsafe {
                tile(d, rows, vectors, &t);
                if !self.pack.is_null() {
                    (self.b, self.b_stride) = (self.pack.cast_const(), width as isize);
                    self.pack = std::ptr::null_mut();
                }
                if direct && finish.is_none() {
                    continue;
                }
                let earlier = (!direct && add).then_some(self.sums);
                let to = if self.last { self.output } else { self.sums };
                let (rows, columns) = ([self.first_row + start, rows], [self.j, self.columns]);
                let (from, from_stride) = (t.to.cast_const(), t.to_stride);
                settle_on(d, Settle { rows, columns, from, from_stride, earlier, to, finish });
            }
        }
    }
}
