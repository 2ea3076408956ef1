//! Copies that turn a matrix: one side is contiguous along the innermost dim, the other along an
//! outer one.

use super::Ends;
use crate::cpu::parallel;
use crate::element::Pod;
use crate::strided::LoopNest;

/// Side of a block, in elements: a block's lines on both sides stay in L1 until they are used up.
const BLOCK: usize = 16;
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
                    blocks(ends.offset(at), [rows, self.sizes[1]], outer_strides, inner_strides);
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
unsafe fn blocks<T: Pod>(ends: Ends<T>, sizes: [usize; 2], outer: [isize; 2], inner: [isize; 2]) {
    for j in (0..sizes[1]).step_by(BLOCK) {
        let columns = BLOCK.min(sizes[1] - j);
        for i in (0..sizes[0]).step_by(BLOCK) {
            let rows = BLOCK.min(sizes[0] - i);
            for r in i..i + rows {
                let at = [0, 1].map(|e| r as isize * outer[e] + j as isize * inner[e]);
                // SAFETY: `columns` elements of row `r`.
                unsafe {
                    if columns == BLOCK && inner[1] == 1 {
                        gather_block(ends.offset(at), inner[0]);
                    } else {
                        ends.offset(at).row(columns, inner);
                    }
                }
            }
        }
    }
}

/// One row of a block: [`BLOCK`] elements a stride apart, written contiguously.
///
/// # Safety
/// - As [`blocks`].
#[inline(always)]
unsafe fn gather_block<T: Pod>(ends: Ends<T>, stride: isize) {
    let mut row = [T::default(); BLOCK];
    for (c, place) in row.iter_mut().enumerate() {
        // SAFETY: element `c` of the row.
        *place = unsafe { *ends.from.wrapping_offset(c as isize * stride) };
    }
    // SAFETY: `BLOCK` contiguous elements of the target.
    unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), ends.to, BLOCK) };
}
