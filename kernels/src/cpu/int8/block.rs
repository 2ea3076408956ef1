//! The tiles of a block: some rows times some columns, raw sums in registers, then finished.
//!
//! A row's activations are read where they lie, in *runs*: the groups of four that follow each other in memory. A plain product
//! has one run; a convolution has one a line of its kernel, at the same distances from every row's start.

use super::dot::{Dot, GROUP, PANEL, STEP};
use super::finish::{COLUMNS, Columns, Finish};
use super::packed::Packed;

/// Groups of k whose sums fit into an i32 in any case: 255 * 128 * 65,536 < 2^31.
const EXACT: usize = 65_536 / GROUP;

/// Rows of the largest tile.
const ROWS: usize = 6;

/// Some rows and columns of a product.
pub(super) struct Block<'a> {
    pub(super) packed: &'a Packed,
    /// The activations as the token takes them.
    pub(super) base: *const u8,
    /// Where the rows start, in bytes from `base`.
    pub(super) rows: &'a [usize],
    /// Where the runs of a row start, in bytes from its start.
    pub(super) taps: &'a [u64],
    /// Groups of a run.
    pub(super) run: usize,
    /// From one multiple of [`COLUMNS`] to another or to n.
    pub(super) columns: std::ops::Range<usize>,
    /// The output row of the first row.
    pub(super) first_row: usize,
    /// The sum of each row's codes, if needed.
    pub(super) row_sums: Option<&'a [i32]>,
    pub(super) finish: &'a Finish<'a>,
}

/// Raw sums on their way from registers to [`Finish`].
#[repr(align(64))]
struct Sums([[i32; COLUMNS]; ROWS]);

/// Their sums over blocks of k, where they may leave i32.
type Totals = [[i64; COLUMNS]; ROWS];

impl Block<'_> {
    /// Computes it.
    ///
    /// # Safety
    /// - All runs of all rows must be readable.
    /// - Rows and columns must lie in the output, where nobody else writes them.
    #[inline(always)]
    pub(super) unsafe fn run<D: Dot>(&self, d: D) {
        let mut first = self.columns.start;
        while first < self.columns.end {
            let panels = (self.columns.end - first).div_ceil(PANEL);
            // SAFETY: the panels and rows are the block's; the rest is the contract.
            let taken = unsafe {
                if const { D::PANELS >= 4 } && panels >= 3 {
                    self.rows::<D, 4>(d, first)
                } else if const { D::PANELS >= 2 } && panels >= 2 {
                    self.rows::<D, 2>(d, first)
                } else {
                    self.rows::<D, 1>(d, first)
                }
            };
            first += taken;
        }
    }

    /// All rows of the next `P` panels (or as many as there are). Returns their columns.
    #[inline(always)]
    unsafe fn rows<D: Dot, const P: usize>(&self, d: D, first: usize) -> usize {
        let len = (self.columns.end - first).min(P * PANEL);
        let mut columns = self.finish.prepare(self.packed, first, len);
        let mut sums = Sums([[0; COLUMNS]; ROWS]);
        let mut totals = [[0; COLUMNS]; ROWS];
        let mut row = 0;
        while row < self.rows.len() {
            let left = self.rows.len() - row;
            // SAFETY: as for `run`.
            row += unsafe {
                if const { D::ROWS >= 6 } && left >= 6 {
                    self.tile::<D, 6, P>(d, first, row, &mut columns, &mut sums, &mut totals)
                } else if const { D::ROWS >= 4 } && left >= 4 {
                    self.tile::<D, 4, P>(d, first, row, &mut columns, &mut sums, &mut totals)
                } else if const { D::ROWS >= 2 } && left >= 2 {
                    self.tile::<D, 2, P>(d, first, row, &mut columns, &mut sums, &mut totals)
                } else {
                    self.tile::<D, 1, P>(d, first, row, &mut columns, &mut sums, &mut totals)
                }
            };
        }
        len
    }

    /// `R` rows from `row` on. Returns `R`.
    #[inline(always)]
    unsafe fn tile<D: Dot, const R: usize, const P: usize>(
        &self,
        d: D,
        first: usize,
        row: usize,
        columns: &mut Columns,
        sums: &mut Sums,
        totals: &mut Totals,
    ) -> usize {
        let mut starts = [self.base; R];
        for (start, offset) in starts.iter_mut().zip(&self.rows[row..row + R]) {
            *start = start.wrapping_add(*offset);
        }
        let wide = self.finish.wide;
        if wide {
            *totals = [[0; COLUMNS]; ROWS];
        }
        let groups = if wide { self.run.min(EXACT) } else { self.run };
        let taps = if wide { EXACT / self.run.clamp(1, EXACT) } else { self.taps.len().max(1) };
        // Where fewer than P panels are left, the last one is read again in place of those beyond.
        let last = (self.columns.end - first - 1) / PANEL;
        let panel = self.packed.codes().as_ptr().wrapping_add(first / PANEL * self.packed.panel);
        for (chunk, taps) in self.taps.chunks(taps).enumerate().map(|(i, t)| (i * taps, t)) {
            let mut start = 0;
            loop {
                let end = self.run.min(start + groups);
                let codes = panel.wrapping_add((chunk * self.run + start) * STEP);
                // SAFETY: the contract for the rows; the steps of the panels are in `packed`.
                unsafe {
                    multiply::<D, R, P>(
                        d,
                        starts,
                        taps,
                        start..end,
                        codes,
                        [self.packed.panel, last],
                        sums,
                    );
                }
                if wide {
                    for (total, sums) in
                        totals.as_flattened_mut().iter_mut().zip(sums.0.as_flattened())
                    {
                        *total += i64::from(*sums);
                    }
                }
                start = end;
                if start >= self.run {
                    break;
                }
            }
        }
        for r in 0..R {
            let row_sum = self.row_sums.map(|sums| sums[row + r]);
            let out = self.first_row + row + r;
            // SAFETY: the contract.
            unsafe {
                if wide {
                    self.finish.wide_row(self.packed, columns, &totals[r], out, row_sum);
                } else {
                    self.finish.row(self.packed, columns, &mut sums.0[r], out, row_sum);
                }
            }
        }
        R
    }
}

/// The raw sums of `R` rows and `P` panels over some groups of some runs. `[panel, last]`: bytes from panel to panel, and the
/// last one that there is, which stands in for those beyond.
///
/// # Safety
/// - The groups of the rows and the steps of the panels must be readable.
#[inline(always)]
unsafe fn multiply<D: Dot, const R: usize, const P: usize>(
    d: D,
    rows: [*const u8; R],
    taps: &[u64],
    groups: std::ops::Range<usize>,
    codes: *const i8,
    [panel, last]: [usize; 2],
    to: &mut Sums,
) {
    let mut sums = [[d.zero(); P]; R];
    let mut panels = [codes; P];
    for (p, start) in panels.iter_mut().enumerate() {
        *start = codes.wrapping_add(p.min(last) * panel);
    }
    let mut step = 0;
    for &tap in taps {
        for group in groups.clone() {
            // SAFETY: by the caller's contract.
            unsafe {
                let mut weights = [d.weights(panels[0].wrapping_add(step)); P];
                for p in 1..P {
                    weights[p] = d.weights(panels[p].wrapping_add(step));
                }
                for r in 0..R {
                    let at = rows[r].wrapping_add(tap as usize + group * (GROUP * D::BYTES));
                    let activations = d.group(at);
                    for p in 0..P {
                        sums[r][p] = d.dot(sums[r][p], activations, weights[p]);
                    }
                }
            }
            step += STEP;
        }
    }
    for r in 0..R {
        for p in 0..P {
            // SAFETY: `R` and `P` are at most the rows and panels of `to`.
            unsafe { d.store(to.0[r].as_mut_ptr().add(p * PANEL), sums[r][p]) }
        }
    }
}
