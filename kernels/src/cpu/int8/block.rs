//! The tiles of a block: some rows times some columns, raw sums in registers, then finished.
//!
//! A row's activations are read where they lie, in *runs*: the groups of four that follow each other in memory. A plain product
//! has one run; a convolution has one a line of its kernel, at the same distances from every row's start.

use super::dot::{Dot, GROUP, PANEL, STEP};
use super::finish::{COLUMNS, Finish, Lines};
use super::packed::Packed;
use crate::cpu::isa::{Int8Isa, Int8Kernel, dispatch_int8};

/// Groups of k whose sums fit into an i32 in any case: 255 * 128 * 65,536 < 2^31.
const EXACT: usize = 65_536 / GROUP;

/// How far ahead of their use weights are asked for.
const AHEAD: usize = 24 * STEP;

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
    /// Computes it under `isa`, which must be available. A dispatch of its own: the tiles are built once for each instruction
    /// set, whoever needs them.
    ///
    /// # Safety
    /// - All runs of all rows must be readable.
    /// - Rows and columns must lie in the output, where nobody else writes them.
    pub(super) unsafe fn run(&self, isa: Int8Isa) {
        dispatch_int8(isa, Tiles(self));
    }

    /// Raw sums of the tile at `row`, `first`: `shape` is its rows and panels; `out` its first row of the output.
    ///
    /// # Safety
    /// - As for [`run`](Self::run).
    #[inline(always)]
    unsafe fn tile<D: Dot>(
        &self,
        d: D,
        [row, first]: [usize; 2],
        shape: [usize; 2],
        out: usize,
        sums: &mut Sums,
        totals: &mut Totals,
    ) {
        // One after the other: a vector of them would wait for the stores of what it adds to.
        let rows = &self.rows[row..row + shape[0]];
        let starts = std::array::from_fn(|r| self.base.wrapping_add(rows[r.min(rows.len() - 1)]));
        // Where fewer panels are left than the tile has, the last one is read again in place of those beyond.
        let last = (self.columns.end - first - 1) / PANEL;
        let panel = self.packed.codes().as_ptr().wrapping_add(first / PANEL * self.packed.panel);
        let wide = self.finish.wide;
        if wide {
            *totals = [[0; COLUMNS]; ROWS];
        }
        let groups = if wide { self.run.min(EXACT) } else { self.run };
        let taps = if wide { EXACT / self.run.clamp(1, EXACT) } else { self.taps.len().max(1) };
        for (chunk, taps) in self.taps.chunks(taps).enumerate().map(|(i, t)| (i * taps, t)) {
            let mut start = 0;
            loop {
                let end = self.run.min(start + groups);
                let codes = panel.wrapping_add((chunk * self.run + start) * STEP);
                let lines = self.finish.lines(out, first, self.columns.end - first);
                let part = Part { starts, taps, groups: [start, end], codes, lines };
                // SAFETY: the contract for the rows; the steps of the panels are in `packed`.
                unsafe { part.multiply::<D>(d, shape, [self.packed.panel, last], sums) };
                if wide {
                    let sums = sums.0.as_flattened();
                    for (total, sums) in totals.as_flattened_mut().iter_mut().zip(sums) {
                        *total += i64::from(*sums);
                    }
                }
                start = end;
                if start >= self.run {
                    break;
                }
            }
        }
    }
}

struct Tiles<'a, 'b>(&'a Block<'b>);

impl Int8Kernel for Tiles<'_, '_> {
    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        let (block, finish, packed) = (self.0, self.0.finish, self.0.packed);
        let (mut sums, mut totals) = (Sums([[0; COLUMNS]; ROWS]), [[0; COLUMNS]; ROWS]);
        let mut first = block.columns.start;
        while first < block.columns.end {
            let panels = match (block.columns.end - first).div_ceil(PANEL) {
                3.. if D::PANELS >= 4 => 4,
                2.. if D::PANELS >= 2 => 2,
                _ => 1,
            };
            let len = (block.columns.end - first).min(panels * PANEL);
            let mut columns = finish.prepare(packed, first, len);
            let mut row = 0;
            while row < block.rows.len() {
                let rows = match block.rows.len() - row {
                    6.. if D::ROWS >= 6 => 6,
                    4.. if D::ROWS >= 4 => 4,
                    2.. if D::ROWS >= 2 => 2,
                    _ => 1,
                };
                let row_sums = block.row_sums.map(|sums| &sums[row..row + rows]);
                let out = block.first_row + row;
                // SAFETY: the contract of `Block::run`.
                unsafe {
                    block.tile::<D>(d, [row, first], [rows, panels], out, &mut sums, &mut totals);
                    if finish.wide {
                        for r in 0..rows {
                            let row_sum = row_sums.map(|sums| sums[r]);
                            finish.wide_row(packed, &columns, &totals[r], out + r, row_sum);
                        }
                    } else {
                        finish.rows(packed, &mut columns, &mut sums.0[..rows], out, row_sums);
                    }
                }
                row += rows;
            }
            first += len;
        }
    }
}

/// Some groups of some runs of a tile's rows, and the steps that they meet.
#[derive(Clone, Copy)]
struct Part<'a> {
    starts: [*const u8; ROWS],
    taps: &'a [u64],
    groups: [usize; 2],
    codes: *const i8,
    /// Where the rows' sums will go.
    lines: Lines,
}

impl Part<'_> {
    /// The instance for a tile.
    #[inline(always)]
    unsafe fn multiply<D: Dot>(self, d: D, shape: [usize; 2], panels: [usize; 2], to: &mut Sums) {
        macro_rules! instances {
            ($(($r:literal, $p:literal))*) => {
                $(if const { $r <= D::ROWS && $p <= D::PANELS } && shape == [$r, $p] {
                    // SAFETY: the caller's contract.
                    unsafe { multiply::<D, $r, $p>(d, self, panels, to) };
                })*
            };
        }
        instances!((6, 4)(6, 2)(6, 1)(4, 4)(4, 2)(4, 1)(2, 4)(2, 2)(2, 1)(1, 4)(1, 2)(1, 1));
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
    part: Part<'_>,
    [panel, last]: [usize; 2],
    to: &mut Sums,
) {
    let Part { starts, taps, groups: [start, end], codes, lines } = part;
    let mut rows = [starts[0]; R];
    rows.copy_from_slice(&starts[..R]);
    let mut sums = [[d.zero(); P]; R];
    let mut panels = [codes; P];
    for (p, start) in panels.iter_mut().enumerate() {
        *start = codes.wrapping_add(p.min(last) * panel);
    }
    let mut step = 0;
    for &tap in taps {
        // No closure: it would be compiled without the token's instructions.
        macro_rules! add {
            ($group:ident) => {
                // SAFETY: by the caller's contract.
                unsafe {
                    let mut weights = [d.weights(panels[0].wrapping_add(step)); P];
                    for p in 1..P {
                        weights[p] = d.weights(panels[p].wrapping_add(step));
                    }
                    if const { R * P > 1 } {
                        for panel in panels {
                            d.prefetch(panel.wrapping_add(step + AHEAD));
                        }
                    }
                    for r in 0..R {
                        let at = rows[r].wrapping_add(tap as usize + $group * (GROUP * D::BYTES));
                        let activations = d.group(at);
                        for p in 0..P {
                            sums[r][p] = d.dot(sums[r][p], activations, weights[p]);
                        }
                    }
                }
                step += STEP;
            };
        }
        // The first steps also ask for the output's lines, a row each: all at once would wait for the first of them.
        let asked = end.min(start + if D::PREFETCHES { R } else { 0 });
        for group in start..asked {
            lines.prefetch(d, group - start);
            add!(group);
        }
        for group in asked..end {
            add!(group);
        }
    }
    for (to, sums) in to.0.iter_mut().zip(sums) {
        for (to, sums) in to.as_chunks_mut::<PANEL>().0.iter_mut().zip(sums) {
            // SAFETY: a panel of sums.
            unsafe { d.store(to.as_mut_ptr(), sums) }
        }
    }
}
