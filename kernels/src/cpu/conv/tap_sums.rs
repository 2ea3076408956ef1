//! The sums of the weight gradient: taps times blocks of places.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::tiles::{Ask, Cut, PANEL_BYTES, ROWS, Strip, share};
use crate::buffer::Buffer;
use crate::cpu::gemm::{Dispatch, KC, Packs, work_ns};
use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::Result;

/// Taps of a piece.
const TAPS: usize = 8 * ROWS;

/// Up to so many sums each block has its own, so that blocks are pieces; else groups of taps are.
const FEW: usize = 2048;

/// Elements of packed gradients, or of blocks' own sums, that are kept at a time.
const KEPT: usize = 1 << 17;

/// One group and class of taps times a run of whole blocks of places.
pub(super) struct TapSums<'a, T> {
    pub(super) d: Dispatch,
    /// Padded images; element `(tap, place)` is at `taps[tap] + steps[place - k.start]`.
    pub(super) images: &'a [T],
    pub(super) taps: &'a [usize],
    pub(super) steps: &'a [usize],
    /// The places.
    pub(super) k: Range<usize>,
    /// The gradient, `[places, channels]`.
    pub(super) grad: &'a dyn Packs<T>,
    pub(super) cut: Cut,
    /// What is read next: it is asked for meanwhile.
    pub(super) next: [&'a [T]; 2],
}

/// Room for one panel.
#[repr(align(64))]
struct Panel([MaybeUninit<u8>; KC * PANEL_BYTES]);

impl<T: Float> TapSums<'_, T> {
    /// Are there so few sums that blocks are computed apart?
    pub(super) fn are_few(sums: usize) -> bool {
        sums <= FEW
    }

    /// Adds the blocks' sums to `sums`, rows of the cut's width; place 0's block is stored.
    ///
    /// # Safety
    /// - Taps and places must lie inside of the images, the places inside of the gradient, and `sums` must hold a row for each tap.
    pub(super) unsafe fn add_to(&self, sums: &mut [T]) -> Result<()> {
        if sums.is_empty() {
            return Ok(());
        }
        let blocks = self.k.len().div_ceil(KC);
        // SAFETY: handed on.
        unsafe {
            if Self::are_few(sums.len()) {
                self.by_blocks(blocks, sums)
            } else {
                self.by_taps(blocks, sums)
            }
        }
    }

    fn block(&self, block: usize) -> Range<usize> {
        let start = self.k.start + block * KC;
        start..self.k.end.min(start + KC)
    }

    /// The strip of some taps and one block whose panel is at `b`.
    fn strip(
        &self,
        taps: Range<usize>,
        block: usize,
        b: *const T,
        [width, stride]: [usize; 2],
    ) -> Strip<'_, T> {
        let k = self.block(block);
        Strip {
            a: self.images.as_ptr(),
            rows: &self.taps[taps],
            steps: &self.steps[k.start - self.k.start..k.end - self.k.start],
            b,
            width,
            to: std::ptr::null_mut(),
            to_stride: stride,
            add: false,
            ask: Ask::NOTHING,
            bias: std::ptr::null(),
            relu: false,
        }
    }

    /// Every block's sums apart, then added in order.
    ///
    /// # Safety
    /// - As [`add_to`](Self::add_to).
    unsafe fn by_blocks(&self, blocks: usize, sums: &mut [T]) -> Result<()> {
        let window = (KEPT / sums.len().max(1)).clamp(1, blocks);
        let mut parts = Buffer::new(window * size_of_val(sums))?;
        for first in (0..blocks).step_by(window) {
            let count = window.min(blocks - first);
            let parts = &mut parts.as_mut_slice::<T>()[..count * sums.len()];
            let shared = Shared::new(parts);
            let work = work_ns(self.taps.len(), self.cut.width(), count * KC);
            parallel::run(count, work, &|index| {
                // SAFETY: each piece has the sums of its own block; panels and taps are those of the product.
                unsafe {
                    let to = shared.as_ptr().add(index * sums.len());
                    let mut panel = Panel([MaybeUninit::uninit(); KC * PANEL_BYTES]);
                    let panel: *mut T = panel.0.as_mut_ptr().cast();
                    for panel_index in 0..self.cut.count() {
                        let [start, columns, width] = self.cut.panel(panel_index);
                        let (k, columns) = (self.block(first + index), start..start + columns);
                        self.grad.pack_on(self.d, k, columns, panel, width);
                        let size = [width, self.cut.width()];
                        let unit = if start == 0 { first + index..first + index + 1 } else { 0..0 };
                        let next = self.next.map(|next| share(next, unit.clone(), blocks));
                        let ask = Ask { next, ..Ask::NOTHING };
                        let strip = self.strip(0..self.taps.len(), first + index, panel, size);
                        Strip { to: to.add(start), ask, ..strip }.compute(self.d);
                    }
                }
            });
            for (index, part) in parts.chunks_exact(sums.len()).enumerate() {
                if self.k.start + first + index == 0 {
                    sums.copy_from_slice(part);
                } else {
                    sums.iter_mut().zip(part).for_each(|(sum, part)| *sum = *sum + *part);
                }
            }
        }
        Ok(())
    }

    /// Some blocks' panels packed, then groups of taps times these blocks, one after the other.
    ///
    /// # Safety
    /// - As [`add_to`](Self::add_to).
    unsafe fn by_taps(&self, blocks: usize, sums: &mut [T]) -> Result<()> {
        let (d, stride) = (self.d, self.cut.width());
        let panels = self.cut.count();
        let window = (KEPT / (stride * KC)).clamp(1, blocks);
        let mut packed = Buffer::new(window * stride * KC * size_of::<T>())?;
        let packed = Shared::new(packed.as_mut_slice::<T>());
        let place = |index: usize, start: usize| {
            packed.as_ptr().wrapping_add((index * stride + start) * KC)
        };
        let to = Shared::new(sums);
        for first in (0..blocks).step_by(window) {
            let count = window.min(blocks - first);
            parallel::run(count * panels, (count * stride * KC) as u64 / 4, &|piece| {
                let (index, panel) = (piece / panels, piece % panels);
                let [start, columns, width] = self.cut.panel(panel);
                let (k, columns) = (self.block(first + index), start..start + columns);
                // SAFETY: a panel of the gradient, to its place in the buffer.
                unsafe { self.grad.pack_on(d, k, columns, place(index, start), width) };
            });
            let groups = self.taps.len().div_ceil(TAPS);
            let work = work_ns(self.taps.len(), stride, count * KC);
            let pieces = groups * panels;
            parallel::run(pieces, work, &|piece| {
                let (group, [start, _, width]) = (piece % groups, self.cut.panel(piece / groups));
                let taps = group * TAPS..self.taps.len().min((group + 1) * TAPS);
                for index in 0..count {
                    let b = place(index, start).cast_const();
                    let strip = self.strip(taps.clone(), first + index, b, [width, stride]);
                    let to = to.as_ptr().wrapping_add(taps.start * stride + start);
                    let add = self.k.start + first + index > 0;
                    let unit = piece * count + index + first * pieces;
                    let next = self.next.map(|next| share(next, unit..unit + 1, pieces * blocks));
                    let ask = Ask { next, ..Ask::NOTHING };
                    // SAFETY: the rows of these taps, and the columns of this panel, are this piece's.
                    unsafe { Strip { to, add, ask, ..strip }.compute(d) };
                }
            });
        }
        Ok(())
    }
}
